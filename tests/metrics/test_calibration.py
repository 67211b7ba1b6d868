import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from mmcell.metrics.calibration import cloglog, d_shares
from mmcell.metrics.survival import (
    calibration_error_quantile,
    calibration_slope,
    calibration_slope_resampled,
    d_calibration,
    d_calibration_resampled,
    integrated_calibration_index,
    integrated_calibration_index_resampled,
    smooth_risk,
)

SEEDS = st.integers(0, 10_000)
HORIZON = 4.0


def cohort(seed, n=150, slope=1.0, ties=False):
    """(time, event, log hazard) of patients whose log hazard is `slope` times what is predicted."""
    rng = np.random.default_rng(seed)
    eta = rng.normal(size=n)
    death, left = rng.exponential(6 * np.exp(-slope * eta)), rng.exponential(12, n)
    time = np.minimum(death, left)
    return (np.ceil(time) if ties else time), (death <= left).astype(int), eta.round(1) if ties else eta


def probability(eta, horizon=HORIZON):
    """The true probability of the event by the horizon where the slope is 1."""
    return -np.expm1(-horizon / 6 * np.exp(eta))


# -- slope -------------------------------------------------------------------------------------------------------------


def slow_slope(time, event, risk, stratum=None):
    model = sm.PHReg(time, risk[:, None], status=event, strata=stratum, ties="breslow")
    return model.fit().params[0]


@settings(max_examples=15)
@given(SEEDS)
def test_the_slope_equals_statsmodels_with_ties_and_strata(seed):
    time, event, risk = cohort(seed, 60, ties=True)
    stratum = np.random.default_rng(seed).choice(list("abc"), 60)
    assert calibration_slope(time, event, risk) == pytest.approx(slow_slope(time, event, risk), rel=1e-5)
    expected = slow_slope(time, event, risk, stratum)
    assert calibration_slope(time, event, risk, stratum) == pytest.approx(expected, rel=1e-5)


def test_the_slope_equals_lifelines_without_ties():
    time, event, risk = cohort(1, slope=0.5)
    fitted = CoxPHFitter().fit(pd.DataFrame({"t": time, "e": event, "x": risk}), "t", "e")
    assert calibration_slope(time, event, risk) == pytest.approx(fitted.params_["x"], rel=1e-5)


@settings(max_examples=15)
@given(SEEDS)
def test_draws_of_the_slope_are_those_of_the_repeated_patients(seed):
    rows = cohort(seed, 20, ties=True)
    stratum = np.random.default_rng(seed).integers(0, 2, 20)
    weights = np.random.default_rng(seed).integers(0, 3, (5, 20))
    weights[0] = 0
    again = [calibration_slope(*(a.repeat(w) for a in (*rows, stratum))) for w in weights]
    found = calibration_slope_resampled(*rows, weights, stratum)
    np.testing.assert_allclose(found, again, rtol=1e-9)
    assert np.isnan(found[0])


def test_predictions_that_are_twice_as_far_apart_have_half_the_slope():
    time, event, risk = cohort(2)
    whole = calibration_slope(time, event, risk)
    assert calibration_slope(time, event, 2 * risk + 5) == pytest.approx(whole / 2)
    assert calibration_slope(time, event, -risk) == pytest.approx(-whole)
    assert calibration_slope(time, event, 1e-6 * risk) == pytest.approx(1e6 * whole)
    assert calibration_slope(*cohort(3, 3000)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("time", "event", "risk"),
    [
        ([1, 2, 3], [1, 1, 0], [3, 2, 1]),
        ([1, 2, 3], [1, 1, 0], [1, 2, 3]),
        ([1, 2, 3], [0, 0, 0], [1, 3, 2]),
        ([1, 2, 3], [1, 1, 1], [2, 2, 2]),
        ([1, 2, 3], [1, 1, 1], [2, np.inf, 1]),
        ([], [], []),
    ],
    ids=["riskiest first", "riskiest last", "no event", "one risk", "infinite", "nobody"],
)
def test_an_infinite_slope_is_undefined(time, event, risk):
    assert np.isnan(calibration_slope(np.array(time, float), np.array(event), np.array(risk, float)))


@pytest.mark.parametrize("far", [5.0, 50.0, 5000.0])
def test_a_fold_without_events_changes_no_slope_however_far_its_risks_lie(far):
    time, event, risk = np.array([3.0, 2.0, 1.0]), np.array([0, 0, 1]), np.array([0.0, 3e-3, 1e-3])
    alone = calibration_slope(time, event, risk)
    beside = np.append(time, [1.0, 2.0]), np.append(event, [0, 0]), np.append(risk, [-far, far])
    assert np.isfinite(alone)
    assert calibration_slope(*beside, np.array([0, 0, 0, 1, 1])) == pytest.approx(alone)


# -- the smooth curve --------------------------------------------------------------------------------------------------


def slow_curve(time, event, p, horizon):
    """Austin's curve with statsmodels: knots at values of the sample, no ridge."""
    z = np.log(-np.log(1 - p))
    k = np.quantile(z, [0.1, 0.5, 0.9], method="inverted_cdf")
    u, v, w = (np.maximum(z - knot, 0) ** 3 for knot in k)
    x = np.column_stack([z, u - v * (k[2] - k[0]) / (k[2] - k[1]) + w * (k[1] - k[0]) / (k[2] - k[1])])
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    eta = x @ sm.PHReg(time, x, status=event, ties="breslow").fit().params
    hazard = sum(
        np.sum((time == t) & (event == 1)) / np.exp(eta[time >= t]).sum()
        for t in np.unique(time[(event == 1) & (time <= horizon)])
    )
    return 1 - np.exp(-hazard * np.exp(eta))


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_a_cox_model_of_a_spline(seed):
    time, event, eta = cohort(seed, slope=0.6)
    p = probability(eta)
    found = smooth_risk(time, event, p, HORIZON)
    np.testing.assert_allclose(found, slow_curve(time, event, p, HORIZON), atol=2e-3)
    index = integrated_calibration_index(time, event, p, HORIZON)
    assert index == pytest.approx(np.abs(p - found).mean())
    assert calibration_error_quantile(time, event, p, HORIZON, 0.9) == pytest.approx(np.quantile(abs(p - found), 0.9))


def test_the_index_is_near_that_of_lifelines_whose_curve_is_straight():
    calibration = pytest.importorskip("lifelines.calibration")
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    time, event, eta = cohort(11, 400, slope=0.5)
    frame = pd.DataFrame({"t": time, "e": event, "x": eta})
    fitted = CoxPHFitter().fit(frame, "t", "e")
    stretched = frame.assign(x=2 * frame["x"])
    _, ici, e50 = calibration.survival_probability_calibration(fitted, stretched, t0=HORIZON)
    p = 1 - fitted.predict_survival_function(stretched, times=[HORIZON]).to_numpy()[0]
    assert integrated_calibration_index(time, event, p, HORIZON) == pytest.approx(ici, abs=0.015)
    assert calibration_error_quantile(time, event, p, HORIZON, 0.5) == pytest.approx(e50, abs=0.02)
    assert ici > 0.05


def test_true_probabilities_are_calibrated_and_stretched_ones_are_not():
    time, event, eta = cohort(5, 3000)
    assert integrated_calibration_index(time, event, probability(eta), HORIZON) < 0.02
    assert integrated_calibration_index(time, event, probability(2.5 * eta), HORIZON) > 0.08
    assert integrated_calibration_index(time, event, probability(eta + 1), HORIZON) > 0.1


@settings(max_examples=15)
@given(SEEDS)
def test_draws_of_the_index_are_those_of_the_repeated_patients(seed):
    time, event, eta = cohort(seed, 25, ties=True)
    p = probability(eta)
    weights = np.random.default_rng(seed).integers(0, 3, (70, 25))
    weights[0] = 0
    found = integrated_calibration_index_resampled(time, event, p, HORIZON, weights)
    again = [
        integrated_calibration_index(*(a.repeat(w) for a in (time, event, p)), HORIZON) for w in weights
    ]  # fmt: skip
    np.testing.assert_allclose(found, again, rtol=1e-9)
    assert np.isnan(found[0])


def test_one_prediction_for_all_is_compared_with_the_share_of_events():
    time, event, _ = cohort(6)
    hazard = sum(1 / np.sum(time >= t) for t in time[(event == 1) & (time <= HORIZON)])
    found = integrated_calibration_index(time, event, np.full(150, 0.3), HORIZON)
    assert found == pytest.approx(abs(0.3 - (1 - np.exp(-hazard))))


def test_two_or_few_predictions_have_a_straight_curve():
    time, event, eta = cohort(7)
    two = np.where(eta > 0, 0.6, 0.4)
    # lifelines interpolates between times.
    horizon = time[(event == 1) & (time > HORIZON)].min()
    fitted = CoxPHFitter().fit(pd.DataFrame({"t": time, "e": event, "x": eta > 0}), "t", "e")
    expected = 1 - fitted.predict_survival_function(pd.DataFrame({"x": eta > 0}), times=[horizon]).to_numpy()[0]
    np.testing.assert_allclose(smooth_risk(time, event, two, horizon), expected, atol=1e-3)


def test_events_that_predictions_part_from_all_others_leave_it_finite():
    time, event = np.array([1.0, 2.0, 9.0, 9.0, 9.0]), np.array([1, 1, 0, 0, 0])
    found = smooth_risk(time, event, np.array([0.8, 0.7, 0.2, 0.3, 0.1]), HORIZON)
    assert np.isfinite(found).all()
    assert found[:2].min() > 0.6
    assert found[2:].max() < 0.1


@pytest.mark.parametrize(
    ("time", "event", "p"),
    [
        ([5, 6, 7], [0, 0, 0], [0.1, 0.2, 0.3]),
        ([1, 2, 3], [1, 1, 0], [0.1, 0.2, 0.3]),
        ([1, 5, 6], [1, 1, 0], [0.1, 0.0, 0.3]),
        ([], [], []),
    ],
    ids=["no event", "nobody at the horizon", "p of 0", "nobody"],
)
def test_what_has_no_curve_has_no_index(time, event, p):
    assert np.isnan(integrated_calibration_index(np.array(time, float), np.array(event), np.array(p, float), HORIZON))


def test_what_is_no_probability_is_refused(refused):
    with refused("calibration: probability is no probability for 1 item (first: 1.2)"):
        integrated_calibration_index(np.ones(2), np.ones(2), np.array([0.5, 1.2]), 1.0)
    with refused("weights have the shape (1, 3); give (draws, 2)"):
        integrated_calibration_index_resampled(np.ones(2), np.ones(2), np.array([0.5, 0.2]), 1.0, np.ones((1, 3)))
    with refused("stratum has length 1 and time 2"):
        calibration_slope(np.ones(2), np.ones(2), np.ones(2), np.ones(1))


def test_cloglog_keeps_what_is_small():
    np.testing.assert_allclose(cloglog([1e-20, 1 - np.exp(-1)]), [np.log(1e-20), 0.0], atol=1e-12)
    assert cloglog([0]) == -np.inf


def test_what_rounds_to_1_is_the_highest_risk_that_can_be_told():
    assert cloglog([1.0]) == cloglog([1 - 2.0**-53]) == pytest.approx(np.log(53 * np.log(2)))
    time, event, eta = cohort(9)
    p = probability(3 * eta)
    assert (p == 1).any()
    assert 0.05 < integrated_calibration_index(time, event, p, HORIZON) < 0.4


# -- over all times ----------------------------------------------------------------------------------------------------

OWN = np.array([0.03, 0.97, 0.55, 0.42, 0.18, 0.76, 0.64, 0.31, 0.88, 0.09, 0.5, 0.27, 0.91, 0.35, 0.72, 0.14])
EVENT = np.array([1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1])


def test_d_calibration_has_the_numbers_of_survivaleval():
    # SurvivalEVAL 0.9.0, whose bins go down from 1.
    found = d_calibration(EVENT, OWN)
    assert (found.statistic, found.p) == pytest.approx((6.2602749459959695, 0.7136126780808618))
    expected = [0.08315396, 1.21298289, 2.21298289, 0.27548289, 1.36923289, 0.61685194]
    np.testing.assert_allclose(16 * found.shares[::-1], [*expected, 2.80732813, 1.80732813, 2.80732813, 2.80732813])
    found = d_calibration(EVENT, OWN, bins=5)
    assert (found.statistic, found.p) == pytest.approx((4.198869706151518, 0.37976028143086904))


@pytest.mark.oracle
@given(SEEDS)
def test_d_calibration_equals_survivaleval(seed):
    module = "SurvivalEVAL.evaluations.calibration.distributional.distribution_calibration"
    oracle = pytest.importorskip(module).d_calibration
    rng = np.random.default_rng(seed)
    event, own = rng.integers(0, 2, 30), rng.random(30)
    found = d_calibration(event, own)
    statistic, p, counts = oracle(own, event)
    assert (found.statistic, found.p) == pytest.approx((statistic, p))
    np.testing.assert_allclose(30 * found.shares[::-1], counts)


@given(SEEDS, st.integers(2, 12))
def test_a_patient_is_spread_evenly_below_the_survival_at_censoring(seed, bins):
    rng = np.random.default_rng(seed)
    event, own = rng.integers(0, 2, 12), rng.integers(0, 121, 12) / 120
    found = d_shares(event, own, bins)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    for e, s, shares in zip(event, own, found, strict=True):
        if e or s == 0:
            assert shares[min(int(s * bins), bins - 1)] == 1
        else:
            fine = (np.arange(20_000) + 0.5) / 20_000 * s
            counts = np.histogram(fine, np.linspace(0, 1, bins + 1))[0]
            np.testing.assert_allclose(shares, counts / 20_000, atol=1e-3)


@given(SEEDS)
def test_weighted_shares_are_those_of_the_repeated_patients(seed):
    weights = np.random.default_rng(seed).integers(0, 3, (4, 16))
    found = d_calibration_resampled(EVENT, OWN, weights)
    again = [d_calibration(EVENT.repeat(w), OWN.repeat(w)).shares for w in weights]
    np.testing.assert_allclose(found, again)


def test_true_curves_pass_and_others_do_not():
    time, event, eta = cohort(8, 1000)
    own = np.exp(-time / 6 * np.exp(eta))
    assert d_calibration(event, own).p > 0.05
    assert d_calibration(event, own**2).p < 1e-6
    # Three patients refute nothing.
    assert d_calibration(event[:3], own[:3] ** 2).p > 0.05


def test_nobody_has_no_test(refused):
    assert np.isnan(d_calibration(np.empty(0), np.empty(0)).p)
    with refused("d_calibration: bins is 1"):
        d_calibration(EVENT, OWN, bins=1)
    with refused("survival_at_time is no probability for 1 item"):
        d_calibration(np.ones(2), np.array([0.2, -0.1]))
