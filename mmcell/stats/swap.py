"""The swap null of a comparison: inside random units, two predictors change places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mmcell.items import Items
from mmcell.metrics.base import Metric

#: Numbers in one block of weights.
_BLOCK = 1 << 22


def swapper(a: Items, b: Items, metric: Metric) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of swaps, (draws, units) booleans, that gives the differences a − b after each, (draws,).

    Both predictors stand in one table, each under units of its own; weights of 0 and 1 choose whose rows of a unit
    count. A swap is thus one draw of the metric's fast path, and no table is made for it.

    Parameters
    ----------
    a, b
        The same items in the same order.
    metric
        For one that ranks within folds, predictions are replaced by their ranks there, so that the two scales do not
        matter.
    """
    n = len(a.units)
    item = 2 * pd.factorize(a.frame["item"])[0]
    if metric.comparable is not None:
        a, b = metric.comparable(a), metric.comparable(b)
    sides = [
        _ranked(items, metric)
        .assign(unit=items.codes + side * n, item=item + side)
        .drop(columns="crossed", errors="ignore")
        for side, items in enumerate((a, b))
    ]
    if a.arrays or b.arrays:
        both = Items.concat([Items(frame, i.kind, i.arrays) for frame, i in zip(sides, (a, b), strict=True)])
    else:
        # The same without a look at each half: over a thousand pairs this is much of the time.
        both = Items(pd.concat(sides, ignore_index=True), a.kind)

    def values(chosen: np.ndarray) -> np.ndarray:
        if metric.resampled is not None:
            return metric.resampled(both, chosen.astype(np.int64))
        return np.array([metric.fn(both.where(row[both.codes])) for row in chosen])

    def differences(swaps: np.ndarray) -> np.ndarray:
        step = max(1, _BLOCK // (2 * n))
        parts = [swaps[i : i + step] for i in range(0, len(swaps), step)]
        return np.concatenate([values(np.hstack([~s, s])) - values(np.hstack([s, ~s])) for s in parts])

    return differences


def swap_p(differences: np.ndarray, observed: float) -> float:
    """Return the two-sided p of a difference among those after swaps, with the +1; undefined ones do not count."""
    known = np.abs(differences[np.isfinite(differences)])
    if not np.isfinite(observed):
        return float("nan")
    return float((np.sum(known >= abs(observed) - 1e-12) + 1) / (len(known) + 1))


def _ranked(items: Items, metric: Metric) -> pd.DataFrame:
    if not metric.within_fold or "y_pred" not in items.frame:
        return items.frame
    ranks = np.empty(len(items.frame))
    values = items.column("y_pred").astype(float)
    for _, rows in items.folds:
        ranks[rows] = rankdata(values[rows])
    return items.frame.assign(y_pred=ranks)
