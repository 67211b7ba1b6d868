import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from mmcell.probes import logistic
from mmcell.probes.linear import ALPHAS, INNER_FOLDS
from mmcell.probes.logistic import at_prevalence, fit_nested_logistic
from mmcell.probes.scale import Scale


def sample(n, d, seed=0, signal=1.0, share=0.4):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < max(2, round(share * n))).astype(int)
    return rng.normal(size=(n, d)) + signal * y[:, None] * (np.arange(d) < 2), y


def oracle(z, y, penalty):
    return LogisticRegression(C=1.0 / penalty, class_weight="balanced", max_iter=10_000, tol=1e-10).fit(z, y)


def slow_penalty(x, y):
    z = Scale.fit(x).transform(x)
    loss = np.zeros(len(ALPHAS))
    for train, held in StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0).split(z, y):
        weight = len(held) / (2 * np.bincount(y[held])[y[held]])
        for i, penalty in enumerate(ALPHAS):
            p = oracle(z[train], y[train], penalty).predict_proba(z[held])[:, 1]
            loss[i] += log_loss(y[held], p, sample_weight=weight, normalize=False)
    return ALPHAS[int(np.argmin(loss))]


@pytest.mark.parametrize(("n", "d"), [(34, 5), (30, 200), (90, 40), (300, 140)])
def test_penalty_and_probabilities_agree_with_scikit_learn(n, d):
    x, y = sample(n, d)
    found = fit_nested_logistic(x, y)
    assert found.penalty == slow_penalty(x, y)
    z = Scale.fit(x).transform(x)
    expected = oracle(z, y, found.penalty).predict_proba(z)
    np.testing.assert_allclose(found.probability(x), expected, atol=1e-5)


@pytest.mark.parametrize("penalty", ALPHAS)
def test_newton_and_quasi_newton_agree(penalty, monkeypatch):
    x, y = sample(40, 12, seed=1)
    z, positive, penalties = Scale.fit(x).transform(x), y == 1, np.array([penalty])
    newton = logistic._solve(z, positive, penalties)
    monkeypatch.setattr(logistic, "_NEWTON", 0)
    np.testing.assert_allclose(newton, logistic._solve(z, positive, penalties), atol=2e-4)


def test_classes_that_a_plane_divides_end_where_scikit_learn_ends():
    x, y = sample(24, 3, signal=30.0)
    z = Scale.fit(x).transform(x)
    found = logistic._solve(z, y == 1, np.array([0.1]))[0]
    np.testing.assert_allclose(found[:-1], oracle(z, y, 0.1).coef_[0], rtol=1e-4)


def test_noise_is_penalised_harder_than_signal():
    noise, signal = (fit_nested_logistic(*sample(60, 50, signal=s)).penalty for s in (0.0, 3.0))
    assert noise > signal


def test_columns_that_are_there_twice_change_little():
    # The penalty is free to follow the width.
    x, y = sample(60, 10)
    once, twice = (fit_nested_logistic(a, y).probability(x if i == 0 else np.hstack([x] * 10))[:, 1]
                   for i, a in enumerate((x, np.hstack([x] * 10))))  # fmt: skip
    np.testing.assert_allclose(once, twice, atol=1e-4)


def test_too_few_rows_of_a_class_take_the_middle_penalty():
    x, y = sample(10, 3, share=0.2)
    assert fit_nested_logistic(x, y).penalty == ALPHAS[len(ALPHAS) // 2]


def test_inputs_that_do_not_vary_tell_nothing():
    found = fit_nested_logistic(np.ones((8, 3)), np.arange(8) % 2)
    assert np.isnan(found.penalty)
    np.testing.assert_array_equal(found.probability(np.ones((4, 3))), np.full((4, 2), 0.5))


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 40), st.integers(1, 30), st.integers(0, 10**6), st.booleans())
def test_invariants(n, d, seed, ties):
    x, y = sample(n, d, seed)
    x = np.round(x) if ties else x
    found = fit_nested_logistic(x, y)
    p = found.probability(x)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    # Turning the classes round turns the probabilities round; the scale of a column does not matter.
    turned = fit_nested_logistic(x * 7.0 + 3.0, 1 - y)
    if turned.penalty == found.penalty:
        np.testing.assert_allclose(turned.probability(x * 7.0 + 3.0)[:, 1], p[:, 0], atol=1e-4)


@pytest.mark.parametrize("d", [3, 80])
def test_with_a_fixed_penalty_it_is_the_model_of_scikit_learn(d):
    from mmcell.probes.linear import fit_logistic
    from mmcell.probes.logistic import fit_balanced_logistic

    rng = np.random.default_rng(d)
    x = rng.normal(size=(60, d))
    y = (x[:, 0] + rng.normal(size=60) > 0.7).astype(int)
    for penalty in (0.1, 1.0, 30.0):
        found = fit_balanced_logistic(x, y, penalty)
        expected = fit_logistic(x, y, penalty=penalty).probability(x)
        np.testing.assert_allclose(found.probability(x), expected, atol=2e-3)
        assert found.penalty == penalty


@pytest.mark.parametrize("n", [41, 50, 63])
def test_rows_that_are_alike_are_tied_whatever_their_place(n):
    rng = np.random.default_rng(n)
    kind = rng.integers(0, 3, n)
    x = rng.normal(size=(3, 9))[kind]
    p = fit_nested_logistic(x, rng.permutation(np.arange(n) % 2)).probability(x)[:, 1]
    assert [len(np.unique(p[kind == k])) for k in range(3)] == [1, 1, 1]


def test_at_the_training_prevalence_an_offset_is_moved_by_the_log_odds():
    p, y = np.array([0.01, 0.3, 0.5, 0.9, 0.0, 1.0]), np.array([1, 0, 0, 0, 0])
    found = at_prevalence(p, y)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(logit(found), logit(p) + np.log(1 / 4))
    np.testing.assert_allclose(at_prevalence(p, np.array([0, 1])), p)
    assert (np.argsort(found) == np.argsort(p)).all()


def test_corrected_probabilities_are_right_on_average():
    x, y = sample(4000, 3, share=0.1)
    found = at_prevalence(fit_nested_logistic(x, y).probability(x)[:, 1], y)
    # The intercept of a balanced fit moved by the log odds is nearly that of a fit without weights.
    assert np.mean(found) == pytest.approx(np.mean(y), abs=0.01)
    assert np.mean(fit_nested_logistic(x, y).probability(x)[:, 1]) > 2 * np.mean(y)


def test_covariates_weigh_as_much_as_all_dimensions():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    noise, age = rng.normal(size=(80, 400)), 60 + 10 * (y + 0.5 * rng.normal(size=80))[:, None]
    model = fit_nested_logistic(noise[:40], y[:40], beside=age[:40])
    assert model.lift == pytest.approx(20)
    assert model.facts["dims"] == 401
    right = (model.probability(noise[40:], age[40:])[:, 1] > 0.5) == y[40:]
    assert right.mean() > 0.75
    alone = fit_nested_logistic(np.ones((40, 3)), y[:40], beside=age[:40])
    np.testing.assert_allclose(
        alone.probability(np.ones((40, 3)), age[40:]), fit_nested_logistic(age[:40], y[:40]).probability(age[40:])
    )
