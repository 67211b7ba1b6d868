"""Ranks of correct items in a gallery, computed in blocks, with ties in expectation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from mmcell.errors import MmcellError
from mmcell.metrics.similarity import Similarity, similarities

#: Code of an item that stands in the gallery of every query that has one, whatever the query's own code.
EVERYBODY = -2
#: Bytes of similarities in one block, of which each thread holds one.
_BLOCK = 1 << 25
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Ranks:
    """Where the first correct item of each query stands, ties kept apart.

    Attributes
    ----------
    above, tied, tied_correct
        (n,) incorrect items above the best correct one; incorrect and correct ones tied with it (itself included).
    n_correct, n_gallery
        (n,) correct items, and all items, of the query's gallery.
    percentile
        (n,) share of (correct, incorrect) pairs in the right order, ties one half; chance 0.5; NaN where every item
        is correct.
    precision
        (n,) average precision over all correct items, ties in expectation.
    """

    above: np.ndarray
    tied: np.ndarray
    tied_correct: np.ndarray
    n_correct: np.ndarray
    n_gallery: np.ndarray
    percentile: np.ndarray
    precision: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """(n,) expected rank of the first correct item, 0 = best."""
        return self.above + self.tied / (self.tied_correct + 1)

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank in expectation."""
        return float(np.mean(reciprocal_rank(self.above, self.tied, self.tied_correct)))

    def recall(self, k: int) -> float:
        """Return the mean probability that a correct item is among the first `k`."""
        return float(np.mean(recall_at(k, self.above, self.tied, self.tied_correct)))


@njit(cache=True, nogil=True)
def _tied_precision(above: int, found: int, correct: int, wrong: int) -> float:
    """Return what the correct items of a tied block add to Σ (correct so far)/place, in expectation over its orders.

    Parameters
    ----------
    above, found
        Incorrect and correct items above the block.
    correct, wrong
        Correct and incorrect ones in it.
    """
    n = correct + wrong
    # Given that one place holds a correct item, each other place of the block does with this probability.
    others = (correct - 1) / (n - 1) if n > 1 else 0.0
    total = 0.0
    for j in range(n):
        total += (found + 1 + j * others) / (above + found + j + 1)
    return total * correct / n


@njit(cache=True, nogil=True)
def _in_gallery(scope: int, own: int, apart: int, mine: int) -> bool:
    """Whether an item is of the query's scope and not left out of its gallery; without branches, to run wide."""
    return ((scope == own) | (scope == EVERYBODY)) & ((apart != mine) | (mine < 0))


@njit(cache=True, nogil=True)
def _several(
    similarity: np.ndarray, void: np.ndarray, correct: np.ndarray, mark: np.ndarray, scope: np.ndarray, own: int,
    apart: np.ndarray, mine: int, void_query: bool, tolerance: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the pairs (correct, incorrect) in the right order, ties one half, and the average precision.

    Parameters
    ----------
    similarity, void, scope, apart
        (m,) of one query to the gallery; rows without direction; the gallery is the rows whose scope is `own` and that
        are not apart from it as `mine`.
    correct, mark
        Positions of its correct items; (m,) those of them that are in the gallery are marked.
    void_query, tolerance
        Whether the query has no direction; a difference up to `tolerance` is a tie.

    A row without direction ties with everything. For the precision, incorrect ones are in every tied block, and correct
    ones form a block of all incorrect items behind the other correct ones.
    """
    inside = np.empty(len(correct), dtype=np.int64)
    n = 0
    for p in range(len(correct)):
        if mark[correct[p]]:
            inside[n] = correct[p]
            n += 1
    values = np.empty(n)
    for p in range(n):
        values[p] = -np.inf if void_query or void[inside[p]] else similarity[inside[p]]
    order = np.argsort(-values)
    above = np.zeros(n, dtype=np.int64)
    level = np.zeros(n, dtype=np.int64)
    good = 0.0
    for p in range(n):
        c = inside[p]
        for j in range(len(similarity)):
            if mark[j] or not _in_gallery(scope[j], own, apart[j], mine):
                continue
            gap = similarity[c] - similarity[j]
            if void_query or void[c] or void[j] or abs(gap) <= tolerance:
                level[p] += 1
                good += 0.5
            elif gap > 0:
                good += 1.0
            else:
                above[p] += 1
    precision, found = 0.0, 0
    while found < n:
        head = order[found]
        size = 1
        # Neighbours within the tolerance form one block, whose best item says what else is in it.
        while found + size < n:
            upper, lower = values[order[found + size - 1]], values[order[found + size]]
            if upper != lower and upper - lower > tolerance:
                break
            size += 1
        precision += _tied_precision(above[head], found, size, level[head])
        found += size
    return good, precision / n


@njit(cache=True, nogil=True)
def _count(
    similarity: np.ndarray, void_query: np.ndarray, void: np.ndarray, start: np.ndarray, correct: np.ndarray,
    scope_query: np.ndarray, scope: np.ndarray, apart_query: np.ndarray, apart: np.ndarray, whole: bool,
    mark: np.ndarray, tolerance: float, out: np.ndarray, percentile: np.ndarray, precision: np.ndarray,
) -> None:  # fmt: skip
    """Fill (above, tied, tied_correct, n_correct, n_gallery), percentile and, of several, precision for some queries.

    `void` marks rows without direction; a query's gallery is the rows of its own scope, and a scope below 0 is none.
    Where the gallery is `whole`, of one scope and without void rows, two comparisons an item are enough.
    """
    n, m = similarity.shape
    for i in range(n):
        own, mine = scope_query[i], apart_query[i]
        best = -np.inf
        n_correct = 0
        for p in range(start[i], start[i + 1]):
            c = correct[p]
            if own >= 0 and _in_gallery(scope[c], own, apart[c], mine):
                mark[c] = 1
                n_correct += 1
                if not void[c] and similarity[i, c] > best:
                    best = similarity[i, c]
        all_tied = void_query[i] or best == -np.inf
        above, tied, tied_correct, n_gallery = 0, 0, 0, 0
        if own >= 0 and whole and own == scope[0] and not all_tied:
            n_gallery, not_below = m, 0
            for j in range(m):
                gap = similarity[i, j] - best
                above += gap > tolerance
                not_below += gap >= -tolerance
            tied = not_below - above
        elif own >= 0:
            # Without branches, so that it runs as wide as the machine allows; the correct items are taken out below.
            for j in range(m):
                inside = _in_gallery(scope[j], own, apart[j], mine)
                gap = similarity[i, j] - best
                level = void[j] | (abs(gap) <= tolerance) | all_tied
                n_gallery += inside
                tied += inside & level
                above += inside & (not level) & (gap > 0)
        if own >= 0:
            for p in range(start[i], start[i + 1]):
                c = correct[p]
                if mark[c]:
                    gap = similarity[i, c] - best
                    level = void[c] | (abs(gap) <= tolerance) | all_tied
                    tied_correct += level
                    above -= (not level) & (gap > 0)
            tied -= tied_correct
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = above, tied, tied_correct, n_correct, n_gallery
        wrong = n_gallery - n_correct
        percentile[i], precision[i] = np.nan, np.nan
        if wrong > 0 and n_correct == 1:
            percentile[i] = (wrong - above - 0.5 * tied) / wrong
        elif wrong > 0 and n_correct > 1:
            good, precision[i] = _several(
                similarity[i], void, correct[start[i] : start[i + 1]], mark, scope, own, apart, mine, void_query[i],
                tolerance,
            )  # fmt: skip
            percentile[i] = good / (wrong * n_correct)
        for p in range(start[i], start[i + 1]):
            mark[correct[p]] = 0


def ranks(
    query: np.ndarray,
    gallery: np.ndarray,
    correct: np.ndarray | Sequence[np.ndarray],
    *,
    block: int | None = None,
    similarity: Similarity = "cosine",
) -> Ranks:
    """Rank a gallery for every query by similarity.

    Parameters
    ----------
    query, gallery
        (n, d) and (m, d) vectors of one space. A row of length zero has no direction, and its cosine ties with
        everything. Products are float32 unless both are float64; a tie is a difference of at most 1e-6 (1e-12 in
        float64), for distances times the greatest length of a query plus that of an item.
    correct
        (n,) index of the correct gallery row of each query, or n arrays of indices.
    block
        Queries per block; the default keeps a block of similarities under 32 MB a thread.
    similarity
        ``cosine``, ``l2`` (nearest in Euclidean distance) or ``l1`` (in the sum of absolute differences).

    Raises
    ------
    MmcellError
        A query without a correct item, an index outside the gallery or listed twice, or no such similarity.
    """
    everything = (np.zeros(len(query), dtype=np.int64), np.zeros(len(gallery), dtype=np.int64))
    return ranks_within(query, gallery, correct, [everything], block=block, similarity=similarity)[0]


def ranks_within(
    query: np.ndarray,
    gallery: np.ndarray,
    correct: np.ndarray | Sequence[np.ndarray],
    scopes: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    apart: tuple[np.ndarray, np.ndarray] | None = None,
    block: int | None = None,
    similarity: Similarity = "cosine",
) -> list[Ranks]:
    """Rank several galleries for every query, computing every similarity once.

    Parameters
    ----------
    query, gallery, correct, block, similarity
        As in `ranks`.
    scopes
        Per gallery the codes (n,) of queries and (m,) of items, such as their batch: a query's gallery is the items of
        its own code. A query with a code below 0 has no gallery (``n_gallery`` 0), an item with one is in none, but for
        the code `EVERYBODY`, which is in all (controls).
    apart
        Codes (n,) and (m,) of what a query is not to be asked about: items of its own code (replicates of the query's
        perturbation, where others of its target are sought) are left out of its galleries. A code below 0 leaves none
        out.

    Raises
    ------
    MmcellError
        As in `ranks`.
    """
    lists = [np.atleast_1d(np.asarray(c)) for c in correct]
    lengths = np.array([len(c) for c in lists], dtype=np.int64)
    flat = np.concatenate(lists).astype(np.int64) if lists else np.zeros(0, dtype=np.int64)
    if len(lists) != len(query) or (lengths == 0).any():
        raise MmcellError("ranks: every query needs at least one correct item; leave out queries without a partner")
    if flat.size and (flat.min() < 0 or flat.max() >= len(gallery)):
        raise MmcellError(f"ranks: a correct index lies outside the gallery of {len(gallery)} rows")
    if len(np.unique(np.repeat(np.arange(len(lists)), lengths) * len(gallery) + flat)) < len(flat):
        raise MmcellError("ranks: a query lists one correct index twice; list each correct item once")
    of_rows, void_query, void, tolerance, itemsize = similarities(query, gallery, similarity)
    n, m = len(void_query), len(void)
    apart_query, apart_item = apart or (np.full(n, -1), np.zeros(m))
    block = block or max(1, _BLOCK // (itemsize * max(m, 1)))
    start = np.concatenate([[0], np.cumsum(lengths)])
    out, shares = np.empty((len(scopes), n, 5), dtype=np.int64), np.empty((len(scopes), 2, n))
    wholes = [
        m > 0 and apart is None and not void.any() and of_item[0] >= 0 and bool((of_item == of_item[0]).all())
        for _, of_item in scopes
    ]

    def count(a: int) -> None:
        b, mark = min(n, a + block), np.zeros(m, dtype=np.uint8)
        found = of_rows(a, b)
        for s, (of_query, of_item) in enumerate(scopes):
            _count(
                found, void_query[a:b], void, start[a : b + 1] - start[a], flat[start[a] : start[b]],
                np.ascontiguousarray(of_query[a:b], dtype=np.int64), np.ascontiguousarray(of_item, dtype=np.int64),
                np.ascontiguousarray(apart_query[a:b], dtype=np.int64),
                np.ascontiguousarray(apart_item, dtype=np.int64), wholes[s], mark,
                tolerance, out[s, a:b], shares[s, 0, a:b], shares[s, 1, a:b],
            )  # fmt: skip

    # Products and counts leave the interpreter free, and blocks are cut alike however many threads there are.
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(count, range(0, n, block)))
    found = []
    for counts, (percentile, precision) in zip(out, shares, strict=True):
        above, tied, tied_correct, n_correct, n_gallery = counts.T
        # Of one correct item, and where all are correct, the first one says everything.
        first = np.isnan(precision) & (n_correct > 0)
        precision[first] = reciprocal_rank(above[first], tied[first], tied_correct[first])
        found.append(Ranks(above, tied, tied_correct, n_correct, n_gallery, percentile, precision))
    return found


@njit(cache=True, nogil=True)
def _hit(k: int, above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray) -> np.ndarray:
    """Return 1 − C(t, r)/C(t + c, r) for the r = k − g places of the tied block, as a product of the fewer factors."""
    out = np.zeros(len(above))
    for i in range(len(above)):
        t, c, room = tied[i], tied_correct[i], k - above[i]
        if room > t:
            out[i] = 1.0
        elif room > 0:
            few, many = min(c, room), max(c, room)
            log_miss = 0.0
            for j in range(few):
                log_miss += np.log1p(-many / (t + c - j))
            out[i] = -np.expm1(log_miss)
    return out


def recall_at(k: int, above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray) -> np.ndarray:
    """Return the probability, under random order of ties, that a correct item is among the first `k`, per query."""
    return _hit(k, *(np.asarray(a).astype(np.int64) for a in (above, tied, tied_correct)))


@njit(cache=True, nogil=True)
def _reciprocal(above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray) -> np.ndarray:
    out = np.zeros(len(above))
    for i in range(len(above)):
        g, t, c = above[i], tied[i], tied_correct[i]
        if i > 0 and g == above[i - 1] and t == tied[i - 1] and c == tied_correct[i - 1]:
            out[i] = out[i - 1]
            continue
        missed = 1.0
        for j in range(t + 1):
            hit = c / (t + c - j)
            out[i] += missed * hit / (g + j + 1)
            missed *= 1.0 - hit
            if missed <= 0.0:
                break
    return out


def reciprocal_rank(above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray) -> np.ndarray:
    """Return the expected reciprocal rank (best = 1) of the first correct item, ties in random order, per query."""
    return _reciprocal(*(np.asarray(a).astype(np.int64) for a in (above, tied, tied_correct)))


def chance_recall(k: int, n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return recall@k of a random order, 1 − C(M − P, k)/C(M, k), per query."""
    p, m = np.asarray(n_correct), np.asarray(n_gallery)
    return recall_at(k, np.zeros_like(p), m - p, p)
