"""Concordance of risk and survival: Harrell's C and Uno's C. Higher risk means shorter survival."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.errors import MmcellError, noun, number_of
from mmcell.metrics.base import checked, ratio
from mmcell.metrics.censoring import Censoring
from mmcell.metrics.lanes import lanes


@njit(cache=True, nogil=True)
def _concordance(
    time: np.ndarray,
    event: np.ndarray,
    factor: np.ndarray,
    beside: np.ndarray,
    rank: np.ndarray,
    n_ranks: int,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted (concordant, comparable) pairs of each lane; rows sorted by falling time, `rank` is that of the risk.

    A pair counts `factor` of the one who goes first times `beside` of the one who outlives it.

    A Fenwick tree holds the weight of everybody known to outlive the current time, by rank of risk, and `here` the
    weight at each rank. Both hold all draws side by side, so that the inner loops have no branch.
    """
    n, n_lanes = weights.shape
    top = np.zeros(n_lanes)
    bottom = np.zeros(n_lanes)
    tree = np.zeros((n_ranks + 1, n_lanes))
    here = np.zeros((n_ranks, n_lanes))
    alive = np.zeros(n_lanes)
    spare = np.empty(n_lanes)
    start = 0
    while start < n:
        stop = start
        while stop < n and time[stop] == time[start]:
            stop += 1
        # Whoever is censored at a time outlives an event at that time; two events at one time do not compare.
        for step in range(2):
            if step == 1:
                for i in range(start, stop):
                    if factor[i] != 0:
                        # Twice the weight below, and once that of equal risk: a tie counts one half.
                        same = here[rank[i]]
                        for b in range(n_lanes):
                            spare[b] = same[b]
                        k = rank[i]
                        while k > 0:
                            node = tree[k]
                            for b in range(n_lanes):
                                spare[b] += 2.0 * node[b]
                            k &= k - 1
                        own = weights[i]
                        for b in range(n_lanes):
                            top[b] += factor[i] * own[b] * 0.5 * spare[b]
                            bottom[b] += factor[i] * own[b] * alive[b]
            for i in range(start, stop):
                if event[i] == (step == 1) and beside[i] != 0:
                    own = weights[i]
                    same = here[rank[i]]
                    for b in range(n_lanes):
                        spare[b] = beside[i] * own[b]
                        alive[b] += spare[b]
                        same[b] += spare[b]
                    k = rank[i] + 1
                    while k <= n_ranks:
                        node = tree[k]
                        for b in range(n_lanes):
                            node[b] += spare[b]
                        k += k & -k
        start = stop
    return top, bottom


def c_pairs(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray, factor: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return weighted (concordant, comparable) pairs, (draws,) each.

    Parameters
    ----------
    time, event, risk, weights
        As in `harrell_c_resampled`.
    factor
        (n,) what a pair counts, by the patient with the event; default 1.
    beside
        (n,) what it counts besides, by the patient who outlives the other; default 1.
    """
    order = np.argsort(-time)
    levels, rank = np.unique(risk[order], return_inverse=True)
    died = event[order] == 1
    counts = np.where(died, 1.0 if factor is None else factor[order], 0.0)
    others = np.ones(len(order)) if beside is None else np.asarray(beside, dtype=np.float64)[order]
    top, bottom = np.empty((2, len(weights)))
    for block, side_by_side in lanes(weights, order):
        top[block], bottom[block] = _concordance(time[order], died, counts, others, rank, len(levels), side_by_side)
    return top, bottom


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
    time, event, risk = checked("harrell_c", time=time, event=event, risk=risk)
    return ratio(*c_pairs(time, event, risk, weights))


def harrell_c(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Return Harrell's concordance index: over comparable pairs, how often the one who dies first has the higher risk.

    Parameters
    ----------
    time
        (n,) positive times, any unit.
    event
        (n,) 1 = event, 0 = censored, 2 = a competing event, after which a patient counts as censored.
    risk
        (n,) higher = shorter survival; ties count one half.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN without a comparable pair. Equals
        ``lifelines.utils.concordance_index(time, -risk, event)``.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.

    References
    ----------
    Harrell, Lee, Mark: Multivariable prognostic models. Stat Med 15, 361–387 (1996).
    """
    return float(harrell_c_resampled(time, event, risk, np.ones((1, len(time))))[0])


def uno_c_resampled(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray, tau: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return Uno's C under each row of weights (draws, n); the censoring of the training patients stays as it is.

    Parameters are those of `uno_c`; the result is (draws,), NaN where a draw has no comparable pair.

    Raises
    ------
    MmcellError
        An event before `tau` comes after the last training patient left, where censoring is unknown.
    """
    time, event, risk = checked("uno_c", time=time, event=event, risk=risk)
    censoring = Censoring.fit(train_time, train_event)
    factor = censoring.ipcw(time, censoring.tau if tau is None else tau)
    beyond = np.isnan(factor) & (event == 1)
    if beyond.any():
        raise MmcellError(
            f"uno_c: {number_of(n := int(beyond.sum()), 'event')} before tau = {tau} {noun(n, 'comes', 'come')} "
            "after the last training patient left "
            f"({censoring.last:g}), where censoring is unknown; use a smaller tau"
        )
    return ratio(*c_pairs(time, event, risk, weights, factor))


def uno_c(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray, tau: float | None = None,
) -> float:  # fmt: skip
    """Return Uno's concordance index: Harrell's, with pairs weighted so that censoring does not choose among them.

    A pair counts 1/G(t−)², t the earlier time, where the earlier patient had the event before `tau`; G is the
    Kaplan–Meier estimate of staying uncensored among the training patients.

    Parameters
    ----------
    time, event, risk
        As in `harrell_c`.
    train_time, train_event
        (m,) outcome of the training patients; a competing event (2) is not censoring, see `Censoring`.
    tau
        Events at this time or later lead no pair. Default: the largest training time at which G is at least 0.1.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN without a comparable pair.

    Raises
    ------
    MmcellError
        No training patients; an event before `tau` but after the last training time; an entry is NaN.

    Notes
    -----
    scikit-survival's ``concordance_index_ipcw`` takes G(t) instead of G(t−): a training patient who is censored at the
    very time of an event then counts as gone before it. Both agree where no event meets such a time.

    References
    ----------
    Uno, Cai, Pencina, D'Agostino, Wei: On the C-statistics for evaluating overall adequacy of risk prediction
    procedures with censored survival data. Stat Med 30, 1105–1117 (2011).
    """
    ones = np.ones((1, len(time)))
    return float(uno_c_resampled(time, event, risk, ones, train_time=train_time, train_event=train_event, tau=tau)[0])
