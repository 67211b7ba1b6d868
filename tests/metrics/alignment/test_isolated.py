import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mmcell.metrics.alignment import (
    isolated_asw,
    isolated_asw_of_labels,
    isolated_f1,
    isolated_f1_of_labels,
    isolated_labels,
    silhouette_of_cells,
)
from mmcell.metrics.alignment.isolated import isolated_f1_of_table
from tests.metrics.alignment.worlds import world


def lonely(seed=0):
    x, batch, label = world(seed)
    return x, batch, np.where((batch != "b0") & (label == "t0"), "t1", label)


def test_isolated_labels_lie_in_the_fewest_batches(refused):
    _, batch, label = lonely()
    assert [*isolated_labels(label, batch)] == ["t0"]
    assert [*isolated_labels(label, batch, most=3)] == ["t0", "t1", "t2", "t3"]
    _, batch, label = world(0)
    assert len(isolated_labels(label, batch)) == 4
    with refused("at most 2 batches", "fewest are 3"):
        isolated_labels(label, batch, most=2)
    with refused("all cells are of 'b'"):
        isolated_labels(label, ["b"] * 120)


@given(st.integers(0, 999), st.integers(1, 9))
def test_f1_is_the_best_of_all_clusters(seed, n_clusters):
    _, batch, label = world(seed, n=60)
    cluster = np.random.default_rng(seed).integers(0, n_clusters, 60)
    found = isolated_f1_of_labels(cluster, label, batch)
    for name in found.index:
        best = max(f1_score(label == name, cluster == c) for c in set(cluster))
        assert found[name] == pytest.approx(best if len(set(cluster)) > 1 else np.nan, nan_ok=True)
    assert isolated_f1(cluster, label, batch) == pytest.approx(found.mean(), nan_ok=True)


@given(st.integers(0, 999))
def test_cells_without_a_cluster_are_missed_and_counts_say_the_same(seed):
    _, batch, label = world(seed, n=60)
    rng = np.random.default_rng(seed)
    code, there = rng.integers(0, 4, 60), rng.random(60) < 0.8
    cluster = np.where(there, code, None)
    found = isolated_f1_of_labels(cluster, label, batch)
    for name in found.index:
        assert found[name] == pytest.approx(max(f1_score(label == name, cluster == c) for c in range(4)))
    table = pd.crosstab(label[there], code[there])
    known = isolated_f1_of_labels(code[there], label[there], batch[there])
    counted = pd.Series(isolated_f1_of_table(table.to_numpy(), table.sum().to_numpy()), table.index)
    np.testing.assert_allclose(counted[known.index], known)


def test_asw_is_the_mean_silhouette_of_the_label(refused):
    x, batch, label = lonely()
    silhouette = silhouette_of_cells(x, label)
    assert isolated_asw(silhouette, label, batch) == pytest.approx((silhouette[label == "t0"].mean() + 1) / 2)
    every = isolated_asw_of_labels(silhouette, label, batch, most=3)
    assert isolated_asw(silhouette, label, batch, most=3) == every.mean()
    with refused("119 values for 120"):
        isolated_asw(silhouette[1:], label, batch)


def test_equal_points_have_no_score():
    _, batch, label = lonely()
    assert np.isnan(isolated_asw(silhouette_of_cells(np.full((120, 2), 0.1), label), label, batch))
    assert np.isnan(isolated_f1(np.zeros(120), label, batch))


@pytest.mark.oracle
def test_isolated_labels_equal_scib_metrics():
    metrics = pytest.importorskip("scib_metrics")
    for x, batch, label in (lonely(), world(2, n=300)):
        expected = metrics.isolated_labels(x, label, batch)
        assert isolated_asw(silhouette_of_cells(x, label), label, batch) == pytest.approx(float(expected), abs=1e-3)
