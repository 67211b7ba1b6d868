import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GroupKFold

from mmcell.probes.linear import ALPHAS, INNER_FOLDS, SHRINKAGE, fit_discriminant, fit_logistic, fit_ridge
from mmcell.probes.scale import Scale

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(6), 10)
X = RNG.normal(size=(60, 5))
Y = X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(60, 3))
CLASSES = np.array(["a", "b", "c"])[RNG.integers(0, 3, 60)]
CLASSIFIERS = pytest.mark.parametrize("fit", [fit_logistic, fit_discriminant])


def slow_alpha(x, y, groups):
    a, b = Scale.fit(x).transform(x), Scale.fit(y).transform(y)
    loss = np.zeros(len(ALPHAS))
    for train, held in GroupKFold(INNER_FOLDS).split(a, groups=groups):
        for i, alpha in enumerate(ALPHAS):
            model = SklearnRidge(alpha, fit_intercept=False).fit(a[train], b[train])
            loss[i] += ((model.predict(a[held]) - b[held]) ** 2).sum()
    return ALPHAS[np.argmin(loss)]


@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_the_ridge_penalty_is_chosen_on_held_out_groups(noise):
    y = Y + noise * np.random.default_rng(1).normal(size=Y.shape)
    assert fit_ridge(X, y, GROUPS).alpha == slow_alpha(X, y, GROUPS)


def test_ridge_agrees_with_scikit_learn():
    found = fit_ridge(X, Y, GROUPS)
    a, b = Scale.fit(X).transform(X), Scale.fit(Y).transform(Y)
    oracle = SklearnRidge(found.alpha, fit_intercept=False).fit(a, b)
    np.testing.assert_allclose(found.predict(X), oracle.predict(a), atol=1e-8)
    np.testing.assert_allclose(found.target(Y), b)


def test_an_inner_fold_never_splits_a_group():
    # Inputs and targets are levels of the group: of no use for a group never seen.
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 5))[GROUPS] + 0.01 * rng.normal(size=(60, 5))
    y = rng.normal(size=(6, 2))[GROUPS]
    assert fit_ridge(x, y, GROUPS).alpha > fit_ridge(x, y, rng.permutation(60)).alpha


def test_with_fewer_than_three_groups_the_middle_penalty_is_used():
    assert fit_ridge(X, Y, GROUPS % 2).alpha == ALPHAS[len(ALPHAS) // 2]


def test_a_constant_input_predicts_no_direction():
    assert not fit_ridge(np.ones((60, 2)), Y, GROUPS).predict(np.ones((4, 2))).any()


def test_constant_targets_are_left_out():
    found = fit_ridge(X, np.column_stack([Y, np.ones(60)]), GROUPS)
    assert found.predict(X).shape == found.target(np.column_stack([Y, np.ones(60)])).shape == (60, 3)


def test_logistic_agrees_with_scikit_learn():
    z = Scale.fit(X).transform(X)
    oracle = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000).fit(z, CLASSES)
    found = fit_logistic(X, CLASSES, penalty=2.0)
    np.testing.assert_allclose(found.probability(X), oracle.predict_proba(z), atol=1e-3)


@CLASSIFIERS
def test_a_constant_input_makes_every_class_equally_likely(fit):
    found = fit(np.ones((60, 2)), CLASSES)
    np.testing.assert_allclose(found.probability(np.ones((4, 2))), 1 / 3)
    assert set(found.predict(np.ones((4, 2)))) == {"a"}


@CLASSIFIERS
def test_a_planted_class_is_found(fit):
    x = X + 4 * (CLASSES[:, None] == np.array(["a", "b", "c", "x", "y"]))
    assert np.mean(fit(x[:40], CLASSES[:40]).predict(x[40:]) == CLASSES[40:]) > 0.9


@CLASSIFIERS
def test_the_scale_and_shift_of_inputs_do_not_matter(fit):
    stretched = X * np.array([1e3, 1e-3, 1, 5, 7]) + 3
    np.testing.assert_allclose(
        fit(X, CLASSES).probability(X), fit(stretched, CLASSES).probability(stretched), atol=1e-6
    )


@CLASSIFIERS
def test_a_rare_class_is_not_drowned(fit):
    y = np.where(np.arange(60) < 6, "rare", "common")
    x = np.random.default_rng(3).normal(size=(60, 1)) + 2 * (y == "rare")[:, None]
    assert np.mean(fit(x, y).predict(x[:6]) == "rare") > 0.5


def test_a_discriminant_of_more_dimensions_than_rows_is_the_one_of_all_dimensions():
    rng = np.random.default_rng(3)
    x, new = rng.normal(size=(30, 80)), rng.normal(size=(20, 80))
    classes = CLASSES[:30]
    scale = Scale.fit(x)
    z = scale.transform(x)
    means = np.stack([z[classes == c].mean(axis=0) for c in "abc"])
    centred = z - means[np.searchsorted(["a", "b", "c"], classes)]
    within = centred.T @ centred / (30 - 3)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * (np.trace(within) / 80 + 1e-12) * np.eye(80)
    weights = np.linalg.solve(shrunk, means.T)
    scores = scale.transform(new) @ weights - 0.5 * np.einsum("kd,dk->k", means, weights)
    np.testing.assert_allclose(fit_discriminant(x, classes).probability(new), softmax(scores, axis=1), atol=1e-9)
