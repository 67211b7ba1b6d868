from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.classification import auroc
from mmcell.stats import p_value, permutation_null, permuted_within


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.lists(st.sampled_from(["x", "y", "z"]), max_size=30), st.integers(0, 99))
def test_everything_stays_in_its_group(groups, seed):
    groups = np.array(groups, dtype=object)
    order = permuted_within(groups, rng(seed))
    assert sorted(order) == list(range(len(groups)))
    assert (groups[order] == groups).all()


def test_every_order_of_a_group_is_as_likely():
    draws = rng()
    found = [tuple(permuted_within(np.array([0, 0, 1, 0]), draws)) for _ in range(6000)]
    counts = {order: found.count(order) for order in set(found)}
    assert set(counts) == {(a, b, 2, c) for a, b, c in permutations([0, 1, 3])}
    assert all(abs(n - 1000) < 150 for n in counts.values())


def test_the_observed_value_is_counted_in():
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert p_value(null, 0.5) == 1 / 5
    assert p_value(null, 0.3) == 3 / 5
    assert p_value(null, 0.0) == 1.0
    assert p_value(null, 0.1, higher_is_better=False) == 2 / 5


def test_rounding_does_not_decide_what_is_as_extreme():
    assert p_value(np.array([0.1 + 0.2]), 0.3) == p_value(np.array([0.3]), 0.1 + 0.2) == 1.0


def test_the_undefined_counts_for_nothing():
    assert p_value(np.array([0.1, np.nan, 0.9]), 0.5) == 2 / 3
    assert np.isnan(p_value(np.array([0.1]), np.nan))
    assert np.isnan(p_value(np.array([np.nan]), 0.5))
    assert np.isnan(p_value(np.array([]), 0.5))


def test_labels_move_between_units():
    y, score = np.arange(40) % 2, rng(1).normal(np.arange(40) % 2, 1.0)
    found = permutation_null(lambda order: auroc(y[order], score), 40, n=199, rng=rng())
    assert found.observed == auroc(y, score)
    assert found.p == p_value(found.values, found.observed) < 0.05
    assert found.values.mean() == pytest.approx(0.5, abs=0.03)
    assert (len(found.values), found.n_undefined) == (199, 0)


def test_a_stratum_explains_what_it_explains():
    # The score knows the batch only, and the batch goes with the label.
    batch = np.repeat([0, 1], 30)
    y = np.where(rng(2).random(60) < 0.85, batch, 1 - batch)
    score = batch + rng(3).normal(size=60) * 0.3
    free, held = (
        permutation_null(lambda order: auroc(y[order], score), 60, n=199, rng=rng(), within=within)
        for within in (None, batch)
    )
    assert free.p == 1 / 200
    assert held.p > 0.05
    assert held.values.mean() > 0.7


def test_a_leak_is_better_low():
    y, score = np.arange(40) % 2, rng(1).normal(np.arange(40) % 2, 1.0)
    high, low = (
        permutation_null(lambda order: auroc(y[order], score), 40, n=99, rng=rng(), higher_is_better=up)
        for up in (True, False)
    )
    np.testing.assert_array_equal(high.values, low.values)
    assert low.p > 0.9


def test_undefined_permutations_are_counted():
    found = permutation_null(lambda order: 1.0 if order[0] == 0 else np.nan, 4, n=200, rng=rng())
    assert found.n_undefined == np.isnan(found.values).sum()
    assert 120 < found.n_undefined < 180
    assert found.p == 1.0


@pytest.mark.parametrize(
    ("options", "pieces"),
    [({"n": 0}, ["n is 0", "at least one"]), ({"within": np.zeros(3)}, ["within has 3 strata for 4 units"])],
)
def test_what_is_no_null_is_refused(refused, options, pieces):
    with refused(*pieces):
        permutation_null(lambda order: 0.0, 4, rng=rng(), **options)
