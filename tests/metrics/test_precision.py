from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.precision import chance_precision, normalised
from mmcell.metrics.ranks import _tied_precision
from mmcell.metrics.retrieval import average_precision, ranks

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
