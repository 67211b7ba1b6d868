import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.metrics.classification import calibration_line, calibration_line_resampled

SEEDS = st.integers(0, 10_000)


def outcome(seed, n=80, slope=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    p = rng.integers(1, 40, n) / 40
    log_odds = np.log(p / (1 - p))
    return (rng.random(n) < 1 / (1 + np.exp(-slope * log_odds - shift))).astype(int), p


@settings(max_examples=20)
@given(SEEDS)
def test_it_equals_statsmodels(seed):
    y, p = outcome(seed, slope=0.6, shift=0.5)
    log_odds = np.log(p / (1 - p))
    large = sm.GLM(y, np.ones(80), family=sm.families.Binomial(), offset=log_odds).fit(tol=1e-12)
    line = sm.GLM(y, sm.add_constant(log_odds), family=sm.families.Binomial()).fit(tol=1e-12)
    found = calibration_line(y, p)
    assert (found.intercept, found.slope) == pytest.approx((large.params[0], line.params[1]), rel=1e-6)


@settings(max_examples=20)
@given(SEEDS)
def test_draws_are_those_of_the_repeated_items(seed):
    y, p = outcome(seed, 15)
    weights = np.random.default_rng(seed).integers(0, 3, (6, 15))
    weights[0] = 0
    again = [calibration_line(y.repeat(w), p.repeat(w)) for w in weights]
    intercept, slope = calibration_line_resampled(y, p, weights)
    np.testing.assert_allclose(intercept, [line.intercept for line in again], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slope, [line.slope for line in again], rtol=1e-9, atol=1e-12)
    assert np.isnan([intercept[0], slope[0]]).all()


def test_true_probabilities_lie_on_the_ideal_line_and_too_high_ones_below_it():
    found = calibration_line(*outcome(1, 20_000))
    assert (found.intercept, found.slope) == pytest.approx((0, 1), abs=0.06)
    assert calibration_line(*outcome(1, 20_000, shift=-1)).intercept == pytest.approx(-1, abs=0.1)
    assert calibration_line(*outcome(1, 20_000, slope=0.5)).slope == pytest.approx(0.5, abs=0.05)


@given(SEEDS)
def test_turning_both_turns_the_intercept_and_leaves_the_slope(seed):
    y, p = outcome(seed, 30)
    one, other = calibration_line(y, p), calibration_line(1 - y, 1 - p)
    np.testing.assert_allclose([other.intercept, other.slope], [-one.intercept, one.slope], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("y", "p", "intercept"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], True),
        ([1, 1, 0, 0], [0.1, 0.2, 0.7, 0.8], True),
        ([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.8], True),
        ([0, 1, 0, 1], [0.4, 0.4, 0.4, 0.4], True),
        ([1, 1, 1], [0.1, 0.2, 0.3], False),
        ([0, 1, 0], [0.0, 0.2, 0.3], False),
        ([0, 1, 0], [1.0, 0.2, 0.3], False),
        ([], [], False),
    ],
    ids=["parted", "parted the other way", "touching", "one prediction", "one class", "p of 0", "p of 1", "nobody"],
)
def test_where_there_is_no_line(y, p, intercept):
    found = calibration_line(np.array(y, int), np.array(p, float))
    assert np.isnan(found.slope)
    assert np.isfinite(found.intercept) == intercept


def test_what_is_no_probability_is_refused(refused):
    with refused("calibration_line: probability is no probability for 1 item (first: -0.5)"):
        calibration_line(np.array([0, 1]), np.array([0.2, -0.5]))
    with refused("weights have the shape (3,); give (draws, 2)"):
        calibration_line_resampled(np.array([0, 1]), np.array([0.2, 0.5]), np.ones(3))
