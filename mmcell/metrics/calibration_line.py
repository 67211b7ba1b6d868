"""Calibration of predicted probabilities of a binary outcome: a straight line on the scale of log odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from mmcell.errors import MmcellError
from mmcell.metrics.base import checked_probability
from mmcell.metrics.hazards import products, solve


@dataclass(frozen=True)
class CalibrationLine:
    """How predicted log odds would have to be moved and stretched to fit the outcome.

    Attributes
    ----------
    intercept
        Calibration in the large: what is to be added to all log odds. 0 is ideal; below 0, predictions are too high.
    slope
        What they are to be multiplied by. 1 is ideal; below 1, predictions are too far apart (overfitted).
    """

    intercept: float
    slope: float


@njit(cache=True, nogil=True)
def _log_likelihood(eta: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    found = 0.0
    for i in range(len(eta)):
        margin = eta[i] if y[i] else -eta[i]
        found -= weights[i] * (np.log1p(np.exp(-margin)) if margin > 0 else np.log1p(np.exp(margin)) - margin)
    return found


@njit(cache=True, nogil=True)
def _fit(x: np.ndarray, offset: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients (d,) of a logistic regression that has a maximum, beside an offset; NaN where none was found."""
    n, d = x.shape
    beta = np.zeros(d)
    objective = _log_likelihood(offset, y, weights)
    for _ in range(200):
        eta = products(x, beta) + offset
        gradient = np.zeros(d)
        hessian = np.zeros((d, d))
        for i in range(n):
            p = 1.0 / (1.0 + np.exp(-eta[i]))
            for a in range(d):
                gradient[a] += weights[i] * (y[i] - p) * x[i, a]
                for b in range(d):
                    hessian[a, b] += weights[i] * p * (1.0 - p) * x[i, a] * x[i, b]
        step = solve(hessian, gradient)
        size = 1.0
        while True:
            trial = beta + size * step
            new = _log_likelihood(products(x, trial) + offset, y, weights)
            if new >= objective - 1e-12 * abs(objective) or size < 1e-8:
                break
            size /= 2
        beta = trial
        objective = new
        if np.abs(size * step).max() <= 1e-9 * (1.0 + np.abs(beta).max()):
            return beta
    return np.full(d, np.nan)


@njit(cache=True, nogil=True)
def _overlap(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[bool, bool]:
    """Whether both classes occur, and whether no threshold on x parts them."""
    low = np.full(2, np.inf)
    high = np.full(2, -np.inf)
    for i in range(len(x)):
        if weights[i] > 0:
            c = 1 if y[i] else 0
            low[c] = min(low[c], x[i])
            high[c] = max(high[c], x[i])
    both = high[0] > -np.inf and high[1] > -np.inf
    return both, both and low[1] < high[0] and low[0] < high[1]


@njit(cache=True, nogil=True)
def _lines(x: np.ndarray, centre: float, size: float, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Intercept and slope (draws, 2); NaN where a draw leaves one undefined."""
    n_draws, n = weights.shape
    out = np.full((n_draws, 2), np.nan)
    one = np.ones((n, 1))
    two = np.ones((n, 2))
    nothing = np.zeros(n)
    log_odds = np.where(np.isfinite(x), x, centre)
    two[:, 1] = (log_odds - centre) / size
    for draw in range(n_draws):
        w = weights[draw]
        finite = True
        for i in range(n):
            finite = finite and (w[i] == 0 or np.isfinite(x[i]))
        if not finite:
            continue
        both, overlap = _overlap(x, y, w)
        if both:
            out[draw, 0] = _fit(one, log_odds, y, w)[0]
        if overlap:
            out[draw, 1] = _fit(two, nothing, y, w)[1] / size
    return out


def logit(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 − p)); infinite for 0 and 1."""
    p = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p))


def calibration_line_resampled(
    y: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and slopes, (draws,) each, under each row of weights (draws, n); see `calibration_line`.

    Raises
    ------
    MmcellError
        The weights are not (draws, n).
    """
    y, probability = checked_probability("calibration_line", y=y, probability=probability)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(y):
        raise MmcellError(f"weights have the shape {weights.shape}; give (draws, {len(y)})")
    # One order for all, so that who occurs twice stands where the other one would.
    order = np.lexsort((y, probability))
    x = logit(probability)[order]
    finite = x[np.isfinite(x)]
    centre, size = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 1.0)
    found = _lines(x, centre, size or 1.0, y[order] > 0, np.ascontiguousarray(weights[:, order]))
    return found[:, 0], found[:, 1]


def calibration_line(y: np.ndarray, probability: np.ndarray) -> CalibrationLine:
    """Return how predicted probabilities would have to be moved and stretched, on the scale of log odds.

    The intercept is that of a logistic regression with the predicted log odds as offset, the slope that of one on them.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    probability
        (n,) predicted probability of 1.

    Returns
    -------
    CalibrationLine
        Both NaN with one class only or where a prediction is 0 or 1; the slope also where a threshold parts the classes
        and it would be infinite.

    Raises
    ------
    MmcellError
        An entry is NaN or no probability, or the lengths differ.

    References
    ----------
    Cox: Two further applications of a model for binary regression. Biometrika 45, 562–565 (1958). Van Calster,
    McLernon, van Smeden, Wynants, Steyerberg: Calibration: the Achilles heel of predictive analytics. BMC Med 17, 230
    (2019).
    """
    intercept, slope = calibration_line_resampled(y, probability, np.ones((1, len(y))))
    return CalibrationLine(float(intercept[0]), float(slope[0]))
