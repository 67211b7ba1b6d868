"""Intervals of a mean over classes where one of them lives in few donors."""

import numpy as np
import pytest

from tests.studies import classes as study


def test_the_last_class_lives_in_few_donors():
    items = study.cohort(4, np.random.default_rng(0))
    assert items.frame.groupby("y_true")["unit"].nunique().tolist() == [30, 30, 30, 4]


def test_draws_over_the_other_classes_err_to_one_side():
    way = {way: study.coverage(2, 60, way, known=300)["balanced_accuracy"] for way in study.WAYS}
    assert way["over the others"]["too_low"] == 0
    assert way["undefined"]["too_low"] > 0
    assert way["mmcell"]["none"] == 1


@pytest.mark.full
@pytest.mark.parametrize(("few", "least"), [(3, 0.83), (5, 0.9), (8, 0.9)])
def test_the_interval_holds_the_truth(few, least):
    for row in study.coverage(few, 500).values():
        assert row["none"] == 0
        assert row["covered"] >= least
