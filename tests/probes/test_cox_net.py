import sys

import numpy as np
import pytest
import torch

from mmcell.errors import MissingExtraError
from mmcell.metrics.survival import harrell_c
from mmcell.probes.cox_loss import cox_loss
from mmcell.probes.cox_net import WEIGHT_DECAYS, Widths, fit_cox_net
from mmcell.probes.inputs import Patients
from mmcell.probes.partial_likelihood import PartialLikelihood, newton_cox


def cohort(n=90, d=5, seed=0, effect=1.5, rounded=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    time = rng.exponential(np.exp(-effect * x[:, 0])) + 0.01
    return x, np.ceil(5 * time) if rounded else time, (rng.random(n) < 0.7).astype(int)


def slow_loss(score, time, event, ties):
    total = 0.0
    for t in np.unique(time[event == 1]):
        dead = np.flatnonzero((time == t) & (event == 1))
        at_risk, tied = np.exp(score[time >= t]).sum(), np.exp(score[dead]).sum()
        for k in range(len(dead)):
            total += np.log(at_risk - (k / len(dead) * tied if ties == "efron" else 0.0)) - score[dead[k]]
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_formula(ties, rounded, seed):
    x, time, event = cohort(seed=seed, rounded=rounded)
    found = float(cox_loss(time, event, ties)(torch.from_numpy(x[:, 0])))
    assert found == pytest.approx(slow_loss(x[:, 0], time, event, ties))


@pytest.mark.parametrize("rounded", [False, True])
def test_the_loss_and_its_slope_are_those_of_the_newton_solver(rounded):
    x, time, event = cohort(rounded=rounded)
    beta = torch.tensor([0.5, -0.3, 0.0, 0.1, 1.0], dtype=torch.float64, requires_grad=True)
    loss = cox_loss(time, event)(torch.from_numpy(x) @ beta)
    loss.backward()
    value, gradient, _ = PartialLikelihood.of(x, time, event).at(beta.detach().numpy())
    assert float(loss.detach()) / len(x) == pytest.approx(value)
    np.testing.assert_allclose(beta.grad.numpy() / len(x), gradient, atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_loss_is_that_of_torchsurv(ties):
    cox = pytest.importorskip("torchsurv.loss.cox")
    x, time, event = cohort(rounded=True)
    score = torch.from_numpy(x[:, 0])
    oracle = cox.neg_partial_log_likelihood(
        score, torch.from_numpy(event.astype(bool)), torch.from_numpy(time), ties_method=ties, reduction="sum"
    )
    assert float(cox_loss(time, event, ties)(score)) == pytest.approx(float(oracle))


def fitted(x, time, event, seed=0, **more):
    return fit_cox_net(Patients.of(x), time, event, np.random.default_rng(seed), **more)


def test_a_linear_head_is_a_ridge_on_the_whole_width():
    x, time, event = cohort(d=40)
    model = fitted(x, time, event)
    decay = model.facts["penalty"]
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(model.layers[0][0][:, 0], newton_cox(z, time, event, decay), atol=1e-3)
    assert model.facts["not_converged"] == 0
    assert model.facts["dims"] == 40


def test_it_finds_what_components_miss():
    # Fifty loud directions say nothing, a quiet one does.
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(300, 51)) * np.r_[1.0, np.full(50, 30.0)]
        time, event = rng.exponential(np.exp(-3 * x[:, 0])) + 0.01, np.ones(300, int)
        model = fitted(x[:150], time[:150], event[:150])
        found.append(harrell_c(time[150:], event[150:], model.risk(Patients.of(x[150:]))))
    assert np.mean(found) > 0.75


def test_a_hidden_layer_finds_what_is_not_linear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    time, event = rng.exponential(np.exp(-3.0 * np.sign(x[:, 0] * x[:, 1]))) + 0.01, np.ones(500, int)
    c = [
        harrell_c(time[350:], event[350:], fitted(x[:350], time[:350], event[:350], **more).risk(Patients.of(x[350:])))
        for more in ({}, {"n_hidden": 8, "steps": 60})
    ]
    assert c[0] < 0.6
    assert c[1] > 0.7


@pytest.mark.parametrize("n_hidden", [0, 4])
def test_the_same_seed_gives_the_same_bytes(n_hidden):
    x, time, event = cohort(60, 10)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    a, b = (fitted(x, time, event, n_hidden=n_hidden, steps=10).risk(Patients.of(x)) for _ in range(2))
    assert a.tobytes() == b.tobytes()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "more", [{"n_hidden": 3, "steps": 20}, {"ties": "breslow"}, {"steps": 1}, {"n_hidden": 3, "steps": 20, "seed": 1}]
)
def test_every_argument_counts(more):
    x, time, event = cohort(60, 3, effect=4.0, rounded=True)
    usual = {"n_hidden": 3, "steps": 20} if "seed" in more else {}
    a, b = (fitted(x, time, event, **m).risk(Patients.of(x)) for m in (usual, more))
    assert not np.allclose(a, b, atol=1e-6)


def test_blocks_weigh_the_same_whatever_their_width():
    rng = np.random.default_rng(0)
    patients = Patients.of(rng.normal(size=(50, 200)), beside=7 + 3 * rng.normal(size=(50, 2)))
    z = Widths.fit(patients).transform(patients)
    np.testing.assert_allclose([z[:, :200].var(axis=0, ddof=1).sum(), z[:, 200:].var(axis=0, ddof=1).sum()], 1.0)


def test_a_few_covariates_do_not_drown():
    rng = np.random.default_rng(0)
    age = rng.normal(size=(240, 1))
    time, event = rng.exponential(np.exp(-2 * age[:, 0])) + 0.01, np.ones(240, int)
    noise = rng.normal(size=(240, 300))
    some, others = (Patients.of(noise[s], beside=age[s]) for s in (slice(120), slice(120, 240)))
    model = fit_cox_net(some, time[:120], event[:120], np.random.default_rng(0))
    assert harrell_c(time[120:], event[120:], model.risk(others)) > 0.7


def test_noise_stays_at_chance():
    found = []
    for seed in range(5):
        x, time, event = cohort(260, 40, seed, effect=0.0)
        found.append(
            harrell_c(time[60:], event[60:], fitted(x[:60], time[:60], event[:60], steps=30).risk(Patients.of(x[60:])))
        )
    assert abs(np.mean(found) - 0.5) < 0.04


def test_constant_inputs_rank_nobody():
    _, time, event = cohort()
    model = fitted(np.ones((90, 3)), time, event)
    assert not model.risk(Patients.of(np.ones((4, 3)))).any()
    assert model.facts["note"]


def test_what_cannot_be_fitted_is_refused(refused, monkeypatch):
    x, time, event = cohort()
    with refused("ties 'exact' is not one of efron, breslow"):
        fitted(x, time, event, ties="exact")
    with refused("n_hidden is -1"):
        fitted(x, time, event, n_hidden=-1)
    with refused("1 event among 90"):
        fitted(x, time, (np.arange(90) == 0).astype(int))
    assert list(WEIGHT_DECAYS) == sorted(WEIGHT_DECAYS)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"cox-net needs the package 'torch'.*mmcell\[deep\]"):
        fitted(x, time, event)
