"""Cox's partial likelihood with Efron's ties, perhaps within strata, and Newton's method for its ridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def efron(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, stratum: np.ndarray, beta: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log partial likelihood, gradient and negative Hessian; rows sorted by stratum and, in it, by falling time."""
    n, d = x.shape
    eta = x @ beta
    eta -= eta.max()
    risk = np.exp(eta)
    value = 0.0
    gradient = np.zeros(d)
    hessian = np.zeros((d, d))
    s0 = 0.0
    s1 = np.zeros(d)
    s2 = np.zeros((d, d))
    start = 0
    while start < n:
        if start > 0 and stratum[start] != stratum[start - 1]:
            # Nobody of another stratum is at risk.
            s0 = 0.0
            s1[:] = 0.0
            s2[:] = 0.0
        stop = start
        while stop < n and time[stop] == time[start] and stratum[stop] == stratum[start]:
            stop += 1
        t0 = 0.0
        t1 = np.zeros(d)
        t2 = np.zeros((d, d))
        ties = 0
        for i in range(start, stop):
            s0 += risk[i]
            for a in range(d):
                s1[a] += risk[i] * x[i, a]
                for b in range(a + 1):
                    s2[a, b] += risk[i] * x[i, a] * x[i, b]
            if event[i]:
                ties += 1
                t0 += risk[i]
                value += eta[i]
                for a in range(d):
                    gradient[a] += x[i, a]
                    t1[a] += risk[i] * x[i, a]
                    for b in range(a + 1):
                        t2[a, b] += risk[i] * x[i, a] * x[i, b]
        for k in range(ties):
            share = k / ties
            z0 = s0 - share * t0
            value -= np.log(z0)
            for a in range(d):
                mean_a = (s1[a] - share * t1[a]) / z0
                gradient[a] -= mean_a
                for b in range(a + 1):
                    mean_b = (s1[b] - share * t1[b]) / z0
                    hessian[a, b] += (s2[a, b] - share * t2[a, b]) / z0 - mean_a * mean_b
        start = stop
    for a in range(d):
        for b in range(a):
            hessian[b, a] = hessian[a, b]
    return value, gradient, hessian


#: The exponential of a number below the negative of this is 0.
_APART = 700.0


@dataclass(frozen=True, eq=False)
class PartialLikelihood:
    """The partial likelihood of some patients as a function of the coefficients.

    Attributes
    ----------
    x, time, event, stratum
        (n, d) inputs, (n,) times, events and codes of strata, in the order that `efron` wants.
    """

    x: np.ndarray
    time: np.ndarray
    event: np.ndarray
    stratum: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, time: np.ndarray, event: np.ndarray, stratum: np.ndarray | None = None) -> Self:
        """Sort (n, d) inputs, (n,) times and events; without (n,) strata all patients are of one."""
        code = np.zeros(len(x), dtype=np.int64)
        if stratum is not None:
            code = np.unique(stratum, return_inverse=True)[1].astype(np.int64)
        order = np.lexsort((-time, code))
        rows = np.ascontiguousarray(x[order], dtype=np.float64)
        return cls(rows, time[order].astype(np.float64), event[order].astype(np.bool_), code[order])

    def at(self, beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return −log likelihood / n, its gradient and its Hessian."""
        value, gradient, hessian = efron(self.x, self.time, self.event, self.stratum, beta)
        n = len(self.x)
        return -value / n, -gradient / n, hessian / n


def log_likelihood(risk: np.ndarray, time: np.ndarray, event: np.ndarray, stratum: np.ndarray | None = None) -> float:
    """Return the log partial likelihood of (n,) log hazards, with Efron's ties and perhaps within (n,) strata.

    −∞ where risks are so far apart that somebody's hazard is 0 beside that of the others.
    """
    if not np.ptp(risk) < _APART:
        return -np.inf
    return -PartialLikelihood.of(risk[:, None], time, event, stratum).at(np.ones(1))[0] * len(risk)


def newton_cox(
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    penalty: float,
    *,
    stratum: np.ndarray | None = None,
    tolerance: float = 1e-9,
) -> np.ndarray:
    """Return the coefficients of a ridge-penalised Cox model with Efron's ties.

    Minimises −log partial likelihood / n + penalty/2 · ‖β‖², the objective of lifelines' ``CoxPHFitter`` on inputs
    of unit variance, with Newton steps that are halved until the objective falls.

    Parameters
    ----------
    x
        (n, d) standardised inputs.
    time, event
        (n,) positive times, and 1 for an event.
    penalty
        Ridge penalty (lifelines' ``penalizer``), greater than 0.
    stratum
        (n,) groups with a baseline hazard of their own; patients are compared within them. None: all are of one.
    tolerance
        Largest Newton step at which it has converged.

    Returns
    -------
    numpy.ndarray
        (d,) log hazard ratios.

    References
    ----------
    Efron: The efficiency of Cox's likelihood function for censored data. JASA 72, 557–565 (1977).
    """
    likelihood = PartialLikelihood.of(x, time, event, stratum)
    d = likelihood.x.shape[1]
    beta = np.zeros(d)
    objective, gradient, hessian = likelihood.at(beta)
    for _ in range(100):
        step = np.linalg.solve(hessian + penalty * np.eye(d), -gradient - penalty * beta)
        size = 1.0
        while True:
            trial = beta + size * step
            loss, gradient, hessian = likelihood.at(trial)
            new = loss + 0.5 * penalty * float(trial @ trial)
            if new <= objective + 1e-12 or size < 1e-6:
                break
            size /= 2
        beta, objective = trial, new
        if np.abs(size * step).max() < tolerance:
            break
    return beta
