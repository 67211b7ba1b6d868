"""`Censoring`: how likely a patient is still under observation at a time, and the weights that follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from mmcell.errors import MmcellError
from mmcell.metrics.base import checked

#: Where fewer are still under observation, weights would rest on a handful of patients.
FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Censoring:
    """The Kaplan–Meier estimate G(t) of staying uncensored beyond t.

    Attributes
    ----------
    times
        (k,) distinct training times, rising.
    survival
        (k,) G at these times.
    """

    times: np.ndarray
    survival: np.ndarray

    @classmethod
    def fit(cls, time: np.ndarray, event: np.ndarray) -> Self:
        """Estimate it from (m,) training times and events; at one time, events come before censoring.

        A competing event (2) is an event here: who had it was followed to the end and not lost.

        Raises
        ------
        MmcellError
            Nobody to estimate it from, or an entry is NaN.
        """
        time, event = checked("censoring", train_time=time, train_event=event)
        if not len(time):
            raise MmcellError("censoring: no training patients; give the outcome of those that the model was fitted on")
        times, code = np.unique(time, return_inverse=True)
        left = np.bincount(code, event == 0)
        died = np.bincount(code) - left
        at_risk = (died + left)[::-1].cumsum()[::-1] - died
        return cls(times, np.cumprod(1 - np.divide(left, at_risk, out=np.zeros(len(times)), where=left > 0)))

    @property
    def last(self) -> float:
        """The last training time; G is unknown beyond."""
        return float(self.times[-1])

    @property
    def tau(self) -> float:
        """The largest training time at which G is at least 0.1; 0 where there is none."""
        return float(self.times[self.survival >= FLOOR - 1e-12].max(initial=0.0))

    def at(self, time: np.ndarray) -> np.ndarray:
        """Return G(t), NaN beyond the last training time."""
        return self._step(time, "right")

    def before(self, time: np.ndarray) -> np.ndarray:
        """Return G(t−), the chance to be under observation when t comes; NaN beyond the last training time."""
        return self._step(time, "left")

    def _step(self, time: np.ndarray, side: str) -> np.ndarray:
        time = np.asarray(time, dtype=np.float64)
        steps = np.concatenate([[1.0], self.survival])
        return np.where(time > self.last, np.nan, steps[np.searchsorted(self.times, time, side)])  # type: ignore[call-overload]

    def ipcw(self, time: np.ndarray, tau: float) -> np.ndarray:
        """Return what a pair counts whose earlier event is at `time`: 1/G(t−)² below `tau`, 0 from it on."""
        return np.where(np.asarray(time) < tau, self.before(time) ** -2.0, 0.0)


def common_tau(outcomes: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the largest time at which G is at least 0.1 in every training fold.

    Parameters
    ----------
    outcomes
        (time, event) of the training patients of each fold.
    """
    return min(Censoring.fit(time, event).tau for time, event in outcomes)
