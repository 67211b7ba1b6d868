"""Cumulative incidence: how likely each event has struck by some time where one rules the other out (Aalen–Johansen).

Codes of the cause everywhere: 0 = censored, 1 = the event, 2 = a competing event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcell.errors import MmcellError, first
from mmcell.metrics.base import checked
from mmcell.metrics.kaplan_meier import Steps

CAUSES = (1, 2)
#: Standard errors on either side of a 95 % interval.
Z95 = 1.959963984540054


def checked_causes(what: str, cause: np.ndarray) -> np.ndarray:
    """Return codes of causes as they are.

    Raises
    ------
    MmcellError
        Another code than 0, 1 and 2.
    """
    wrong = ~np.isin(cause, (0, *CAUSES))
    if wrong.any():
        raise MmcellError(
            f"{what}: cause has the values {first(np.unique(cause[wrong]))}; 0 = censored, 1 = event, 2 = competing"
        )
    return cause


def _grown(steps: Steps, cause: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share (draws, k) without either event, and the incidence (draws, 2, k) of both, from each time on."""
    left = steps.left(steps.count(cause > 0))
    before = np.column_stack([np.ones(len(left)), left])[:, :-1]
    rises = [before * steps.hazard(steps.count(cause == code)) for code in CAUSES]
    return left, np.cumsum(np.stack(rises, axis=1), axis=2)


def aalen_johansen_resampled(
    time: np.ndarray, cause: np.ndarray, times: np.ndarray, weights: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Return the incidence (draws, 2, k) of both causes under each row of weights (draws, n); see `aalen_johansen`."""
    time, cause = checked("aalen_johansen", time=time, cause=cause)
    checked_causes("aalen_johansen", cause)
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    steps = Steps.of(time, np.asarray(weights, dtype=np.float64))
    left, found = _grown(steps, cause)
    where = np.searchsorted(steps.times, at, "right")
    left = np.column_stack([np.ones(len(left)), left])[:, where]
    found = np.concatenate([np.zeros((*found.shape[:2], 1)), found], axis=2)[:, :, where]
    # After the last patient of a draw nothing changes for certain only where nobody was left.
    watched = np.column_stack([steps.at_risk, np.zeros(len(left))])[:, np.searchsorted(steps.times, at, "left")] > 0
    return np.where((watched | (left == 0))[:, None], found, np.nan)


def aalen_johansen(time: np.ndarray, cause: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return how likely each cause has struck by some times, while either rules out the other.

    Parameters
    ----------
    time
        (n,) positive times.
    cause
        (n,) 0 = censored, 1 = the event, 2 = competing; at one time, events come before censoring.
    times
        (k,) times of interest.

    Returns
    -------
    numpy.ndarray
        (2, k) cumulative incidence of cause 1 and of cause 2; without competing events the first is 1 − Kaplan–Meier.
        NaN beyond the last patient, unless everybody had an event. Equals lifelines' ``AalenJohansenFitter`` where no
        two patients share a time (it moves ties apart at random).

    Raises
    ------
    MmcellError
        An entry is NaN, the lengths differ, or another code.

    References
    ----------
    Aalen, Johansen: An empirical transition matrix for non-homogeneous Markov chains based on censored observations.
    Scand J Stat 5, 141–150 (1978).
    """
    return np.asarray(aalen_johansen_resampled(time, cause, times, np.ones((1, len(time))))[0])


@dataclass(frozen=True, eq=False)
class Incidence:
    """The cumulative incidence of cause 1 beside a competing cause 2.

    Attributes
    ----------
    times
        (k,) distinct times of events and of censoring, rising.
    at_risk
        (k,) patients under observation just before each.
    events, competing
        (k,) how many had each event at each time.
    left
        (k,) share with neither event from each time on.
    values
        (k,) cumulative incidence from each time on.
    """

    times: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    competing: np.ndarray
    left: np.ndarray
    values: np.ndarray

    def at(self, when: float) -> tuple[float, float, float]:
        """Return the incidence at a time, and its 95 % interval (see `band`)."""
        place = int(np.searchsorted(self.times, when, "right")) - 1
        if place < 0:
            return 0.0, float("nan"), float("nan")
        low, high = self.band()
        return float(self.values[place]), float(low[place]), float(high[place])

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends (k,) of pointwise 95 % intervals, on the scale of log(−log); NaN where there is no event."""
        # Before the first event rounding may leave less than nothing.
        error = np.sqrt(np.abs(self._variance()))
        inside = (self.values > 0) & (self.values < 1)
        value = np.where(inside, self.values, 0.5)
        step = Z95 * error / np.abs(value * np.log(value))
        ends = np.exp(np.log(value) * np.exp(step)), np.exp(np.log(value) * np.exp(-step))
        low, high = (np.where(inside, end, np.nan) for end in ends)
        return low, high

    def _variance(self) -> np.ndarray:
        """Return the variance (k,) of the incidence: Σ over earlier times, expanded in what has come since."""
        # An event at s moves F(t) by S(s) − (F(t) − F(s)), a competing one by −(F(t) − F(s)), each over Y(s).
        since, share = self.left + self.values, 1.0 / self.at_risk**2
        own, other = self.events * share, self.competing * share
        both = np.cumsum(own + other) * self.values**2
        mixed = np.cumsum(own * since + other * self.values) * self.values
        return both - 2 * mixed + np.cumsum(own * since**2 + other * self.values**2)

    def time_lost(self, until: float) -> tuple[float, float]:
        """Return the mean time lost to the event up to a time, the area below the incidence, and its variance."""
        seen = self.times <= until
        times, values, left = self.times[seen], self.values[seen], self.left[seen]
        areas = values * np.diff(np.append(times, until))
        later = areas[::-1].cumsum()[::-1] - values * (until - times)
        moved = left * (until - times) - later
        variance = (self.events[seen] * moved**2 + self.competing[seen] * later**2) / self.at_risk[seen] ** 2
        return float(areas.sum()), float(variance.sum())


def cumulative_incidence(time: np.ndarray, cause: np.ndarray) -> Incidence:
    """Estimate the cumulative incidence of the event from patients.

    Parameters
    ----------
    time
        (n,) positive times.
    cause
        (n,) 0 = censored, 1 = the event, 2 = competing; at one time, events come before censoring.

    Raises
    ------
    MmcellError
        As in `aalen_johansen`, whose first row are the `Incidence.values`.

    Notes
    -----
    Without competing events the incidence is 1 − Kaplan–Meier, and its variance S(t)² Σ d / Y².

    References
    ----------
    Andersen, Borgan, Gill, Keiding: Statistical models based on counting processes (1993), section IV.4.
    Andersen: Decomposition of number of life years lost according to causes of death. Stat Med 32 (2013).
    """
    time, cause = checked("cumulative_incidence", time=time, cause=cause)
    steps = Steps.of(time, np.ones((1, len(time))))
    left, found = _grown(steps, checked_causes("cumulative_incidence", cause))
    events, competing = (steps.count(cause == code)[0] for code in CAUSES)
    return Incidence(steps.times, steps.at_risk[0], events, competing, left[0], found[0, 0])
