"""Restricted mean survival time: how long patients live without the event up to a time, and by how much groups differ.

Beyond the last patient of a cohort or group its curve stays as it is, as in lifelines: with a long stretch between that
patient and tau the mean is then too high. Choose a tau up to which every group is followed.
"""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError, first
from mmcell.metrics.base import checked
from mmcell.metrics.kaplan_meier import Steps, kaplan_meier

#: The two groups: whose mean is subtracted from whose.
LOW, HIGH = "low", "high"


def restricted_mean_resampled(time: np.ndarray, event: np.ndarray, tau: float, weights: np.ndarray) -> np.ndarray:
    """Return the restricted mean (draws,) under each row of weights (draws, n); NaN where nobody is drawn.

    Raises
    ------
    MmcellError
        `tau` is not after 0.
    """
    time, event = checked("restricted_mean", time=time, event=event)
    if not tau > 0:
        raise MmcellError(f"restricted_mean: tau is {tau:g}; give a time after 0")
    weights = np.asarray(weights, dtype=np.float64)
    steps = Steps.of(time, weights)
    left = np.column_stack([np.ones(len(weights)), steps.left(steps.count(event == 1))])
    widths = np.diff(np.minimum(np.concatenate([[0.0], steps.times, [np.inf]]), tau))
    return np.where(weights.sum(axis=1) > 0, left @ widths, np.nan)


def restricted_mean(time: np.ndarray, event: np.ndarray, tau: float) -> float:
    """Return the mean time without the event up to `tau`: the area below the Kaplan–Meier curve.

    Parameters
    ----------
    time, event
        (n,) positive times, and 1 for an event.
    tau
        Greater than 0, in units of time.

    Returns
    -------
    float
        In units of time, at most `tau`; NaN without patients. Equals lifelines' ``restricted_mean_survival_time``.

    Raises
    ------
    MmcellError
        An entry is NaN, the lengths differ, or `tau` is not positive.

    References
    ----------
    Royston, Parmar: Restricted mean survival time: an alternative to the hazard ratio for the design and analysis of
    randomized trials with a time-to-event outcome. BMC Med Res Methodol 13, 152 (2013). The tail: Gill: Censoring and
    stochastic integrals. Mathematical Centre Tracts 124 (1980).
    """
    return float(restricted_mean_resampled(time, event, tau, np.ones((1, len(time))))[0])


def restricted_mean_variance(time: np.ndarray, event: np.ndarray, tau: float) -> float:
    """Return the variance of the restricted mean (Greenwood): Σ A(t)² d / (Y (Y − d)), A(t) the area from t to `tau`.

    Parameters
    ----------
    time, event, tau
        As in `restricted_mean`.

    Returns
    -------
    float
        In squared units of time; NaN without patients. Where the last ones at risk have the event nothing is left, and
        that moment adds nothing.

    Raises
    ------
    MmcellError
        As in `restricted_mean`.

    References
    ----------
    Klein, Moeschberger: Survival analysis, 2nd ed. (2003), section 4.5.
    """
    time, event = checked("restricted_mean_variance", time=time, event=event)
    if not tau > 0:
        raise MmcellError(f"restricted_mean_variance: tau is {tau:g}; give a time after 0")
    if not len(time):
        return float("nan")
    found = kaplan_meier(time, event)
    seen = found.times <= tau
    times, at_risk, died, left = (a[seen] for a in (found.times, found.at_risk, found.events, found.survival))
    rest = (left * np.diff(np.append(times, tau)))[::-1].cumsum()[::-1]
    share = np.divide(died, at_risk * (at_risk - died), out=np.zeros_like(died), where=at_risk > died)
    return float((rest**2 * share).sum())


def restricted_mean_difference_resampled(
    time: np.ndarray, event: np.ndarray, group: np.ndarray, tau: float, weights: np.ndarray
) -> np.ndarray:
    """Return the difference (draws,) under each row of weights (draws, n); see `restricted_mean_difference`.

    Raises
    ------
    MmcellError
        Groups are not as many as the times, or are called something else than low and high.
    """
    time, event = checked("restricted_mean_difference", time=time, event=event)
    group, weights = np.asarray(group).astype(str), np.asarray(weights, dtype=np.float64)
    if len(group) != len(time):
        raise MmcellError(f"restricted_mean_difference: group has length {len(group)} and time {len(time)}")
    other = ~np.isin(group, (LOW, HIGH))
    if other.any():
        raise MmcellError(
            f"restricted_mean_difference: groups are called {LOW!r} and {HIGH!r}, not {first(np.unique(group[other]))}"
        )
    low, high = (
        restricted_mean_resampled(time[rows], event[rows], tau, weights[:, rows])
        for rows in (group == LOW, group == HIGH)
    )
    return low - high


def restricted_mean_difference(time: np.ndarray, event: np.ndarray, group: np.ndarray, tau: float) -> float:
    """Return by how much longer patients of low risk live without the event up to `tau` than those of high risk.

    Parameters
    ----------
    time, event, tau
        As in `restricted_mean`.
    group
        (n,) ``low`` or ``high``, assigned by a rule that did not see these patients.

    Returns
    -------
    float
        In units of time; 0 without skill; NaN with one group only.

    Raises
    ------
    MmcellError
        As in `restricted_mean`, or another group.
    """
    return float(restricted_mean_difference_resampled(time, event, group, tau, np.ones((1, len(time))))[0])
