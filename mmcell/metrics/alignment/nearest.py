"""The nearest rows of a gallery, exactly: products in single precision propose, differences in double decide."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.metrics.alignment.blocks import in_blocks

#: Approximate distances of one block, of which each thread holds one.
_BLOCK = 1 << 21
#: Columns of which one minimum is taken first.
_FOLD = 16
#: A scaled squared distance beyond any that occurs.
_FAR = np.float32(1e30)


def nearest(query: np.ndarray, gallery: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` nearest rows of a gallery, by (distance, position in the gallery).

    Parameters
    ----------
    query, gallery
        (n, d) and (m, d) in double precision.
    own
        (n,) position in the gallery that is the query itself and is left out; −1 for none.
    k
        At most m, less one where a query stands in the gallery.

    Returns
    -------
    indices, distances
        (n, k) positions in the gallery; Euclidean distances, exactly 0 between equal rows.
    """
    query, gallery = np.ascontiguousarray(query), np.ascontiguousarray(gallery)
    n, d = query.shape
    middle = gallery.mean(axis=0)
    left, right = query - middle, gallery - middle
    scale = max(np.abs(left).max(initial=0.0), np.abs(right).max(initial=0.0)) * np.sqrt(d)
    if scale > 0:
        left, right = left / scale, right / scale
    left_square, right_square = (np.einsum("ij,ij->i", v, v) for v in (left, right))
    # A product of d + 2 terms of rounded factors is off by no more than this.
    error = (d + 16) * 2.0**-24 * (np.sqrt(left_square) + np.sqrt(right_square.max())) ** 2
    width = -(-len(gallery) // _FOLD) * _FOLD
    rows = np.column_stack([-2 * left, left_square, np.ones(n)]).astype(np.float32)
    columns = np.zeros((d + 2, width), dtype=np.float32)
    columns[-1] = _FAR
    columns[:, : len(gallery)] = np.vstack([right.T, np.ones(len(gallery)), right_square])
    indices, distances = np.empty((n, k), dtype=np.int64), np.empty((n, k))

    def find(part: slice) -> None:
        block = rows[part] @ columns
        _select(block, query[part], gallery, k, own[part], error[part], indices[part], distances[part])

    in_blocks(find, n, max(1, _BLOCK // width))
    return indices, distances


@njit(cache=True, nogil=True)
def _select(
    block: np.ndarray, x: np.ndarray, y: np.ndarray, k: int, own: np.ndarray, error: np.ndarray, indices: np.ndarray,
    distances: np.ndarray,
) -> None:  # fmt: skip
    """Fill the k nearest of each row; `error` bounds what the values of the block may be off."""
    groups = block.shape[1] // _FOLD
    low, active = np.empty(groups, np.float32), np.empty(groups, np.int64)
    place, exact = np.empty(len(y), np.int64), np.empty(len(y))
    for r in range(len(block)):
        row = block[r]
        if own[r] >= 0:
            row[own[r]] = _FAR
        _fold(row, low)
        bound = _FAR / np.float32(2)
        if groups >= k:
            # As many minima as are asked for are at most this great, so the k-th nearest is too.
            bound = min(bound, np.float32(np.partition(low, k - 1)[k - 1] + 2 * error[r]))
        n_active = 0
        for g in range(groups):
            if low[g] <= bound:
                active[n_active] = g
                n_active += 1
        found, same = 0, 0
        # Position by position in the gallery, so that the first k at distance 0 end the search.
        for s in range(_FOLD):
            for a in range(n_active):
                c = s * groups + active[a]
                if row[c] <= bound and same < k:
                    place[found], exact[found] = c, squared(x[r], y[c])
                    same += exact[found] == 0
                    found += 1
            if same == k:
                break
        order = np.argsort(exact[:found], kind="mergesort")
        for j in range(k):
            indices[r, j] = place[order[j]]
            distances[r, j] = np.sqrt(exact[order[j]])


@njit(cache=True, nogil=True, fastmath=True)
def _fold(row: np.ndarray, low: np.ndarray) -> None:
    """Write the minimum of every column's group, whose members stand len(low) apart."""
    n = len(low)
    low[:] = row[:n]
    for s in range(1, _FOLD):
        part = row[s * n : (s + 1) * n]
        for i in range(n):
            low[i] = min(low[i], part[i])


@njit(cache=True, nogil=True, fastmath=True)
def squared(x: np.ndarray, y: np.ndarray) -> float:
    """Return the squared Euclidean distance between two rows."""
    total = 0.0
    for i in range(len(x)):
        total += (x[i] - y[i]) ** 2
    return total
