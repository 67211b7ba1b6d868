import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from mmcell.probes.scale import Scale, settled

X = np.random.default_rng(0).normal(3.0, [1.0, 10.0, 0.1], (20, 3))


def test_training_rows_become_standard():
    z = Scale.fit(X).transform(X)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0, ddof=1), 1)


def test_other_rows_use_the_training_moments():
    new = X[:5] * 2
    expected = StandardScaler().fit(X).transform(new) * np.sqrt(19 / 20)
    np.testing.assert_allclose(Scale.fit(X).transform(new), expected)


@given(st.floats(-1e6, 1e6), st.integers(1, 50))
def test_a_constant_column_is_left_out(value, n):
    x = np.column_stack([np.full(n, value), np.arange(n)])
    assert list(Scale.fit(x).keep) == [False, n > 1]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_noise_is_not_scaled_up(kind):
    x = (1.0 + np.random.default_rng(1).normal(size=(50, 1)) * np.finfo(kind).eps).astype(kind)
    assert np.ptp(x) > 0
    assert Scale.fit(x).transform(x).shape == (50, 0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rows_that_differ_by_rounding_alone_are_equal(kind):
    noise = np.random.default_rng(1).normal(size=(50, 3)) * np.finfo(kind).eps
    found = settled((2.0 + noise).astype(kind))
    assert (found == 0).all()
    assert found.dtype == kind
    # One column that varies is something to be read, and all stay as they are.
    some = np.column_stack([2.0 + noise, np.arange(50.0)])
    assert settled(some) is some


def test_small_units_are_kept():
    assert settled(X * 1e-9).any()
    assert Scale.fit(X * 1e-9).keep.all()


def test_inputs_are_not_changed():
    before = X.copy()
    Scale.fit(X).transform(X)
    np.testing.assert_array_equal(X, before)
