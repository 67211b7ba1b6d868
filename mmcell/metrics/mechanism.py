"""Mechanism: do known relationships between perturbations show in a map of them?"""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError

#: Cosines closer than this are ties.
TOLERANCE = 1e-12
_BLOCK = 1 << 22


def known_relationship_recall(embedding: np.ndarray, pairs: np.ndarray, tail: float = 0.05) -> float:
    """Return the share of annotated pairs whose cosine is among the lowest or highest of all pairs.

    Pairs are ranked among all pairs of rows by mid-rank percentile, (rank + ½) / number of pairs. Tied pairs take the
    places of their block in random order, in expectation: a collapsed map scores chance, where counting "at or above
    the threshold" would give it 1.0. A pair with a row of length zero has no cosine and counts as chance.

    Parameters
    ----------
    embedding
        (n, d) one row per gene or perturbation.
    pairs
        (m, 2) annotated pairs of rows, each once.
    tail
        Share of all pairs at each end; both ends count, so chance is twice this (0.10).

    Returns
    -------
    float
        In [0, 1]; NaN without annotated pairs.

    Raises
    ------
    MmcellError
        A pair that names a row twice or one that is not there, a pair that occurs twice, a tail outside (0, 0.5].

    References
    ----------
    Celik et al.: Building, benchmarking, and exploring perturbative maps of transcriptional and morphological data.
    PLoS Comput. Biol. 20, e1012463 (2024).
    """
    found = recalled(embedding, pairs, tail)
    return float(found.mean()) if len(found) else float("nan")


def recalled(embedding: np.ndarray, pairs: np.ndarray, tail: float = 0.05) -> np.ndarray:
    """Return what each annotated pair (m,) counts in `known_relationship_recall`: 1, 0, or between where it ties.

    Raises
    ------
    MmcellError
        The tail is not in (0, 0.5].
    """
    x = np.asarray(embedding, dtype=np.float64)
    known = _checked(np.asarray(pairs), len(x))
    if not 0 < tail <= 0.5:
        raise MmcellError(f"known_relationship_recall: the tail {tail} is not in (0, 0.5]; the usual one is 0.05")
    if not len(known):
        return np.zeros(0)
    length = np.linalg.norm(x, axis=1)
    void = length == 0
    unit = x / np.where(void, 1.0, length)[:, None]
    usable = ~void[known].any(axis=1)
    a, b = known[usable].T
    below, upto, total = _places(unit[~void], np.einsum("ij,ij->i", unit[a], unit[b]))
    # Places whose mid-rank percentile lies in one tail; the other tail has as many.
    low = int(np.floor(tail * total + 0.5 + 1e-9))
    # Of the places below … upto that a tied block takes, those in either tail.
    reached = np.clip(low - below, 0, upto - below) + np.clip(upto - (total - low), 0, upto - below)
    found = np.full(len(known), 2 * tail)
    found[usable] = np.minimum(reached / (upto - below), 1.0)
    return found


def _places(unit: np.ndarray, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return how many of all pairs lie below, and at or below, each cosine; and the number of all pairs."""
    levels, back = np.unique(cosine, return_inverse=True)
    below, upto = np.zeros((2, len(levels)), dtype=np.int64)
    n = len(unit)
    step = max(1, _BLOCK // max(n, 1))
    for start in range(0, n, step):
        stop = min(n, start + step)
        product = unit[start:stop] @ unit[start:].T
        values = np.sort(product[np.triu_indices(stop - start, 1, n - start)])
        below += np.searchsorted(values, levels - TOLERANCE, side="left")
        upto += np.searchsorted(values, levels + TOLERANCE, side="right")
    return below[back], upto[back], n * (n - 1) // 2


def _checked(pairs: np.ndarray, n: int) -> np.ndarray:
    known = pairs.reshape(-1, 2).astype(np.int64)
    if len(known) and (known.min() < 0 or known.max() >= n):
        raise MmcellError(f"known_relationship_recall: a pair lies outside the {n} rows of the embedding")
    if (known[:, 0] == known[:, 1]).any():
        raise MmcellError("known_relationship_recall: a pair names one row twice; leave such pairs out")
    if len(np.unique(np.sort(known, axis=1), axis=0)) < len(known):
        raise MmcellError("known_relationship_recall: a pair occurs twice, perhaps turned round; list each pair once")
    return known
