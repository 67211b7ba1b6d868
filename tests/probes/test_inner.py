"""How settings are chosen: against a slow twin, and what choosing by ranks would have done."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from mmcell.metrics.survival import integrated_brier_score
from mmcell.probes.inner import best_setting, inner_folds
from mmcell.probes.inputs import Patients
from mmcell.probes.partial_likelihood import log_likelihood, newton_cox
from mmcell.probes.survival import KINDS

PENALTIES = (0.01, 0.1, 1.0)


def plain_likelihood(risk, time, event):
    """Efron's log partial likelihood, a time at a time."""
    value = 0.0
    for t in np.unique(time[event == 1]):
        died, there = (time == t) & (event == 1), np.exp(risk[time >= t]).sum()
        value += risk[died].sum()
        for k in range(died.sum()):
            value -= np.log(there - k / died.sum() * np.exp(risk[died]).sum())
    return value


def cohort(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 1))
    death, left = rng.exponential(np.exp(-x[:, 0])), rng.exponential(2.0, n)
    return x, np.minimum(death, left) + 1e-6, (death <= left).astype(int)


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_likelihood_is_that_of_an_obvious_twin_with_ties_and_strata(seed, n_strata):
    rng = np.random.default_rng(seed)
    n = 25
    time, event, risk = rng.integers(1, 7, n).astype(float), rng.integers(0, 2, n), rng.normal(size=n)
    stratum = rng.integers(0, n_strata, n).astype(str)
    parts = [plain_likelihood(risk[stratum == s], time[stratum == s], event[stratum == s]) for s in np.unique(stratum)]
    assert log_likelihood(risk, time, event, stratum) == pytest.approx(sum(parts), abs=1e-9)


def test_the_likelihood_is_lifelines():
    x, time, event = cohort(60)
    time = np.ceil(4 * time)
    model = CoxPHFitter().fit(pd.DataFrame({"x": x[:, 0], "time": time, "event": event}), "time", "event")
    risk = x[:, 0] * model.params_["x"]
    assert log_likelihood(risk, time, event) == pytest.approx(model.log_likelihood_, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_setting_is_the_one_a_plain_loop_finds(seed):
    rng = np.random.default_rng(seed)
    x, time, event = rng.normal(size=(60, 6)), rng.integers(1, 20, 60).astype(float), rng.integers(0, 2, 60)

    def risks(train):
        return np.stack([x @ newton_cox(x[train], time[train], event[train], p) for p in PENALTIES])

    added = np.zeros(len(PENALTIES))
    for train, _ in inner_folds(event, np.random.default_rng(9)):
        for k, risk in enumerate(risks(train)):
            added[k] += plain_likelihood(risk, time, event)
            added[k] -= plain_likelihood(risk[train], time[train], event[train])
    assert best_setting(risks, time, event, np.random.default_rng(9)) == int(np.argmax(added))


def test_risks_beyond_all_numbers_lose_and_raise_nothing():
    x, time, event = cohort(60)
    usual, wild = x[:, 0], 2000 * x[:, 0]
    rng = np.random.default_rng(0)
    assert log_likelihood(wild, time, event) == -np.inf
    assert best_setting(lambda _: np.stack([usual, wild]), time, event, rng) == 0
    assert best_setting(lambda _: np.stack([wild, wild]), time, event, rng) == 1


@pytest.mark.parametrize("kind", ["cox", "cox-elastic-net", "late-fusion"])
def test_noise_beside_one_covariate_gains_no_calibration(kind):
    # One covariate has the same C under every penalty. Chosen by C it would be shrunk sevenfold, and noise beside it,
    # for which a weak penalty is chosen, would seem to help.
    grid, rng = np.linspace(0.01, 1.5, 30), np.random.default_rng(0)
    gained = []
    for seed in range(6):
        x, time, event = cohort(seed=seed)
        more, later, died = cohort(1000, seed=100 + seed)
        alone, both = (
            KINDS[kind](patients, time, event, np.random.default_rng(0))
            for patients in (Patients.of(x), Patients.of(rng.standard_normal((200, 3)), beside=x))
        )
        scores = [
            integrated_brier_score(later, died, model.survival(of, grid), grid, train_time=time, train_event=event)
            for model, of in (
                (alone, Patients.of(more)), (both, Patients.of(rng.standard_normal((1000, 3)), beside=more)),
            )
        ]  # fmt: skip
        gained.append(scores[0] - scores[1])
    assert np.mean(gained) < 0
