import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mmcell.stratification.assignment import ordered
from mmcell.stratification.consensus import Consensus, consensus, matched, subsets
from mmcell.stratification.kmeans import assign, kmeans
from mmcell.stratification.stability import pairwise_ari, stability
from mmcell.stratification.vectors import Axes


def planted(sizes=(40, 30, 30), apart=6.0, d=6, seed=0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=(len(label), d))
    x[np.arange(len(label)), label] += apart
    return x, label


def on_axes(x):
    return Axes.fit(x, 10, False).transform(x)


def test_kmeans_finds_what_scikit_learn_finds():
    x, _ = planted()
    centres = kmeans(x, np.arange(100)[None], 3, 10, np.random.default_rng(0))[0]
    inertia = ((x[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1).sum()
    assert inertia == pytest.approx(KMeans(3, n_init=10, random_state=0).fit(x).inertia_)


def test_every_run_sees_its_own_rows_only():
    x, _ = planted()
    rows = np.array([np.arange(50), np.arange(50, 100)])
    before = kmeans(x, rows, 2, 3, np.random.default_rng(0))
    changed = x.copy()
    changed[50:] += 100.0
    after = kmeans(changed, rows, 2, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.allclose(before[1], after[1])


def test_assigning_is_to_the_nearest_centre():
    x, _ = planted()
    centres = np.random.default_rng(1).normal(size=(4, 3, 6))
    twin = ((x[None, :, None] - centres[:, None]) ** 2).sum(axis=3).argmin(axis=2)
    np.testing.assert_array_equal(assign(x, centres), twin)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_pairwise_ari_is_that_of_scikit_learn(k, seed):
    label = np.random.default_rng(seed).integers(k, size=(4, 30))
    twin = [adjusted_rand_score(label[i], label[j]) for i in range(4) for j in range(i + 1, 4)]
    np.testing.assert_allclose(pairwise_ari(label, k), twin, atol=1e-9)


def test_labellings_of_one_group_agree():
    np.testing.assert_array_equal(pairwise_ari(np.zeros((3, 20), dtype=int), 2), 1.0)


def test_subsets_hold_80_percent_without_repetition():
    rows = subsets(100, 7, np.random.default_rng(0))
    assert rows.shape == (7, 80)
    assert all(len(set(row)) == 80 for row in rows)
    assert subsets(1000, 1, np.random.default_rng(0)).shape == (1, 500)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_matching_undoes_any_renaming(k):
    rng = np.random.default_rng(k)
    label, names = rng.integers(k, size=60), rng.permutation(k)
    np.testing.assert_array_equal(matched(names[label], label, k)[names[label]], label)


def test_consensus_finds_planted_groups_and_its_rule_assigns_new_rows():
    x, label = planted()
    found = consensus(x, 3, 50, np.random.default_rng(0))
    assert adjusted_rand_score(found.label, label) == 1.0
    new, truth = planted(seed=1)
    assert adjusted_rand_score(found.assign(new), truth) > 0.95
    together = found.together
    assert together.shape == (100, 100)
    np.testing.assert_allclose(np.diag(together), 1.0)
    i, j = 3, 77
    assert together[i, j] == pytest.approx((found.votes[:, i] == found.votes[:, j]).mean())


def test_groups_are_called_by_size():
    label = np.array([0, 1, 1, 2, 2, 2])
    found = ordered(Consensus(label, np.arange(3.0)[:, None], label[None]))
    np.testing.assert_array_equal(found.label, [2, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.centres.ravel(), [2, 1, 0])


@pytest.mark.parametrize(("sizes", "k"), [((40, 30, 30), 3), ((50, 50), 2), ((30, 30, 30, 30), 4)])
def test_the_right_number_of_planted_groups_is_chosen(sizes, k):
    x, _ = planted(sizes)
    found = stability(on_axes(x), (2, 3, 4, 5, 6), n_null=19, runs=10, rng=np.random.default_rng(0))
    assert found.k == k
    assert found.p == pytest.approx(0.05)


def one_cluster(kind, rng, n=60):
    if kind == "correlated":
        return rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4))
    if kind == "heavy":
        return rng.normal(size=(n, 4)) / np.sqrt(rng.chisquare(3, size=n) / 3)[:, None]
    logs = np.log(np.maximum(rng.dirichlet([8, 4, 2, 1, 1], size=n), 1e-3))
    return logs - logs.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["correlated", "heavy", "skewed"])
def test_one_cluster_has_no_groups_at_its_rate(kind):
    # With 19 draws of one cluster p ≤ 0.05 in one of 20; three or more of 10 come about in 1 %.
    wrong = 0
    for seed in range(10):
        rng = np.random.default_rng([seed, 3])
        x = on_axes(one_cluster(kind, rng))
        wrong += stability(x, (2, 3), n_null=19, runs=6, rng=rng).k > 1
    assert wrong < 3


def test_a_handful_of_outliers_is_no_group():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4))
    x[:3] += 30.0
    found = stability(on_axes(x), (2,), n_null=19, runs=10, rng=rng)
    assert found.k == 1
    assert found.table.loc[0, "reason"] == "its smallest group has fewer than 5 patients"
    assert np.isnan(found.table.loc[0, "p"])


def test_axes_are_those_of_training_rows_and_leave_constant_columns_out():
    x, _ = planted()
    x = np.column_stack([x, np.full(100, 7.0)])
    axes = Axes.fit(x, 3, True)
    z = (x - x.mean(axis=0))[:, :6] / x[:, :6].std(axis=0, ddof=1)
    np.testing.assert_allclose(axes.transform(x).var(axis=0), np.sort(np.linalg.eigvalsh(np.cov(z.T, ddof=0)))[:-4:-1])
    changed = x + np.eye(1, 7, 6) * 100
    np.testing.assert_allclose(axes.transform(changed), axes.transform(x))
    assert (axes.directions[np.abs(axes.directions).argmax(axis=0), np.arange(3)] > 0).all()


def test_the_table_of_stability_is_reproducible():
    x, _ = planted((30, 30))
    first, again = (
        stability(on_axes(x), (2, 3), n_null=19, runs=6, rng=np.random.default_rng(5)).table for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, again)
