"""Survival: Harrell's C. Risk convention everywhere: a higher score means higher risk and shorter survival."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.items import Items
from mmcell.metrics.base import Metric, within_folds


@njit(cache=True, nogil=True)
def _concordance(
    time: np.ndarray, event: np.ndarray, rank: np.ndarray, n_ranks: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted (concordant, comparable) pairs; rows sorted by falling time, `rank` is the dense rank of the risk.

    A Fenwick tree holds the weight of everybody known to outlive the current time, by rank of risk.
    """
    n_draws, n = weights.shape
    top = np.zeros(n_draws)
    bottom = np.zeros(n_draws)
    tree = np.empty(n_ranks + 1)
    for b in range(n_draws):
        tree[:] = 0.0
        alive = 0.0
        start = 0
        while start < n:
            stop = start
            while stop < n and time[stop] == time[start]:
                stop += 1
            # Whoever is censored at a time outlives an event at that time; two events at one time do not compare.
            for step in range(2):
                if step == 1:
                    for i in range(start, stop):
                        w = weights[b, i]
                        if event[i] and w > 0:
                            up_to = 0.0
                            k = rank[i] + 1
                            while k > 0:
                                up_to += tree[k]
                                k -= k & -k
                            below = 0.0
                            k = rank[i]
                            while k > 0:
                                below += tree[k]
                                k -= k & -k
                            top[b] += w * (below + 0.5 * (up_to - below))
                            bottom[b] += w * alive
                for i in range(start, stop):
                    w = weights[b, i]
                    if w > 0 and event[i] == (step == 1):
                        alive += w
                        k = rank[i] + 1
                        while k <= n_ranks:
                            tree[k] += w
                            k += k & -k
            start = stop
    return top, bottom


def c_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted (concordant, comparable) pairs, (draws,) each; arguments as in `harrell_c_resampled`."""
    order = np.argsort(-time, kind="stable")
    levels, rank = np.unique(risk[order], return_inverse=True)
    return _concordance(
        time[order], event[order].astype(np.bool_), rank, len(levels),
        np.ascontiguousarray(weights[:, order], dtype=np.float64),
    )  # fmt: skip


def harrell_c_resampled(time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Harrell's C under each row of weights.

    Parameters
    ----------
    time, event, risk
        As in `harrell_c`.
    weights
        (draws, n) multiplicities.

    Returns
    -------
    numpy.ndarray
        (draws,) in [0, 1]; NaN where a draw has no comparable pair.
    """
    arrays = (np.asarray(time, dtype=float), np.asarray(event), np.asarray(risk, dtype=float))
    top, bottom = c_pairs(*arrays, np.asarray(weights))
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def harrell_c(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Return Harrell's concordance index: over comparable pairs, how often the one who dies first has the higher risk.

    Parameters
    ----------
    time
        (n,) positive times, any unit.
    event
        (n,) 1 = event, 0 = censored.
    risk
        (n,) higher = shorter survival; ties count one half.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN without a comparable pair. Equals
        ``lifelines.utils.concordance_index(time, -risk, event)``.

    References
    ----------
    Harrell, Lee, Mark: Multivariable prognostic models. Stat Med 15, 361–387 (1996).
    """
    return float(harrell_c_resampled(time, event, risk, np.ones((1, len(time))))[0])


def _kernel(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event, risk = (items.column(c)[rows].astype(float) for c in ("time", "event", "y_pred"))
    return c_pairs(time, event, risk, weights)


def n_events(items: Items) -> int:
    """Return the number of units with an event."""
    return int(items.frame.loc[items.frame["event"] == 1, "unit"].nunique())


_fn, _fast = within_folds(_kernel)
HARRELL_C = Metric("harrell_c", _fn, True, 0.5, (0, 1), _fast, ("survival",), within_fold=True, size=n_events)
