from itertools import combinations, pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.precision import chance_precision, normalised, precision_p
from mmcell.metrics.ranks import _tied_precision
from mmcell.metrics.retrieval import average_precision, ranks, ranks_within

SEEDS = st.integers(0, 10_000)


def of_list(right):
    """Return the average precision of one order: a list of whether each item is correct."""
    hits = np.flatnonzero(right)
    return np.mean([(i + 1) / (place + 1) for i, place in enumerate(hits)])


def slow(scores, correct):
    """Return the mean over every order of what ties."""
    wrong = [j for j in range(len(scores)) if j not in set(correct)]
    found = []
    for order in permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in pairwise(order)):
            found.append(of_list([j not in wrong for j in order]))
    return np.mean(found)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=6), st.data())
def test_ties_count_in_expectation_over_their_orders(levels, data):
    correct = data.draw(st.lists(st.integers(0, len(levels) - 1), min_size=1, max_size=len(levels), unique=True))
    angle = np.array(levels) * 0.5
    gallery = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # the cosine with (1, 0) grows with the level
    found = average_precision(np.array([[1.0, 0.0]]), gallery, [np.array(correct)])
    np.testing.assert_allclose(found, slow(levels, correct))


@given(st.integers(1, 5), st.integers(0, 3))
def test_the_chance_is_the_mean_over_all_orders(n_correct, n_wrong):
    m = n_correct + n_wrong
    orders = [of_list([i < n_correct for i in order]) for order in permutations(range(m))] if m <= 6 else None
    harmonic = np.sum(1 / np.arange(1, m + 1))
    closed = (harmonic + ((n_correct - 1) * (m - harmonic) / (m - 1) if m > 1 else 0)) / m
    found = chance_precision(np.array([n_correct]), np.array([m]))
    np.testing.assert_allclose(found, closed)
    if orders:
        np.testing.assert_allclose(found, np.mean(orders))


@given(SEEDS)
def test_one_correct_item_leaves_the_reciprocal_rank(seed):
    rng = np.random.default_rng(seed)
    query, gallery = np.round(rng.normal(size=(2, 9, 2)), 0)
    found = ranks(query, gallery, np.arange(9))
    np.testing.assert_allclose(found.precision.mean(), found.mrr)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_collapsed_embedding_is_exactly_at_chance(value):
    flat = np.full((10, 3), value, dtype=np.float32)
    found = ranks(flat, flat, [[0], [1, 2], [3, 4, 5], *([i] for i in range(3, 10))])
    np.testing.assert_allclose(normalised(found.precision, found.n_correct, found.n_gallery), 0, atol=1e-12)


def test_a_correct_set_in_front_is_perfect_and_one_at_the_end_below_chance():
    gallery = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.2]])
    found = ranks(np.array([[1.0, 0.0], [-1.0, 0.0]]), gallery, [[0, 1], [0, 1]])
    values = normalised(found.precision, found.n_correct, found.n_gallery)
    assert values[0] == pytest.approx(1.0)
    assert values[1] < 0


def test_rows_without_direction_tie_with_everything():
    ahead = np.array([[1.0, 0.0]])
    wrong = np.array([[-1.0, 0.1 * i] for i in range(4)])
    void = np.zeros((2, 2))
    chance = chance_precision(np.array([2]), np.array([6]))
    np.testing.assert_allclose(average_precision(ahead, np.concatenate([void, wrong]), [[0, 1]]), chance)
    np.testing.assert_allclose(average_precision(np.zeros((1, 2)), np.concatenate([void, wrong]), [[0, 1]]), chance)
    right = np.array([[1.0, 0.1], [1.0, 0.2]])
    nothing = np.concatenate([right, np.zeros((6, 2))])
    one = average_precision(ahead, np.concatenate([right[:1], np.zeros((6, 2))]), [[0]])
    np.testing.assert_allclose(one, chance_precision(np.array([1]), np.array([7])))
    both = average_precision(ahead, nothing, [[0, 1]])
    np.testing.assert_allclose(both, chance_precision(np.array([2]), np.array([8])), atol=0.02)


def test_random_lists_average_to_zero():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(2000, 5)), rng.normal(size=(30, 5))
    correct = [rng.choice(30, 4, replace=False) for _ in range(2000)]
    found = ranks(query, gallery, correct)
    assert abs(normalised(found.precision, found.n_correct, found.n_gallery).mean()) < 0.02


def test_a_gallery_without_a_correct_item_has_no_chance(refused):
    with refused("needs at least one correct item"):
        chance_precision(np.array([0]), np.array([4]))


def test_a_block_of_one_is_its_place():
    assert _tied_precision(3, 1, 1, 0) == pytest.approx(2 / 5)


def test_the_metric_is_left_out_of_items_that_lack_the_precision():
    frame = pd.DataFrame(
        {"item": ["a"], "unit": ["u"], "above": 0, "tied": 0, "tied_correct": 1, "n_correct": 1, "n_gallery": 3}
    )
    metric = get_metric("normalised_ap")
    assert not metric.reads("retrieval", "pairs", frame.assign(percentile=1.0))
    items = Items(frame.assign(percentile=1.0, precision=1.0), "retrieval")
    assert metric.reads("retrieval", "pairs", items.frame)
    assert metric.fn(items) == 1.0


@pytest.mark.parametrize(("p", "m"), [(1, 12), (2, 9), (3, 8)])
def test_p_is_the_share_of_all_lists_that_are_as_good(p, m):
    every = [of_list(np.isin(np.arange(m), places)) for places in combinations(range(m), p)]
    values = np.unique(np.round(every, 12))
    found = precision_p(values, np.full(len(values), p), np.full(len(values), m), np.arange(len(values)))["p"]
    exact = np.array([np.mean(np.array(every) >= v - 1e-9) for v in values])
    np.testing.assert_allclose(found, exact, atol=0.02)
    assert (np.diff(found) < 0).all()


def test_the_observed_list_is_one_of_the_random_ones():
    # First of 10⁹, as good as none of 10,000 random lists; last of them, as good as all.
    m = 10**9
    found = precision_p(np.array([1.0, 1 / m]), np.ones(2), np.full(2, m), np.arange(2))["p"]
    assert found.tolist() == [1 / 10_001, 1.0]


def test_lists_of_a_group_are_good_together():
    one = precision_p(np.ones(1), np.ones(1), np.full(1, 40), np.zeros(1)).loc[0]
    both = precision_p(np.ones(2), np.ones(2), np.full(2, 40), np.zeros(2)).loc[0]
    assert both["n_queries"] == 2
    assert both["p"] == one["p"] == pytest.approx(1 / 40, abs=0.005)
    # Where the lists differ in size, the best of one stand beside the best of the other.
    mixed = precision_p(np.ones(2), np.ones(2), np.array([20, 40]), np.zeros(2)).loc[0]
    assert both["p"] <= mixed["p"] < 1 / 15


@pytest.mark.parametrize(("per_group", "n_groups"), [(2, 40), (4, 20)])
def test_of_noise_no_more_p_are_small_than_should_be(per_group, n_groups):
    rng, found = np.random.default_rng(0), []
    group = np.repeat(np.arange(n_groups), per_group)
    for _ in range(25):
        x = rng.normal(size=(len(group), 5))
        others = [np.flatnonzero((group == g) & (np.arange(len(group)) != i)) for i, g in enumerate(group)]
        own = np.arange(len(group))
        everything = [(np.zeros(len(group)), np.zeros(len(group)))]
        (r,) = ranks_within(x, x, others, everything, apart=(own, own))
        found.append(precision_p(r.precision, r.n_correct, r.n_gallery, group)["p"])
    p = np.concatenate(found)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() < level + 3 * np.sqrt(level / len(p))
    # Independent lists would call a pair that finds each other one in 79², and there is one in about 100.
    assert (p <= 0.05).mean() > 0.01


def test_the_share_counts_groups_and_not_their_queries():
    frame = pd.DataFrame(
        {"item": [*"abcde"], "unit": [*"uuuvw"], "above": 0, "tied": 0, "tied_correct": 1, "n_correct": 1}
    ).assign(n_gallery=3, percentile=1.0, precision=1.0, n_queries=[3, 3, 3, 1, 1], q=[0.01, 0.01, 0.01, 0.2, 0.9])
    assert get_metric("retrieved_share").fn(Items(frame, "retrieval")) == pytest.approx(1 / 3)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(5))
def test_equals_copairs(seed):
    compute = pytest.importorskip("copairs.compute")
    normalize_ap = pytest.importorskip("copairs.map.normalization").normalize_ap
    rng = np.random.default_rng(seed)
    query, gallery = rng.normal(size=(20, 4)), rng.normal(size=(30, 4))
    correct = [np.sort(rng.choice(30, 5, replace=False)) for _ in range(20)]
    found = ranks(query, gallery, correct)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query, gallery)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    places = np.array([np.flatnonzero(np.isin(row, c)) for row, c in zip(order, correct, strict=True)])
    theirs = compute.average_precision(places)
    np.testing.assert_allclose(found.precision, theirs, atol=1e-6)
    ours = normalised(found.precision, found.n_correct, found.n_gallery)
    np.testing.assert_allclose(ours, normalize_ap(theirs, np.full(20, 5), np.full(20, 25)), atol=1e-5)
