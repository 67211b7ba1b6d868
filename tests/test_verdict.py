from dataclasses import replace

import pytest

from mmcell import get_metric
from mmcell.records import Gap, Score, Versus
from mmcell.verdict import verdict

AUROC = get_metric("auroc")


def gap(low, high, mde=0.1):
    return Gap(value=None if low is None else (low + high) / 2, low=low, high=high, mde=mde)


def said(gaps, *, metric=AUROC, n_units=43, value=0.8, level="patient", reference="composition"):
    versus = tuple(Versus(control=name, **dict(g)) for name, g in gaps.items())
    score = Score(
        metric=metric.name, higher_is_better=metric.higher_is_better, value=value, n_units=n_units, level=level,
        difference=gaps.get(reference), versus=versus, reason="one class only",
    )  # fmt: skip
    return verdict(score, metric, reference)


def test_the_reference_comes_first():
    found = said({"random": gap(0.1, 0.3), "technical-only": gap(-0.1, 0.1), "composition": gap(0.05, 0.2)})
    assert found == "better than composition, random; cannot be told apart from technical-only"
    found = said({"random": gap(0.1, 0.3), "composition": gap(-0.2, -0.05)})
    assert found == "worse than composition; better than random"
    found = said({"random": gap(0.1, 0.3), "composition": gap(-0.1, 0.2)})
    assert found == "cannot be told apart from composition; better than random"


def test_lower_is_better_turns_it_round():
    lower = replace(AUROC, higher_is_better=False)
    assert said({"composition": gap(0.05, 0.2)}, metric=lower) == "worse than composition"


@pytest.mark.parametrize(("mde", "hopeless"), [(0.24, False), (0.26, True)])
def test_too_few_patients_when_no_possible_value_would_show(mde, hopeless):
    # The reference is at 0.75, so no more than 0.25 can be gained.
    found = said({"composition": gap(-0.1, 0.2, mde)})
    expected = "too few patients to say whether it beats composition"
    assert found == (expected if hopeless else "cannot be told apart from composition")


@pytest.mark.parametrize("higher", [True, False])
def test_where_nothing_can_be_gained_more_patients_would_not_help(higher):
    metric = replace(AUROC, higher_is_better=higher)
    found = said({"composition": gap(-0.004, 0.004, 0.006)}, metric=metric, value=1.0 if higher else 0.0, n_units=1000)
    assert found == "cannot be told apart from composition"


def test_a_gain_that_the_interval_excludes_needs_no_more_patients():
    # The reference is at 0.95: 0.05 could be gained, and the interval ends at 0.02.
    assert said({"composition": gap(-0.32, 0.02, 0.3)}) == "cannot be told apart from composition"


def test_few_units_no_value_and_no_interval_are_said():
    assert said({"composition": gap(0.1, 0.2)}, n_units=9) == "too few patients to say (9)"
    assert said({"composition": gap(0.1, 0.2)}, n_units=9, level="cell") == "too few units to say (9)"
    assert said({}, value=None) == "no value: one class only"
    assert said({"composition": Gap(value=0.1)}) == "no interval of the difference from composition"
    assert said({}) == "compared with no control"


@pytest.mark.parametrize(
    ("p", "first"), [(0.3, "not beyond its own permuted labels (p 0.30)"), (0.02, "better than composition")]
)
def test_a_score_within_its_null_is_said_first(p, first):
    versus = (Versus(control="composition", **dict(gap(0.05, 0.2))),)
    score = Score(metric="auroc", value=0.8, n_units=43, difference=gap(0.05, 0.2), versus=versus, p_null=p, n_null=99)
    assert verdict(score, AUROC, "composition").startswith(first)


def test_with_few_defined_permutations_nothing_is_said_of_the_null():
    score = Score(metric="auroc", value=0.9, n_units=43, difference=gap(0.05, 0.2), p_null=1 / 19, n_null=18)
    found = verdict(score, AUROC, "composition")
    assert found.startswith("too few permutations with a value to say whether it is beyond them (18)")


def test_a_control_without_an_interval_is_not_forgotten():
    found = said({"composition": gap(0.1, 0.2), "constant": Gap(value=0.1)})
    assert found == "better than composition; no interval of the difference from constant"
