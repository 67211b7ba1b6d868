"""Regression: rank correlation within folds."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.items import Items
from mmcell.metrics.base import Metric, checked, within_folds
from mmcell.metrics.lanes import lanes


@njit(cache=True, nogil=True)
def _centred_ranks(order: np.ndarray, values: np.ndarray, total: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Twice the distance (n, lanes) of each midrank from the mean rank: whole numbers, so that sums are exact."""
    n, n_lanes = weights.shape
    ranks = np.empty((n, n_lanes))
    twice = -total
    start = 0
    while start < n:
        stop = start
        level = np.zeros(n_lanes)
        while stop < n and values[order[stop]] == values[order[start]]:
            own = weights[order[stop]]
            for b in range(n_lanes):
                level[b] += own[b]
            stop += 1
        for i in range(start, stop):
            row = ranks[order[i]]
            for b in range(n_lanes):
                row[b] = twice[b] + level[b]
        for b in range(n_lanes):
            twice[b] += 2.0 * level[b]
        start = stop
    return ranks


@njit(cache=True, nogil=True)
def _products(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted sums over rows of xx, yy and xy, (lanes,) each."""
    n, n_lanes = weights.shape
    xx = np.zeros(n_lanes)
    yy = np.zeros(n_lanes)
    xy = np.zeros(n_lanes)
    for i in range(n):
        for b in range(n_lanes):
            w = weights[i, b]
            xx[b] += w * x[i, b] * x[i, b]
            yy[b] += w * y[i, b] * y[i, b]
            xy[b] += w * x[i, b] * y[i, b]
    return xx, yy, xy


def _rho(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Spearman's ρ, the number of items, and whether three items or more differ in the truth; (draws,) each."""
    n = len(y_true)
    by_true, by_pred = np.argsort(y_true), np.argsort(y_pred)
    rho, count = np.full((2, len(weights)), np.nan)
    asked = np.zeros(len(weights), dtype=bool)
    for block, side_by_side in lanes(weights, np.arange(n)):
        total = side_by_side.sum(axis=0)
        x = _centred_ranks(by_true, y_true, total, side_by_side)
        y = _centred_ranks(by_pred, y_pred, total, side_by_side)
        xx, yy, xy = _products(x, y, side_by_side)
        defined = (total >= 3) & (xx > 0) & (yy > 0)
        spread = np.sqrt(xx) * np.sqrt(yy)
        rho[block] = np.divide(xy, spread, out=np.full(len(total), np.nan), where=defined)
        count[block], asked[block] = total, (total >= 3) & (xx > 0)
    return rho, count, asked


def spearman_resampled(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ (draws,) under each row of weights (draws, n), midranks drawn anew; see `spearman`."""
    y_true, y_pred = checked("spearman", y_true=y_true, y_pred=y_pred)
    return _rho(y_true, y_pred, weights)[0]


def spearman(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return Spearman's rank correlation, ties at their midrank.

    Parameters
    ----------
    y_true, y_pred
        (n,) numbers.

    Returns
    -------
    float
        In [−1, 1], chance 0; NaN with fewer than three items or without spread in either. Equals
        ``scipy.stats.spearmanr``.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.
    """
    return float(spearman_resampled(y_true, y_pred, np.ones((1, len(y_true))))[0])


def _kernel(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ρ of a fold, weighted by its pairs.

    A fold of fewer than three items, or whose truth is all the same, asks nothing and has no weight; one whose
    predictions are all the same makes the draw undefined.
    """
    y_true, y_pred = (items.column(c)[rows].astype(float) for c in ("y_true", "y_pred"))
    rho, count, asked = _rho(y_true, y_pred, weights)
    pairs = np.where(asked, count**2, 0.0)
    return np.where(asked, rho * pairs, 0.0), pairs


_fn, _fast = within_folds(_kernel)
SPEARMAN = Metric(
    "spearman", _fn, True, 0.0, (-1, 1), _fast, ("regression",), within_fold=True,
    about="Spearman's ρ of predicted and measured values",
)  # fmt: skip
