import numpy as np
import pandas as pd
import pytest

from mmcell.metrics.contexts import among, compared


def table(units=6, perturbations=4):
    frame = pd.DataFrame([(f"u{u}", f"p{p}") for u in range(units) for p in range(perturbations)])
    frame.columns = ["unit", "perturbation"]
    return frame.assign(item=[f"c{i}" for i in range(len(frame))])


def test_what_is_equal_for_all_ties_with_all():
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(24, 60)) + 1.0
    by_treatment = np.tile(rng.normal(size=(4, 60)), (6, 1))
    found = compared(by_treatment + 1e-15 * rng.normal(size=(24, 60)), observed, table())
    everything = found[found["stratum"] == "all"]
    assert everything["discrimination_specific"].to_numpy() == pytest.approx((6 + 1) / 12)
    assert everything["centroid_accuracy"].mean() == pytest.approx(0.5)
    assert everything["pearson_delta_perturbed"].isna().all()
    assert everything["n_gallery"].eq(6).all()
    assert found.loc[found["stratum"] == "unit", "n_gallery"].eq(4).all()


def test_a_perfect_prediction_is_best_everywhere():
    observed = np.random.default_rng(1).normal(size=(24, 60))
    found = compared(observed, observed, table())
    names = ["discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta_perturbed"]
    assert np.allclose(found[names], 1.0)
    assert np.allclose(found.loc[found["stratum"] == "all", ["pearson_delta", "de_overlap@50"]], 1.0)


def test_the_headline_does_not_move_with_scale_or_with_what_all_share():
    rng = np.random.default_rng(2)
    observed = rng.normal(size=(8, 30))
    predicted = observed + rng.normal(size=(8, 30))
    base = among(predicted, observed)["discrimination_specific"]
    for factor, shared in ((0.1, 0.0), (10.0, 5.0)):
        moved = among(factor * predicted + shared * rng.normal(size=30), observed + shared * rng.normal(size=30))
        np.testing.assert_allclose(moved["discrimination_specific"], base)


def test_of_one_unit_or_one_perturbation_nothing_is_told_apart():
    observed = np.random.default_rng(3).normal(size=(4, 60))
    one_unit = compared(observed, observed, table(1, 4))
    assert "discrimination_specific" not in one_unit[one_unit["stratum"] == "all"].dropna(axis=1)
    assert (one_unit["stratum"] == "unit").sum() == 4
    one_treatment = compared(observed, observed, table(4, 1))
    assert set(one_treatment["stratum"]) == {"all"}
    alone = compared(observed[:1], observed[:1], table(1, 1))
    assert "n_gallery" not in alone


def test_types_are_compared_with_their_own():
    frame = table(3, 2).assign(cell_type="T")
    frame = pd.concat([frame, frame.assign(cell_type="B", item=frame["item"] + "b")], ignore_index=True)
    observed = np.random.default_rng(4).normal(size=(12, 60))
    found = compared(observed, observed, frame)
    assert set(found["stratum"]) == {"all", "unit×cell_type"}
    assert found.groupby("stratum")["n_gallery"].first().to_dict() == {"all": 3.0, "unit×cell_type": 2.0}
