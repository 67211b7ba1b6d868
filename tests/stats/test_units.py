import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mmcell.stats.units import bootstrap_weights, jackknife_weights

UNITS = pd.Index([f"u{i}" for i in range(7)])


@given(n=st.integers(1, 30), n_boot=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_draw_takes_as_many_units_as_there_are(n, n_boot, seed):
    weights = bootstrap_weights(pd.Index(range(n)), n_boot, seed)
    assert weights.shape == (n_boot, n)
    assert weights.min() >= 0
    assert (weights.sum(axis=1) == n).all()


def test_units_are_drawn_equally_often():
    weights = bootstrap_weights(UNITS, 20000, 0)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.05)


def test_draws_follow_the_seed_and_the_units():
    first = bootstrap_weights(UNITS, 50, 1)
    np.testing.assert_array_equal(first, bootstrap_weights(UNITS.copy(), 50, 1))
    assert not np.array_equal(first, bootstrap_weights(UNITS, 50, 2))
    assert not np.array_equal(first, bootstrap_weights(UNITS + "x", 50, 1))


@given(st.integers(1, 1300))
def test_the_jackknife_leaves_each_unit_out_once(n):
    rows = jackknife_weights(n)
    assert len(rows) == min(n, 500)
    assert set(np.unique(rows)) <= {0, 1}
    assert ((rows == 0).sum(axis=0) == 1).all()
    assert np.ptp((rows == 0).sum(axis=1)) <= 1
