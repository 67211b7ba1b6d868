import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from mmcell.metrics.survival import harrell_c
from mmcell.probes.elastic_net import L1_RATIOS, PENALTIES, fit_elastic_net, sparse_cox
from mmcell.probes.inputs import Patients
from mmcell.probes.partial_likelihood import PartialLikelihood, newton_cox


def cohort(n=120, d=8, seed=0, effect=1.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    time = rng.exponential(np.exp(-effect * x[:, 0])) + 0.01
    return x, time, (rng.random(n) < 0.7).astype(int)


@pytest.mark.parametrize("ratio", [0.1, 0.9])
@pytest.mark.parametrize("penalty", [0.01, 0.1, 1.0])
def test_coefficients_are_those_of_lifelines(penalty, ratio):
    x, time, event = cohort()
    time = np.ceil(8 * time)
    frame = pd.DataFrame(x).assign(time=time, event=event)
    oracle = CoxPHFitter(penalizer=penalty, l1_ratio=ratio).fit(frame, "time", "event").params_.to_numpy()
    found = sparse_cox(x, time, event, penalty, ratio)
    # lifelines' first norm is smooth.
    np.testing.assert_allclose(found, oracle, atol=2e-3)
    np.testing.assert_allclose(oracle[found == 0], 0, atol=2e-3)


@pytest.mark.oracle
def test_a_path_ends_where_that_of_scikit_survival_ends():
    linear = pytest.importorskip("sksurv.linear_model")
    from sksurv.util import Surv

    x, time, event = cohort()
    penalty, ratio = 0.05, 0.5
    model = linear.CoxnetSurvivalAnalysis(l1_ratio=ratio, alphas=[penalty], tol=1e-12, max_iter=1_000_000)
    oracle = model.fit(x, Surv.from_arrays(event.astype(bool), time)).coef_[:, 0]
    np.testing.assert_allclose(sparse_cox(x, time, event, penalty, ratio), oracle, atol=1e-4)


def test_without_the_first_norm_it_is_the_ridge():
    x, time, event = cohort()
    np.testing.assert_allclose(sparse_cox(x, time, event, 0.1, 0.0), newton_cox(x, time, event, 0.1), atol=1e-7)


@pytest.mark.parametrize("ratio", L1_RATIOS)
def test_it_ends_where_no_direction_is_better(ratio):
    x, time, event = cohort(d=20)
    penalty = 0.1
    beta = sparse_cox(x, time, event, penalty, ratio)
    slope = PartialLikelihood.of(x, time, event).at(beta)[1] + penalty * (1 - ratio) * beta
    zero = beta == 0
    assert (np.abs(slope[zero]) <= penalty * ratio + 1e-7).all()
    np.testing.assert_allclose(slope[~zero], -penalty * ratio * np.sign(beta[~zero]), atol=1e-6)


def fitted(x, time, event, **more):
    return fit_elastic_net(Patients.of(x, **more), time, event, np.random.default_rng(0))


def test_what_is_not_needed_is_left_out_and_counted():
    x, time, event = cohort(200, 12, effect=2.0)
    model = fitted(x, time, event, columns=tuple("abcdefghijkl"))
    facts = model.facts
    assert facts["coefficients"]["a"] > 0.5
    assert facts["n_not_zero"] == np.count_nonzero(model.beta) == sum(v != 0 for v in facts["coefficients"].values())
    assert facts["n_not_zero"] < 12
    assert facts["penalty"] in PENALTIES
    assert facts["l1_ratio"] in L1_RATIOS


def test_noise_is_mostly_left_out_and_stays_at_chance():
    found, left = [], []
    for seed in range(10):
        x, time, event = cohort(180, 30, seed, effect=0.0)
        model = fitted(x[:60], time[:60], event[:60])
        found.append(harrell_c(time[60:], event[60:], model.risk(Patients.of(x[60:]))))
        left.append(model.facts["n_not_zero"])
    assert abs(np.mean(found) - 0.5) < 0.03
    assert np.median(left) < 15


def test_where_nothing_is_left_everybody_has_the_same_risk():
    x, time, event = cohort(120, 30, 3, effect=0.0)
    assert (sparse_cox(x, time, event, 1.0, 0.9) == 0).all()


def test_covariates_enter_beside_the_vectors():
    x, time, event = cohort(d=50)
    names = fitted(x[:, 1:], time, event, beside=x[:, :1], beside_columns=("age",)).inputs.names
    assert names[-1] == "age"
    assert len(names) == 32


def test_one_event_is_not_enough(refused):
    x, time, _ = cohort()
    with refused("survival probe: 1 event among 120 training patients"):
        fitted(x, time, (np.arange(120) == 3).astype(int))
