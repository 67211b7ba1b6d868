"""One tied input for every library of the field: times, risks, and events at the time of a censoring.

scikit-survival, which updates censoring before the event of the same time, is compared in the files of each metric.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.survival import (
    Censoring,
    brier_score,
    cause_specific_c,
    cumulative_dynamic_auc,
    harrell_c,
    integrated_calibration_index,
    uno_c,
)

pytestmark = pytest.mark.oracle
SEEDS = st.integers(0, 10_000)
#: Between the times of patients: who was censored at a time of interest itself has G(t) here as in scikit-survival, and
#: is a survivor weighted by G(t−) in SurvivalEVAL; both are consistent.
TIMES = np.array([1.5, 2.5, 3.5, 4.5])


def cohort(seed, n=40, last=9.0, causes=2):
    """(time, event, risk), each with ties, and (time, event) of training patients, the last of whom had an event."""
    rng = np.random.default_rng(seed)
    time, event, risk = rng.integers(1, 8, n) * 1.0, rng.integers(0, causes, n), rng.integers(0, 6, n) * 1.0
    train_time, train_event = rng.integers(1, 9, 60) * 1.0, rng.integers(0, causes, 60)
    train = {"train_time": np.append(train_time, last), "train_event": np.append(train_event, 1)}
    time[0], event[0], risk[0] = 1.0, 1, 0.0
    return (time, event, risk), train


def torched(*arrays):
    torch = pytest.importorskip("torch")
    time, event, *rest = (np.asarray(a) for a in arrays)
    rest = [torch.tensor(r, dtype=torch.float64) for r in rest]
    return torch.tensor(time, dtype=torch.float64), torch.tensor(event > 0), *rest


def weights_of(time, train, *, before=True):
    censoring = Censoring.fit(train["train_time"], train["train_event"])
    return 1 / (censoring.before(time) if before else censoring.at(time))


@given(SEEDS)
def test_harrell_equals_all_four(seed):
    lifelines, sksurv = pytest.importorskip("lifelines.utils"), pytest.importorskip("sksurv.metrics")
    torchsurv = pytest.importorskip("torchsurv.metrics.cindex")
    concordance = pytest.importorskip("SurvivalEVAL.evaluations.discrimination.static.concordance").concordance
    (time, event, risk), _ = cohort(seed)
    found = harrell_c(time, event, risk)
    assert found == pytest.approx(sksurv.concordance_index_censored(event > 0, time, risk)[0])
    assert found == pytest.approx(concordance(-risk, time, event, ties="Risk")[0])
    at, died, score = torched(time, event, risk)
    assert found == pytest.approx(float(torchsurv.ConcordanceIndex()(score, died, at)))
    # lifelines counts two events of one time as half a pair each; censored ones of one time are no pair anywhere.
    alone = event * ~(pd.Series(time).where(event > 0).duplicated() & (event > 0))
    assert harrell_c(time, alone, risk) == pytest.approx(lifelines.concordance_index(time, -risk, alone))


@given(SEEDS)
def test_uno_equals_torchsurv_and_survivaleval(seed):
    torchsurv = pytest.importorskip("torchsurv.metrics.cindex")
    concordance = pytest.importorskip("SurvivalEVAL.evaluations.discrimination.static.concordance").concordance
    (time, event, risk), train = cohort(seed)
    found = uno_c(time, event, risk, **train, tau=6.0)
    expected = concordance(-risk, time, event, *train.values(), method="Uno", ties="Risk", tau=6.0)[0]
    assert found == pytest.approx(expected)
    at, died, score = torched(time, event & (time < 6.0), risk)
    _, _, weight = torched(time, event, np.where(time < 6.0, weights_of(time, train), 0.0))
    assert found == pytest.approx(float(torchsurv.ConcordanceIndex()(score, died, at, weight=weight)))


@given(SEEDS)
def test_auc_equals_survivaleval(seed):
    auc = pytest.importorskip("SurvivalEVAL.evaluations.discrimination.single_time.area_under_ro_curve").auc
    (time, event, risk), train = cohort(seed)
    found = cumulative_dynamic_auc(time, event, risk, TIMES, **train)
    chance = 1 - risk / 10
    for t, value in zip(TIMES, found, strict=True):
        assert value == pytest.approx(auc(chance, time, event, t, *train.values(), method="IPCW"))


@given(SEEDS)
def test_brier_equals_torchsurv_and_survivaleval(seed):
    multiple = pytest.importorskip("SurvivalEVAL.evaluations.prediction_error.brier_score").brier_multiple_points
    torchsurv = pytest.importorskip("torchsurv.metrics.brier_score")
    (time, event, _), train = cohort(seed)
    survival = np.sort(np.random.default_rng(seed).random((len(time), 4)))[:, ::-1].copy()
    found = brier_score(time, event, survival, TIMES, **train)
    np.testing.assert_allclose(found, multiple(survival, time, event, *train.values(), TIMES))
    at, died, curve, times = torched(time, event, survival, TIMES)
    _, _, own, there = torched(time, event, weights_of(time, train), weights_of(TIMES, train, before=False))
    np.testing.assert_allclose(found, torchsurv.BrierScore()(curve, died, at, times, own, there).numpy())


@given(SEEDS)
def test_competing_concordance_equals_survivaleval(seed):
    module = "SurvivalEVAL.evaluations.discrimination.static.concordance"
    concordance = pytest.importorskip(module).concordance_cr_per_event
    (time, cause, risk), train = cohort(seed, causes=3)
    assert cause_specific_c(time, cause, risk) == pytest.approx(concordance(risk, time, cause)[0])
    found = cause_specific_c(
        time, cause, risk, train_time=train["train_time"], train_cause=train["train_event"], tau=6.0
    )
    assert found == pytest.approx(concordance(risk, time, cause, *train.values(), method="IPCW", tau=6.0)[0])


@given(SEEDS)
def test_the_calibration_index_equals_survivaleval(seed):
    index = pytest.importorskip("SurvivalEVAL.evaluations.calibration.single_time.integrated_calibration_index")
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=150)
    death, left = rng.exponential(np.exp(-risk)), rng.exponential(2, 150)
    time, event = np.minimum(death, left), (death <= left).astype(int)
    chance = 1 - np.exp(-0.7 * np.exp(0.6 * risk))
    expected = index.integrated_calibration_index(chance, time, event, 1.0, knots=3)["ICI"]
    # Ours has a ridge of 1e-4, which keeps it finite where predictions separate the events.
    assert integrated_calibration_index(time, event, chance, 1.0) == pytest.approx(expected, abs=2e-3)
