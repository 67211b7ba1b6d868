import pytest

from mmcell.report import words


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (None, False, "–"), (0.75, False, "0.750"), (0.0017, False, "0.0017"), (0.0, False, "0.000"),
        (0.99996, False, "0.99996"), (-0.25, True, "−0.250"), (0.25, True, "+0.250"), (0.0089, True, "+0.009"),
        (-0.0002, True, "−0.0002"), (0.0, True, "0.000"), (1.0, False, "1.000"), (12.5, False, "12.500"),
    ],
)  # fmt: skip
def test_numbers(value, signed, text):
    assert words.number(value, signed) == text


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"kind": "leave-one-group-out", "by": "batch"}, "every batch is held out once, as a whole"),
        ({"kind": "group-kfold", "n_splits": 5, "repeats": 1}, "units are held out in 5 folds"),
        (
            {"kind": "stratified-group-kfold", "by": "label", "n_splits": 5, "repeats": 5},
            "units are held out in 5 folds, balanced by label, drawn anew 5 times",
        ),
    ],
)
def test_splits_in_words(split, text):
    assert words.split_in_words(split) == text


@pytest.mark.parametrize(
    ("outcomes", "without", "text"),
    [
        (["better"] * 3, 0, "All 3 candidates are better."),
        (["same", "same"], 0, "Neither candidate can be told apart from the reference."),
        (["same"] * 3, 0, "None of the 3 candidates can be told apart from the reference."),
        (["worse", "better"], 1, "Of 3 candidates, 1 is better, 1 is worse, 1 has no value."),
        ([], 2, "Both candidates have no value."),
        (["unknown", "unknown", "better"], 0, "Of 3 candidates, 1 is better, 2 have no interval of their difference."),
    ],
)
def test_tally(outcomes, without, text):
    assert words.tally(outcomes, without) == text


@pytest.mark.parametrize(
    ("stratum", "shift", "text"),
    [
        ("within sex", "", "grouped · within sex"), ("within sex", "batch", "grouped · within sex"),
        ("B2", "batch", "grouped · B2 held out"), ("all", "", "grouped"),
    ],
)  # fmt: skip
def test_places(score, stratum, shift, text):
    assert words.place_name(score(stratum=stratum, shift=shift)) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1787.2, "days", "1\u202f790 days"),
        (257.3, "days", "257 days"),
        (1.794, "", "1.79"),
        (0.0321, "years", "0.0321 years"),
    ],
)
def test_times_are_no_powers_of_ten(value, unit, text):
    assert words.time_of(value, unit) == text
