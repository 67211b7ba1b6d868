"""Net benefit: what treating everybody from a threshold on gains, in true positives, once false ones are paid for.

The threshold is the risk at which treating and not treating are worth the same. Treating nobody has net benefit 0;
treating everybody is a prediction of 1 for all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, number_of
from mmcell.items import Items
from mmcell.metrics.base import checked_probability, ratio, within_repeats
from mmcell.metrics.incidence import aalen_johansen_resampled

#: A prediction that is the threshold but for its last digits is at it: 1 − 0.9 is less than 0.1.
_ROUNDING = 1e-9


def _odds(thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if not ((at >= 0) & (at < 1)).all():
        raise MmcellError("net_benefit: thresholds are risks from 0 on and below 1")
    return at, at / (1 - at)


def treated(probability: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """Return whether a predicted risk reaches its threshold, both of shapes that fit: whom the model would treat."""
    return np.asarray(probability >= np.asarray(threshold) * (1 - _ROUNDING))


def net_benefit_resampled(
    y: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the net benefit (draws, k) under each row of weights (draws, n); see `net_benefit`."""
    y, probability = checked_probability("net_benefit", y=y, probability=probability)
    at, odds = _odds(thresholds)
    weights = np.asarray(weights, dtype=np.float64)
    chosen = treated(probability[:, None], at)
    gained = weights @ (chosen & (y[:, None] > 0))
    lost = weights @ (chosen & (y[:, None] <= 0))
    return ratio(gained - lost * odds, np.broadcast_to(weights.sum(axis=1)[:, None], gained.shape))


def net_benefit(y: np.ndarray, probability: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit of treating whose predicted probability is at or above each threshold.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    probability
        (n,) predicted probability of 1; all 1 stands for treating everybody.
    thresholds
        (k,) risks from 0 on and below 1.

    Returns
    -------
    numpy.ndarray
        (k,) true positives per patient less false positives times the odds of the threshold: at most the prevalence.
        Treating nobody gives 0. NaN without patients.

    Raises
    ------
    MmcellError
        An entry is NaN or no probability, the lengths differ, or a threshold outside [0, 1).

    References
    ----------
    Vickers, Elkin: Decision curve analysis: a novel method for evaluating prediction models. Med Decis Making 26,
    565–574 (2006).
    """
    return np.asarray(net_benefit_resampled(y, probability, thresholds, np.ones((1, len(y))))[0])


def survival_net_benefit_resampled(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, horizon: float,
    weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the net benefit (draws, k) under each row of weights (draws, n); see `survival_net_benefit`."""
    time, event, probability = checked_probability("net_benefit", time=time, event=event, probability=probability)
    at, odds = _odds(thresholds)
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1)
    found = np.empty((len(weights), len(at)))
    for i, threshold in enumerate(at):
        chosen = treated(probability, threshold)
        rows = weights[:, chosen]
        share = ratio(rows.sum(axis=1), total)
        risk = aalen_johansen_resampled(time[chosen], event[chosen], [horizon], rows)[:, 0, 0]  # type: ignore[arg-type]
        # Who treats nobody gains nothing, whatever the risk would have been.
        found[:, i] = np.where(share == 0, 0.0, share * (risk - (1 - risk) * odds[i]))
    return found


def survival_net_benefit(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, horizon: float
) -> np.ndarray:
    """Return the net benefit by a horizon of treating whose predicted risk is at or above each threshold.

    The risk of those treated is one minus their Kaplan–Meier estimate at the horizon; where there are competing events
    (2), their cumulative incidence (Aalen–Johansen).

    Parameters
    ----------
    time, event
        (n,) outcome: 1 = event, 0 = censored, 2 = competing event.
    probability
        (n,) predicted probability of the event by the horizon; all 1 stands for treating everybody.
    thresholds
        (k,) risks from 0 on and below 1.
    horizon
        In units of time.

    Returns
    -------
    numpy.ndarray
        (k,) as in `net_benefit`; NaN at a threshold above which nobody is followed up to the horizon.

    Raises
    ------
    MmcellError
        As in `net_benefit`.

    References
    ----------
    Vickers, Cronin, Elkin, Gonen: Extensions to decision curve analysis, a novel method for evaluating diagnostic
    tests, prediction models and molecular markers. BMC Med Inform Decis Mak 8, 53 (2008).
    """
    ones = np.ones((1, len(time)))
    return np.asarray(survival_net_benefit_resampled(time, event, probability, thresholds, horizon, ones)[0])


def _benefit_of(items: Items, rows: np.ndarray, weights: np.ndarray, p: np.ndarray, threshold: float) -> np.ndarray:
    part, at = items.frame.iloc[rows], np.array([threshold])
    if items.kind == "binary":
        return net_benefit_resampled(part["y_true"].to_numpy(dtype=float), p, at, weights)[:, 0]
    time, event = (part[c].to_numpy(dtype=float) for c in ("time", "cause" if "cause" in part else "event"))
    return survival_net_benefit_resampled(time, event, p, at, one_value(items, rows, "horizon"), weights)[:, 0]


def one_value(items: Items, rows: np.ndarray, column: str) -> float:
    """Return what a column says of some items at once.

    Raises
    ------
    MmcellError
        It is missing, or holds several values.
    """
    if column not in items.frame:
        raise MmcellError(f"items: the column {column!r} is missing; give one time for all items in it")
    values = pd.unique(items.column(column)[rows])
    if len(values) != 1:
        raise MmcellError(
            f"items: the column {column!r} has {number_of(len(values), 'value')}; one for all items is needed"
        )
    return float(values[0])


def benefit_at_threshold(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the net benefit (draws,) of some items at the thresholds of the column of this name.

    Each item is treated where its risk reaches its own threshold, that of its fold (see `treated`); all are priced at
    their mean. At one threshold for all, a model that says the training patients' risk to everybody would treat the
    folds in which training patients have more events, which are those in which held-out patients have fewer.

    At the training patients' own risk treating everybody and treating nobody are worth the same, 0 but for chance. A
    model without skill is therefore worth nothing there whichever it does: a class predicted by its share reaches the
    threshold, and everybody is treated; Breslow's survival is exp(−H), which lies above the Kaplan–Meier estimate that
    gives the threshold, so that of a constant risk nobody is treated and the net benefit is 0 exactly.
    """
    p, at = (items.column(name)[rows].astype(float) for name in ("p_event", "threshold"))
    return _benefit_of(items, rows, weights, treated(p, at).astype(float), float(at.mean()))


def decision_curve_resampled(items: Items, thresholds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the net benefit (draws, k) under each row of weights (draws, units); see `decision_curve`.

    Raises
    ------
    MmcellError
        The items hold no predicted risks.
    """
    needed = {"binary": ("p_event",), "survival": ("p_event", "horizon")}.get(items.kind)
    if needed is None:
        raise MmcellError(
            f"decision curve: items of kind {items.kind!r} have no predicted risks; give binary or survival"
        )
    absent = [c for c in needed if c not in items.frame]
    if absent:
        raise MmcellError(f"decision curve: the column {absent[0]!r} is missing; the task must return probabilities")
    of_repeats, at = within_repeats(benefit_at_threshold)[1], _odds(thresholds)[0]
    asked = (items.having({"threshold": np.full(len(items.frame), t)}) for t in at)
    found = [of_repeats(same, np.asarray(weights)) for same in asked]
    return np.reshape(found, (len(at), len(weights))).T


def decision_curve(items: Items, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit over thresholds, each of them one for all items.

    Parameters
    ----------
    items
        Binary with ``p_event``, or survival with ``p_event`` and ``horizon``. Folds of a repeat are pooled, repeats
        averaged. With 1 for all in ``p_event`` (`Items.having`) everybody is treated.
    thresholds
        (k,) risks from 0 on and below 1.

    Returns
    -------
    numpy.ndarray
        (k,) as in `net_benefit` and `survival_net_benefit`.

    Raises
    ------
    MmcellError
        A column is missing, or as in `net_benefit`.
    """
    return np.asarray(decision_curve_resampled(items, thresholds, np.ones((1, len(items.units))))[0])
