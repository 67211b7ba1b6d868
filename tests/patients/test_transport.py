import numpy as np
import ot
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from mmcell.patients import transport
from mmcell.patients.transport import emd_matrix

RNG = np.random.default_rng


def shares(n, t, seed=0, zeros=False):
    p = RNG(seed).dirichlet(np.full(t, 0.5), n)
    p[p < 0.05] *= not zeros
    return p / p.sum(axis=1, keepdims=True)


def costs(t, seed=0, metric="cosine"):
    x = RNG(seed).normal(size=(t, 4))
    c = cdist(x, x, metric)
    c = (c + c.T) / 2
    np.fill_diagonal(c, 0)
    return c / max(c.max(), 1e-300)


def twin(p, q, cost):
    """The linear programme itself."""
    t = len(p)
    rows = np.kron(np.eye(t), np.ones(t)), np.kron(np.ones(t), np.eye(t))
    return linprog(cost.ravel(), A_eq=np.concatenate(rows), b_eq=np.concatenate([p, q])).fun


@pytest.mark.parametrize("t", [1, 2, 5])
def test_the_obvious_twin(t):
    p, cost = shares(4, t, zeros=t > 2), costs(t)
    expected = [[twin(a, b, cost) for b in p] for a in p]
    np.testing.assert_allclose(emd_matrix(p, cost), expected, atol=1e-9)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_distances_of_pot(zeros, metric):
    p, q, cost = shares(9, 12, zeros=zeros), shares(5, 12, 1, zeros=zeros), costs(12, metric=metric)
    np.testing.assert_allclose(emd_matrix(p, cost), [[ot.emd2(a, b, cost) for b in p] for a in p], atol=1e-9)
    np.testing.assert_allclose(emd_matrix(p, cost, q), [[ot.emd2(a, b, cost) for b in q] for a in p], atol=1e-9)


def test_the_distance_of_scipy_on_a_line():
    p, place = shares(6, 8), np.arange(8.0)
    expected = [[wasserstein_distance(place, place, a, b) for b in p] for a in p]
    np.testing.assert_allclose(emd_matrix(p, cdist(place[:, None], place[:, None])), expected, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99))
def test_order_of_patients_and_types_makes_no_difference(n, t, seed):
    p, cost, rng = shares(n, t, seed), costs(t, seed), RNG(seed)
    found = emd_matrix(p, cost)
    np.testing.assert_array_equal(found, found.T)
    assert (np.diag(found) == 0).all()
    assert (found >= 0).all()
    order, types = rng.permutation(n), rng.permutation(t)
    moved = emd_matrix(p[order][:, types], cost[np.ix_(types, types)])
    np.testing.assert_allclose(moved, found[np.ix_(order, order)], atol=1e-12)
    np.testing.assert_allclose(emd_matrix(p, cost, p), found, atol=1e-12)
    np.testing.assert_allclose(emd_matrix(p, 3 * cost), 3 * found, atol=1e-12)


def test_inputs_are_left_alone_and_the_same_bytes_come_again():
    p, cost = shares(5, 6), costs(6)
    p.setflags(write=False)
    cost.setflags(write=False)
    np.testing.assert_array_equal(emd_matrix(p, cost), emd_matrix(p, cost))


@pytest.mark.parametrize(
    ("p", "cost", "pieces"),
    [
        (shares(2, 3), np.zeros((2, 2)), ["shape (2, 3)", "give (patients, 2 types)"]),
        (shares(2, 2) * 2, np.zeros((2, 2)), ["do not sum to 1"]),
        (np.array([[1.5, -0.5]]), np.zeros((2, 2)), ["negative"]),
        (shares(2, 2), np.array([[0, 1.0], [2.0, 0]]), ["not a symmetric matrix"]),
        (shares(2, 2), np.zeros((2, 3)), ["not a symmetric matrix"]),
        (shares(2, 2), np.array([[0, -1.0], [-1.0, 0]]), ["negative, or not 0"]),
        (shares(2, 2), np.eye(2), ["negative, or not 0"]),
    ],
)
def test_what_is_refused(refused, p, cost, pieces):
    with refused("earth mover's distance", *pieces):
        emd_matrix(p, cost)


def by_pot(p, cost):
    return np.array([[ot.emd2(a, b, cost) for b in p] for a in p])


def crooked(kind, t, seed):
    """Costs that a path may undercut: squares along a line, few different integers, and zeros between types."""
    rng = RNG(seed)
    if kind == "line":
        x = rng.normal(size=(t, 1)) + 1e-3 * rng.normal(size=(t, 5))
        return cdist(x, x, "sqeuclidean")
    cost = np.triu(rng.integers(0 if kind == "zeros" else 1, 4, (t, t)), 1).astype(float)
    return cost + cost.T


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5),
    st.integers(1, 14),
    st.sampled_from(["line", "integers", "zeros", "cosine", "euclidean"]),
    st.sampled_from(["dirichlet", "zeros", "counts", "floored"]),
    st.integers(0, 9999),
)
@example(3, 1, "line", "counts", 0)
@example(5, 14, "line", "floored", 1)
def test_the_distances_of_pot_on_ties_zeros_equal_rows_and_costs_that_are_no_metric(n, t, kind, how, seed):
    rng = RNG(seed)
    cost = costs(t, seed, kind) if kind in ("cosine", "euclidean") else crooked(kind, t, seed)
    if how == "counts":
        p = rng.multinomial(6, np.full(t, 1 / t), n) / 6
    else:
        p = rng.dirichlet(np.full(t, 0.3), n)
        p = np.maximum(p, 0.02) if how == "floored" else p * (p > 0.05) if how == "zeros" else p
    p[-1] = p[0]
    p /= p.sum(axis=1, keepdims=True)
    found = emd_matrix(p, cost)
    np.testing.assert_allclose(found, by_pot(p, cost), atol=1e-9 * max(1, cost.max()))
    assert found[0, -1] == 0
    np.testing.assert_allclose(emd_matrix(p, cost, p), found, atol=1e-11 * max(1, cost.max()))


@pytest.mark.parametrize("kind", ["line", "integers", "cosine"])
def test_the_distances_of_pot_of_many_types(kind):
    p = np.maximum(RNG(0).dirichlet(np.full(60, 0.3), 8), 1e-3)
    p /= p.sum(axis=1, keepdims=True)
    cost = costs(60) if kind == "cosine" else crooked(kind, 60, 0)
    np.testing.assert_allclose(emd_matrix(p, cost), by_pot(p, cost), atol=1e-10 * cost.max())


def test_rows_that_differ_by_rounding_are_the_same():
    # Every share is above the other's, or below it, and nothing is left to move.
    p = np.full((2, 3), 1 / 3)
    p[1] *= 1 + 3e-16
    assert emd_matrix(p, costs(3)).max() <= 1e-15


def test_tiny_differences_keep_their_digits():
    p = np.array([[0.5, 0.3, 0.2], [0.5 - 2.0**-30, 0.3, 0.2 + 2.0**-30]])
    cost = costs(3, metric="euclidean")
    assert emd_matrix(p, cost)[0, 1] == pytest.approx(2.0**-30 * cost[0, 2], rel=1e-6)


def test_what_is_stopped_by_the_limit_is_solved_by_pot(monkeypatch):
    p, cost = shares(6, 12), crooked("line", 12, 0)
    expected = emd_matrix(p, cost)
    asked = []
    real = transport._by_pot
    monkeypatch.setattr(transport, "_by_pot", lambda *a: asked.append(a) or real(*a))
    monkeypatch.setattr(transport, "_PIVOTS", 2)
    np.testing.assert_allclose(emd_matrix(p, cost), expected, atol=1e-12)
    assert asked


def test_a_pair_that_nobody_solves_is_an_error(monkeypatch, refused):
    for limit in ("_PIVOTS", "_PIVOTS_OF_POT"):
        monkeypatch.setattr(transport, limit, 2)
    with refused("a pair of patients was not solved (POT's code"):
        emd_matrix(shares(6, 12), crooked("line", 12, 0))
