"""Ridge Cox: a small Newton solver for the inner loop, lifelines for every model that is reported."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numba import njit
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold

from mmcell.errors import MmcellError
from mmcell.metrics.survival import c_pairs
from mmcell.probes.scale import Scale

#: One fixed budget for every embedding.
MAX_DIM = 32
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
INNER_FOLDS = 5


@njit(cache=True, nogil=True)
def _efron(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, beta: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Efron log partial likelihood, gradient and negative Hessian; rows sorted by falling time."""
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
        stop = start
        while stop < n and time[stop] == time[start]:
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


def newton_cox(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float, *, tolerance: float = 1e-9
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
    tolerance
        Largest Newton step at which it has converged.

    Returns
    -------
    numpy.ndarray
        (d,) log hazard ratios.
    """
    order = np.argsort(-time, kind="stable")
    rows = np.ascontiguousarray(x[order], dtype=np.float64)
    times, events = time[order].astype(np.float64), event[order].astype(np.bool_)
    n, d = rows.shape
    beta = np.zeros(d)
    value, gradient, hessian = _efron(rows, times, events, beta)
    objective = -value / n
    for _ in range(100):
        step = np.linalg.solve(hessian / n + penalty * np.eye(d), gradient / n - penalty * beta)
        size = 1.0
        while True:
            trial = beta + size * step
            value, gradient, hessian = _efron(rows, times, events, trial)
            new = -value / n + 0.5 * penalty * float(trial @ trial)
            if new <= objective + 1e-12 or size < 1e-6:
                break
            size /= 2
        beta, objective = trial, new
        if np.abs(size * step).max() < tolerance:
            break
    return beta


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


@dataclass(frozen=True, eq=False)
class Cox:
    """A fitted Cox probe: reduce to at most 32 dimensions, standardise, ridge Cox.

    Principal components are those of the values as they are. Standardised first, an embedding that consists of
    principal components would be white, and which directions are then kept would be decided by rounding.

    Attributes
    ----------
    keep
        (d,) which inputs vary.
    reduce, scale
        Components, where more inputs vary than are allowed; standardisation of what the model sees.
    model
        lifelines' ``CoxPHFitter`` of the reduced inputs; None where no input varies, and every risk is then 0.
    penalty
        Chosen in the inner loop.
    baseline
        Hazard of a patient of risk 0.
    converged
        Whether lifelines found the optimum without reserve.
    """

    keep: np.ndarray
    reduce: PCA | None
    scale: Scale
    model: Any
    penalty: float
    baseline: Baseline
    converged: bool = True

    def _inputs(self, x: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        z = np.asarray(x)[:, self.keep].astype(np.float64)
        z = z if self.reduce is None else self.reduce.transform(z)
        return self.scale.transform(z if beside is None else np.column_stack([z, beside]))

    def risk(self, x: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        """Return (n,) log partial hazards: higher = riskier."""
        if self.model is None:
            return np.zeros(len(x))
        # A row at a time: a product of matrices rounds the last rows otherwise than the rest, and would rank patients
        # who are alike.
        return np.asarray(np.vecdot(self._inputs(x, beside), self.model.params_.to_numpy()))

    def survival(self, x: np.ndarray, times: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        """Return (n, k) the predicted probability of being without the event beyond each of k times.

        lifelines' ``predict_survival_function`` at training times; between them it interpolates, this keeps the step.
        """
        with np.errstate(divide="ignore", over="ignore"):
            # A hazard of 0 has the logarithm −inf, and one beyond all numbers leaves a survival of 0: both are right.
            return np.exp(-np.exp(self.risk(x, beside)[:, None] + np.log(self.baseline.at(times))))

    def summary(self) -> dict[str, Any]:
        """Return JSON-able facts: penalty, counts, hazard ratios per standard deviation, baseline hazard.

        ``not_converged`` is the number of fits, 0 or 1, that did not converge.
        """
        if self.model is None:
            return {"note": "no input varies among the training patients"}
        hazard = self.model.baseline_cumulative_hazard_.iloc[:, 0]
        return {
            "penalty": self.penalty,
            "n_train": int(self.model.event_observed.size),
            "events_train": int(self.model.event_observed.sum()),
            "not_converged": int(not self.converged),
            "hazard_ratios": {str(c): round(float(v), 6) for c, v in self.model.hazard_ratios_.items()},
            "baseline_cumulative_hazard": [[round(float(t), 4), round(float(h), 6)] for t, h in hazard.items()],
        }


def fit_cox(
    x: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    rng: np.random.Generator,
    columns: tuple[str, ...] = (),
    *,
    beside: np.ndarray | None = None,
    beside_columns: tuple[str, ...] = (),
) -> Cox:
    """Fit a Cox probe; the penalty is chosen by Harrell's C on inner folds of the training patients.

    Parameters
    ----------
    x
        (n, d) training patients.
    time, event
        (n,) outcome.
    rng
        Of the inner folds.
    columns
        (d,) names of the inputs, kept where at most 32 vary.
    beside, beside_columns
        (n, k) covariates that enter beside `x` without being reduced; `x` is then reduced to 32 − k dimensions.

    Raises
    ------
    MmcellError
        Fewer than two events among the training patients.
    """
    from lifelines import CoxPHFitter

    if event.sum() < 2:
        raise MmcellError(
            f"Cox probe: {int(event.sum())} events among {len(event)} training patients; at least 2 are needed"
        )
    if beside is not None and beside.shape[1] >= MAX_DIM:
        raise MmcellError(
            f"Cox probe: {beside.shape[1]} clinical columns leave no room for others (at most {MAX_DIM} in all); "
            "name fewer covariates"
        )
    keep = Scale.fit(x).keep
    z = np.asarray(x)[:, keep].astype(np.float64)
    named = len(columns) == len(keep)
    names = [c for c, k in zip(columns, keep, strict=True) if k] if named else [f"x{i}" for i in range(z.shape[1])]
    reduce = None
    room = MAX_DIM - (0 if beside is None else beside.shape[1])
    if z.shape[1] > room:
        reduce = _components(z, room)
        z, names = reduce.transform(z), [f"PC{i + 1}" for i in range(reduce.n_components_)]
    if beside is not None:
        z, names = np.column_stack([z, beside]), [*names, *beside_columns]
    scale = Scale.fit(z)
    z = scale.transform(z)
    if not z.shape[1]:
        return Cox(keep, reduce, scale, None, float("nan"), Baseline.fit(time, event, np.zeros(len(time))))
    penalty = _choose(z, time, event, rng)
    names = [n for n, k in zip(names, scale.keep, strict=True) if k]
    names = [n if names.count(n) == 1 else f"{n} #{i + 1}" for i, n in enumerate(names)]
    frame = pd.DataFrame(z, columns=names).assign(**{"·time": time, "·event": event})
    model, converged = _fitted(CoxPHFitter(penalizer=penalty), frame)
    baseline = Baseline.fit(time, event, z @ model.params_.to_numpy())
    return Cox(keep, reduce, scale, model, penalty, baseline, converged)


def _fitted(model: Any, frame: pd.DataFrame) -> tuple[Any, bool]:
    """Fit lifelines' model; whether it converged is returned instead of printed, every other warning passes."""
    from lifelines.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(frame, "·time", "·event")
    others = [w for w in caught if not issubclass(w.category, ConvergenceWarning)]
    for other in others:
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return model, len(others) == len(caught)


def _components(z: np.ndarray, most: int) -> PCA:
    """Return at most `most` principal components, none of them rounding noise of inputs that have a lower rank."""
    model = PCA(min(most, len(z) - 1), svd_solver="full").fit(z)
    rank = int(np.sum(model.singular_values_ > 1e-6 * model.singular_values_[0]))
    return model if rank == model.n_components_ else PCA(rank, svd_solver="full").fit(z)


def _choose(z: np.ndarray, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> float:
    """Return the penalty with the highest pooled within-fold C; a tie goes to the stronger penalty."""
    folds = min(INNER_FOLDS, int(event.sum()))
    # With too few censored patients for every fold to have one, folds are drawn without regard to the event.
    classes = event if (1 - event).sum() >= folds else np.zeros_like(event)
    top, bottom = np.zeros((2, len(PENALTIES)))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**31 - 1)))
    for train, held in splitter.split(z, classes):
        for i, penalty in enumerate(PENALTIES):
            beta = newton_cox(z[train], time[train], event[train], penalty)
            a, b = c_pairs(time[held], event[held], np.vecdot(z[held], beta), np.ones((1, len(held))))
            top[i] += a[0]
            bottom[i] += b[0]
    c = np.divide(top, bottom, out=np.full(len(PENALTIES), 0.5), where=bottom > 0)
    return PENALTIES[len(PENALTIES) - 1 - int(np.argmax(c[::-1]))]
