import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from mmcell import MmcellError
from mmcell.metrics.alignment import ari, kmeans_clusters, leiden_clusters, neighbors, nmi, silhouette_of_cells
from mmcell.metrics.alignment.clusters import COUNTS, RESOLUTIONS
from tests.metrics.alignment.worlds import rotation, world

CODES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=40).map(
    lambda rows: tuple(np.array(rows).T)
)


def slow_nmi(label, cluster):
    def entropy(values):
        share = np.unique(values, return_counts=True)[1] / len(values)
        return -(share * np.log(share)).sum()

    both = entropy(label * 100 + cluster)
    one, other = entropy(label), entropy(cluster)
    return 2 * (one + other - both) / (one + other) if one + other > 0 else np.nan


def slow_ari(label, cluster):
    """Over pairs of cells: together in both, in one, in the other."""
    n = len(label)
    pairs = [(label[i] == label[j], cluster[i] == cluster[j]) for i in range(n) for j in range(i)]
    one, other = (sum(p[k] for p in pairs) for k in (0, 1))
    both, expected = sum(a and b for a, b in pairs), one * other / len(pairs)
    return (both - expected) / ((one + other) / 2 - expected) if one + other != 2 * expected else 1.0


def test_what_is_tried_rises():
    np.testing.assert_allclose(RESOLUTIONS, np.arange(1, 11) / 5)
    assert (np.diff(COUNTS) > 0).all()
    assert COUNTS[0] == 2


@given(CODES)
def test_agreement_is_that_of_a_loop(codes):
    label, cluster = codes
    if np.ptp(label) == 0 and np.ptp(cluster) == 0:
        assert np.isnan(nmi(label, cluster))
        assert np.isnan(ari(label, cluster))
        return
    assert nmi(label, cluster) == pytest.approx(slow_nmi(label, cluster), abs=1e-9)
    assert ari(label, cluster) == pytest.approx(slow_ari(label, cluster), abs=1e-9)
    assert nmi(3 - label, 9 - cluster) == pytest.approx(nmi(label, cluster))


def test_cells_without_a_label_do_not_count(refused):
    assert nmi(["a", "b", None, "a"], [0, 1, 1, 0]) == pytest.approx(1.0)
    assert ari(["a", "b", None, "a"], [0, 1, 1, 0]) == pytest.approx(1.0)
    with refused("no cell has a label and a cluster"):
        nmi(["a", None], [None, 1])
    with refused("cluster: 3 values for 2"):
        ari(["a", "b"], [1, 2, 3])


def test_kmeans_finds_as_many_clusters_as_there_are():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(5), 80)
    x = rng.normal(size=(400, 4)) + 20 * rng.normal(size=(5, 4))[label]
    found = kmeans_clusters(x)
    assert found.kind == "kmeans"
    assert found.parameter == 5
    assert nmi(label, found.codes) == pytest.approx(1.0)
    assert found.silhouettes.idxmax() == 5
    for k in (3, 8):
        codes = KMeans(k, n_init=2, random_state=0).fit_predict(x)
        assert found.silhouettes[k] == pytest.approx(silhouette_of_cells(x, codes).mean(), abs=1e-6)


def test_labels_take_no_part_and_a_given_number_is_taken():
    x, _, _ = world(0)
    found = kmeans_clusters(x, n_clusters=np.int64(7))
    assert found.parameter == 7
    assert len(np.unique(found.codes)) == 7
    assert not len(found.silhouettes)
    size = np.bincount(found.codes)
    assert (np.diff(size) <= 0).all()
    assert kmeans_clusters(x, n_clusters=(3, 4)).parameter in (3, 4)


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_rotation_changes_nothing_and_with_ids_neither_does_the_order(seed):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), 40)
    x = rng.normal(size=(120, 4)) + 30 * np.eye(4)[label]
    found = kmeans_clusters(x)
    assert nmi(found.codes, kmeans_clusters(x @ rotation(4, seed)).codes) == pytest.approx(1.0)
    ids = np.array([f"c{i:03}" for i in range(120)])
    order = rng.permutation(120)
    one, two = kmeans_clusters(x, ids=ids), kmeans_clusters(x[order], ids=ids[order])
    assert nmi(one.codes[order], two.codes) == pytest.approx(1.0)
    assert one.parameter == two.parameter


def test_many_cells_are_clustered_by_a_sample(monkeypatch):
    monkeypatch.setattr("mmcell.metrics.alignment.clusters._FITTED", 200)
    monkeypatch.setattr("mmcell.metrics.alignment.clusters._JUDGED", 100)
    rng = np.random.default_rng(0)
    label = np.arange(3000) % 6
    x = rng.normal(size=(3000, 3)) + 40 * rng.normal(size=(6, 3))[label]
    found = kmeans_clusters(x, seed=3)
    assert found.parameter == 6
    assert nmi(label, found.codes) == pytest.approx(1.0)
    np.testing.assert_array_equal(kmeans_clusters(x, seed=3).codes, found.codes)


def test_leiden_divides_the_graph_without_labels():
    pytest.importorskip("igraph")
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 60)
    x = rng.normal(size=(240, 4)) + 20 * rng.normal(size=(4, 4))[label]
    near = neighbors(x, 14)
    found = leiden_clusters(near, x)
    assert found.kind == "leiden"
    assert found.parameter == found.silhouettes.idxmax()
    assert nmi(label, found.codes) > 0.85
    assert leiden_clusters(near, x, resolution=0.5).parameter == 0.5
    np.testing.assert_array_equal(leiden_clusters(near, x).codes, found.codes)
    fine, coarse = (leiden_clusters(near, x, resolution=r).codes.max() for r in (5.0, 0.05))
    assert fine > coarse


def test_leiden_leaves_the_global_generator_alone():
    igraph = pytest.importorskip("igraph")
    import random

    x, _, _ = world(0)
    random.seed(1)
    before = random.getstate()
    leiden_clusters(neighbors(x, 14), x, resolution=1.0)
    assert random.getstate() == before
    igraph.Graph.Erdos_Renyi(n=5, p=0.5)
    assert random.getstate() != before


def test_equal_points_are_one_cluster_which_agrees_with_nothing():
    _, _, label = world(0)
    x = np.full((120, 3), 0.1)
    found = kmeans_clusters(x)
    assert (found.codes == 0).all()
    assert nmi(label, found.codes) == 0.0
    assert ari(label, found.codes) == 0.0
    pytest.importorskip("igraph")
    assert (leiden_clusters(neighbors(x, 14), x).codes == 0).all()


def test_bad_input_is_refused(refused, monkeypatch):
    x, _, _ = world(0)
    near = neighbors(x, 5)
    with refused("fewer than 2 clusters"):
        kmeans_clusters(x, n_clusters=1)
    with refused("5 or more clusters of 2 different points"):
        kmeans_clusters(np.arange(10)[:, None] % 2.0, n_clusters=5)
    pytest.importorskip("igraph")
    with refused("resolution", "above 0"):
        leiden_clusters(near, x, resolution=0)
    with refused("119 rows for the neighbours of 120"):
        leiden_clusters(near, x[1:])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "igraph":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MmcellError, match=r"mmcell\[leiden\]"):
        leiden_clusters(near, x)


@pytest.mark.oracle
def test_agreement_equals_scib_metrics_on_the_same_clusters(monkeypatch):
    module = pytest.importorskip("scib_metrics.metrics._nmi_ari")
    x, _, label = world(0)
    found = kmeans_clusters(x, n_clusters=len(set(label)))
    monkeypatch.setattr(module, "_compute_clustering_kmeans", lambda x, k: found.codes)
    expected = module.nmi_ari_cluster_labels_kmeans(x, label)
    assert nmi(label, found.codes) == pytest.approx(expected["nmi"])
    assert ari(label, found.codes) == pytest.approx(expected["ari"])
