"""Survival: the metrics of items, and the columns by which items carry their censoring.

Risk convention everywhere: a higher score means higher risk and shorter survival.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of, within_folds
from mmcell.metrics.brier import (
    brier_score,
    brier_score_resampled,
    integrated_brier_score,
    integrated_brier_score_resampled,
    integrated_terms,
)
from mmcell.metrics.censoring import Censoring, common_tau
from mmcell.metrics.concordance import (
    c_pairs,
    cumulative_dynamic_auc,
    cumulative_dynamic_auc_resampled,
    harrell_c,
    harrell_c_resampled,
    uno_c,
    uno_c_resampled,
)

__all__ = [
    "HARRELL_C", "IBS", "UNO_C", "Censoring", "brier_score", "brier_score_resampled", "c_pairs", "common_tau",
    "cumulative_dynamic_auc", "cumulative_dynamic_auc_resampled", "harrell_c", "harrell_c_resampled",
    "integrated_brier_score", "integrated_brier_score_resampled", "n_events", "uno_c", "uno_c_resampled",
    "with_censoring",
]  # fmt: skip

#: Steps into which the time up to tau is cut for the integrated Brier score.
STEPS = 100


def with_censoring(
    graded: pd.DataFrame, answered: Items, train_time: np.ndarray, train_event: np.ndarray, tau: float
) -> pd.DataFrame:
    """Return graded items with what their metrics need of the training fold's censoring.

    Parameters
    ----------
    graded
        Items with their truth: columns ``item time event``.
    answered
        What the task returned for the same fold. Where its arrays hold ``survival`` (items, k), the predicted
        probability of being without the event beyond each of the rising ``times`` (k,), curves become Brier scores;
        between two times a curve keeps the value of the earlier one.
    train_time, train_event
        (m,) outcome of the training patients of this fold.
    tau
        Common to all folds, see `common_tau`.

    Returns
    -------
    pandas.DataFrame
        With ``ipcw``, 1/G(t−)² for times t below tau and 0 from tau on; and with ``brier``, the item's own part of
        the Brier score averaged over [0, tau], where there are curves.

    Raises
    ------
    MmcellError
        No training patients; arrays that do not fit the items; an item with several curves.
    """
    censoring = Censoring.fit(train_time, train_event)
    time, event = (graded[c].to_numpy(dtype=float) for c in ("time", "event"))
    found = graded.assign(ipcw=censoring.ipcw(time, tau))
    if "survival" not in answered.arrays or not tau > 0:
        return found
    ids, curves = pd.Index(answered.frame["item"]), np.asarray(answered.arrays["survival"], dtype=float)
    steps = np.asarray(answered.arrays.get("times", ()), dtype=float)
    if curves.shape != (len(ids), len(steps)) or not (np.diff(steps) > 0).all():
        raise MmcellError(
            f"items: arrays['survival'] has the shape {curves.shape} for {len(ids)} items and {len(steps)} times; "
            "give one curve per item over rising arrays['times']"
        )
    if ids.has_duplicates:
        raise MmcellError(f"items: {first(ids[ids.duplicated()])} have several survival curves; return one per item")
    grid = np.linspace(0.0, tau, STEPS + 1)
    rows = curves[ids.get_indexer(pd.Index(graded["item"]))]
    held = np.column_stack([np.ones(len(rows)), rows])[:, np.searchsorted(steps, grid, "right")]
    return found.assign(brier=integrated_terms(time, event, held, grid, censoring))


def n_events(items: Items) -> int:
    """Return the number of units with an event."""
    return int(items.frame.loc[items.frame["event"] == 1, "unit"].nunique())


def _columns(items: Items, rows: np.ndarray, *names: str) -> list[np.ndarray]:
    return [items.column(name)[rows].astype(float) for name in names]


def _harrell(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event, risk = _columns(items, rows, "time", "event", "y_pred")
    return c_pairs(time, event, risk, weights)


def _uno(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event, risk, factor = _columns(items, rows, "time", "event", "y_pred", "ipcw")
    return c_pairs(time, event, risk, weights, factor)


_harrell_fn, _harrell_fast = within_folds(_harrell)
_uno_fn, _uno_fast = within_folds(_uno)
_ibs_fn, _ibs_fast = mean_of(lambda items: items.column("brier").astype(float))

HARRELL_C = Metric(
    "harrell_c", _harrell_fn, True, 0.5, (0, 1), _harrell_fast, ("survival",), within_fold=True, size=n_events
)  # fmt: skip
UNO_C = Metric(
    "uno_c", _uno_fn, True, 0.5, (0, 1), _uno_fast, ("survival",), within_fold=True, size=n_events, needs=("ipcw",)
)  # fmt: skip
#: No chance level: what a curve without skill scores depends on the cohort; the control `constant` measures it.
IBS = Metric("ibs", _ibs_fn, False, None, (0, np.inf), _ibs_fast, ("survival",), needs=("brier",))
