"""Distances to the k-th neighbour between clouds of points: exact, at little more than the price of a product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Distances of one block, which a core's cache holds.
_BLOCK = 1 << 17
#: Columns of which one minimum is taken first.
_FOLD = 8
#: Distances below this share of the spread are none: the cells are duplicates.
_SAME = 1e-6
#: A squared distance in units of the spread beyond any that occurs; its double fits in single precision.
_FAR = 1e38


class Cloud:
    """Points as double precision and as the factors of a product that gives squared distances, with own radii."""

    def __init__(self, x: np.ndarray, k: int) -> None:
        squares, ones = (x**2).sum(axis=1, keepdims=True), np.ones((len(x), 1))
        self.x, self.k, self.norm = np.ascontiguousarray(x), min(k, len(x) - 1), np.sqrt(squares[:, 0])
        self.rows = np.concatenate([-2 * x, squares, ones], axis=1).astype(np.float32)
        # Filled up to whole folds with columns that are far from everything.
        self.columns = np.zeros((x.shape[1] + 2, -(-len(x) // _FOLD) * _FOLD), dtype=np.float32)
        self.columns[-1] = 2 * _FAR
        self.columns[:, : len(x)] = np.concatenate([x, ones, squares], axis=1).T
        self.own = self.log_radii(self, np.ones(len(x), dtype=bool))

    def to(self, other: Cloud, shared: np.ndarray) -> float:
        """Return KL̂(self‖other); `shared` marks the points that stand in the other cloud too."""
        counts = np.log((len(other.x) - shared) / (len(self.x) - 1))
        return float((self.x.shape[1] / 2 * (self.log_radii(other, shared) - self.own) + counts).mean())

    def log_radii(self, other: Cloud, shared: np.ndarray) -> np.ndarray:
        """Return (n,) log squared distances to the k-th neighbour in the other cloud, the point itself left out."""
        n, d = self.x.shape
        # Of a product of d + 2 terms, of the rounded factors, and of the thresholds that are made of it.
        error = (d + 16) * 2.0**-24 * (self.norm + other.norm.max()) ** 2
        found = np.empty(n)
        width = other.columns.shape[1]
        step = max(1, _BLOCK // width)
        block = np.empty((min(step, n), width), dtype=np.float32)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            part = np.matmul(self.rows[rows], other.columns, out=block[: min(step, n - start)])
            _kth(part, self.x[rows], other.x, other.k, shared[rows], error[rows], found[rows])
        return np.log(found)


@njit(cache=True, nogil=True, error_model="numpy")
def _kth(
    block: np.ndarray, x: np.ndarray, y: np.ndarray, k: int, shared: np.ndarray, error: np.ndarray, out: np.ndarray
) -> None:
    """Write the k-th smallest squared distance of each row; `error` bounds what the values of the block may be off."""
    n, d, same = block.shape[1], x.shape[1], _SAME**2
    n_folds = n // _FOLD
    low, group = np.empty(n_folds, np.float32), np.empty(n_folds + 1, np.uint64)
    value, place, exact = np.empty(n, np.float32), np.empty(n, np.uint64), np.empty(n)
    for r in range(len(block)):
        row, rank = block[r], k + shared[r]
        reach = 2 * error[r] + same
        bound = np.float32(_FAR)
        _fold(row, low)
        if n_folds >= 2 * rank:
            # As many minima as the rank are at most this great, so the value of the rank is too.
            bound = np.float32(_between(low, rank, 6)[1] + reach)
        n_near = _gather(row, low, bound, group, value, place)
        between = _between(value[:n_near], rank, 2)
        lowest, highest = np.float32(between[0] - reach), np.float32(between[1] + reach)
        n_below, n_exact = 0, 0
        for c in range(n_near):
            if value[c] < lowest:
                n_below += 1
            elif value[c] <= highest:
                exact[n_exact] = _squared(x[r], y[place[c]])
                n_exact += 1
        ordered = exact[:n_exact]
        _sort(ordered)
        kth = ordered[rank - 1 - n_below]
        if kth <= same:
            n_same = n_below + np.searchsorted(ordered, same, side="right") - shared[r]
            kth = same * (k / n_same) ** (2 / d)
        out[r] = kth


@njit(cache=True, nogil=True)
def _gather(
    row: np.ndarray, low: np.ndarray, bound: Any, group: np.ndarray, value: np.ndarray, place: np.ndarray
) -> Any:
    """Write the values up to the bound and their places, and return how many; only folds as low as that are read."""
    # Unsigned, so that no place can count from the end.
    zero, one, step = np.uint64(0), np.uint64(1), np.uint64(len(low))
    n_groups, n = zero, zero
    for c in range(step):
        # Written always and counted if wanted: a branch as irregular as this one costs more.
        group[n_groups] = c
        n_groups += one if low[c] <= bound else zero
    for c in range(n_groups):
        for at in range(group[c], np.uint64(len(row)), step):
            if row[at] <= bound:
                value[n], place[n] = row[at], at
                n += one
    return np.int64(n)


@njit(cache=True, nogil=True, fastmath=True)
def _fold(row: np.ndarray, low: np.ndarray) -> None:
    """Write the minimum of eight values each; written out, so that the compiler uses vectors."""
    n = len(low)
    a, b, c, d = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n : 4 * n]
    e, f, g, h = row[4 * n : 5 * n], row[5 * n : 6 * n], row[6 * n : 7 * n], row[7 * n : 8 * n]
    for i in range(n):
        low[i] = min(min(min(a[i], b[i]), min(c[i], d[i])), min(min(e[i], f[i]), min(g[i], h[i])))


@njit(cache=True, nogil=True, fastmath=True)
def _between(values: np.ndarray, rank: int, enough: int) -> tuple[Any, Any]:
    """Return two numbers with the value of this rank between them, and at most `enough` values if they can be told."""
    low, high = values[0], values[0]
    for c in range(len(values)):
        low, high = min(low, values[c]), max(high, values[c])
    n_low, n_high = np.int32(0), np.int32(len(values))
    for _ in range(40):
        if n_high - n_low <= enough:
            break
        share = min(0.85, max(0.15, (rank - 0.5 - n_low) / (n_high - n_low)))
        middle = np.float32(low + (high - low) * share)
        if not low < middle < high:
            break
        n_middle = np.int32(0)
        for c in range(len(values)):
            n_middle += np.int32(values[c] <= middle)
        if n_middle >= rank:
            high, n_high = middle, n_middle
        else:
            low, n_low = middle, n_middle
    return low, high


@njit(cache=True, nogil=True)
def _sort(values: np.ndarray) -> None:
    """Sort in place; nearly always two or three numbers."""
    if len(values) > 32:
        values[:] = np.sort(values)
    else:
        for i in range(1, len(values)):
            for at in range(i, 0, -1):
                if values[at - 1] > values[at]:
                    values[at - 1], values[at] = values[at], values[at - 1]


@njit(cache=True, nogil=True, fastmath=True)
def _squared(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for i in range(len(x)):
        total += (x[i] - y[i]) ** 2
    return total
