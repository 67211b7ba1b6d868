"""Incidence from two hazards: against a slow twin, Aalen and Johansen, and what a net risk would have scored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.survival import aalen_johansen, brier_score
from mmcell.probes.baseline import Baseline
from mmcell.probes.competing import predicted_incidence, rival_survival
from mmcell.probes.cox import fit_cox
from mmcell.probes.inputs import Patients


def curves(seed, n=5, k=7):
    rng = np.random.default_rng(seed)
    steps = rng.exponential(0.3, (2, n, k)) * (rng.random((2, n, k)) < 0.6)
    return np.exp(-np.cumsum(steps, axis=2))


def plain(alone, rival):
    """One patient, a step at a time."""
    left, found, before = 1.0, [], (1.0, 1.0)
    come = 0.0
    for now in zip(alone, rival, strict=True):
        own, other = (-np.log(a / b) for a, b in zip(now, before, strict=True))
        gone = left * (1 - np.exp(-own - other))
        come += gone * own / (own + other) if own + other > 0 else 0.0
        left -= gone
        before = now
        found.append(come)
    return found


@given(st.integers(0, 10_000))
def test_it_is_that_of_a_plain_loop_and_all_sums_to_1(seed):
    alone, rival = curves(seed)
    found = predicted_incidence(alone, rival)
    np.testing.assert_allclose(found, [plain(a, b) for a, b in zip(alone, rival, strict=True)], atol=1e-12)
    np.testing.assert_allclose(found + predicted_incidence(rival, alone) + alone * rival, 1, atol=1e-12)
    assert (np.diff(found, axis=1) >= 0).all()


def test_without_a_rival_it_is_the_risk_itself():
    alone, _ = curves(0)
    np.testing.assert_allclose(predicted_incidence(alone, np.ones_like(alone)), 1 - alone, atol=1e-12)


def test_curves_that_end_at_0_leave_probabilities():
    alone = np.array([[0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [1.0, 1.0, 1.0]])
    rival = np.array([[1.0, 1.0, 0.3], [0.5, 0.0, 0.0], [0.2, 0.0, 0.0]])
    found = predicted_incidence(alone, rival)
    np.testing.assert_allclose(found[:, -1], [1.0, 0.5, 0.0])


def test_of_everybody_alike_it_is_aalen_johansen():
    rng = np.random.default_rng(0)
    time, cause = rng.exponential(size=4000), rng.choice([0, 1, 2], 4000, p=[0.3, 0.4, 0.3])
    at = np.unique(time[cause > 0])
    alone, rival = (Baseline.fit(time, cause == c, np.zeros(4000)).survival(np.zeros(1), at) for c in (1, 2))
    np.testing.assert_allclose(predicted_incidence(alone, rival)[0], aalen_johansen(time, cause, at)[0], atol=1e-3)


def cohort(n, seed):
    """Two causes, each with a covariate of its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    own, other = rng.exponential(np.exp(-x.T))
    left = rng.exponential(3.0, n)
    time = np.minimum(np.minimum(own, other), left) + 1e-6
    cause = np.where(left < np.minimum(own, other), 0, np.where(own < other, 1, 2))
    return Patients.of(x), time, cause


def test_a_well_specified_model_says_how_likely_the_event_is_and_its_net_risk_does_not():
    train, time, cause = cohort(2000, 0)
    test, later, what = cohort(3000, 1)
    at = np.quantile(time[cause == 1], [0.3, 0.6, 0.9])
    grid = np.union1d(np.unique(time[cause > 0]), at)
    rng = np.random.default_rng(0)
    net = fit_cox(train, time, (cause == 1).astype(int), rng).survival(test, grid)
    rival = rival_survival(train, time, (cause == 2).astype(int), test, grid, rng)
    where = np.searchsorted(grid, at)
    come, alone = predicted_incidence(net, rival)[:, where], 1 - net[:, where]
    truth = aalen_johansen(later, what, at)[0]
    np.testing.assert_allclose(come.mean(axis=0), truth, atol=0.02)
    assert alone.mean(axis=0)[2] > truth[2] + 0.1
    train_facts = {"train_time": time, "train_event": cause}
    right, wrong, nothing = (
        brier_score(later, what, 1 - p, at, **train_facts) for p in (come, alone, np.tile(truth, (3000, 1)))
    )
    assert (right < wrong).all()
    assert (right < nothing).all()


@pytest.mark.parametrize("n_rivals", [0, 1])
def test_rivals_too_few_for_a_model_have_one_hazard_for_all(n_rivals):
    patients, time, _ = cohort(40, 0)
    competing = (np.arange(40) < n_rivals).astype(int)
    found = rival_survival(patients, time, competing, patients, np.array([0.5, 5.0]), np.random.default_rng(0))
    assert (found == found[0]).all()
    assert (found[:, 1] < 1).all() == bool(n_rivals)
