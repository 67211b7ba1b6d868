"""`KaplanMeier`: survival over time with the numbers at risk, for one cohort or for many draws of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcell.errors import MmcellError
from mmcell.metrics.base import checked

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """The Kaplan–Meier estimate of being without the event beyond a time.

    Attributes
    ----------
    times
        (k,) distinct times of events and of censoring, rising.
    at_risk
        (k,) how many were under observation just before each of them.
    events
        (k,) how many had the event at each of them.
    survival
        (k,) the estimate from each of them on.
    """

    times: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    survival: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the estimate at any times; beyond the last one it stays as it is, known or not."""
        steps = np.concatenate([[1.0], self.survival])
        return steps[np.searchsorted(self.times, np.asarray(times, dtype=np.float64), "right")]

    def n_at_risk(self, times: np.ndarray) -> np.ndarray:
        """Return how many are under observation just before any times: what stands below a curve."""
        numbers = np.concatenate([self.at_risk, [0.0]])
        return numbers[np.searchsorted(self.times, np.asarray(times, dtype=np.float64), "left")]


def kaplan_meier(time: np.ndarray, event: np.ndarray, weights: np.ndarray | None = None) -> KaplanMeier:
    """Estimate survival over time.

    Parameters
    ----------
    time
        (n,) positive times, any unit.
    event
        (n,) 1 = event; anything else leaves without it. At one time, events come before censoring.
    weights
        (n,) multiplicities; default 1.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.

    References
    ----------
    Kaplan, Meier: Nonparametric estimation from incomplete observations. JASA 53, 457–481 (1958).
    """
    time, event = checked("kaplan_meier", time=time, event=event)
    rows = np.ones((1, len(time))) if weights is None else np.asarray(weights, dtype=np.float64)[None]
    steps = Steps.of(time, rows)
    events = steps.count(event == 1)
    return KaplanMeier(steps.times, steps.at_risk[0], events[0], steps.left(events)[0])


def median_time(time: np.ndarray, event: np.ndarray) -> float:
    """Return the first time from which on at most half are without the event; NaN where that is not reached.

    Parameters
    ----------
    time, event
        As in `kaplan_meier`. With losses in the place of events, and events in that of censoring, it is the median
        follow-up (the reverse Kaplan–Meier estimate): at one time losses then come first.

    Raises
    ------
    MmcellError
        As in `kaplan_meier`.

    References
    ----------
    Schemper, Smith: A note on quantifying follow-up in studies of failure time. Control Clin Trials 17 (1996).
    """
    found = kaplan_meier(time, event)
    # A product of fractions that is one half may come out a rounding above it.
    passed = found.times[found.survival <= 0.5 + _ROUNDING]
    return float(passed[0]) if len(passed) else float("nan")


@dataclass(frozen=True, eq=False)
class Steps:
    """Counts at the distinct times of a cohort under many draws.

    Attributes
    ----------
    times
        (k,) distinct times, rising.
    at_risk
        (draws, k) weight under observation just before each.
    """

    times: np.ndarray
    at_risk: np.ndarray
    _order: np.ndarray
    _starts: np.ndarray
    _weights: np.ndarray

    @classmethod
    def of(cls, time: np.ndarray, weights: np.ndarray) -> Steps:
        """Count (n,) patients under weights (draws, n).

        Raises
        ------
        MmcellError
            The weights have not one column per patient.
        """
        if weights.ndim != 2 or weights.shape[1] != len(time):
            raise MmcellError(f"weights have the shape {weights.shape}; give (draws, {len(time)})")
        order = np.argsort(time, kind="stable")
        times, starts = np.unique(time[order], return_index=True)
        sorted_weights = np.asarray(weights, dtype=np.float64)[:, order]
        leaving = _sums(sorted_weights, starts)
        at_risk = leaving[:, ::-1].cumsum(axis=1)[:, ::-1]
        return cls(times, at_risk, order, starts, sorted_weights)

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """Return the weight (draws, k) of some patients, (n,) booleans or numbers, at each time."""
        return _sums(self._weights * chosen[self._order], self._starts)

    def left(self, events: np.ndarray) -> np.ndarray:
        """Return the share (draws, k) without the event from each time on, given the weight (draws, k) of events."""
        return np.asarray(np.cumprod(1 - self.hazard(events), axis=1))

    def hazard(self, events: np.ndarray) -> np.ndarray:
        """Return the share (draws, k) of those at risk who have the event at each time; 0 where nobody is at risk."""
        return np.divide(events, self.at_risk, out=np.zeros_like(events), where=self.at_risk > 0)


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the sums (draws, k) of consecutive columns that begin at `starts`."""
    if not len(starts):
        return np.zeros((len(values), 0))
    return np.asarray(np.add.reduceat(values, starts, axis=1))
