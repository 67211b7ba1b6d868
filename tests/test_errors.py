import pytest

from mmcell.errors import noun, number_of


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 items are"), (1, "1 item is"), (2, "2 items are")]
)  # fmt: skip
def test_a_noun_and_its_verb_agree_with_their_number(n, said):
    assert number_of(n, "item is", "items are") == said


def test_by_default_many_end_in_s():
    assert [noun(n, "event") for n in (0, 1, 2)] == ["events", "event", "events"]
    assert number_of(1, "class", "classes") == "1 class"
