import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mmcell import Items, get_metric
from mmcell.metrics.regression import SPEARMAN, spearman, spearman_resampled

PAIRS = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=20).map(
    lambda rows: tuple(np.array(rows).T)
)


def slow(x, y, weights):
    rows = np.repeat(np.arange(len(x)), weights)
    if len(rows) < 3 or np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0:
        return np.nan
    return spearmanr(x[rows], y[rows]).statistic


@given(PAIRS)
def test_spearman_equals_scipy(data):
    np.testing.assert_allclose(spearman(*data), slow(*data, np.ones(len(data[0]), int)), atol=1e-12)


@given(PAIRS, st.integers(0, 99))
def test_weighted_spearman_is_that_of_the_repeated_rows(data, seed):
    weights = np.random.default_rng(seed).integers(0, 4, (40, len(data[0])))
    expected = [slow(*data, row) for row in weights]
    np.testing.assert_allclose(spearman_resampled(*data, weights), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [0, 0, 0])]
)  # fmt: skip
def test_spearman_without_spread_is_undefined(x, y):
    assert np.isnan(spearman(np.array(x), np.array(y)))


def test_a_monotone_relation_is_perfect():
    x = np.arange(50.0)
    assert spearman(x, np.exp(x)) == 1.0
    assert spearman(x, -(x**3)) == -1.0


def test_large_samples_are_exact():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20_000))
    np.testing.assert_allclose(spearman(x, x + y), spearmanr(x, x + y).statistic, rtol=1e-12)


def test_spearman_is_within_folds_weighted_by_their_pairs(random_items):
    items = random_items("regression", n_units=12, n_folds=2)
    values = []
    for _, repeat in items.frame.groupby("repeat"):
        rho = [(len(f) ** 2, spearmanr(f["y_true"], f["y_pred"]).statistic) for _, f in repeat.groupby("fold")]
        values.append(sum(n * r for n, r in rho) / sum(n for n, _ in rho))
    np.testing.assert_allclose(get_metric("spearman").fn(items), np.mean(values))


@pytest.mark.parametrize("sign", [-1, 1])
def test_spearman_attains_its_bounds(random_items, sign):
    items = random_items("regression")
    items = items.having({"y_pred": sign * items.column("y_true")})
    assert SPEARMAN.fn(items) == pytest.approx(SPEARMAN.bounds[(sign + 1) // 2])


def test_spearman_of_a_constant_is_undefined(random_items):
    items = random_items("regression")
    flat = Items(items.frame.assign(y_pred=1.0), "regression")
    assert np.isnan(get_metric("spearman").fn(flat))


def test_a_fold_that_asks_nothing_has_no_weight_and_a_collapse_leaves_it_undefined():
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=20), rng.normal(size=20)
    rows = {"item": [f"i{k}" for k in range(26)], "unit": [f"u{k}" for k in range(26)]}
    # Two folds of ten; one of two items, and one whose four states are the same.
    fold = np.repeat([0, 1, 2, 3], [10, 10, 2, 4])
    truth = np.concatenate([y, [1.0, 2.0], np.ones(4)])
    frame = pd.DataFrame({**rows, "fold": fold, "y_true": truth, "y_pred": np.concatenate([x, rng.normal(size=6)])})
    whole = Items(frame, "regression")
    expected = np.mean([spearman(y[:10], x[:10]), spearman(y[10:], x[10:])])
    assert SPEARMAN.fn(whole) == pytest.approx(expected)
    assert np.isnan(SPEARMAN.fn(Items(frame.assign(y_pred=np.where(fold == 0, 0.0, frame["y_pred"])), "regression")))
    assert np.isnan(SPEARMAN.fn(Items(frame[frame["fold"] > 1], "regression")))
