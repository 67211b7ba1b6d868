import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter

from mmcell.metrics.incidence import cumulative_incidence
from mmcell.metrics.survival import aalen_johansen, aalen_johansen_resampled, kaplan_meier
from tests.metrics.test_competing import SEEDS, competing
from tests.metrics.test_concordance import patients

GRID = np.array([0.5, 1.0, 2.5, 3.0, 5.0, 6.0])
ROWS = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), min_size=1, max_size=25).map(
    lambda rows: tuple(map(np.array, zip(*rows, strict=True)))
)


def slow_incidence(time, cause, t):
    left, found = 1.0, np.zeros(2)
    for u in np.unique(time[time <= t]):
        here, at_risk = time == u, np.sum(time >= u)
        for k in (1, 2):
            found[k - 1] += left * np.sum(here & (cause == k)) / at_risk
        left *= 1 - np.sum(here & (cause > 0)) / at_risk
    known = len(time) > 0 and (t <= time.max() or left == 0)
    return found if known else np.full(2, np.nan)


@given(SEEDS)
def test_incidence_grows_by_those_left_times_the_hazard(seed):
    (time, cause, _), _ = competing(seed)
    found = aalen_johansen(time, cause, GRID)
    np.testing.assert_allclose(found, np.column_stack([slow_incidence(time, cause, t) for t in GRID]))
    weights = np.random.default_rng(seed).integers(0, 2, (5, 16))
    weights[0] = 0
    again = [
        np.column_stack([slow_incidence(time.repeat(w), cause.repeat(w), t) for t in GRID]) for w in weights
    ]  # fmt: skip
    np.testing.assert_allclose(aalen_johansen_resampled(time, cause, GRID, weights), again)


@given(SEEDS)
def test_incidence_equals_lifelines_without_ties(seed):
    (_, cause, _), _ = competing(seed, 30)
    time = np.random.default_rng(seed).exponential(5, 30)
    times = np.quantile(time, [0.1, 0.4, 0.8])
    found = aalen_johansen(time, cause, times)
    for k in (1, 2):
        if (cause == k).any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = AalenJohansenFitter(calculate_variance=False).fit(time, cause, event_of_interest=k)
            np.testing.assert_allclose(found[k - 1], fitted.predict(times))
            curve = cumulative_incidence(time, np.where(cause == 0, 0, np.where(cause == k, 1, 2)))
            np.testing.assert_allclose(curve.values, fitted.predict(curve.times))


@given(SEEDS)
def test_without_competing_events_it_is_the_rest_of_kaplan_meier(seed):
    (time, event, _), _ = patients(seed)
    at = GRID[time.max() >= GRID]
    np.testing.assert_allclose(aalen_johansen(time, event, at)[0], 1 - kaplan_meier(time, event).at(at))


def test_beyond_the_last_patient_nothing_is_known_unless_nobody_was_left():
    time = np.array([1.0, 2.0])
    assert np.isnan(aalen_johansen(time, np.array([1, 0]), [2.5])).all()
    np.testing.assert_allclose(aalen_johansen(time, np.array([1, 2]), [2.5])[:, 0], [0.5, 0.5])


def test_codes_of_other_causes_are_refused(refused):
    with refused("aalen_johansen: cause has the values 7"):
        aalen_johansen(np.ones(2), np.array([1, 7]), [1.0])
    with refused("cumulative_incidence: cause has the values 7"):
        cumulative_incidence(np.ones(2), np.array([1, 7]))


def test_inputs_are_not_mutated():
    arrays = [np.array([3.0, 1.0, 2.0]), np.array([1, 2, 1]), np.ones((2, 3))]
    before = [a.copy() for a in arrays]
    aalen_johansen_resampled(*arrays[:2], [2.0], arrays[2])
    cumulative_incidence(*arrays[:2])
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(ROWS)
def test_a_curve_has_the_values_of_its_definition_and_counts_who_is_there(rows):
    time, cause = rows
    found = cumulative_incidence(time, cause)
    np.testing.assert_allclose(found.values, [slow_incidence(time, cause, t)[0] for t in found.times], atol=1e-12)
    np.testing.assert_allclose(found.left, 1 - sum(aalen_johansen(time, cause, found.times)), atol=1e-12)
    for name, there in (
        ("at_risk", time >= found.times[:, None]),
        ("events", (time == found.times[:, None]) & (cause == 1)),
        ("competing", (time == found.times[:, None]) & (cause == 2)),
    ):
        np.testing.assert_array_equal(getattr(found, name), there.sum(axis=1))
    shuffled = cumulative_incidence(time[::-1], cause[::-1])
    np.testing.assert_allclose(shuffled.values, found.values)


@given(ROWS)
def test_without_rivals_it_is_one_minus_kaplan_meier(rows):
    time, cause = rows[0], (rows[1] == 1).astype(int)
    found, twin = cumulative_incidence(time, cause), kaplan_meier(time, cause)
    np.testing.assert_allclose(found.values, 1 - twin.survival, atol=1e-12)
    spread = twin.survival**2 * np.cumsum(twin.events / twin.at_risk**2)
    np.testing.assert_allclose(found._variance(), spread, atol=1e-12)


def races(n=200, seed=0):
    rng = np.random.default_rng(seed)
    ends = np.stack([rng.exponential(s, n) for s in (25, 12, 18)])
    return ends.min(axis=0), ends.argmin(axis=0)


def test_variances_are_those_of_resampled_patients():
    time, cause = races()
    rng, until, draws = np.random.default_rng(1), 10.0, []
    for _ in range(600):
        at = rng.integers(len(time), size=len(time))
        again = cumulative_incidence(time[at], cause[at])
        draws.append((again.at(until)[0], again.time_lost(until)[0]))
    found = cumulative_incidence(time, cause)
    place = np.searchsorted(found.times, until, "right") - 1
    spread = np.std(draws, axis=0)
    assert np.sqrt(found._variance()[place]) == pytest.approx(spread[0], rel=0.1)
    assert np.sqrt(found.time_lost(until)[1]) == pytest.approx(spread[1], rel=0.1)
    value, low, high = found.at(until)
    assert low < value < high


def test_time_lost_is_the_area_below_the_incidence():
    time, cause = races(80)
    found, grid = cumulative_incidence(time, cause), np.linspace(0, 9, 90_001)
    heights = np.append(0.0, found.values)[np.searchsorted(found.times, grid, "right")]
    assert found.time_lost(9.0)[0] == pytest.approx(heights[:-1].sum() * (grid[1] - grid[0]), abs=1e-3)
    assert found.at(0.0)[0] == 0.0
