"""`Incidence`: how likely the event has struck by any time where another event can rule it out (Aalen–Johansen)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcell.metrics.kaplan_meier import kaplan_meier

#: Standard errors on either side of a 95 % interval.
Z95 = 1.959963984540054


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


def incidence(time: np.ndarray, cause: np.ndarray) -> Incidence:
    """Estimate the cumulative incidence of the event.

    Parameters
    ----------
    time
        (n,) positive times.
    cause
        (n,) 0 = censored, 1 = the event, 2 = competing; at one time, events come before censoring.

    Notes
    -----
    Without competing events the incidence is 1 − Kaplan–Meier, and its variance S(t)² Σ d / Y².

    References
    ----------
    Andersen, Borgan, Gill, Keiding: Statistical models based on counting processes (1993), section IV.4.
    Andersen: Decomposition of number of life years lost according to causes of death. Stat Med 32 (2013).
    """
    either = kaplan_meier(time, (cause > 0).astype(int))
    events = kaplan_meier(time, (cause == 1).astype(int)).events
    before = np.concatenate([[1.0], either.survival])[:-1]
    grown = np.cumsum(before * events / either.at_risk)
    return Incidence(either.times, either.at_risk, events, either.events - events, either.survival, grown)
