"""Survival by group: medians, restricted means, and where events compete incidences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.metrics.incidence import Z95, cumulative_incidence
from mmcell.metrics.kaplan_meier import median_time
from mmcell.metrics.restricted_mean import restricted_mean, restricted_mean_variance

#: A restricted mean reaches as far as so many patients of every group are followed.
LEAST_AT_RISK = 10


def horizon(frame: pd.DataFrame) -> float:
    """Return the last time at which `LEAST_AT_RISK` patients of every group are followed, of a small group half of it.

    Parameters
    ----------
    frame
        Columns ``group time``.
    """
    ends = []
    for _, time in frame.groupby("group")["time"]:
        falling = np.sort(time.to_numpy(dtype=float))[::-1]
        ends.append(falling[min(LEAST_AT_RISK, (len(falling) + 1) // 2) - 1])
    return float(min(ends))


def survival_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per group: patients, events, median with interval, and restricted mean with its difference.

    Parameters
    ----------
    frame
        Columns ``group time event``.

    Returns
    -------
    pandas.DataFrame
        ``group n n_events median median_low median_high restricted_mean until difference ci_low ci_high``; a median
        that is not reached is NaN; the difference is from the first group.
    """
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    until = horizon(frame)
    rows, first = [], (0.0, 0.0)
    for i, (name, part) in enumerate(frame.groupby("group", sort=True)):
        time, event = part["time"].to_numpy(dtype=float), part["event"].to_numpy(dtype=int)
        fit = KaplanMeierFitter().fit(time, event)
        low, high = median_survival_times(fit.confidence_interval_).to_numpy(dtype=float)[0]
        mean, variance = restricted_mean(time, event, until), restricted_mean_variance(time, event, until)
        first = (mean, variance) if i == 0 else first
        gap, error = mean - first[0], np.sqrt(variance + first[1])
        row = {"group": name, "n": len(part), "n_events": int(event.sum()), "median": median_time(time, event)}
        row |= {"median_low": low, "median_high": high, "restricted_mean": mean, "until": until}
        row |= {"difference": gap, "ci_low": gap - Z95 * error, "ci_high": gap + Z95 * error} if i else {}
        rows.append(row)
    columns = ["median", "median_low", "median_high", "restricted_mean", "until", "difference", "ci_low", "ci_high"]
    found = pd.DataFrame(rows).reindex(columns=["group", "n", "n_events", *columns])
    # lifelines calls a median that is not reached infinite.
    return found.replace([np.inf, -np.inf], np.nan)


def incidence_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per group where a competing event can rule the event out.

    Parameters
    ----------
    frame
        Columns ``group time cause``: 0 = censored, 1 = the event, 2 = competing.

    Returns
    -------
    pandas.DataFrame
        ``group n n_events n_competing incidence incidence_low incidence_high time_lost until difference ci_low
        ci_high``: the cumulative incidence (Aalen–Johansen) at ``until``, the mean time lost to the event up to then
        and its difference from the first group.
    """
    until, rows, first = horizon(frame), [], (0.0, 0.0)
    for i, (name, part) in enumerate(frame.groupby("group", sort=True)):
        cause = part["cause"].to_numpy(dtype=int)
        found = cumulative_incidence(part["time"].to_numpy(dtype=float), cause)
        value, low, high = found.at(until)
        lost, variance = found.time_lost(until)
        first = (lost, variance) if i == 0 else first
        gap, error = lost - first[0], np.sqrt(variance + first[1])
        row = {"group": name, "n": len(part), "n_events": int((cause == 1).sum())}
        row |= {"n_competing": int((cause == 2).sum()), "incidence": value, "incidence_low": low}
        row |= {"incidence_high": high, "time_lost": lost, "until": until}
        row |= {"difference": gap, "ci_low": gap - Z95 * error, "ci_high": gap + Z95 * error} if i else {}
        rows.append(row)
    columns = ["incidence", "incidence_low", "incidence_high", "time_lost", "until", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows).reindex(columns=["group", "n", "n_events", "n_competing", *columns])
