import pytest

from mmcell.errors import did_you_mean, near_to, noun, number_of


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 items are"), (1, "1 item is"), (2, "2 items are")]
)  # fmt: skip
def test_a_noun_and_its_verb_agree_with_their_number(n, said):
    assert number_of(n, "item is", "items are") == said


def test_by_default_many_end_in_s():
    assert [noun(n, "event") for n in (0, 1, 2)] == ["events", "event", "events"]
    assert number_of(1, "class", "classes") == "1 class"


def test_only_names_that_are_nearly_as_near_stand_beside_the_nearest():
    roles = ["label", "sample", "clinical", "cell_type"]
    assert did_you_mean("lable", roles) == "did you mean label?"
    assert did_you_mean("batch2", ["batch1", "batch3", "donor"]) == "did you mean batch3, batch1?"
    assert did_you_mean("zzz", roles) == "known: cell_type, clinical, label, sample"
    assert near_to("log", ["counts", "log1p"], 0.6) == ["log1p"]
    assert near_to("raw", ["counts", "log1p"], 0.6) == []
