"""Intervals of `mmcell.relations` hold the expected recall, also where a map sees whole modules or none of them."""

import numpy as np
import pytest

from tests.studies import known_relations as study


def test_a_world_has_pairs_of_its_modules():
    x, pairs = study.world(60, 5, 40, "knows", np.random.default_rng(0))
    assert x.shape == (60, study.DIMENSIONS)
    assert (pairs // 5 == pairs[:, :1] // 5).all()
    assert len(np.unique(pairs, axis=0)) == 40


def test_a_small_study_of_coverage():
    found = study.coverage(150, 5, 200, "knows half", maps=40, known=300)
    assert found["covered"] >= 0.8  # 38 of 40 in expectation
    assert 0.3 < found["truth"] < 0.7


@pytest.mark.full
@pytest.mark.parametrize("name", study.WORLDS)
@pytest.mark.parametrize("design", [(60, 5, 30), (400, 20, 1000)])
def test_the_interval_holds_the_expected_recall(design, name):
    found = study.coverage(*design, name, maps=300)
    assert 0.9 <= found["covered"] <= 1
    assert found["none"] < 0.1
    if name == "knows nothing":
        assert found["truth"] == pytest.approx(0.1, abs=0.01)
