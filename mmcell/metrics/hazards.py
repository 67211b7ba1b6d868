"""A small Cox model with weights: what calibration needs of one in every draw.

Ties are Breslow's, under which a patient of weight two is exactly two patients; Efron's are not.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solution (d,) for a symmetric positive matrix (d, d): of two or three unknowns, so without LAPACK.

    NaN where rounding has left the matrix singular.
    """
    d = len(right)
    a = matrix.copy()
    x = right.copy()
    for k in range(d):
        if a[k, k] == 0:
            return np.full(d, np.nan)
        for i in range(k + 1, d):
            part = a[i, k] / a[k, k]
            x[i] -= part * x[k]
            for j in range(k, d):
                a[i, j] -= part * a[k, j]
    for k in range(d - 1, -1, -1):
        for j in range(k + 1, d):
            x[k] -= a[k, j] * x[j]
        x[k] /= a[k, k]
    return x


@njit(cache=True, nogil=True)
def products(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Return x @ beta for a few columns."""
    n, d = x.shape
    found = np.zeros(n)
    for i in range(n):
        for a in range(d):
            found[i] += x[i, a] * beta[a]
    return found


@njit(cache=True, nogil=True)
def _likelihood(
    x: np.ndarray, stratum: np.ndarray, time: np.ndarray, died: np.ndarray, weights: np.ndarray, beta: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Breslow log partial likelihood, gradient and negative Hessian; rows by stratum, in it by falling time."""
    n, d = x.shape
    eta = products(x, beta)
    # The highest of those at risk so far, by which sums are scaled: no sum over somebody at risk underflows to 0.
    highest = -np.inf
    value = 0.0
    gradient = np.zeros(d)
    hessian = np.zeros((d, d))
    s0 = 0.0
    s1 = np.zeros(d)
    s2 = np.zeros((d, d))
    start = 0
    while start < n:
        if start > 0 and stratum[start] != stratum[start - 1]:
            highest = -np.inf
            s0 = 0.0
            s1[:] = 0.0
            s2[:] = 0.0
        stop = start
        deaths = 0.0
        while stop < n and time[stop] == time[start] and stratum[stop] == stratum[start]:
            w = weights[stop]
            if w > 0:
                if eta[stop] > highest:
                    shrink = np.exp(highest - eta[stop])
                    s0 *= shrink
                    s1 *= shrink
                    s2 *= shrink
                    highest = eta[stop]
                risk = w * np.exp(eta[stop] - highest)
                s0 += risk
                for a in range(d):
                    s1[a] += risk * x[stop, a]
                    for b in range(a + 1):
                        s2[a, b] += risk * x[stop, a] * x[stop, b]
                if died[stop]:
                    deaths += w
                    value += w * eta[stop]
                    for a in range(d):
                        gradient[a] += w * x[stop, a]
            stop += 1
        if deaths > 0:
            value -= deaths * (np.log(s0) + highest)
            for a in range(d):
                gradient[a] -= deaths * s1[a] / s0
                for b in range(a + 1):
                    hessian[a, b] += deaths * (s2[a, b] / s0 - (s1[a] / s0) * (s1[b] / s0))
        start = stop
    for a in range(d):
        for b in range(a):
            hessian[b, a] = hessian[a, b]
    return value, gradient, hessian


@njit(cache=True, nogil=True)
def fit_hazard(
    x: np.ndarray,
    stratum: np.ndarray,
    time: np.ndarray,
    died: np.ndarray,
    weights: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """Return the coefficients (d,) that maximise log partial likelihood / weight − penalty/2 · ‖β‖²; NaN if none do.

    Parameters
    ----------
    x
        (n, d) inputs of unit size.
    stratum, time, died, weights
        (n,) rows by stratum, in each by falling time; a stratum has a baseline hazard of its own.
    penalty
        Ridge; with 0, the caller has seen to it that there is a maximum.
    """
    d = x.shape[1]
    beta = np.zeros(d)
    total = weights.sum()
    value, gradient, hessian = _likelihood(x, stratum, time, died, weights, beta)
    objective = value / total
    for _ in range(100):
        for a in range(d):
            hessian[a, a] += penalty * total
            gradient[a] -= penalty * total * beta[a]
        step = solve(hessian, gradient)
        if not np.isfinite(step).all():
            break
        size = 1.0
        while True:
            trial = beta + size * step
            value, gradient, hessian = _likelihood(x, stratum, time, died, weights, trial)
            new = value / total - 0.5 * penalty * np.sum(trial * trial)
            if new >= objective - 1e-12 or size < 1e-8:
                break
            size /= 2
        beta = trial
        objective = new
        if np.abs(size * step).max() <= 1e-9 * (1.0 + np.abs(beta).max()):
            return beta
    return np.full(d, np.nan)


@njit(cache=True, nogil=True)
def hazard_until(
    eta: np.ndarray, time: np.ndarray, died: np.ndarray, weights: np.ndarray, horizon: float
) -> float:  # fmt: skip
    """Return Breslow's cumulative hazard by the horizon at a log hazard ratio of 0; rows by falling time."""
    n = len(eta)
    s0 = 0.0
    found = 0.0
    start = 0
    while start < n:
        stop = start
        deaths = 0.0
        while stop < n and time[stop] == time[start]:
            if weights[stop] > 0:
                s0 += weights[stop] * np.exp(eta[stop])
                if died[stop]:
                    deaths += weights[stop]
            stop += 1
        if deaths > 0 and time[start] <= horizon:
            found += deaths / s0
        start = stop
    return found


@njit(cache=True, nogil=True)
def has_slope(
    x: np.ndarray, stratum: np.ndarray, time: np.ndarray, died: np.ndarray, weights: np.ndarray
) -> bool:  # fmt: skip
    """Whether the partial likelihood of one input has a maximum: not every event has the highest x of those at risk.

    Nor every event the lowest: the coefficient would be infinite. Rows by stratum, in each by falling time.
    """
    n = len(x)
    high, low = True, True
    top, bottom = -np.inf, np.inf
    start = 0
    while start < n:
        if start > 0 and stratum[start] != stratum[start - 1]:
            top, bottom = -np.inf, np.inf
        stop = start
        while stop < n and time[stop] == time[start] and stratum[stop] == stratum[start]:
            if weights[stop] > 0:
                top = max(top, x[stop])
                bottom = min(bottom, x[stop])
            stop += 1
        for i in range(start, stop):
            if died[i] and weights[i] > 0:
                high = high and x[i] == top
                low = low and x[i] == bottom
        start = stop
    return not (high or low)
