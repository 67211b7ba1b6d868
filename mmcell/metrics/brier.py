"""Brier score of probabilities, and of survival curves: weighted for censoring, at a time and integrated over time."""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError
from mmcell.metrics.base import checked, checked_probability, weighted_mean
from mmcell.metrics.censoring import Censoring


def brier_resampled(y: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the Brier score (draws,) of a binary outcome under each row of weights (draws, n); see `brier`."""
    y, probability = checked_probability("brier", y=y, probability=probability)
    return weighted_mean((probability - y) ** 2, weights)


def brier(y: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean squared error of the predicted probability of a binary outcome.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    probability
        (n,) predicted probability of 1.

    Returns
    -------
    float
        In [0, 1], 0 is perfect; saying the prevalence π to everybody scores π(1 − π); NaN without items. Equals
        ``sklearn.metrics.brier_score_loss``.

    Raises
    ------
    MmcellError
        An entry is NaN or no probability, or the lengths differ.

    References
    ----------
    Brier: Verification of forecasts expressed in terms of probability. Mon Weather Rev 78, 1–3 (1950).
    """
    return float(brier_resampled(y, probability, np.ones((1, len(y))))[0])


def brier_terms(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, censoring: Censoring
) -> np.ndarray:
    """Return (n, k) what each patient adds to the Brier score at each time; its mean over patients is the score.

    Parameters
    ----------
    time, event
        (n,) outcome.
    survival
        (n, k) predicted probability of being without the event beyond each time.
    times
        (k,) times.
    censoring
        Of the training patients.

    Raises
    ------
    MmcellError
        The shapes do not fit, an entry is NaN, or nobody of the training patients is under observation at a time.
    """
    time, event = checked("brier_score", time=time, event=event)
    times, curves = np.atleast_1d(np.asarray(times, dtype=np.float64)), np.asarray(survival, dtype=np.float64)
    curves = curves[:, None] if curves.ndim == 1 and len(times) == 1 else curves
    if curves.shape != (len(time), len(times)):
        raise MmcellError(
            f"brier_score: survival has the shape {curves.shape}; give ({len(time)}, {len(times)}), patients × times"
        )
    if np.isnan(curves).any():
        raise MmcellError("brier_score: survival has NaN; leave such patients out")
    watched = censoring.at(times)
    unknown = ~(watched > 0)
    if unknown.any():
        raise MmcellError(
            f"brier_score: at {int(unknown.sum())} times (first {times[unknown][0]:g}) no training patient is under "
            f"observation any more; the last one left at {censoring.last:g}"
        )
    gone = time[:, None] <= times
    case, spared, control = gone & (event[:, None] == 1), gone & (event[:, None] > 1), ~gone
    # Only who had an event needs G at their own time, and these lie within the training patients' follow-up.
    own = np.where(time <= times.max(initial=0.0), censoring.before(time), 1.0)[:, None]
    right = (1 - curves) ** 2
    return (
        np.where(case, curves**2 / own, 0.0)
        + np.where(spared, right / own, 0.0)
        + np.where(control, right / watched, 0.0)
    )


def integrated_terms(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, censoring: Censoring
) -> np.ndarray:
    """Return (n,) what each patient adds to the integrated Brier score; arguments as in `brier_terms`.

    Raises
    ------
    MmcellError
        As in `brier_terms`, or fewer than two times, or times that do not rise.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise MmcellError("integrated_brier_score: give at least two times, rising")
    terms = brier_terms(time, event, survival, times, censoring)
    return np.trapezoid(terms, times, axis=1) / (times[-1] - times[0])


def brier_score_resampled(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the Brier score (draws, k) at each time under each row of weights (draws, n); see `brier_score`."""
    return weighted_mean(brier_terms(time, event, survival, times, Censoring.fit(train_time, train_event)), weights)


def brier_score(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the mean squared error of predicted survival at each time, weighted for censoring.

    A patient with the event by time t adds S(t)²/G(T−), one without it beyond t adds (1 − S(t))²/G(t), one censored
    before t adds nothing; G is the Kaplan–Meier estimate of staying uncensored among the training patients. Who had a
    competing event (2) stays without the event for good and adds (1 − S(t))²/G(T−) from then on.

    Parameters
    ----------
    time, event
        (n,) outcome: 1 = event, 0 = censored, 2 = competing event.
    survival
        (n, k) predicted probability of being without the event beyond each time.
    times
        (k,) times.
    train_time, train_event
        (m,) outcome of the training patients.

    Returns
    -------
    numpy.ndarray
        (k,) 0 is perfect; without censoring, 0.25 is a coin; NaN without patients.

    Raises
    ------
    MmcellError
        The shapes do not fit, an entry is NaN, or a time at which no training patient is under observation.

    Notes
    -----
    scikit-survival's ``brier_score`` weights a case by G(T) instead of G(T−). Both agree where no training patient is
    censored at the very time of an event.

    References
    ----------
    Graf, Schmoor, Sauerbrei, Schumacher: Assessment and comparison of prognostic classification schemes for survival
    data. Stat Med 18, 2529–2545 (1999).
    """
    ones = np.ones((1, len(time)))
    return brier_score_resampled(
        time, event, survival, times, ones, train_time=train_time, train_event=train_event
    )[0]  # fmt: skip


def integrated_brier_score_resampled(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, weights: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the integrated Brier score (draws,) under each row of weights (draws, n); see `integrated_brier_score`."""
    terms = integrated_terms(time, event, survival, times, Censoring.fit(train_time, train_event))
    return weighted_mean(terms, weights)


def integrated_brier_score(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, *,
    train_time: np.ndarray, train_event: np.ndarray,
) -> float:  # fmt: skip
    """Return the Brier score averaged over time: its trapezoid over `times`, divided by their span.

    Parameters
    ----------
    time, event, survival, train_time, train_event
        As in `brier_score`.
    times
        (k,) at least two rising times.

    Returns
    -------
    float
        0 is perfect; NaN without patients.

    Raises
    ------
    MmcellError
        As in `brier_score`, or fewer than two times, or times that do not rise.

    References
    ----------
    Graf et al., see `brier_score`.
    """
    ones = np.ones((1, len(time)))
    return float(
        integrated_brier_score_resampled(
            time, event, survival, times, ones, train_time=train_time, train_event=train_event
        )[0]
    )
