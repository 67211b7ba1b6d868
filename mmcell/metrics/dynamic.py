"""Discrimination over time: the AUC that tells who had the event by a time from who did not, and its integral."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.errors import MmcellError, number_of
from mmcell.metrics.base import checked, ratio
from mmcell.metrics.censoring import Censoring
from mmcell.metrics.kaplan_meier import Steps
from mmcell.metrics.lanes import lanes


@njit(cache=True, nogil=True)
def _pairs_at(
    time: np.ndarray, factor: np.ndarray, tie: np.ndarray, times: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted (concordant, all) pairs (k, lanes) of a case and a control at each time; rows sorted by rising risk.

    A case had the event by the time and counts `factor`; a control is still without it. `tie` numbers equal risks.
    """
    n, n_lanes = weights.shape
    k = len(times)
    top = np.zeros((k, n_lanes))
    bottom = np.zeros((k, n_lanes))
    below = np.empty(n_lanes)
    equal = np.empty(n_lanes)
    seen = np.empty(n_lanes)
    for j in range(k):
        below[:] = 0.0
        seen[:] = 0.0
        start = 0
        while start < n:
            stop = start
            equal[:] = 0.0
            while stop < n and tie[stop] == tie[start]:
                if time[stop] > times[j]:
                    own = weights[stop]
                    for b in range(n_lanes):
                        equal[b] += own[b]
                stop += 1
            for i in range(start, stop):
                if factor[i] != 0 and time[i] <= times[j]:
                    own = weights[i]
                    for b in range(n_lanes):
                        top[j, b] += factor[i] * own[b] * (below[b] + 0.5 * equal[b])
                        seen[b] += factor[i] * own[b]
            for b in range(n_lanes):
                below[b] += equal[b]
            start = stop
        for b in range(n_lanes):
            bottom[j, b] = seen[b] * below[b]
    return top, bottom


def auc_pairs(
    time: np.ndarray, factor: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted (concordant, all) pairs of a case and a control at each time, (draws, times) each.

    Parameters
    ----------
    time, risk, weights
        As in `harrell_c_resampled`.
    factor
        (n,) what a patient counts as a case; 0 for one without the event.
    times
        (k,) times.
    """
    order = np.argsort(risk, kind="stable")
    ranked = risk[order]
    tie = np.cumsum(np.concatenate([[False], ranked[1:] != ranked[:-1]])) if len(ranked) else order
    top, bottom = np.empty((2, len(weights), len(times)))
    for block, side_by_side in lanes(weights, order):
        found = _pairs_at(time[order], factor[order], tie, times, side_by_side)
        top[block], bottom[block] = found[0].T, found[1].T
    return top, bottom


def control_factor(time: np.ndarray, ended: np.ndarray, times: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what each control counts at each time, (draws, times): 1/G(t), 0 where there is none.

    Within one fold it is the same for all controls and cancels. Where the pairs of several folds are added up it
    does not: without it the fold with more censoring, which has fewer controls left, would count less. G is that of the
    scored patients themselves, n S(t) / Y, where S is the Kaplan–Meier estimate of having had no event and Y the
    controls left: it is asked for at the event times of other folds, too, at which items carry no weight.

    Parameters
    ----------
    time, weights
        As in `harrell_c_resampled`.
    ended
        (n,) who had an event, a competing one included: they are not censored.
    times
        (k,) times.
    """
    steps = Steps.of(time, np.asarray(weights, dtype=np.float64))
    after = np.searchsorted(steps.times, times, "right")
    left = np.column_stack([np.ones(len(weights)), steps.left(steps.count(ended))])[:, after]
    watched = np.column_stack([steps.at_risk, np.zeros(len(weights))])[:, after]
    expected = left * weights.sum(axis=1)[:, None]
    return np.divide(expected, watched, out=np.zeros_like(expected), where=watched > 0)


def _case_factor(
    what: str, time: np.ndarray, event: np.ndarray, last: float, censoring: Censoring
) -> np.ndarray:  # fmt: skip
    """Return what each patient counts as a case up to the last time of interest, (n,); 0 without the event."""
    given = censoring.before(time)
    case = (event == 1) & (time <= last)
    beyond = np.isnan(given) & case
    if beyond.any():
        raise MmcellError(
            f"{what}: {number_of(int(beyond.sum()), 'event comes', 'events come')} after the last training patient "
            "left, where "
            "censoring is unknown; use smaller times"
        )
    return np.divide(1.0, given, out=np.zeros(len(time)), where=case)


def cumulative_dynamic_auc_resampled(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the AUC (draws, times) at each time under each row of weights (draws, n); see `cumulative_dynamic_auc`."""
    time, event, risk = checked("cumulative_dynamic_auc", time=time, event=event, risk=risk)
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    censoring = Censoring.fit(train_time, train_event)
    factor = _case_factor("cumulative_dynamic_auc", time, event, at.max(initial=0), censoring)
    return ratio(*auc_pairs(time, factor, risk, at, weights))


def cumulative_dynamic_auc(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, times: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return at each time the AUC that tells who had the event by then from who was still without it.

    Parameters
    ----------
    time, event, risk
        As in `harrell_c`.
    times
        (k,) times of interest.
    train_time, train_event
        (m,) outcome of the training patients, whose censoring weights a case by 1/G(t−).

    Returns
    -------
    numpy.ndarray
        (k,) in [0, 1], chance 0.5; NaN at a time without a case or without a control. The mean over times that
        ``sksurv.metrics.cumulative_dynamic_auc`` returns as well is `integrated_auc`; see `uno_c` for G(t−).

    Raises
    ------
    MmcellError
        No training patients; an event after the last training time; an entry is NaN.

    References
    ----------
    Uno, Cai, Tian, Wei: Evaluating prediction rules for t-year survivors with censored regression models. JASA 102,
    527–537 (2007).
    """
    return cumulative_dynamic_auc_resampled(
        time, event, risk, times, np.ones((1, len(time))), train_time=train_time, train_event=train_event
    )[0]


def integral(auc: np.ndarray, drops: np.ndarray) -> np.ndarray:
    """Return the mean (draws,) of the AUC (draws, k) weighted by the drops of survival, over times where it is defined.

    Parameters
    ----------
    auc
        (draws, k) NaN at a time without a case or without a control.
    drops
        (draws, k) by how much the share without the event falls between the time before and each time.
    """
    counted = np.where(np.isnan(auc), 0.0, drops)
    return ratio((np.where(counted > 0, auc, 0.0) * counted).sum(axis=1), counted.sum(axis=1))


def integrated_auc_resampled(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray, times: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the integrated AUC (draws,) under each row of weights (draws, n); see `integrated_auc`.

    Raises
    ------
    MmcellError
        The times do not rise.
    """
    time, event, risk = checked("integrated_auc", time=time, event=event, risk=risk)
    censoring = Censoring.fit(train_time, train_event)
    at = np.unique(time[(event == 1) & (time < censoring.tau)]) if times is None else np.asarray(times, dtype=float)
    if at.ndim != 1 or not (np.diff(at) > 0).all():
        raise MmcellError("integrated_auc: give rising times")
    factor = _case_factor("integrated_auc", time, event, at.max(initial=0), censoring)
    steps = Steps.of(time, np.asarray(weights, dtype=np.float64))
    left = np.column_stack([np.ones(len(weights)), steps.left(steps.count(event == 1))])
    at_times = left[:, np.searchsorted(steps.times, at, "right")]
    drops = -np.diff(np.column_stack([np.ones(len(weights)), at_times]), axis=1)
    return integral(ratio(*auc_pairs(time, factor, risk, at, weights)), drops)


def integrated_auc(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray, times: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Return the AUC averaged over time, each time weighted by how many have the event around it.

    The weight of a time is the drop of the Kaplan–Meier curve of the scored patients since the time before; times at
    which no case or no control is left have no AUC and no weight.

    Parameters
    ----------
    time, event, risk, train_time, train_event
        As in `cumulative_dynamic_auc`.
    times
        (k,) rising times. Default: every event time below the largest training time at which G is at least 0.1, so that
        the integral depends on no grid.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN where no time has an AUC. Equals the mean that scikit-survival's
        ``cumulative_dynamic_auc`` returns for the same times, where each has an AUC.

    Raises
    ------
    MmcellError
        As in `cumulative_dynamic_auc`, or times that do not rise.

    References
    ----------
    Lambert, Chevret: Summary measure of discrimination in survival models based on cumulative/dynamic time-dependent
    ROC curves. Stat Methods Med Res 25, 2088–2102 (2016).
    """
    ones = np.ones((1, len(time)))
    found = integrated_auc_resampled(
        time, event, risk, ones, train_time=train_time, train_event=train_event, times=times
    )
    return float(found[0])
