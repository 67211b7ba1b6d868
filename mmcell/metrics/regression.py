"""Regression: rank correlation within folds."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from mmcell.items import Items
from mmcell.metrics.base import Metric


def spearman(items: Items) -> float:
    """Return Spearman's ρ of truth and prediction within folds, weighted by its pairs and averaged over repeats.

    NaN where a fold has fewer than three items or no spread.
    """
    sums: dict[int, list[tuple[int, float]]] = {}
    for repeat, rows in items.folds:
        y, p = (items.column(c)[rows].astype(float) for c in ("y_true", "y_pred"))
        flat = len(rows) < 3 or np.ptp(y) == 0 or np.ptp(p) == 0
        sums.setdefault(repeat, []).append((len(rows), np.nan if flat else float(spearmanr(y, p).statistic)))
    parts = [(np.array([n**2 for n, _ in p]), np.array([rho for _, rho in p])) for p in sums.values()]
    return float(np.mean([np.average(rho, weights=pairs) for pairs, rho in parts]))


SPEARMAN = Metric("spearman", spearman, True, 0.0, (-1, 1), None, ("regression",), within_fold=True)
