import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from mmcell.patients.scaling import ClassicalScaling

RNG = np.random.default_rng


def squared(x, y=None):
    return cdist(x, x if y is None else y, "sqeuclidean")


def indefinite(n, seed=0):
    """Symmetric, zero on the diagonal, some below 0: what estimates of small divergences look like."""
    a = RNG(seed).normal(0.3, 1, (n, n))
    a = a + a.T
    np.fill_diagonal(a, 0)
    return a


def twin(d):
    """Double centring written out, and the eigenvalues that are larger than the largest negative one."""
    n = len(d)
    j = np.eye(n) - np.ones((n, n)) / n
    values, vectors = np.linalg.eigh(-0.5 * j @ d @ j)
    keep = values > max(1e-9 * np.abs(values).max(), -values.min())
    return vectors[:, keep] * np.sqrt(values[keep])


@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 3), (12, 30)])
def test_distances_of_points_are_kept(n, d):
    x = RNG(0).normal(size=(n, d)) + 100
    fitted = ClassicalScaling().fit(squared(x))
    found = fitted.transform(squared(x))
    assert found.shape == (n, min(n - 1, d))
    np.testing.assert_allclose(squared(found), squared(x), atol=1e-9)
    assert fitted.n_negative == fitted.negative_share == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_obvious_twin(seed):
    d = indefinite(9, seed)
    found = ClassicalScaling().fit(d).transform(d)
    expected = twin(d)
    np.testing.assert_allclose(squared(found), squared(expected) if expected.size else np.zeros((9, 9)), atol=1e-9)


def test_later_patients_spread_no_further_than_training_patients_do():
    """On noise, components of the size of the negative ones would spread them tenfold."""
    rng = RNG(0)

    def noisy(n):
        a = rng.normal(4, 1, (n, n))
        return np.triu(a, 1) + np.triu(a, 1).T

    d = noisy(40)
    fitted = ClassicalScaling().fit(d[:30, :30])
    here, there = fitted.transform(d[:30, :30]), fitted.transform(d[30:, :30])
    assert fitted.n_small > 0
    assert (there.std(axis=0) / here.std(axis=0)).max(initial=0) < 3


def test_the_components_of_scikit_learn():
    """Classical scaling of Euclidean distances is principal component analysis."""
    x = RNG(1).normal(size=(10, 4))
    found = ClassicalScaling(2).fit(squared(x)).transform(squared(x))
    expected = PCA(2).fit_transform(x)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)


def test_patients_that_come_later_lie_where_they_should():
    x, new = RNG(2).normal(size=(12, 3)), RNG(3).normal(size=(5, 3))
    fitted = ClassicalScaling().fit(squared(x))
    here, there = fitted.transform(squared(x)), fitted.transform(squared(new, x))
    np.testing.assert_allclose(squared(there, here), squared(new, x), atol=1e-9)
    np.testing.assert_allclose(squared(there), squared(new), atol=1e-9)


@given(st.integers(2, 9), st.integers(0, 99))
def test_training_rows_are_reproduced_and_follow_the_patient(n, seed):
    d = indefinite(n, seed)
    fitted = ClassicalScaling().fit(d)
    found = fitted.transform(d)
    if len(fitted.eigenvalues):
        np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-7)
        np.testing.assert_allclose((found**2).sum(axis=0), fitted.eigenvalues, rtol=1e-6)
    order = RNG(seed).permutation(n)
    moved = ClassicalScaling().fit(d[np.ix_(order, order)]).transform(d[np.ix_(order, order)])
    np.testing.assert_allclose(squared(moved), squared(found[order]), atol=1e-6)
    np.testing.assert_array_equal(found[:1], fitted.transform(d[:1]))


def test_negative_eigenvalues_are_dropped_and_counted():
    d = indefinite(10)
    fitted = ClassicalScaling().fit(d)
    j = np.eye(10) - 0.1
    values = np.linalg.eigvalsh(-0.5 * j @ d @ j)
    assert fitted.n_negative == (values < -1e-9).sum() > 0
    assert fitted.negative_share == pytest.approx(-values[values < 0].sum() / np.abs(values).sum())
    assert fitted.n_small == ((values > 1e-9) & (values <= -values.min())).sum() > 0
    assert fitted.facts == {
        "n_components": 9 - fitted.n_negative - fitted.n_small, "n_negative": fitted.n_negative,
        "negative_share": fitted.negative_share, "n_small": fitted.n_small,
    }  # fmt: skip


def test_the_cap_keeps_the_largest():
    x = RNG(0).normal(size=(8, 5)) * [9, 5, 3, 2, 1]
    every, two = (ClassicalScaling(k).fit(squared(x)) for k in (None, 2))
    np.testing.assert_allclose(two.transform(squared(x)), every.transform(squared(x))[:, :2], atol=1e-12)
    assert list(every.eigenvalues) == sorted(every.eigenvalues, reverse=True)


@pytest.mark.parametrize("d", [np.zeros((3, 3)), np.ones((4, 4)) * 0.0, np.eye(2)[::-1] * -1.0])
def test_no_component_gives_one_column_of_zeros(d):
    fitted = ClassicalScaling().fit(d)
    np.testing.assert_array_equal(fitted.transform(d), np.zeros((len(d), 1)))
    np.testing.assert_array_equal(fitted.transform(d[:1] + 5.0), np.zeros((1, 1)))


def test_inputs_are_left_alone():
    d = indefinite(6)
    d.setflags(write=False)
    np.testing.assert_array_equal(ClassicalScaling().fit(d).transform(d), ClassicalScaling().fit(d).transform(d))


@pytest.mark.parametrize(
    ("d", "pieces"),
    [
        (np.zeros((2, 3)), ["shape (2, 3)", "give (n, n)"]),
        (np.zeros((1, 1)), ["1 training patient;", "at least 2"]),
        (np.array([[0, np.nan], [np.nan, 0]]), ["NaN or infinite"]),
        (np.array([[0, 1.0], [2.0, 0]]), ["not symmetric"]),
        (np.ones((2, 2)), ["zeros on the diagonal"]),
    ],
)
def test_what_is_refused(refused, d, pieces):
    with refused("classical scaling", *pieces):
        ClassicalScaling().fit(d)


def test_what_is_refused_beyond_fitting(refused):
    with refused("n_components is 0"):
        ClassicalScaling(0)
    with refused("not fitted"):
        ClassicalScaling().transform(np.zeros((1, 2)))
    with refused("a column for each of 3 training patients"):
        ClassicalScaling().fit(np.zeros((3, 3))).transform(np.zeros((1, 2)))
