import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from mmcell.sensitivity.ranks import kendall_tau, stability

SCORES = st.lists(st.integers(0, 4), min_size=2, max_size=9)


@given(SCORES, st.integers(0, 1000))
def test_tau_is_that_of_scipy_with_ties(a, seed):
    b = np.random.default_rng(seed).integers(0, 4, len(a))
    assert np.allclose(kendall_tau(a, b), kendalltau(a, b).statistic, equal_nan=True)


@given(SCORES, st.integers(0, 1000))
def test_tau_turns_with_one_order_and_sees_ranks_only(a, seed):
    a = np.array(a, dtype=float)
    b = np.random.default_rng(seed).normal(size=len(a))
    assert np.allclose(kendall_tau(a, -b), -kendall_tau(a, b), equal_nan=True)
    assert np.allclose(kendall_tau(np.exp(a), b), kendall_tau(a, b), equal_nan=True)


def test_many_orders_at_once_are_each_by_itself():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 5, 7, 6))
    one_by_one = [[kendalltau(x, y).statistic for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]
    assert np.allclose(kendall_tau(a, b), one_by_one, equal_nan=True)


def draws_of(values, spread, n=300, seed=0):
    return np.asarray(values)[:, None] + spread * np.random.default_rng(seed).normal(size=(len(values), n))


def test_identical_orders_have_tau_one():
    base = np.array([0.6, 0.7, 0.8, 0.9])
    draws = draws_of(base, 0.2)
    assert stability(base, base[None] * 2, draws, [draws + 1]) == (1.0, 1.0, 1.0, 4)


def test_the_interval_is_that_of_tau_over_the_draws():
    base, other = np.array([0.6, 0.7, 0.8]), np.array([[0.7, 0.6, 0.9], [0.5, 0.6, 0.7]])
    draws, moved = draws_of(base, 0.1), [draws_of(other[0], 0.1, seed=1), draws_of(other[1], 0.1, seed=2)]
    tau, low, high, n = stability(base, other, draws, moved)
    taus = [kendalltau(draws[:, k], m[:, k]).statistic for m in moved for k in range(300)]
    assert tau == pytest.approx((1 / 3 + 1) / 2)
    assert n == 3
    assert (low, high) == pytest.approx(tuple(np.quantile(taus, [0.025, 0.975])))


def test_an_encoder_without_a_value_is_left_out_and_one_alone_has_no_order():
    base, other = np.array([0.6, np.nan, 0.8, 0.9]), np.array([[0.7, 0.8, 0.6, 0.9]])
    draws = np.where(np.isnan(base)[:, None], np.nan, draws_of(np.nan_to_num(base), 0.1))
    tau, low, _, n = stability(base, other, draws, [draws])
    assert (tau, n) == (pytest.approx(1 / 3), 3)
    assert np.isfinite(low)
    alone = stability(base[:2], other[:, :2], draws[:2], [draws[:2]])
    assert np.isnan(alone[:3]).all()
    assert alone[3] == 1


def test_too_few_defined_draws_give_no_interval():
    base = np.array([0.6, 0.7])
    draws = draws_of(base, 0.1)
    holed = draws.copy()
    holed[0, :70] = np.nan
    assert np.isnan(stability(base, base[None], draws, [holed])[1])
    assert np.isnan(stability(base, base[None], draws[:, :90], [draws[:, :90]])[1])
    holed[0, 50:70] = 0.6
    assert np.isfinite(stability(base, base[None], draws, [holed])[1])


def test_shapes_that_do_not_fit_are_refused(refused):
    draws = draws_of([0.5, 0.6], 0.1)
    with refused("stability"):
        stability(np.array([0.5, 0.6]), np.array([[0.5, 0.6, 0.7]]), draws, [draws])
