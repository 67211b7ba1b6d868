import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix

from mmcell.metrics.alignment import connections, graph_connectivity, graph_connectivity_of_labels, neighbors
from mmcell.metrics.alignment.connections import within_labels
from tests.metrics.alignment.oracle import theirs
from tests.metrics.alignment.worlds import rotation, world


def slow_connectivity(found, label):
    """Two cells of a label are in one piece when each reaches the other within it."""
    n, out = len(found), {}
    for name in set(label):
        own = [i for i in range(n) if label[i] == name]
        if len(own) < 2:
            out[name] = np.nan
            continue
        reached = {}
        for i in own:
            seen, todo = {i}, [i]
            while todo:
                at = todo.pop()
                near = [] if found.distances[at, -1] == 0 else found.indices[at]
                for j in near:
                    if label[j] == name and j not in seen:
                        seen.add(j)
                        todo.append(j)
            reached[i] = seen
        out[name] = max(sum(j in reached[i] and i in reached[j] for j in own) for i in own) / len(own)
    return out


@given(st.integers(0, 9999), st.sampled_from([None, 1.0, 4.0]), st.integers(1, 6))
def test_connectivity_is_that_of_a_loop(seed, grid, k):
    x, _, label = world(seed, n=40, d=2, n_types=6, grid=grid)
    found = neighbors(x, k)
    expected = slow_connectivity(found, label)
    of_labels = graph_connectivity_of_labels(found, label)
    for name, value in expected.items():
        assert of_labels[name] == pytest.approx(value, nan_ok=True)
    assert graph_connectivity(found, label) == pytest.approx(np.nanmean([*expected.values()]))


@given(st.integers(0, 9999), st.sampled_from([None, 4.0]), st.integers(1, 4))
def test_edges_within_labels_are_those_of_a_loop(seed, grid, k):
    x, _, label = world(seed, n=40, d=2, grid=grid)
    rng, found = np.random.default_rng(seed), neighbors(x, 8)
    code, keep = np.array([int(name[1]) for name in label]), rng.random(40) < 0.7
    code[rng.random(40) < 0.1] = -1
    expected = np.zeros((40, 40))
    for i in range(40):
        if keep[i] and found.distances[i, -1] > 0:
            for j in [j for j in found.indices[i] if keep[j]][:k]:
                expected[i, j] = code[i] == code[j] >= 0
    np.testing.assert_array_equal(within_labels(found, code, keep, k).toarray(), expected)


@given(st.integers(0, 999))
def test_names_rotation_and_order_change_nothing(seed):
    x, _, label = world(seed, n=60)
    value = graph_connectivity(neighbors(x, 5), label)
    order = np.random.default_rng(seed).permutation(60)
    renamed = np.array([9 - int(name[1]) for name in label])
    assert graph_connectivity(neighbors((x @ rotation(4, seed))[order], 5), renamed[order]) == pytest.approx(value)


def test_equal_points_are_the_worst_and_a_single_cell_is_not_asked():
    _, _, label = world(0)
    collapsed = neighbors(np.full((120, 2), 0.1), 14)
    expected = {name: 1 / (label == name).sum() for name in set(label)}
    assert graph_connectivity_of_labels(collapsed, label).to_dict() == expected
    x, _, label = world(0)
    alone = label.astype(object)
    alone[0] = "alone"
    of_labels = graph_connectivity_of_labels(neighbors(x, 14), alone)
    assert np.isnan(of_labels["alone"])
    assert graph_connectivity(neighbors(x, 14), alone) == of_labels.drop("alone").mean()
    gaps = graph_connectivity_of_labels(neighbors(x, 14), np.where(label == "t0", None, label))
    assert "t0" not in gaps.index


@pytest.mark.parametrize("grid", [None, 0.5])
def test_weights_equal_umap(grid):
    umap = pytest.importorskip("umap.umap_")
    x, _, _ = world(0, n=300, d=3, grid=grid)
    found = neighbors(x, 14)
    own = np.arange(300)[:, None]
    expected = umap.fuzzy_simplicial_set(
        coo_matrix((300, 1)), 15, None, None, knn_indices=np.hstack([own, found.indices]),
        knn_dists=np.hstack([np.zeros((300, 1)), found.distances]).astype(np.float32),
    )[0].toarray()  # fmt: skip
    keep = ~found.collapsed
    weights = connections(found).toarray()
    np.testing.assert_allclose(weights[np.ix_(keep, keep)], expected[np.ix_(keep, keep)], atol=1e-3)
    np.testing.assert_array_equal(weights, weights.T)


@pytest.mark.oracle
def test_connectivity_equals_scib_metrics():
    metrics = pytest.importorskip("scib_metrics")
    x, _, label = world(3, n=400, d=3, n_types=8)
    found = neighbors(x, 5)
    assert graph_connectivity(found, label) == pytest.approx(metrics.graph_connectivity(theirs(found), label))
