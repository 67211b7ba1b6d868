"""Concordance where a competing event rules the event out.

Codes of the cause everywhere: 0 = censored, 1 = the event, 2 = a competing event.
"""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError, noun, number_of
from mmcell.metrics.base import checked, ratio
from mmcell.metrics.censoring import Censoring
from mmcell.metrics.concordance import c_pairs
from mmcell.metrics.incidence import checked_causes


def competing_pairs(
    time: np.ndarray, cause: np.ndarray, risk: np.ndarray, weights: np.ndarray, factor: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted (concordant, comparable) pairs, (draws,) each, of `cause_specific_c`.

    Parameters
    ----------
    time, cause, risk, weights
        As in `cause_specific_c_resampled`.
    factor
        (n,) 1/G(t−) of each patient, 0 for one whose event leads no pair; default 1.
    """
    own = np.ones(len(time)) if factor is None else factor
    outlived = c_pairs(time, cause == 1, risk, weights, own**2)
    # Back in time: whoever had the competing event before. Only that one is looked for, so nobody else outlives.
    earlier = c_pairs(
        -np.asarray(time), np.ones(len(time)), risk, weights, np.where(cause == 1, own, 0.0),
        np.where(cause == 2, own, 0.0),
    )  # fmt: skip
    return outlived[0] + earlier[0], outlived[1] + earlier[1]


def cause_specific_c_resampled(
    time: np.ndarray, cause: np.ndarray, risk: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray | None = None, train_cause: np.ndarray | None = None, tau: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the concordance (draws,) under each row of weights (draws, n); see `cause_specific_c`.

    Raises
    ------
    MmcellError
        See `cause_specific_c`.
    """
    time, cause, risk = checked("cause_specific_c", time=time, cause=cause, risk=risk)
    checked_causes("cause_specific_c", cause)
    if (train_time is None) != (train_cause is None):
        raise MmcellError("cause_specific_c: give both train_time and train_cause, or neither")
    if train_time is None or train_cause is None:
        leads = np.ones(len(time)) if tau is None else np.where((cause == 2) | (time < tau), 1.0, 0.0)
        return ratio(*competing_pairs(time, cause, risk, weights, leads))
    censoring = Censoring.fit(train_time, train_cause)
    tau = censoring.tau if tau is None else tau
    leads = np.where(time < tau, 1 / censoring.before(time), 0.0)
    beyond = np.isnan(leads) & (cause > 0)
    if beyond.any():
        raise MmcellError(
            f"cause_specific_c: {number_of(n := int(beyond.sum()), 'event')} before tau = {tau} "
            f"{noun(n, 'comes', 'come')} after the last training patient "
            f"left ({censoring.last:g}), where censoring is unknown; use a smaller tau"
        )
    return ratio(*competing_pairs(time, cause, risk, weights, np.where(cause > 0, leads, 0.0)))


def cause_specific_c(
    time: np.ndarray, cause: np.ndarray, risk: np.ndarray, *,
    train_time: np.ndarray | None = None, train_cause: np.ndarray | None = None, tau: float | None = None,
) -> float:  # fmt: skip
    """Return the concordance of risk and event where a competing event means that the event never comes.

    A patient with the event is compared with everybody known to be without it then: who is still under observation,
    and who had the competing event before.

    Parameters
    ----------
    time, risk
        As in `harrell_c`; the risk is that of cause 1.
    cause
        (n,) 0 = censored, 1 = the event, 2 = competing.
    train_time, train_cause
        (m,) outcome of the training patients. Where they are given, pairs are weighted for censoring: 1/G(t−)², t the
        time of the event, or 1/(G(t−) G(s−)), s the time of the competing event.
    tau
        Events at this time or later lead no pair. Default: none without training patients, and with them the largest
        training time at which G is at least 0.1.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN without a comparable pair; without competing events Harrell's or Uno's C.

    Raises
    ------
    MmcellError
        An entry is NaN, another code, or an event before `tau` but after the last training time.

    References
    ----------
    Wolbers, Koller, Witteman, Steyerberg: Prognostic models with competing risks. Epidemiology 20, 555–561 (2009).
    Wolbers, Blanche, Koller, Witteman, Gerds: Concordance for prognostic models with competing risks. Biostatistics 15,
    526–539 (2014).
    """
    ones = np.ones((1, len(time)))
    return float(
        cause_specific_c_resampled(
            time, cause, risk, ones, train_time=train_time, train_cause=train_cause, tau=tau
        )[0]
    )  # fmt: skip
