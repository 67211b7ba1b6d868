from itertools import permutations
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.ranks import EVERYBODY
from mmcell.metrics.retrieval import (
    chance_recall,
    enrichment_resampled,
    foscttm,
    median_rank_resampled,
    mrr_resampled,
    percentile_resampled,
    ranks,
    ranks_within,
    recall_at,
    recall_resampled,
    reciprocal_rank,
)
from mmcell.metrics.similarity import similarities

SEEDS = st.integers(0, 10_000)
BLOCKS = [(g, t, c) for g in range(4) for t in range(4) for c in range(1, 4)]


def small_vectors(seed, n=6, m=9):
    """Vectors with few directions, so that many similarities tie, some of length zero, and correct sets of 1 to 3."""
    rng = np.random.default_rng(seed)
    query, gallery = (rng.integers(-1, 2, (k, 2)).astype(float) for k in (n, m))
    correct = [rng.choice(m, rng.integers(1, 4), replace=False) for _ in range(n)]
    return query, gallery, correct


def cosine(a, b):
    """None where a vector has no direction: it ties with everything."""
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length else None


def tie(a, b):
    return a is None or b is None or abs(a - b) < 1e-9


def near(order):
    """How near two vectors are: the distance with its sign turned, rounded so that what is equal is equal."""
    return lambda a, b: -np.round(np.sum(np.abs(a - b) ** order), 9)


SIMILARITIES = {"cosine": cosine, "l2": near(2), "l1": near(1)}


def slow_ranks(query, gallery, correct, similarity="cosine"):
    rows = []
    for q, right in zip(query, correct, strict=True):
        scores = [SIMILARITIES[similarity](q, g) for g in gallery]
        wrong = [j for j in range(len(gallery)) if j not in set(right)]
        best = max((scores[c] for c in right if scores[c] is not None), default=None)
        above = sum(not tie(scores[j], best) and scores[j] > best for j in wrong)
        tied = sum(tie(scores[j], best) for j in wrong)
        tied_correct = sum(tie(scores[c], best) for c in right)
        order = [
            0.5 if tie(scores[c], scores[j]) else float(scores[c] > scores[j]) for c in right for j in wrong
        ]  # fmt: skip
        rows.append((above, tied, tied_correct, len(right), len(gallery), np.mean(order) if order else np.nan))
    return np.array(rows, dtype=float)


def table(found):
    return np.stack(
        [found.above, found.tied, found.tied_correct, found.n_correct, found.n_gallery, found.percentile], axis=1
    ).astype(float)


def first_places(above, tied, tied_correct):
    """Place (from 1) of the first correct item in every order of the tied block."""
    block = [True] * tied_correct + [False] * tied
    return [above + 1 + order.index(True) for order in permutations(block)]


# -- ranks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=SEEDS)
def test_ranks_equal_the_slow_count(seed, similarity, dtype):
    query, gallery, correct = small_vectors(seed)
    found = ranks(query.astype(dtype), gallery.astype(dtype), correct, similarity=similarity)
    np.testing.assert_allclose(table(found), slow_ranks(query, gallery, correct, similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(seed=SEEDS, block=st.integers(1, 7))
def test_the_block_size_changes_nothing(seed, block, similarity):
    data = small_vectors(seed)
    whole = table(ranks(*data, similarity=similarity))
    np.testing.assert_array_equal(table(ranks(*data, block=block, similarity=similarity)), whole)


@pytest.mark.parametrize("similarity", ["l2", "l1"])
@given(seed=SEEDS, scale=st.sampled_from([1e-8, 0.1, 3.0, 1e6]))
def test_the_unit_of_a_distance_does_not_matter(seed, scale, similarity):
    query, gallery, correct = small_vectors(seed)
    query, gallery = query + 0.1, gallery + 0.1
    scaled = ranks(scale * query, scale * gallery, correct, similarity=similarity)
    np.testing.assert_array_equal(table(scaled), table(ranks(query, gallery, correct, similarity=similarity)))


@pytest.mark.parametrize(("similarity", "longest"), [("l2", 5 + 10), ("l1", 7 + 14)])
def test_distances_tie_by_a_share_of_the_longest_rows(similarity, longest):
    query, gallery = np.array([[3.0, -4.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [-6.0, 8.0]])
    *_, tolerance, _ = similarities(query, gallery, similarity)
    assert tolerance == pytest.approx(1e-12 * longest)


@pytest.mark.parametrize("similarity", ["l2", "l1"])
def test_a_shift_of_both_spaces_leaves_distances_and_moves_cosines(similarity):
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(20, 4)), rng.normal(size=(30, 4))
    for other, same in ((similarity, True), ("cosine", False)):
        a, b = (ranks(query + s, gallery + s, np.arange(20), similarity=other) for s in (0.0, 3.0))
        assert np.array_equal(a.above, b.above) == same


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rounding_of_a_collapsed_float32_embedding_is_no_skill(similarity):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 8)).astype(np.float32)
    query = (np.full((40, 8), 2.7) + 1e-8 * rng.normal(size=(40, 8))).astype(np.float32)
    both = ranks(gallery, query, np.arange(40), similarity=similarity)
    np.testing.assert_array_equal(both.percentile, 0.5)


def test_a_mistyped_similarity_gets_a_hint(refused):
    with refused("unknown similarity 'cosin'", "did you mean cosine"):
        ranks(*small_vectors(0), similarity="cosin")


@given(SEEDS)
def test_without_ties_the_rank_is_that_of_a_sort(seed):
    rng = np.random.default_rng(seed)
    query, gallery = rng.normal(size=(5, 4)), rng.normal(size=(12, 4))
    correct = rng.integers(0, 12, 5)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query, gallery)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    place = np.array([list(row).index(c) for row, c in zip(order, correct, strict=True)])
    found = ranks(query, gallery, correct)
    np.testing.assert_array_equal(found.expected, place)
    np.testing.assert_allclose(found.percentile, 1 - place / 11)
    np.testing.assert_allclose(found.mrr, np.mean(1 / (place + 1)))
    np.testing.assert_allclose(found.recall(3), np.mean(place < 3))


@given(SEEDS)
def test_the_order_of_the_gallery_does_not_matter(seed):
    query, gallery, correct = small_vectors(seed)
    new = np.random.default_rng(seed).permutation(len(gallery))
    moved = np.empty_like(gallery)
    moved[new] = gallery
    np.testing.assert_allclose(
        table(ranks(query, moved, [new[c] for c in correct])), table(ranks(query, gallery, correct))
    )


@given(SEEDS, st.sampled_from([1e-200, 1e-3, 1e200]))
def test_the_length_of_the_vectors_does_not_matter(seed, scale):
    query, gallery, correct = small_vectors(seed)
    np.testing.assert_array_equal(table(ranks(query * scale, gallery, correct)), table(ranks(query, gallery, correct)))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_collapsed_embedding_is_exactly_at_chance(value, dtype):
    flat = np.full((10, 3), value, dtype=dtype)
    correct = [[0], [1, 2], [3, 4, 5]] + [[i] for i in range(3, 10)]
    found = ranks(flat, flat, correct)
    np.testing.assert_array_equal(found.percentile, 0.5)
    np.testing.assert_array_equal(found.above, 0)
    for k in (1, 3, 10):
        np.testing.assert_allclose(found.recall(k), chance_recall(k, found.n_correct, found.n_gallery).mean())


def test_a_query_without_direction_ties_with_everything():
    found = ranks(np.zeros((1, 2)), np.eye(2)[[0, 1, 0, 1]], [np.array([2, 3])])
    assert table(found).tolist() == [[0, 2, 2, 2, 4, 0.5]]


def test_a_gallery_row_without_direction_ties_with_the_best():
    found = ranks(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), [0])
    assert table(found).tolist() == [[0, 1, 1, 1, 3, 0.75]]


@pytest.mark.filterwarnings("error")
def test_a_gallery_of_correct_items_only_has_no_percentile():
    found = ranks(np.ones((1, 2)), np.ones((2, 2)), [[0, 1]])
    assert np.isnan(found.percentile[0])
    assert found.recall(1) == 1.0
    assert table(ranks(np.ones((1, 2)), np.ones((1, 2)), [0]))[0].tolist() == pytest.approx(
        [0, 0, 1, 1, 1, np.nan], nan_ok=True
    )


@pytest.mark.parametrize(("dtype", "tied"), [(np.float32, 1), (np.float64, 0)])
def test_the_tolerance_follows_the_precision(dtype, tied):
    query = np.array([[1.0, 0.0]], dtype=dtype)
    gallery = np.array([[1.0, 1.0], [1.0, 1.0 + 5e-7]], dtype=dtype)
    assert ranks(query, gallery, [0]).tied[0] == tied


def test_copies_of_the_correct_item_tie_in_float32():
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(40, 300)).astype(np.float32) for _ in range(2))
    found = ranks(query, np.concatenate([gallery, gallery]), np.arange(40))
    np.testing.assert_array_equal(found.tied, 1)
    np.testing.assert_array_equal(found.above, ranks(query, gallery, np.arange(40)).above * 2)


def test_float32_and_float64_agree():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(50, 20)), rng.normal(size=(80, 20))
    single = ranks(query.astype(np.float32), gallery.astype(np.float32), np.arange(50))
    np.testing.assert_allclose(single.percentile, ranks(query, gallery, np.arange(50)).percentile, atol=0.02)


def test_inputs_are_not_mutated():
    query, gallery, correct = small_vectors(0)
    before = query.copy(), gallery.copy()
    ranks(query, gallery, correct)
    np.testing.assert_array_equal(query, before[0])
    np.testing.assert_array_equal(gallery, before[1])


@pytest.mark.parametrize(
    ("correct", "pieces"),
    [
        ([[0], []], ["every query needs at least one correct item", "leave out queries"]),
        ([[0]], ["every query needs at least one correct item"]),
        ([0, 3], ["outside the gallery of 3 rows"]),
        ([-1, 0], ["outside the gallery of 3 rows"]),
        ([[0, 0], [1]], ["lists one correct index twice", "once"]),
    ],
)
def test_correct_items_that_make_no_sense(refused, correct, pieces):
    with refused("ranks: ", *pieces):
        ranks(np.ones((2, 2)), np.ones((3, 2)), correct)


# -- what follows from ranks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("above", "tied", "tied_correct"), BLOCKS)
def test_recall_and_mrr_are_means_over_every_order_of_the_tied_block(above, tied, tied_correct):
    places = np.array(first_places(above, tied, tied_correct))
    for k in range(9):
        np.testing.assert_allclose(recall_at(k, [above], [tied], [tied_correct]), np.mean(places <= k), atol=1e-12)
    found = reciprocal_rank([above], [tied], [tied_correct])
    np.testing.assert_allclose(found, np.mean(1 / places))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 15))
def test_chance_recall_counts_the_draws_without_a_correct_item(n_correct, n_wrong, k):
    m = n_correct + n_wrong
    expected = 1 - comb(n_wrong, min(k, m)) / comb(m, min(k, m))
    np.testing.assert_allclose(chance_recall(k, np.array([n_correct]), np.array([m])), expected, atol=1e-12)


@pytest.mark.parametrize("n_correct", [1, 3, 40])
def test_chance_recall_of_a_huge_gallery_is_exact(n_correct):
    m = 1_000_000
    expected = float((comb(m, 10) - comb(m - n_correct, 10)) / comb(m, 10))
    np.testing.assert_allclose(chance_recall(10, np.array([n_correct]), np.array([m])), expected, rtol=1e-12)


def retrieval_items(seed):
    found = ranks(*small_vectors(seed, n=12))
    names = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile")

    facts = {"item": [f"q{i}" for i in range(12)], "unit": [f"u{i % 4}" for i in range(12)]}
    return Items(pd.DataFrame(facts | dict(zip(names, table(found).T, strict=True))), "retrieval"), found


@given(SEEDS)
def test_metrics_of_items_are_those_of_the_ranks(seed):
    items, found = retrieval_items(seed)
    for k in (1, 5, 10):
        np.testing.assert_allclose(get_metric(f"recall@{k}").fn(items), found.recall(k))
        chance = chance_recall(k, found.n_correct, found.n_gallery).mean()
        np.testing.assert_allclose(get_metric(f"enrichment@{k}").fn(items), found.recall(k) / chance)
    np.testing.assert_allclose(get_metric("mrr").fn(items), found.mrr)
    np.testing.assert_allclose(get_metric("percentile").fn(items), found.percentile.mean())


@given(SEEDS)
def test_draws_of_the_ranks_are_those_of_repeated_queries(seed):
    query, gallery, correct = small_vectors(seed)
    found = ranks(query, gallery, correct)
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(query)))
    weights[0] = 0
    again = [[i for i, w in enumerate(row) for _ in range(w)] for row in weights]
    repeated = [ranks(query[rows], gallery, [correct[i] for i in rows]) if rows else None for rows in again]
    counts = found.above, found.tied, found.tied_correct
    for fast, value in (
        (recall_resampled(2, *counts, weights), lambda r: r.recall(2)),
        (mrr_resampled(*counts, weights), lambda r: r.mrr),
        (percentile_resampled(found.percentile, weights), lambda r: r.percentile.mean()),
        (median_rank_resampled(found.percentile, weights), lambda r: np.median(1 - r.percentile)),
        (
            enrichment_resampled(2, *counts, found.n_correct, found.n_gallery, weights),
            lambda r: r.recall(2) / chance_recall(2, r.n_correct, r.n_gallery).mean(),
        ),
    ):
        np.testing.assert_allclose(fast, [value(r) if r else np.nan for r in repeated])


def test_a_query_without_percentile_is_refused(refused):
    with refused("percentile is NaN for 1 of 2 items"):
        percentile_resampled(np.array([0.5, np.nan]), np.ones((1, 2)))


def test_matching_stands_beside_retrieval():
    assert foscttm(np.eye(3), np.eye(3)) == 0


@given(SEEDS)
def test_foscttm_of_items_is_that_of_unit_vectors_averaged_over_directions(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 15, 3))
    facts = {"item": [f"q{i}" for i in range(15)], "unit": [f"u{i % 4}" for i in range(15)]}
    names = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile")
    both = [
        get_metric("foscttm").fn(
            Items(pd.DataFrame(facts | {n: getattr(found, n) for n in names}), "retrieval")
        )
        for found in (ranks(x, y, np.arange(15)), ranks(y, x, np.arange(15)))
    ]  # fmt: skip
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    np.testing.assert_allclose(np.mean(both), foscttm(*unit))


def test_foscttm_is_undefined_for_correct_sets():
    items, _ = retrieval_items(0)
    assert np.isnan(get_metric("foscttm").fn(items))


@given(SEEDS)
def test_chance_is_the_value_of_a_collapsed_embedding(seed):
    items, _ = retrieval_items(seed)
    n_correct, n_gallery = items.column("n_correct"), items.column("n_gallery")
    flat = items.frame.assign(above=0, tied=n_gallery - n_correct, tied_correct=n_correct, percentile=0.5)
    for name in ("recall@1", "recall@5", "recall@10", "enrichment@5", "mrr", "percentile"):
        metric = get_metric(name)
        np.testing.assert_allclose(metric.chance_of(items), metric.fn(Items(flat, "retrieval")))


def test_a_gallery_of_its_own_scope_is_that_gallery_alone():
    rng = np.random.default_rng(3)
    x, y = np.round(rng.normal(size=(2, 40, 3)), 1)
    scope = rng.integers(-1, 3, 40)
    correct = [np.unique(rng.integers(0, 40, 3)) for _ in range(40)]
    whole, found = ranks_within(x, y, correct, [(np.zeros(40), np.zeros(40)), (scope, scope)])
    np.testing.assert_array_equal(whole.above, ranks(x, y, correct).above)
    for i in range(40):
        members = np.flatnonzero(scope == scope[i]) if scope[i] >= 0 else np.zeros(0, dtype=int)
        own = [int(np.flatnonzero(members == c)[0]) for c in correct[i] if c in members]
        assert (found.n_gallery[i], found.n_correct[i]) == (len(members), len(own))
        if own:
            alone = ranks(x[i : i + 1], y[members], [np.array(own)])
            for column in ("above", "tied", "tied_correct", "percentile"):
                np.testing.assert_allclose(getattr(found, column)[i], getattr(alone, column)[0])


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12), st.data())
def test_the_median_rank_is_that_of_the_repeated_queries(percentile, data):
    values = np.array(percentile)
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values))))
    found = median_rank_resampled(values, times[None])[0]
    repeated = np.repeat(1 - values, times)
    assert np.isnan(found) if not len(repeated) else found == pytest.approx(np.median(repeated))


@given(seed=st.integers(0, 10_000))
def test_what_is_left_out_and_what_is_in_every_gallery(seed):
    rng = np.random.default_rng(seed)
    n, m = 9, 14
    query, gallery = rng.integers(-1, 2, size=(n, 2)).astype(float), rng.integers(-1, 2, size=(m, 2)).astype(float)
    scope_query, scope = rng.integers(-1, 3, n), rng.choice([0, 1, 2, -1, EVERYBODY], m)
    apart_query, apart = rng.integers(-1, 3, n), rng.integers(-1, 3, m)
    correct = [np.sort(rng.choice(m, rng.integers(1, 6), replace=False)) for _ in range(n)]
    (found,) = ranks_within(query, gallery, correct, [(scope_query, scope)], apart=(apart_query, apart))
    for i in range(n):
        left = np.isin(scope, [scope_query[i], EVERYBODY]) & ((apart != apart_query[i]) | (apart_query[i] < 0))
        inside = np.flatnonzero(left & (scope_query[i] >= 0))
        own = np.flatnonzero(np.isin(inside, correct[i]))
        assert (found.n_correct[i], found.n_gallery[i]) == (len(own), len(inside))
        if len(own):
            alone = ranks(query[[i]], gallery[inside], [own])
            for name in ("above", "tied", "tied_correct", "percentile", "precision"):
                np.testing.assert_allclose(getattr(found, name)[i], getattr(alone, name)[0])
