"""Average precision of lists with several correct items: ties in expectation, chance in closed form."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of

__all__ = ["NORMALISED_AP", "chance_precision", "normalised"]


@njit(cache=True, nogil=True)
def tied_precision(above: int, found: int, correct: int, wrong: int) -> float:
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
def several(
    similarity: np.ndarray, void: np.ndarray, correct: np.ndarray, mark: np.ndarray, scope: np.ndarray, own: int,
    void_query: bool, tolerance: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the pairs (correct, incorrect) in the right order, ties one half, and the average precision.

    Parameters
    ----------
    similarity, void, scope
        (m,) of one query to the gallery; rows without direction; the gallery is the rows whose scope is `own`.
    correct, mark
        Positions of its correct items; (m,) those of them that are in the gallery are marked.
    void_query, tolerance
        Whether the query has no direction; a difference up to `tolerance` is a tie.

    A row without direction ties with everything. "Tied with everything" is no place in an order, so for the precision
    it stands at similarity 0.
    """
    inside = np.empty(len(correct), dtype=np.int64)
    n = 0
    for p in range(len(correct)):
        if mark[correct[p]]:
            inside[n] = correct[p]
            n += 1
    values = np.empty(n)
    for p in range(n):
        values[p] = 0.0 if void_query or void[inside[p]] else similarity[inside[p]]
    order = np.argsort(-values)
    above = np.zeros(n, dtype=np.int64)
    level = np.zeros(n, dtype=np.int64)
    good = 0.0
    for p in range(n):
        c = inside[p]
        for j in range(len(similarity)):
            if mark[j] or scope[j] != own:
                continue
            gap = 0.0 if void_query else values[p] - (0.0 if void[j] else similarity[j])
            if abs(gap) <= tolerance:
                level[p] += 1
            elif gap < 0:
                above[p] += 1
            if void_query or void[c] or void[j] or abs(gap) <= tolerance:
                good += 0.5
            elif gap > 0:
                good += 1.0
    precision, found = 0.0, 0
    while found < n:
        head = order[found]
        size = 1
        # Neighbours within the tolerance form one block, whose best item says what else is in it.
        while found + size < n and values[order[found + size - 1]] - values[order[found + size]] <= tolerance:
            size += 1
        precision += tied_precision(above[head], found, size, level[head])
        found += size
    return good, precision / n


@njit(cache=True, nogil=True)
def _chance(n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    out = np.empty(len(n_correct))
    for i in range(len(out)):
        if i > 0 and n_correct[i] == n_correct[i - 1] and n_gallery[i] == n_gallery[i - 1]:
            out[i] = out[i - 1]
        else:
            out[i] = tied_precision(0, 0, n_correct[i], n_gallery[i] - n_correct[i]) / n_correct[i]
    return out


def chance_precision(n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return the expected average precision of a random order of each gallery, exactly.

    (1/M)·[H_M + (P − 1)(M − H_M)/(M − 1)], where P of M items are correct and H_M = 1 + 1/2 + … + 1/M.

    Raises
    ------
    MmcellError
        A gallery without a correct item.
    """
    p, m = (np.atleast_1d(np.asarray(a)).astype(np.int64) for a in (n_correct, n_gallery))
    if (p < 1).any() or (p > m).any():
        raise MmcellError("chance_precision: every gallery needs at least one correct item, and no more than it has")
    return _chance(p, m)


def normalised(precision: np.ndarray, n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return (AP − chance)/(1 − chance): 1 where all correct items stand first, 0 for a random order in expectation."""
    chance = chance_precision(n_correct, n_gallery)
    return (np.asarray(precision, dtype=np.float64) - chance) / (1.0 - chance)


def _per_item(items: Items) -> np.ndarray:
    return normalised(*(items.column(c) for c in ("precision", "n_correct", "n_gallery")))


_fn, _fast = mean_of(_per_item)
NORMALISED_AP = Metric("normalised_ap", _fn, True, 0.0, (-1, 1), _fast, ("retrieval",), needs=("precision",))
