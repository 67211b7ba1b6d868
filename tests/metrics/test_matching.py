import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmcell.metrics.matching as module
from mmcell.metrics.matching import foscttm

SEEDS = st.integers(0, 10_000)


def slow(x, y):
    shares = []
    for a, b in ((x, y), (y, x)):
        for i in range(len(a)):
            own = np.linalg.norm(a[i] - b[i])
            for j in set(range(len(a))) - {i}:
                gap = np.linalg.norm(a[i] - b[j]) - own
                shares.append(0.5 if abs(gap) < 1e-9 else float(gap < 0))
    return np.mean(shares)


def grid(seed, n=9):
    """Points on a small grid: many duplicates and many equal distances."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (n, 2)).astype(float), rng.integers(-1, 2, (n, 2)).astype(float)


@given(SEEDS)
def test_it_equals_the_slow_count(seed):
    x, y = grid(seed)
    assert foscttm(x, y) == pytest.approx(slow(x, y), abs=1e-12)


@given(SEEDS)
def test_it_equals_the_slow_count_of_float32(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 12, 3)).astype(np.float32)
    assert foscttm(x, y) == pytest.approx(slow(x.astype(float), y.astype(float)), abs=1e-12)


@given(SEEDS, st.integers(1, 40))
def test_the_block_size_changes_nothing(seed, block):
    x, y = grid(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        assert foscttm(x, y) == pytest.approx(slow(x, y), abs=1e-12)


@given(SEEDS, st.sampled_from([1e-6, 0.1, 7.0, 1e6]))
def test_scale_rotation_shift_and_direction_do_not_matter(seed, factor):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 15, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    shift = factor * rng.normal(size=4)
    expected = foscttm(x, y)
    assert foscttm(factor * x @ turn + shift, factor * y @ turn + shift) == pytest.approx(expected, abs=1e-12)
    assert foscttm(y, x) == pytest.approx(expected, abs=1e-12)


def test_one_far_sample_makes_no_ties_of_the_rest():
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[0] = 1e7
    assert foscttm(x, x) == 0.0


@pytest.mark.parametrize("where", [0.0, 1.0, 0.1, 1e5])
def test_a_collapsed_embedding_is_at_chance(where):
    rng = np.random.default_rng(0)
    same = np.full((50, 7), where)
    assert foscttm(same, same) == 0.5
    assert foscttm(same, same + 0.3) == 0.5
    assert foscttm(same, rng.normal(size=(50, 7))) == pytest.approx(0.5)


def test_perfect_random_and_reversed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 300, 5))
    assert foscttm(x, x) == 0.0
    assert foscttm(x, y) == pytest.approx(0.5, abs=0.03)
    line = np.linspace(-1, 1, 51)[:, None]
    assert foscttm(line, -line) > 0.6


def test_inputs_stay_as_they_are():
    x, y = grid(0)
    before = x.copy(), y.copy()
    foscttm(x, y)
    np.testing.assert_array_equal(np.stack(before), np.stack((x, y)))


def test_what_has_no_value(refused):
    assert np.isnan(foscttm(np.ones((1, 2)), np.ones((1, 2))))
    with refused("foscttm", "(3, 2)", "(4, 2)"):
        foscttm(np.ones((3, 2)), np.ones((4, 2)))
