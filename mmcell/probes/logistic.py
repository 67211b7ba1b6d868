"""Nested logistic regression: its penalty is chosen inside the training units, among the same few for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.model_selection import StratifiedKFold

from mmcell.probes.linear import ALPHAS, INNER_FOLDS
from mmcell.probes.scale import Scale

#: Up to so many directions Newton's method solves all penalties at once; beyond, its Hessians cost more than they save.
_NEWTON = 128
_STEPS = 60
#: Largest entry of a gradient that counts as none.
_SLOPE = 1e-6
#: And the largest one at which a fit still counts as converged; the quasi-Newton solver stops where it gains no more.
_STEEP = 1e-2


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted probe of two classes; `weights` is None where no input varies, and both are then equally likely.

    Attributes
    ----------
    scale
        Of the inputs.
    weights
        (kept + 1,) the last one is the intercept.
    penalty
        The chosen one; NaN without weights.
    beside, lift
        Scale of covariates beside the inputs, None without any, and what they are multiplied by.
    slope
        Largest entry of the gradient where the fit ended.
    """

    scale: Scale
    weights: np.ndarray | None
    penalty: float
    beside: Scale | None = None
    lift: float = 1.0
    slope: float = 0.0

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-able: ``model``, ``penalty``, ``dims``, and ``not_converged``, 0 or 1."""
        dims = int(self.scale.keep.sum()) + (0 if self.beside is None else int(self.beside.keep.sum()))
        found: dict[str, Any] = {"model": "logistic", "penalty": self.penalty, "dims": dims}
        if self.weights is None:
            return found | {"penalty": None, "not_converged": 0, "note": "no input varies among the training patients"}
        return found | {"not_converged": int(self.slope > _STEEP)}

    def probability(self, x: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        """Return (n, 2) class probabilities, the second that of the positive class.

        They are those of the balanced fit, in which both classes are equally frequent.
        """
        if self.weights is None:
            return np.full((len(x), 2), 0.5)
        z = _inputs(x, beside, self.scale, self.beside, self.lift)
        # A row at a time, so that rows that are alike are tied whatever their place.
        positive = expit(np.vecdot(z, self.weights[:-1]) + self.weights[-1])
        return np.column_stack([1.0 - positive, positive])


def _inputs(
    x: np.ndarray, beside: np.ndarray | None, scale: Scale, of_beside: Scale | None, lift: float
) -> np.ndarray:  # fmt: skip
    z = scale.transform(x)
    return z if of_beside is None or beside is None else np.column_stack([z, lift * of_beside.transform(beside)])


def at_prevalence(probability: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (n,) probabilities at the training prevalence, of those of a class-balanced fit.

    Balanced weights fit a world in which both classes are equally frequent. Going back to the training patients' moves
    the intercept by the logarithm of their odds and leaves the order of patients as it is.

    Parameters
    ----------
    probability
        (n,) of the positive class.
    y
        (train,) classes 0 and 1, both among them.

    References
    ----------
    King and Zeng: Logistic regression in rare events data. Political Analysis 9, 137–163 (2001).
    """
    share = float(np.mean(np.asarray(y) == 1))
    top = probability * share
    return np.asarray(top / (top + (1.0 - probability) * (1.0 - share)))


def fit_nested_logistic(x: np.ndarray, y: np.ndarray, *, beside: np.ndarray | None = None) -> Logistic:
    """Fit a class-balanced, ridge-penalised logistic regression whose penalty is chosen on inner folds.

    The penalty is the one of seven (those of `fit_ridge`) under which the log loss of held-out rows, both classes
    weighing the same, is least over three stratified inner folds; with fewer than three rows of a class it is the
    middle one. A penalty that is fixed favours embeddings of some width: the same vectors, twice in each row, are
    penalised half as much. Inner folds follow the order of the rows, which tasks sort by unit.

    Parameters
    ----------
    x
        (n, d) training rows only, one a unit.
    y
        (n,) classes 0 and 1, both among the rows.
    beside
        (n, k) covariates that enter beside `x`. Where `x` is the wider, they are multiplied so that both have the same
        total variance: one penalty serves both, and a few covariates would drown among many dimensions otherwise.
    """
    return _fit(x, y, beside, None)


def fit_balanced_logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> Logistic:
    """Fit a class-balanced, ridge-penalised logistic regression with a fixed penalty.

    The model of `fit_logistic` for two classes, some ten times as fast on few inputs: for probes that are permuted
    thousands of times.

    Parameters
    ----------
    x, y
        As in `fit_nested_logistic`.
    penalty
        Inverse of scikit-learn's ``C``, greater than 0.
    """
    return _fit(x, y, None, penalty)


def _fit(x: np.ndarray, y: np.ndarray, beside: np.ndarray | None, penalty: float | None) -> Logistic:
    scale, positive = Scale.fit(x), np.asarray(y) == 1
    of_beside = None if beside is None else Scale.fit(beside)
    dims, covariates = int(scale.keep.sum()), 0 if of_beside is None else int(of_beside.keep.sum())
    if not dims + covariates:
        return Logistic(scale, None, float("nan"), of_beside)
    lift = float(np.sqrt(max(1.0, dims / max(1, covariates))))
    z = _inputs(x, beside, scale, of_beside, lift)
    basis = None
    if z.shape[1] > len(z):
        # The penalised solution lies in the span of the rows, and is as long in any basis of it.
        basis, triangle = np.linalg.qr(z.T)
        z = np.ascontiguousarray(triangle.T)
    penalty = _chosen(z, positive) if penalty is None else penalty
    found = _solve(z, positive, np.array([penalty]))[0]
    slope = float(np.abs(_objective(found, z, *_balanced(positive), penalty)[1]).max())
    if basis is not None:
        found = np.append(basis @ found[:-1], found[-1])
    return Logistic(scale, found, penalty, of_beside, lift, slope)


def _chosen(z: np.ndarray, positive: np.ndarray) -> float:
    if min(positive.sum(), (~positive).sum()) < INNER_FOLDS:
        return ALPHAS[len(ALPHAS) // 2]
    penalties = np.array(ALPHAS)
    loss = np.zeros(len(penalties))
    for train, held in StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0).split(z, positive):
        found = _solve(z[train], positive[train], penalties)
        sign, share = _balanced(positive[held])
        loss += (share * _loss(found, z[held], sign)).sum(axis=1)
    # Of equals the strongest.
    return float(penalties[::-1][int(np.argmin(np.round(loss[::-1], 12)))])


def _balanced(positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) signs, and weights that sum to n / 2 in each class."""
    size = np.where(positive, positive.sum(), (~positive).sum())
    return np.where(positive, 1.0, -1.0), len(positive) / (2.0 * size)


def _loss(weights: np.ndarray, z: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return (k, n) log losses of k solutions."""
    return np.asarray(np.logaddexp(0.0, -sign * (weights[:, :-1] @ z.T + weights[:, -1:])))


def _solve(z: np.ndarray, positive: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Return (k, d + 1) minimisers of Σ w·loss + ½ penalty ‖β‖²; the intercept is not penalised."""
    sign, share = _balanced(positive)
    if z.shape[1] <= _NEWTON:
        return _newton(z, sign, share, penalties)
    found, start = np.empty((len(penalties), z.shape[1] + 1)), np.zeros(z.shape[1] + 1)
    # From strong to weak, each from where the one before ended.
    for i in np.argsort(-penalties):
        start = found[i] = minimize(
            _objective, start, (z, sign, share, penalties[i]), jac=True, method="L-BFGS-B",
            options={"maxiter": 1000, "gtol": _SLOPE, "ftol": 1e-14},
        ).x  # fmt: skip
    return found


def _objective(
    weights: np.ndarray, z: np.ndarray, sign: np.ndarray, share: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    margin = sign * (z @ weights[:-1] + weights[-1])
    pull = -share * sign * expit(-margin)
    value = share @ np.logaddexp(0.0, -margin) + 0.5 * penalty * weights[:-1] @ weights[:-1]
    return float(value), np.append(z.T @ pull + penalty * weights[:-1], pull.sum())


def _newton(z: np.ndarray, sign: np.ndarray, share: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Newton's method with halved steps, all penalties at once."""
    one = np.column_stack([z, np.ones(len(z))])
    ridge = np.repeat(penalties[:, None], one.shape[1], axis=1)
    ridge[:, -1] = 0.0
    weights = np.zeros_like(ridge)
    diagonal = np.arange(one.shape[1])

    def values(b: np.ndarray) -> np.ndarray:
        return np.asarray(_loss(b, z, sign) @ share + 0.5 * (ridge * b * b).sum(axis=1))

    now = values(weights)
    for _ in range(_STEPS):
        wrong = expit(-sign * (weights @ one.T))
        slope = -(share * sign * wrong) @ one + ridge * weights
        if np.abs(slope).max() < _SLOPE:
            break
        bend = share * wrong * (1.0 - wrong)
        hessian = (one.T[None] * bend[:, None, :]) @ one
        # Where every row is told with certainty nothing bends along the intercept.
        hessian[:, diagonal, diagonal] += ridge + 1e-12
        step = np.linalg.solve(hessian, slope[..., None])[..., 0]
        length = np.ones(len(weights))
        for _ in range(_STEPS):
            after = values(weights - length[:, None] * step)
            worse = after > now + 1e-12 * np.abs(now)
            if not worse.any():
                break
            length[worse] /= 2.0
        weights, now = weights - length[:, None] * step, after
    return weights
