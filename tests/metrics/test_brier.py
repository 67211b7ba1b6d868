import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.classification import brier, brier_resampled
from mmcell.metrics.survival import (
    brier_score,
    brier_score_resampled,
    integrated_brier_score,
    integrated_brier_score_resampled,
)
from tests.metrics.test_concordance import continuous, patients, remaining

SEEDS = st.integers(0, 10_000)
TIMES = np.array([0.5, 2.0, 3.5, 6.0])


def curves(seed, n, k):
    """Falling curves, (n, k)."""
    return np.sort(np.random.default_rng(seed).random((n, k)))[:, ::-1]


def slow_terms(time, event, survival, times, train):
    terms = np.zeros((len(time), len(times)))
    for i in range(len(time)):
        for j, t in enumerate(times):
            if time[i] > t:
                terms[i, j] = (1 - survival[i, j]) ** 2 / remaining(train, t, before=False)
            elif event[i]:
                terms[i, j] = survival[i, j] ** 2 / remaining(train, time[i], before=True)
    return terms


@given(SEEDS)
def test_it_is_the_weighted_squared_error(seed):
    (time, event, _), train = patients(seed)
    survival = curves(seed, 16, 4)
    terms = slow_terms(time, event, survival, TIMES, train)
    np.testing.assert_allclose(brier_score(time, event, survival, TIMES, **train), terms.mean(axis=0))
    area = sum((TIMES[j + 1] - TIMES[j]) * (terms[:, j] + terms[:, j + 1]).mean() / 2 for j in range(3))
    np.testing.assert_allclose(integrated_brier_score(time, event, survival, TIMES, **train), area / 5.5)


@given(SEEDS)
def test_draws_are_scores_of_the_repeated_patients(seed):
    (time, event, _), train = patients(seed)
    survival = curves(seed, 16, 4)
    weights = np.random.default_rng(seed).integers(0, 3, (6, 16))
    weights[0] = 0
    again = [(time.repeat(w), event.repeat(w), survival.repeat(w, axis=0), TIMES) for w in weights]
    at = brier_score_resampled(time, event, survival, TIMES, weights, **train)
    np.testing.assert_allclose(at, [brier_score(*rows, **train) for rows in again])
    whole = integrated_brier_score_resampled(time, event, survival, TIMES, weights, **train)
    np.testing.assert_allclose(whole, [integrated_brier_score(*rows, **train) for rows in again])
    assert np.isnan(at[0]).all()
    assert np.isnan(whole[0])


def test_without_censoring_it_is_the_mean_squared_error():
    time, event, survival = np.array([1.0, 3.0, 5.0]), np.ones(3), np.array([[0.2], [0.6], [0.7]])
    found = brier_score(time, event, survival, [2.0], train_time=time, train_event=event)
    np.testing.assert_allclose(found, (0.2**2 + 0.4**2 + 0.3**2) / 3)


def test_of_one_time_a_curve_is_one_number_a_patient():
    time, event, survival = np.array([1.0, 3.0, 5.0]), np.ones(3), np.array([0.2, 0.6, 0.7])
    flat, column = (
        brier_score(time, event, s, [2.0], train_time=time, train_event=event) for s in (survival, survival[:, None])
    )
    np.testing.assert_array_equal(flat, column)


def test_perfect_curves_score_nothing():
    time, event, _ = continuous(0)
    times = np.quantile(time, [0.2, 0.4, 0.6])
    perfect = (time[:, None] > times).astype(float)
    assert integrated_brier_score(time, event, perfect, times, train_time=time, train_event=event) == 0


@pytest.mark.oracle
@given(SEEDS)
def test_it_equals_scikit_survival(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    time, event, _ = continuous(seed)
    train_time, train_event, _ = continuous(seed + 20_000, n=400)
    train_time[0], train_event[0] = 1e3, 1
    times = np.quantile(time, [0.1, 0.3, 0.5, 0.7])
    survival = curves(seed, 60, 4)
    sides = util.Surv.from_arrays(train_event > 0, train_time), util.Surv.from_arrays(event > 0, time)
    given_ = {"train_time": train_time, "train_event": train_event}
    np.testing.assert_allclose(
        brier_score(time, event, survival, times, **given_), metrics.brier_score(*sides, survival, times)[1]
    )
    np.testing.assert_allclose(
        integrated_brier_score(time, event, survival, times, **given_),
        metrics.integrated_brier_score(*sides, survival, times),
    )


@pytest.mark.oracle
@given(SEEDS)
def test_it_equals_scikit_survival_with_ties_once_training_censoring_is_moved_behind_events(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    (time, event, _), train = patients(seed)
    # Between the times that occur, so that moving a censored patient a little changes G at none of them.
    times = np.arange(time.min(), time.max()) + 0.5
    if event.any() and len(times):
        survival = curves(seed, 16, len(times))
        moved = train["train_time"] + 1e-3 * (1 - train["train_event"])
        sides = util.Surv.from_arrays(train["train_event"] > 0, moved), util.Surv.from_arrays(event > 0, time)
        expected = metrics.brier_score(*sides, survival, times)[1]
        np.testing.assert_allclose(brier_score(time, event, survival, times, **train), expected)


@pytest.mark.parametrize(
    ("survival", "times", "pieces"),
    [
        (np.ones((3, 2)), [1.0], ["survival has the shape (3, 2)", "(3, 1)"]),
        (np.ones(3), [1.0, 2.0], ["survival has the shape (3,)", "(3, 2)"]),
        (np.full((3, 1), np.nan), [1.0], ["survival has NaN"]),
        (np.ones((3, 1)), [3.0], ["at 1 times (first 3)", "the last one left at 3"]),
        (np.ones((3, 1)), [9.0], ["at 1 times (first 9)"]),
    ],
    ids=["shape", "one number", "NaN", "nobody left", "beyond"],
)
def test_scores_that_cannot_be_computed(refused, survival, times, pieces):
    time, event = np.array([1.0, 2.0, 3.0]), np.array([1, 1, 0])
    with refused("brier_score: ", *pieces):
        brier_score(time, event, survival, times, train_time=time, train_event=event)


@pytest.mark.parametrize("times", [[1.0], [2.0, 1.0], [1.0, 1.0]])
def test_an_integral_needs_rising_times(refused, times):
    time, event = np.array([1.0, 2.0, 3.0]), np.array([1, 1, 0])
    with refused("integrated_brier_score: give at least two times, rising"):
        integrated_brier_score(time, event, np.ones((3, len(times))), times, train_time=time, train_event=event)


def test_nobody_is_undefined():
    train = {"train_time": np.array([1.0, 2.0]), "train_event": np.array([1, 1])}
    empty = np.zeros(0), np.zeros(0), np.zeros((0, 2)), [0.5, 1.0]
    assert np.isnan(brier_score(*empty, **train)).all()
    assert np.isnan(integrated_brier_score(*empty, **train))


@given(SEEDS)
def test_of_a_binary_outcome_it_is_the_mean_squared_error(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, 12), rng.integers(0, 5, 12) / 4
    assert brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p))
    weights = rng.integers(0, 3, (4, 12))
    weights[0] = 0
    np.testing.assert_allclose(brier_resampled(y, p, weights), [brier(y.repeat(w), p.repeat(w)) for w in weights])


def test_a_prediction_outside_0_to_1_has_no_brier_score(refused):
    with refused("brier: probability is no probability for 2 items (first: 1.5)"):
        brier(np.array([0, 1, 1]), np.array([0.5, 1.5, -1]))


def test_whom_a_competing_event_took_stays_without_the_event_for_good():
    time, event = np.array([1.0, 2.0, 4.0]), np.array([2, 1, 0])
    train = {"train_time": np.array([1.0, 2.0, 3.0, 5.0]), "train_event": np.array([0, 2, 1, 0])}
    found = brier_score(time, event, np.full((3, 1), 0.7), [3.0], **train)
    # G(1−) = 1, G(2−) = 3/4 = G(3), for only the censored patient left before.
    np.testing.assert_allclose(found, (0.3**2 + 0.7**2 / 0.75 + 0.3**2 / 0.75) / 3)
