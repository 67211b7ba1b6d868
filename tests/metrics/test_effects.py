"""Means over the perturbations that have a value, and what is tried first, against loops over their copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import get_metric


def copies(items, weights):
    """Return the rows of the items as often as their unit was drawn."""
    return items.frame.iloc[np.repeat(np.arange(len(items.frame)), weights[items.codes])]


def draws(items, seed):
    weights = np.random.default_rng(seed).integers(0, 3, (8, len(items.units)))
    weights[0] = 0
    return weights


def slow_enrichment(size, strong):
    """The mean, over the first tenth of the places, of the share of strong ones among those that tie there."""
    if not strong.sum():
        return np.nan
    places, found = len(size) / 10, 0.0
    for place, own in enumerate(sorted(size, reverse=True)):
        found += min(max(places - place, 0.0), 1.0) * strong[size == own].mean()
    return found / places / strong.mean()


@pytest.mark.parametrize("n_units", [9, 40])
@given(seed=st.integers(0, 999))
def test_the_first_tenth_is_that_of_a_loop_over_places(random_items, n_units, seed):
    metric, items = get_metric("strong_enrichment"), random_items("effects", seed, n_units=n_units, n_repeats=1)
    weights, expected = draws(items, seed), []
    for row in weights:
        drawn = copies(items, row)
        expected.append(slow_enrichment(*(drawn[c].to_numpy() for c in ("effect_size", "strong"))))
    np.testing.assert_allclose(metric.draws(items, weights), expected)


@given(seed=st.integers(0, 999))
def test_a_mean_is_of_those_that_have_a_value(random_items, seed):
    metric, items = get_metric("pearson_delta"), random_items("effects", seed)
    weights = draws(items, seed)
    expected = [copies(items, row)["pearson_delta"].mean() for row in weights]
    np.testing.assert_allclose(metric.draws(items, weights), expected)


@given(seed=st.integers(0, 999))
def test_chance_of_a_rank_is_its_mean_over_all_places(random_items, seed):
    items = random_items("effects", seed)
    n = np.random.default_rng(seed).integers(2, 9, len(items.frame))
    items = items.having({"n_gallery": np.where(np.arange(len(n)) == 0, np.nan, n)})
    # Of n places a random one beats all behind it and half of itself.
    expected = np.mean([np.mean([place / k for place in range(1, k + 1)]) for k in n[1:]])
    assert get_metric("discrimination_cosine").chance_of(items) == pytest.approx(expected)
