"""`Baseline`: the hazard of a patient whose log hazard ratio is 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Baseline:
    """Breslow's cumulative hazard of a patient whose log hazard ratio is 0: a step function.

    Attributes
    ----------
    times
        (k,) rising times at which a training patient had the event.
    hazard
        (k,) cumulative hazard from each of them on.
    """

    times: np.ndarray
    hazard: np.ndarray

    @classmethod
    def fit(cls, time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> Self:
        """Estimate it from (n,) times, events and log hazard ratios.

        References
        ----------
        Breslow: Covariance analysis of censored survival data. Biometrics 30, 89–99 (1974).
        """
        times, code = np.unique(time, return_inverse=True)
        at_risk = np.bincount(code, np.exp(risk))[::-1].cumsum()[::-1]
        died = np.bincount(code, event)
        return cls(times[died > 0], np.cumsum(died[died > 0] / at_risk[died > 0]))

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the cumulative hazard at any times; beyond the last event it stays as it is."""
        return np.concatenate([[0.0], self.hazard])[np.searchsorted(self.times, times, "right")]

    def survival(self, risk: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the probability of being without the event beyond each of k times, of (n,) log hazard ratios.

        lifelines' ``predict_survival_function`` at training times; between them it interpolates, this keeps the step.
        """
        with np.errstate(divide="ignore", over="ignore"):
            # A hazard of 0 has the logarithm −inf, and one beyond all numbers leaves a survival of 0: both are right.
            return np.asarray(np.exp(-np.exp(risk[:, None] + np.log(self.at(times)))))

    def steps(self) -> list[list[float]]:
        """Return [time, cumulative hazard] of every step, rounded, as a record keeps it."""
        return [[round(float(t), 4), round(float(h), 6)] for t, h in zip(self.times, self.hazard, strict=True)]
