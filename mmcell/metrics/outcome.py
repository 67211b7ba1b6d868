"""What items of survival carry beside their truth, so that every metric of them is a function of the items alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.brier import brier_terms, integrated_terms
from mmcell.metrics.censoring import Censoring, common_tau
from mmcell.metrics.incidence import aalen_johansen

#: Steps into which the time up to tau is cut for the integrated Brier score.
STEPS = 100


@dataclass(frozen=True)
class Span:
    """The times at which all folds are scored, so that they are asked the same.

    Attributes
    ----------
    tau
        Up to which time: see `common_tau`.
    horizon
        By which time a probability of the event is asked for: the median time of events before tau. NaN where there is
        none.
    """

    tau: float
    horizon: float

    @classmethod
    def of(cls, outcomes: Iterable[tuple[np.ndarray, np.ndarray]]) -> Self:
        """Choose it from the (time, cause) of the training patients of each fold; over all of them together.

        Raises
        ------
        MmcellError
            A fold without training patients, or an entry is NaN.
        """
        outcomes = list(outcomes)
        tau = common_tau(outcomes)
        time, cause = (np.concatenate(parts) for parts in zip(*outcomes, strict=True))
        before = time[(cause == 1) & (time < tau)]
        return cls(tau, float(np.median(before)) if len(before) else float("nan"))


def with_censoring(
    graded: pd.DataFrame, answered: Items, train_time: np.ndarray, train_event: np.ndarray, span: Span
) -> pd.DataFrame:
    """Return graded items with what their metrics need of the training fold's censoring and of predicted curves.

    Parameters
    ----------
    graded
        Items with their truth: columns ``item time event``, and ``cause`` (0 = censored, 1 = the event, 2 = competing)
        where competing events are known.
    answered
        What the task returned for the same fold. Where its arrays hold ``survival`` (items, k), the predicted
        probability of being without the event beyond each of the rising ``times`` (k,), curves become probabilities and
        Brier scores; between two times a curve keeps the value of the earlier one. Where competing events are known,
        ``survival`` is what it were without them, and ``incidence`` (items, k) the predicted probability that the event
        has come by each time.
    train_time, train_event
        (m,) outcome of the training patients of this fold; a competing event (2) is not censoring.
    span
        Common to all folds.

    Returns
    -------
    pandas.DataFrame
        With ``tau`` and ``horizon``; ``ipcw``, 1/G(t−)² for times t below tau and 0 from tau on; and, where there are
        curves, ``brier``, the item's own part of the Brier score averaged over [0, tau], ``own_survival``, the curve at
        the item's own time, and, with a horizon, ``p_event``, the probability of the event by then, ``log_hazard``,
        log(−log(1 − p)) before p is rounded to 1, ``brier_horizon``, the own part of the Brier score there, and
        ``threshold``, the share of this fold's training patients with the event by then (Aalen–Johansen; 1 −
        Kaplan–Meier without competing events), at which net benefit is scored.

        With competing events ``brier``, ``p_event`` and ``brier_horizon`` are of the incidence, and missing without it:
        a survival that the rival does not shorten cannot be judged by who had the event. ``own_survival``,
        ``log_hazard`` and ``p_net``, the probability by the horizon if nothing else befell, are of the hazard alone.

    Raises
    ------
    MmcellError
        No training patients; arrays that do not fit the items; an item with several curves; a curve outside [0, 1].
    """
    censoring = Censoring.fit(train_time, train_event)
    time, event = (graded[c].to_numpy(dtype=float) for c in ("time", "cause" if "cause" in graded else "event"))
    found = graded.assign(tau=span.tau, horizon=span.horizon, ipcw=censoring.ipcw(time, span.tau))
    if np.isnan(span.horizon):
        found = found.drop(columns="horizon")
    if "survival" not in answered.arrays or not span.tau > 0:
        return found
    grid, at = np.linspace(0.0, span.tau, STEPS + 1), np.array([span.horizon])
    alone = _Curves.of(answered, "survival", graded["item"])
    found = found.assign(own_survival=alone.each(time))
    competes = "cause" in graded
    if not np.isnan(span.horizon):
        beyond = alone.at(at)[:, 0]
        with np.errstate(divide="ignore"):
            # A curve that is still 1 or already 0 has a hazard of 0 or ∞.
            found = found.assign(log_hazard=np.log(-np.log(beyond)))
        if competes:
            found = found.assign(p_net=1 - beyond)
    if competes and "incidence" not in answered.arrays:
        return found
    without = _Curves.of(answered, "incidence", graded["item"]).complement() if competes else alone
    found = found.assign(brier=integrated_terms(time, event, without.at(grid), grid, censoring))
    if np.isnan(span.horizon):
        return found
    beyond = without.at(at)
    share = float(aalen_johansen(train_time, train_event, at)[0, 0])
    return found.assign(
        p_event=1 - beyond[:, 0], threshold=share,
        brier_horizon=brier_terms(time, event, beyond, at, censoring)[:, 0],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Curves:
    """Predictions as steps: (k,) rising times, and (n, k + 1) the value before the first and from each on."""

    times: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, answered: Items, name: str, items: pd.Series) -> Self:
        """Read survival, which is 1 before the first time, or incidence, which is 0."""
        ids, curves = pd.Index(answered.frame["item"]), np.asarray(answered.arrays[name], dtype=float)
        times = np.asarray(answered.arrays.get("times", ()), dtype=float)
        if curves.shape != (len(ids), len(times)) or not (np.diff(times) > 0).all():
            raise MmcellError(
                f"items: arrays[{name!r}] has the shape {curves.shape} for {len(ids)} items and {len(times)} times; "
                "give one curve per item over rising arrays['times']"
            )
        if ids.has_duplicates:
            raise MmcellError(
                f"items: {first(ids[ids.duplicated()])} have several survival curves; return one per item"
            )
        wrong = ~((curves >= 0) & (curves <= 1)).all(axis=1)
        if wrong.any():
            raise MmcellError(
                f"items: arrays[{name!r}] is no probability for {int(wrong.sum())} items ({first(ids[wrong])}); give "
                "numbers from 0 to 1"
            )
        rows = curves[ids.get_indexer(pd.Index(items))]
        return cls(times, np.column_stack([np.full(len(rows), float(name == "survival")), rows]))

    def complement(self) -> Self:
        """Return the probability of the opposite."""
        return type(self)(self.times, 1 - self.values)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the curves (n, times) at some times."""
        return self.values[:, np.searchsorted(self.times, times, "right")]

    def each(self, times: np.ndarray) -> np.ndarray:
        """Return each curve at a time of its own, (n,)."""
        return self.values[np.arange(len(self.values)), np.searchsorted(self.times, times, "right")]
