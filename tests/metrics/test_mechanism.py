import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmcell.metrics.mechanism as module
from mmcell.metrics.mechanism import known_relationship_recall

SEEDS = st.integers(0, 10_000)


def every_pair(n):
    return np.stack(np.triu_indices(n, 1), axis=1)


def slow(x, pairs, tail):
    """Every place of a tied block is as likely as any other; a place counts by its mid-rank percentile."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.array([unit[i] @ unit[j] for i, j in every_pair(len(x))])
    shares = []
    for i, j in pairs:
        own = unit[i] @ unit[j]
        block = [r for r, v in enumerate(sorted(values)) if abs(v - own) < 1e-9]
        percentile = [(r + 0.5) / len(values) for r in block]
        shares.append(np.mean([p <= tail + 1e-12 or p >= 1 - tail - 1e-12 for p in percentile]))
    return np.mean(shares)


def grid(seed, n=10):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (n, 2)).astype(float)
    x[~x.any(axis=1)] = 1.0
    pairs = every_pair(n)
    return x, rng.permuted(pairs[rng.choice(len(pairs), 8, replace=False)], axis=1)


@given(SEEDS, st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_it_equals_the_slow_count(seed, tail):
    x, pairs = grid(seed)
    assert known_relationship_recall(x, pairs, tail) == pytest.approx(slow(x, pairs, tail))


@given(SEEDS)
def test_without_ties_too(seed):
    x = np.random.default_rng(seed).normal(size=(12, 4))
    pairs = every_pair(12)[::3]
    assert known_relationship_recall(x, pairs, 0.1) == pytest.approx(slow(x, pairs, 0.1))


@given(SEEDS, st.integers(1, 50))
def test_the_block_size_changes_nothing(seed, block):
    x, pairs = grid(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert known_relationship_recall(x, pairs, 0.1) == pytest.approx(slow(x, pairs, 0.1))


@given(SEEDS, st.sampled_from([1e-8, 0.3, 1e8]))
def test_scale_rotation_and_length_do_not_matter(seed, factor):
    rng = np.random.default_rng(seed)
    x, pairs = rng.normal(size=(15, 4)), every_pair(15)[::4]
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    expected = known_relationship_recall(x, pairs, 0.1)
    lengths = rng.uniform(0.5, 2.0, (15, 1))
    assert known_relationship_recall(factor * lengths * x @ turn, pairs, 0.1) == pytest.approx(expected)


@given(SEEDS)
def test_all_pairs_together_are_at_chance(seed):
    x = np.random.default_rng(seed).integers(-1, 2, (41, 3)).astype(float) + np.array([0.1, 0.2, 0.3])
    assert known_relationship_recall(x, every_pair(41)) == pytest.approx(0.10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.0])
def test_a_collapsed_map_is_at_chance_and_not_perfect(value):
    pairs = every_pair(60)[::7]
    assert known_relationship_recall(np.full((60, 5), value), pairs) == pytest.approx(0.10, abs=0.001)


def test_related_rows_are_found_in_both_directions():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20))
    pairs = np.arange(200).reshape(100, 2)
    assert known_relationship_recall(x, pairs) == pytest.approx(0.10, abs=0.08)
    x[1::2] = x[::2] + 0.3 * rng.normal(size=(100, 20))
    assert known_relationship_recall(x, pairs) == 1.0
    x[1::2] *= -1
    assert known_relationship_recall(x, pairs) == 1.0


def test_a_row_without_direction_counts_as_chance():
    x = np.random.default_rng(0).normal(size=(30, 4))
    x[1] = x[0]
    assert known_relationship_recall(x, np.array([[0, 1]])) == 1.0
    x[2] = 0.0
    assert known_relationship_recall(x, np.array([[0, 1], [0, 2]])) == pytest.approx(0.55)


def test_without_pairs_it_is_undefined():
    assert np.isnan(known_relationship_recall(np.ones((3, 2)), np.zeros((0, 2), dtype=int)))


@pytest.mark.parametrize(
    ("pairs", "piece"),
    [([[0, 3]], "outside"), ([[-1, 2]], "outside"), ([[1, 1]], "twice"), ([[0, 1], [1, 0]], "turned round")],
)
def test_pairs_that_are_none_are_refused(refused, pairs, piece):
    with refused(piece):
        known_relationship_recall(np.eye(3), np.array(pairs))


@pytest.mark.parametrize("tail", [0.0, -0.1, 0.6])
def test_a_tail_that_is_none_is_refused(refused, tail):
    with refused("tail"):
        known_relationship_recall(np.eye(3), np.array([[0, 1]]), tail)
