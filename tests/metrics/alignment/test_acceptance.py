import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import block_diag, csr_matrix
from scipy.stats import chi2

from mmcell.metrics.alignment import connections, kbet, kbet_of_cells, kbet_of_labels, neighbors
from mmcell.metrics.alignment.diffusion import diffusion
from tests.metrics.alignment.oracle import theirs
from tests.metrics.alignment.worlds import rotation, world


def slow_acceptance(indices, batch, alpha):
    names = sorted(set(batch))
    out = []
    for i, near in enumerate(indices):
        circle = [batch[i], *(batch[j] for j in near)]
        statistic = 0.0
        for name in names:
            expected = np.mean(np.array(batch) == name) * len(circle)
            statistic += (circle.count(name) - expected) ** 2 / expected
        out.append(float(chi2.sf(statistic, len(names) - 1) >= alpha))
    return np.array(out)


@given(st.integers(0, 9999), st.sampled_from([0.01, 0.05, 0.5]), st.integers(2, 5))
def test_plain_kbet_is_that_of_a_loop(seed, alpha, n_batches):
    x, batch, _ = world(seed, n=60, n_batches=n_batches)
    found = neighbors(x, 12)
    expected = slow_acceptance(found.indices, batch, alpha)
    np.testing.assert_array_equal(kbet_of_cells(found, batch, alpha=alpha), expected)
    assert kbet(found, batch, alpha=alpha) == expected.mean()


def slow_diffusion(weights, n):
    """All eigenvectors of a dense matrix; stationary states weigh 1."""
    even = weights / np.outer(weights.sum(axis=1), weights.sum(axis=1))
    value, vector = np.linalg.eigh(even / np.sqrt(np.outer(even.sum(axis=1), even.sum(axis=1))))
    greatest = np.argsort(-np.abs(value), kind="stable")[:n]
    value = value[greatest]
    return vector[:, greatest] * [v / (1 - v) if v < 1 - 1e-7 else 1.0 for v in value]


def between(coordinates):
    return np.sqrt(((coordinates[:, None] - coordinates[None]) ** 2).sum(axis=2))


@pytest.mark.parametrize("n_cells", [90, 600])
def test_diffusion_distances_are_those_of_all_eigenvectors(n_cells):
    x, _, _ = world(0, n=n_cells, d=3, n_types=1)
    weights = connections(neighbors(x, 15))
    found = diffusion(weights, np.zeros(n_cells, dtype=int), 20)
    np.testing.assert_allclose(between(found), between(slow_diffusion(weights.toarray(), 20)), atol=1e-8)


def test_diffusion_in_parts_is_that_of_the_whole():
    one, two = (connections(neighbors(world(s, n=80, d=3, n_types=1)[0], 15)) for s in (1, 2))
    both = csr_matrix(block_diag([one, two]))
    found = diffusion(both, np.repeat([0, 1], 80), 30)
    np.testing.assert_allclose(between(found), between(slow_diffusion(both.toarray(), 30)), atol=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 999))
def test_kbet_within_labels_is_that_of_a_loop(seed):
    """Labels in one piece each, tested among their nearest by diffusion distance."""
    x, batch, label = world(seed, n=160, d=2, n_types=2)
    found = neighbors(x, 30)
    of_cells = kbet_of_cells(found, batch, label)
    graph = connections(found).toarray()
    for name in set(label):
        rows = np.flatnonzero(label == name)
        k = min(70, max(10, len(rows) // 12))
        away = between(slow_diffusion(graph[np.ix_(rows, rows)], min(100, len(rows) - 1)))
        np.fill_diagonal(away, np.inf)
        near = np.argsort(away, axis=1, kind="stable")[:, :k]
        expected = slow_acceptance(near, batch[rows], 0.05)
        # A tie but for rounding may fall either way.
        assert np.mean(of_cells[rows] == expected) > 0.98
        assert kbet_of_labels(found, batch, label)[name] == of_cells[rows].mean()
    assert kbet(found, batch, label) == kbet_of_labels(found, batch, label).mean()


def test_names_rotation_and_order_change_nothing():
    x, batch, label = world(0, n=300)
    value = kbet_of_labels(neighbors(x, 49), batch, label)
    order = np.random.default_rng(0).permutation(300)
    renamed = np.array([9 - int(name[1]) for name in batch])
    other = kbet_of_labels(neighbors((x @ rotation(4))[order], 49), renamed[order], label[order])
    np.testing.assert_allclose(other, value, atol=0.01)


def test_kbet_falls_with_the_shift():
    values = [kbet(neighbors(x, 49), b, t) for x, b, t in (world(4, n=600, shift=s) for s in (0.0, 1.0, 20.0))]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.85
    assert values[-1] < 0.02


def test_equal_points_are_rejected():
    _, batch, label = world(0)
    found = neighbors(np.full((120, 3), 0.1), 49)
    assert kbet(found, batch) == 0.0
    assert kbet(found, batch, label) == 0.0


def test_labels_that_cannot_be_tested():
    x, batch, label = world(0, n=300)
    label = np.where(batch == "b0", "only here", label)
    label = label.astype(object)
    few = np.flatnonzero(label == "t0")
    label[few[9:]] = None
    found = kbet_of_labels(neighbors(x, 49), batch, label)
    assert np.isnan(found["only here"])
    assert np.isnan(found["t0"])
    assert kbet(neighbors(x, 49), batch, label) == found.drop(["only here", "t0"]).mean()
    assert np.isnan(kbet_of_cells(neighbors(x, 49), batch, label)[few]).all()


def test_a_label_in_pieces():
    """Two pieces of 60 cells are tested each for itself; many small ones are rejected, as are pieces of one batch."""
    rng = np.random.default_rng(0)
    batch = np.tile(["a", "b"], 60)
    halves = neighbors(rng.normal(size=(120, 2)) + np.repeat([0.0, 1e3], 60)[:, None], 20)
    assert kbet(halves, batch, ["t"] * 120) > 0.8
    assert kbet(halves, np.repeat(["a", "b"], 60), ["t"] * 120) < 0.02
    crumbs = neighbors(rng.normal(size=(120, 2)) + 1e3 * np.repeat(np.arange(12), 10)[:, None], 8)
    assert kbet(crumbs, batch, ["t"] * 120) == 0.0
    # A small piece beside a large one is not tested.
    found = kbet_of_cells(
        neighbors(rng.normal(size=(120, 2)) + 1e3 * (np.arange(120) < 21)[:, None], 20), batch, ["t"] * 120
    )
    np.testing.assert_array_equal(np.isnan(found), np.arange(120) < 21)


def test_bad_input_is_refused(refused):
    x, batch, label = world(0)
    found = neighbors(x, 20)
    with refused("batch", "all cells are of 'b'"):
        kbet(found, ["b"] * 120, label)
    with refused("alpha", "between 0 and 1"):
        kbet(found, batch, label, alpha=5)
    with refused("label: 3 values for 120"):
        kbet(found, batch, label[:3])


@pytest.mark.oracle
def test_kbet_equals_scib_metrics():
    metrics = pytest.importorskip("scib_metrics")
    x, batch, label = world(1, n=900, d=5, n_types=3, shift=0.5)
    found = neighbors(x, 49)
    assert kbet(found, batch) == pytest.approx(metrics.kbet(theirs(found), batch)[0], abs=1e-3)
    # The few neighbours that pynndescent misses turn over some tests.
    expected = metrics.kbet_per_label(theirs(found), batch, label)
    assert kbet(found, batch, label) == pytest.approx(expected, abs=0.01)
