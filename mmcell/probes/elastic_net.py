"""Elastic-net Cox: a proximal Newton solver for the inner loop, lifelines for the model that is reported."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.probes.cox import Cox, by_lifelines
from mmcell.probes.inner import best_setting, need_events
from mmcell.probes.inputs import Patients, Reduction
from mmcell.probes.partial_likelihood import PartialLikelihood

#: One fixed budget for every embedding, from weak to strong.
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
L1_RATIOS = (0.1, 0.5, 0.9)


@njit(cache=True, nogil=True)
def _descend(gradient: np.ndarray, hessian: np.ndarray, beta: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """Minimise the quadratic model at beta plus l1·‖b‖₁ + l2/2·‖b‖², coordinate by coordinate."""
    d = len(beta)
    found = beta.copy()
    slope = gradient.copy()
    for _ in range(10_000):
        largest = 0.0
        for j in range(d):
            bend = hessian[j, j]
            u = bend * found[j] - slope[j]
            size = abs(u) - l1
            new = 0.0 if size <= 0.0 else np.sign(u) * size / (bend + l2)
            change = new - found[j]
            if change != 0.0:
                found[j] = new
                largest = max(largest, abs(change))
                for k in range(d):
                    slope[k] += hessian[k, j] * change
        if largest < 1e-11:
            break
    return found


def sparse_cox(
    x: np.ndarray, time: np.ndarray, event: np.ndarray, penalty: float, l1_ratio: float, *, tolerance: float = 1e-8
) -> np.ndarray:
    """Return the coefficients of an elastic-net Cox model with Efron's ties, exact zeros included.

    Minimises −log partial likelihood / n + penalty · (l1_ratio · ‖β‖₁ + (1 − l1_ratio)/2 · ‖β‖²), the objective that
    lifelines' ``CoxPHFitter`` smooths, by Newton steps whose quadratic model is minimised with the penalty.

    Parameters
    ----------
    x
        (n, d) standardised inputs.
    time, event
        (n,) positive times, and 1 for an event.
    penalty, l1_ratio
        Strength, greater than 0, and the share of the first norm, 0 to below 1.
    tolerance
        Largest step at which it has converged.

    Returns
    -------
    numpy.ndarray
        (d,) log hazard ratios.

    References
    ----------
    Simon, Friedman, Hastie and Tibshirani: Regularization paths for Cox's proportional hazards model via coordinate
    descent. Journal of Statistical Software 39(5) (2011).
    """
    likelihood = PartialLikelihood.of(x, time, event)
    l1, l2 = penalty * l1_ratio, penalty * (1 - l1_ratio)
    beta = np.zeros(x.shape[1])

    def paid(b: np.ndarray) -> float:
        return float(l1 * np.abs(b).sum() + 0.5 * l2 * (b @ b))

    loss, gradient, hessian = likelihood.at(beta)
    objective = loss + paid(beta)
    for _ in range(100):
        step = _descend(gradient, hessian, beta, l1, l2) - beta
        size = 1.0
        while True:
            trial = beta + size * step
            loss, gradient, hessian = likelihood.at(trial)
            new = loss + paid(trial)
            if new <= objective + 1e-12 or size < 1e-6:
                break
            size /= 2
        beta, objective = trial, new
        if np.abs(size * step).max(initial=0.0) < tolerance:
            break
    return beta


def fit_elastic_net(patients: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> Cox:
    """Fit an elastic-net Cox probe on the inputs of `fit_cox`; penalty and share of the first norm are chosen inside.

    The inner loop takes `sparse_cox`, the model that is reported comes from lifelines. lifelines smooths the first
    norm, so that nothing ends at 0 and patients would be ranked by what is left of coefficients that should be;
    those that `sparse_cox` finds to be 0 are set to 0.

    Parameters
    ----------
    patients, time, event, rng
        As in `fit_cox`; strata are not read.

    Raises
    ------
    UnaskableError
        Fewer than two events among the training patients.
    MmcellError
        Too many covariates.
    """
    from lifelines import CoxPHFitter

    need_events(event)
    inputs = Reduction.fit(patients)
    z = inputs.transform(patients)
    if not inputs.names:
        return Cox.of(inputs, np.zeros(0), patients, time, event, model=_NAME, penalty=None, not_converged=0)
    settings = [(penalty, ratio) for penalty in PENALTIES for ratio in L1_RATIOS]

    def risks(train: np.ndarray) -> np.ndarray:
        return np.stack([np.vecdot(z, sparse_cox(z[train], time[train], event[train], p, r)) for p, r in settings])

    penalty, ratio = settings[best_setting(risks, time, event, rng)]
    kept = sparse_cox(z, time, event, penalty, ratio) != 0
    beta, converged = np.zeros(len(kept)), True
    if kept.any():
        found, converged = by_lifelines(CoxPHFitter(penalizer=penalty, l1_ratio=ratio), z, time, event)
        beta[kept] = found[kept]
    return Cox.of(
        inputs, beta, patients, time, event, model=_NAME, penalty=penalty, l1_ratio=ratio,
        not_converged=int(not converged), n_not_zero=int(kept.sum()),
        coefficients={name: round(float(b), 6) for name, b in zip(inputs.names, beta, strict=True)},
    )  # fmt: skip


_NAME = "cox-elastic-net"
