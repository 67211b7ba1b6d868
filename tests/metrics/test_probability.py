import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from mmcell import Items, get_metric, list_metrics
from mmcell.metrics.calibration import cloglog, d_shares
from mmcell.metrics.classification import brier, calibration_line
from mmcell.metrics.survival import calibration_slope, d_calibration, integrated_calibration_index
from mmcell.stats.bootstrap import bootstrap, folded, undefined_reason

SEEDS = st.integers(0, 500)


def repeats(items):
    return [{c: part[c].to_numpy() for c in part} for _, part in items.frame.groupby("repeat")]


@given(SEEDS)
def test_binary_probabilities_are_pooled_over_folds_and_averaged_over_repeats(random_items, seed):
    items = random_items("binary", seed)
    lines = [calibration_line(r["y_true"], r["p_event"]) for r in repeats(items)]
    slope = abs(np.mean([line.slope for line in lines]) - 1)
    intercept = abs(np.mean([line.intercept for line in lines]))
    np.testing.assert_allclose(get_metric("calibration_slope_error").fn(items), slope, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(get_metric("calibration_intercept_error").fn(items), intercept, rtol=1e-9, atol=1e-12)
    assert get_metric("brier").fn(items) == pytest.approx(brier(items.frame["y_true"], items.frame["p_event"]))


@given(SEEDS)
def test_survival_is_pooled_too_and_a_slope_has_a_baseline_hazard_for_each_fold(random_items, seed):
    items = random_items("survival", seed)
    found = [
        (
            calibration_slope(r["time"], r["event"], cloglog(r["p_event"]), r["fold"]),
            integrated_calibration_index(r["time"], r["event"], r["p_event"], 3.0),
        )
        for r in repeats(items)
    ]
    slope, ici = np.mean(found, axis=0)
    np.testing.assert_allclose(get_metric("calibration_slope_error").fn(items), abs(slope - 1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(get_metric("ici").fn(items), ici, rtol=1e-9, atol=1e-12)


def cox_like(seed=0, n=60):
    """Items of two folds, whose curves are those of a Cox model with a baseline hazard of its own in each."""
    rng = np.random.default_rng(seed)
    risk, fold = rng.normal(size=n), np.arange(n) % 2
    time = rng.exponential(5 * np.exp(-risk))
    p = 1 - np.exp(-np.where(fold, 0.4, 0.7) * np.exp(risk))
    names = [f"p{i}" for i in range(n)]
    frame = {"item": names, "unit": names, "fold": fold, "time": time, "event": rng.integers(0, 2, n), "y_pred": risk}
    return Items(pd.DataFrame(frame | {"p_event": p, "horizon": 3.0, "own_survival": 1 - p}), "survival")


def test_of_a_cox_model_the_slope_is_that_of_the_log_hazard():
    items = cox_like()
    time, event, risk, fold = (items.column(c) for c in ("time", "event", "y_pred", "fold"))
    expected = calibration_slope(time, event, risk, fold)
    metric = get_metric("calibration_slope_error")
    assert metric.fn(items) == pytest.approx(abs(expected - 1))
    # The hazard is told apart where probabilities are all rounded to 1.
    certain = items.having({"p_event": 1.0, "log_hazard": risk + 9 * fold})
    assert metric.fn(certain) == pytest.approx(abs(expected - 1))
    assert expected != pytest.approx(calibration_slope(time, event, risk))


def test_the_interval_of_a_calibration_error_is_that_of_the_signed_one_folded_at_0():
    held, above = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Predictions that are the truth itself: their error is 0, and every draw of it lies above.
        p, ids = 1 / (1 + np.exp(-rng.normal(size=120))), [f"p{i}" for i in range(120)]
        y = (rng.random(120) < p).astype(int)
        items = Items(pd.DataFrame({"item": ids, "unit": ids, "y_true": y, "y_pred": p, "p_event": p}), "binary")
        for name in ("calibration_slope_error", "calibration_intercept_error"):
            metric = get_metric(name)
            found = bootstrap(items, [metric], n_boot=200, seed=seed)[name]
            signed = bootstrap(items, [metric.deviation], n_boot=200, seed=seed)[metric.deviation.name]
            assert found.value == abs(signed.value) == pytest.approx(metric.fn(items))
            np.testing.assert_array_equal(found.draws, np.abs(signed.draws))
            assert found.high == max(abs(signed.low), abs(signed.high))
            assert found.low <= found.value <= found.high
            held += found.low == 0
            above += np.quantile(found.draws, 0.025) > 0
    assert held >= 34
    assert above == 40


def test_a_deviation_far_from_0_keeps_both_limits():
    assert folded(-0.4, -0.1) == (0.1, 0.4)
    assert folded(0.2, 0.3) == (0.2, 0.3)
    assert folded(-0.4, 0.1) == (0.0, 0.4)
    assert np.isnan(folded(np.nan, np.nan)).all()


def test_d_calibration_over_repeats_is_one_test_of_the_mean_shares(random_items):
    items = random_items("survival", 1, n_repeats=3)
    repeat = items.column("repeat")
    shares = d_shares(items.column("event"), items.column("own_survival"), 10)
    mean = np.mean([shares[repeat == r].mean(axis=0) for r in np.unique(repeat)], axis=0)
    statistic = 10 * len(items.units) * np.sum((mean - 0.1) ** 2)
    assert get_metric("d_calibration").fn(items) == pytest.approx(chi2.sf(statistic, 9))


def test_where_events_compete_calibration_is_that_of_the_hazard_alone():
    items = cox_like()
    alone = items.having({"p_net": items.column("p_event"), "p_event": 0.5 * items.column("p_event")})
    assert get_metric("ici").fn(alone) == get_metric("ici").fn(items)


def test_d_calibration_is_that_of_the_patients_and_has_no_interval():
    items = cox_like()
    event, own = items.column("event"), items.column("own_survival")
    assert get_metric("d_calibration").fn(items) == pytest.approx(d_calibration(event, own).p)
    found = bootstrap(items, [get_metric("d_calibration")], n_boot=100)["d_calibration"]
    assert np.isnan([found.low, found.high]).all()
    assert found.status == "ok"


def test_twice_as_many_items_of_a_patient_are_not_twice_the_evidence(random_items):
    items = random_items("survival", 3, n_repeats=1)
    shares = d_shares(items.column("event"), items.column("own_survival"), 10).mean(axis=0)
    statistic = 10 * len(items.units) * np.sum((shares - 0.1) ** 2)
    assert get_metric("d_calibration").fn(items) == pytest.approx(chi2.sf(statistic, 9))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("calibration_slope_error", "a prediction of 0 or 1"),
        ("calibration_intercept_error", "a prediction of 0 or 1"),
        ("ici", "a prediction of 0"),
    ],
)
def test_a_certain_prediction_leaves_calibration_undefined_and_says_so(random_items, name, said):
    metric = get_metric(name)
    for kind in metric.kinds:
        items = random_items(kind)
        p = items.column("p_event").copy()
        p[0] = 0.0
        certain = items.having({"p_event": p})
        assert np.isnan(metric.fn(certain))
        assert said in undefined_reason(certain, metric)
        found = bootstrap(random_items(kind, n_units=12).having({"p_event": 0.0}), [metric], n_boot=100)[name]
        assert found.status == "undefined"
        assert said in found.reason


def test_metrics_of_probabilities_are_left_out_without_them():
    for name in list_metrics():
        metric = get_metric(name)
        if "p_event" in metric.needs:
            assert not metric.reads(metric.kinds[0], "label", ["item", "y_pred"])
            assert metric.reads(metric.kinds[0], "label", ["item", *metric.needs])
