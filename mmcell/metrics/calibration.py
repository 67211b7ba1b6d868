"""Calibration of predicted survival: does as large a share have the event as was said, by a time and over all times?

A competing event (2) counts as censoring here: the risk is that of patients whom nothing else befalls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.stats import chi2

from mmcell.errors import MmcellError
from mmcell.metrics.base import checked, checked_probability, weighted_mean
from mmcell.metrics.hazards import fit_hazard, has_slope, hazard_until, products

#: Quantiles of the predictions at which the smooth curve bends (Harrell's places for three knots).
KNOTS = (0.1, 0.5, 0.9)
#: Ridge of the smooth curve, on orthogonal inputs of unit variance: keeps it finite where predictions separate the
#: events from all others, and shrinks a slope by less than a thousandth elsewhere.
RIDGE = 1e-4
#: Draws per block: bounds the memory for the inputs of the curve.
BLOCK = 64


def cloglog(probability: np.ndarray) -> np.ndarray:
    """Return log(−log(1 − p)): the log cumulative hazard that a probability stands for.

    Every hazard above 36.7 rounds to a probability of 1, which therefore stands for that one; 0 gives −∞.
    """
    p = np.minimum(np.asarray(probability, dtype=np.float64), np.nextafter(1.0, 0.0))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.log1p(-p)))


def _curve_inputs(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return inputs (draws, n, 2) of the smooth curve under each row of weights (draws, n).

    The first is z, the second its restricted cubic spline; each has mean 0 and variance 1 in a draw, and the second
    nothing in common with the first. Zeros where z does not vary, or has fewer than three different knots.
    """
    total = weights.sum(axis=1, keepdims=True)
    by_z = np.argsort(z, kind="stable")
    seen = weights[:, by_z].cumsum(axis=1)
    # The least z that so large a share does not exceed: the same however often everybody occurs.
    at = [(seen >= share * total * (1 - 1e-9)).argmax(axis=1) for share in KNOTS]
    first, middle, last = (z[by_z][place][:, None] for place in at)
    bends = (first < middle) & (middle < last)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, w = (np.maximum((z - knot) / (last - first), 0.0) ** 3 for knot in (first, middle, last))
        bent = u - v * ((last - first) / (last - middle)) + w * ((middle - first) / (last - middle))
    drawn = np.where(weights > 0, z, np.nan)
    varies = (np.fmin.reduce(drawn, axis=1) < np.fmax.reduce(drawn, axis=1))[:, None]

    def unit(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        centred = values - (weights * values).sum(axis=1, keepdims=True) / total
        size = np.sqrt((weights * centred**2).sum(axis=1, keepdims=True) / total)
        return np.divide(centred, size, out=np.zeros(weights.shape), where=valid)

    straight = unit(np.broadcast_to(z, weights.shape), varies)
    bent = np.where(bends, bent, 0.0)
    shared = (weights * straight * bent).sum(axis=1, keepdims=True) / total
    return np.stack([straight, unit(bent - shared * straight, bends)], axis=2)


@njit(cache=True, nogil=True)
def _observed(
    x: np.ndarray, time: np.ndarray, died: np.ndarray, weights: np.ndarray, horizon: float
) -> np.ndarray:  # fmt: skip
    """Observed risk (draws, n) by the horizon, given the inputs (draws, n, d) of the curve; rows by falling time."""
    n_draws, n = weights.shape
    out = np.empty((n_draws, n))
    one = np.zeros(n, dtype=np.int64)
    for draw in range(n_draws):
        eta = products(x[draw], fit_hazard(x[draw], one, time, died, weights[draw], RIDGE))
        base = hazard_until(eta, time, died, weights[draw], horizon)
        for i in range(n):
            out[draw, i] = -np.expm1(-base * np.exp(eta[i]))
    return out


def smooth_risk_resampled(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, horizon: float, weights: np.ndarray
) -> np.ndarray:
    """Return the observed risk (draws, n) at each prediction under each row of weights (draws, n).

    Raises
    ------
    MmcellError
        The weights are not (draws, n).
    """
    time, event, probability = checked_probability("calibration", time=time, event=event, probability=probability)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(time):
        raise MmcellError(f"weights have the shape {weights.shape}; give (draws, {len(time)})")
    order = np.argsort(-time, kind="stable")
    time, died, z = time[order], event[order] == 1, cloglog(probability)[order]
    known = np.isfinite(z)
    found = np.full(weights.shape, np.nan)
    for start in range(0, len(weights), BLOCK):
        drawn = np.ascontiguousarray(weights[start : start + BLOCK, order])
        there = drawn > 0
        defined = there[:, died].any(axis=1) & there[:, time >= horizon].any(axis=1) & ~there[:, ~known].any(axis=1)
        if not defined.any():
            continue
        part = drawn[defined]
        observed = _observed(_curve_inputs(np.where(known, z, 0.0), part), time, died, part, float(horizon))
        found[np.ix_(start + np.flatnonzero(defined), order)] = np.where(known, observed, np.nan)
    return found


def smooth_risk(time: np.ndarray, event: np.ndarray, probability: np.ndarray, horizon: float) -> np.ndarray:
    """Return the observed risk by a horizon as a smooth function of the predicted one, at each prediction.

    A Cox model of log(−log(1 − p)) as a restricted cubic spline with knots at the 10th, 50th and 90th percentile of the
    predictions; a straight line where these are not three values, and no slope where all predictions are the same.

    Parameters
    ----------
    time, event
        (n,) outcome.
    probability
        (n,) predicted probability of the event by the horizon.
    horizon
        In units of time.

    Returns
    -------
    numpy.ndarray
        (n,) in [0, 1]. NaN without an event, where nobody is under observation at the horizon, or where a prediction
        is 0, which has no place on the scale of the curve.

    Raises
    ------
    MmcellError
        An entry is NaN or no probability, or the lengths differ.

    References
    ----------
    See `integrated_calibration_index`.
    """
    return np.asarray(smooth_risk_resampled(time, event, probability, horizon, np.ones((1, len(time))))[0])


def integrated_calibration_index_resampled(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, horizon: float, weights: np.ndarray
) -> np.ndarray:
    """Return the index (draws,) under each row of weights (draws, n); see `integrated_calibration_index`."""
    observed = smooth_risk_resampled(time, event, probability, horizon, weights)
    weights = np.asarray(weights, dtype=np.float64)
    error = np.where(weights > 0, np.abs(np.asarray(probability, dtype=np.float64) - observed), 0.0)
    total = weights.sum(axis=1)
    return np.divide((weights * error).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def integrated_calibration_index(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, horizon: float
) -> float:  # fmt: skip
    """Return the mean distance between the predicted risk by a horizon and the observed one, see `smooth_risk`.

    Parameters
    ----------
    time, event, probability, horizon
        As in `smooth_risk`.

    Returns
    -------
    float
        In [0, 1], 0 is perfect; NaN as in `smooth_risk`. With few events the curve follows them and the index is too
        high; its interval tells.

    Raises
    ------
    MmcellError
        As in `smooth_risk`.

    Notes
    -----
    lifelines' ``survival_probability_calibration`` puts the splines into the baseline hazard and takes the prediction
    as a straight line, so both agree where a straight line fits.

    References
    ----------
    Austin, Harrell, van Klaveren: Graphical calibration curves and the integrated calibration index (ICI) for survival
    models. Stat Med 39, 2714–2742 (2020).
    """
    ones = np.ones((1, len(time)))
    return float(integrated_calibration_index_resampled(time, event, probability, horizon, ones)[0])


def calibration_error_quantile(
    time: np.ndarray, event: np.ndarray, probability: np.ndarray, horizon: float, q: float
) -> float:
    """Return the quantile of the distances whose mean is the index: E50 with `q` 0.5, E90 with 0.9.

    Parameters, NaN and errors are those of `integrated_calibration_index`.
    """
    distance = np.abs(np.asarray(probability, dtype=float) - smooth_risk(time, event, probability, horizon))
    return float(np.quantile(distance, q)) if len(distance) else float("nan")


def calibration_slope_resampled(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray, stratum: np.ndarray | None = None
) -> np.ndarray:
    """Return the slope (draws,) under each row of weights (draws, n); see `calibration_slope`.

    Raises
    ------
    MmcellError
        The strata are not as many as the times.
    """
    time, event, risk = checked("calibration_slope", time=time, event=event, risk=risk)
    codes = np.zeros(len(time), dtype=int) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    if len(codes) != len(time):
        raise MmcellError(f"calibration_slope: stratum has length {len(codes)} and time {len(time)}")
    order = np.lexsort((-time, codes))
    x, finite = risk[order], np.isfinite(risk[order])
    weights = np.asarray(weights, dtype=np.float64)[:, order]
    # On inputs of unit size Newton's steps have a size that can be judged.
    size = float(np.std(x[finite])) if finite.any() else 0.0
    unit = (np.where(finite, x - x[finite].mean(), 0.0) / size)[:, None] if size > 0 else np.zeros((len(x), 1))
    rows = codes[order], time[order], event[order] == 1
    found = np.full(len(weights), np.nan)
    for draw, w in enumerate(np.ascontiguousarray(weights)):
        if size > 0 and not (w[~finite] > 0).any() and has_slope(x, *rows, w):
            found[draw] = fit_hazard(unit, *rows, w, 0.0)[0] / size
    return found


def calibration_slope(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, stratum: np.ndarray | None = None
) -> float:  # fmt: skip
    """Return the coefficient of the predicted log hazard in a Cox model of the outcome.

    Parameters
    ----------
    time, event
        (n,) outcome.
    risk
        (n,) predicted log hazard, up to a constant.
    stratum
        (n,) groups that have a baseline hazard of their own, such as folds; default: one.

    Returns
    -------
    float
        1 where predictions are as far apart as the hazards are; below 1 too far (overfitted), 0 without skill. NaN
        where it is not finite: no event, one risk for all, or every event has the highest (or the lowest) risk of those
        still there. Ties as Breslow.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.

    References
    ----------
    van Houwelingen: Validation, calibration, revision and combination of prognostic survival models. Stat Med 19,
    3401–3415 (2000).
    """
    return float(calibration_slope_resampled(time, event, risk, np.ones((1, len(time))), stratum)[0])


@dataclass(frozen=True, eq=False)
class DCalibration:
    """Whether predicted survival at each patient's own time is spread evenly, see `d_calibration`.

    Attributes
    ----------
    statistic, p
        Pearson's χ² against equal shares, and its p; NaN without patients.
    shares
        (bins,) share of the patients in each bin of predicted survival, from 0 up.
    """

    statistic: float
    p: float
    shares: np.ndarray


def d_shares(event: np.ndarray, survival_at_time: np.ndarray, bins: int) -> np.ndarray:
    """Return how much of each patient is in each bin, (n, bins); rows sum to 1.

    Who had the event is in the bin of the own survival S. Who was censored may have it anywhere below S, with even
    chances: each bin gets the part of [0, S] that it covers.
    """
    s = survival_at_time[:, None]
    low = np.arange(bins) / bins
    at = np.minimum((survival_at_time * bins).astype(int), bins - 1)
    here = np.arange(bins) == at[:, None]
    covered = np.clip(s - low, 0.0, 1 / bins)
    spread = np.divide(covered, s, out=here.astype(float), where=s > 0)
    return np.where(event[:, None] == 1, here, spread)


def d_calibration_resampled(
    event: np.ndarray, survival_at_time: np.ndarray, weights: np.ndarray, bins: int = 10
) -> np.ndarray:
    """Return the shares (draws, bins) under each row of weights (draws, n); see `d_calibration`.

    Raises
    ------
    MmcellError
        Fewer than two bins.
    """
    event, survival = checked_probability("d_calibration", event=event, survival_at_time=survival_at_time)
    if bins < 2:
        raise MmcellError(f"d_calibration: bins is {bins}; use at least 2")
    return weighted_mean(d_shares(event, survival, bins), weights)


def uniform_statistic(shares: np.ndarray, n: float) -> np.ndarray:
    """Return Pearson's χ² (…,) of shares (…, bins) of n patients against equal shares."""
    bins = shares.shape[-1]
    return np.asarray(n * bins * ((shares - 1 / bins) ** 2).sum(axis=-1))


def d_calibration(event: np.ndarray, survival_at_time: np.ndarray, bins: int = 10) -> DCalibration:
    """Test whether predicted survival at the patients' own times is uniform, as that of true curves is.

    Parameters
    ----------
    event
        (n,) 1 = event, otherwise censored.
    survival_at_time
        (n,) predicted probability of being without the event beyond the patient's own time.
    bins
        Number of equal bins of [0, 1].

    Returns
    -------
    DCalibration
        A small p speaks against the curves, a large one for nothing: few patients cannot refute them.

    Raises
    ------
    MmcellError
        An entry is NaN or no probability, the lengths differ, or fewer than two bins.

    References
    ----------
    Haider, Hoehn, Davis, Greiner: Effective ways to build and evaluate individual survival distributions. JMLR 21, 85
    (2020).
    """
    shares = d_calibration_resampled(event, survival_at_time, np.ones((1, len(event))), bins)[0]
    statistic = float(uniform_statistic(shares, len(event)))
    return DCalibration(statistic, float(chi2.sf(statistic, bins - 1)), shares)
