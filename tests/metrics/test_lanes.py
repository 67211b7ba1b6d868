import numpy as np
import pytest

from mmcell.metrics.lanes import LANES, lanes


@pytest.mark.parametrize("n", [1, 6, 40])
@pytest.mark.parametrize("kind", [np.int64, np.float64, np.int32, bool])
def test_more_draws_than_lanes_are_carried_in_blocks(n, kind):
    rng = np.random.default_rng(0)
    weights, order = rng.integers(0, 5, (2 * LANES + 3, n)).astype(kind), rng.permutation(n)
    blocks = [(block, side_by_side.copy()) for block, side_by_side in lanes(weights, order)]
    assert [b.stop - b.start for b, _ in blocks] == [LANES, LANES, 3]
    np.testing.assert_array_equal(np.concatenate([w.T for _, w in blocks]), weights[:, order])


def test_weights_of_another_shape_are_refused(refused):
    with refused("weights have the shape (2, 5)", "(draws, 6)"):
        list(lanes(np.ones((2, 5)), np.arange(6)))


def test_turned_and_cut_weights_are_the_same():
    weights, order = np.random.default_rng(0).integers(0, 5, (9, 14)), np.random.default_rng(1).permutation(7)
    (_, found), *_ = lanes(weights[:, ::2], order)
    np.testing.assert_array_equal(found.T, weights[:, ::2][:, order])


def test_no_draws_yield_nothing():
    assert list(lanes(np.zeros((0, 3)), np.arange(3))) == []
