import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.alignment import Neighbors, neighbors
from mmcell.metrics.alignment.approximate import _order
from mmcell.metrics.alignment.nearest import nearest
from tests.metrics.alignment.worlds import rotation, world


def slow_neighbors(x, k, apart=None):
    """All distances, sorted by (distance, row)."""
    indices, distances = [], []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and (apart is None or apart[j] != apart[i])]
        away = sorted((float(((x[i] - x[j]) ** 2).sum()), j) for j in others)[:k]
        indices.append([j for _, j in away])
        distances.append([a**0.5 for a, _ in away])
    return np.array(indices), np.array(distances)


@given(st.integers(0, 9999), st.sampled_from([None, 0.5, 2.0]), st.integers(1, 20))
def test_exact_neighbours_are_those_of_a_loop(seed, grid, k):
    x, batch, _ = world(seed, n=60, grid=grid)
    for apart in (None, batch):
        found = neighbors(x, k, apart=apart)
        indices, distances = slow_neighbors(x, k, apart)
        assert found.exact
        assert found.recall is None
        np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
        np.testing.assert_array_equal(found.indices, indices)


@pytest.mark.parametrize("centre", [0.0, 1e4])
@pytest.mark.parametrize("outlier", [1.0, 1e6])
def test_single_precision_never_decides(centre, outlier):
    """More rows than folds, far from the origin and beside an outlier, where products in float32 are coarse."""
    x = np.random.default_rng(0).normal(size=(3000, 3))
    x[7] *= outlier
    x += centre
    square = ((x[:100, None] - x[None]) ** 2).sum(axis=2)
    square[np.arange(100), np.arange(100)] = np.inf
    np.testing.assert_array_equal(neighbors(x, 10).indices[:100], np.argsort(square, axis=1)[:, :10])


def test_a_row_does_not_depend_on_its_block(monkeypatch):
    x, _, _ = world(0, n=200, grid=1.0)
    whole = neighbors(x, 12)
    monkeypatch.setattr("mmcell.metrics.alignment.nearest._BLOCK", 1)
    parts = neighbors(x, 12)
    np.testing.assert_array_equal(whole.indices, parts.indices)
    np.testing.assert_array_equal(whole.distances, parts.distances)


def test_equal_points_are_neighbours_by_row_and_are_told():
    found = neighbors(np.full((50, 3), 0.1), 4)
    np.testing.assert_array_equal(found.indices[0], [1, 2, 3, 4])
    np.testing.assert_array_equal(found.indices[10], [0, 1, 2, 3])
    assert (found.distances == 0).all()
    assert found.collapsed.all()
    x = np.zeros((50, 1))
    x[-1] = 1.0
    np.testing.assert_array_equal(neighbors(x, 4).collapsed, np.arange(50) < 49)


@given(st.integers(0, 999))
def test_with_ids_the_order_of_rows_decides_nothing(seed):
    x, batch, _ = world(seed, n=50, d=2, grid=2.0)
    ids = np.array([f"cell{i:03}" for i in np.random.default_rng(seed).permutation(50)])
    order = np.random.default_rng(seed + 1).permutation(50)
    for apart in (None, batch):
        one = neighbors(x, 8, ids=ids, apart=apart)
        two = neighbors(x[order], 8, ids=ids[order], apart=None if apart is None else apart[order])
        np.testing.assert_array_equal(ids[one.indices][order], ids[order][two.indices])
        np.testing.assert_array_equal(one.distances[order], two.distances)


@given(st.integers(0, 999))
def test_rotation_and_translation_change_nothing(seed):
    x, _, _ = world(seed, n=80)
    moved = neighbors(x @ rotation(4, seed) + 5.0, 10)
    np.testing.assert_array_equal(neighbors(x, 10).indices, moved.indices)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_unit_of_measurement_changes_nothing(scale):
    x, _, _ = world(0, n=300)
    np.testing.assert_array_equal(neighbors(scale * x, 10).indices, neighbors(x, 10).indices)


@given(st.integers(0, 999))
def test_proposals_that_hold_all_neighbours_are_put_in_their_order(seed):
    """Proposals in any order, with the cell itself, gaps and repeats; a row without enough is marked."""
    x, _, _ = world(seed, n=30, d=2, grid=1.0)
    rng, own = np.random.default_rng(seed), np.arange(30)
    proposed = np.array([rng.permutation([*range(30), -1, -1, *rng.integers(0, 30, 5)]) for _ in x])
    proposed[0] = np.where(np.isin(proposed[0], range(1, 8)), proposed[0], -1)
    indices, distances, short = np.zeros((30, 8), np.int64), np.zeros((30, 8)), np.zeros(30, bool)
    _order(proposed, x, x, own, indices, distances, short)
    assert short.tolist() == [True] + [False] * 29
    expected = nearest(x, x, own, 8)
    np.testing.assert_array_equal(indices[1:], expected[0][1:])
    np.testing.assert_array_equal(distances[1:], expected[1][1:])


@pytest.mark.parametrize("method", ["pynndescent", "faiss"])
def test_approximate_neighbours_come_with_their_recall(method):
    if method == "faiss":
        pytest.importorskip("faiss")
    x, batch, _ = world(1, n=1500, d=10)
    for apart in (None, batch):
        exact, found = neighbors(x, 15, apart=apart), neighbors(x, 15, apart=apart, method=method)
        assert not found.exact
        assert found.recall > 0.8
        reached = (found.distances <= exact.distances[:, -1:]).mean()
        assert found.recall == pytest.approx(reached, abs=0.02)
        assert (np.diff(found.distances) >= 0).all()
        assert (found.indices != np.arange(1500)[:, None]).all()
        if apart is not None:
            assert (apart[found.indices] != apart[:, None]).all()
        again = neighbors(x, 15, apart=apart, method=method)
        np.testing.assert_array_equal(again.indices, found.indices)


def test_approximate_neighbours_of_duplicates():
    """Proposals may hold the cell itself, gaps and repeats; rows with too few are searched exactly."""
    x = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 30, axis=0)
    found = neighbors(x, 10, method="pynndescent")
    assert found.recall == 1.0
    assert found.collapsed.all()


def test_first_is_a_prefix(refused):
    found = neighbors(world(0)[0], 10)
    np.testing.assert_array_equal(found.first(4).indices, found.indices[:, :4])
    assert found.first(4).k == 4
    assert found.first(1).k == 1
    with refused("11 of 10"):
        found.first(11)


def test_bad_input_is_refused(refused):
    x, batch, _ = world(0, n=30)
    with refused("lower k", "29 other cells"):
        neighbors(x, 30)
    with refused("lower k", "of other batches"):
        neighbors(x, 28, apart=batch)
    with refused("all cells are of 'a'"):
        neighbors(x, 3, apart=["a"] * 30)
    with refused("batch: 29 values for 30"):
        neighbors(x, 3, apart=batch[1:])
    with refused("1 of 30 cells have none"):
        neighbors(x, 3, apart=[None, *batch[1:]])
    with refused("all values are missing"):
        neighbors(x, 3, apart=[None] * 30)
    with refused("give each cell its own"):
        neighbors(x, 3, ids=np.zeros(30))
    with refused("unknown method", "exact"):
        neighbors(x, 3, method="exakt")
    with refused("NaN"):
        neighbors(np.where(x > 0, np.nan, x), 3)
    with refused("no matrix"):
        neighbors(x[:, 0], 3)
    with refused("one column a neighbour"):
        Neighbors(np.zeros((3, 2), int), np.zeros((3, 1)))
