"""Probes of perturbation effects: from what a context is to what every perturbation does in it.

Arrays in, arrays out. All have the signature of `Probe`; what they may set is chosen on inner folds of units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

from mmcell.probes.linear import INNER_FOLDS, fit_ridge
from mmcell.probes.scale import Scale

#: One fixed budget for every embedding.
COUNTS = (1, 3, 5, 9, 15, 25)
#: A small network: hidden units, components of the effects that it predicts, penalties to choose among.
HIDDEN, COMPONENTS = 32, 16
PENALTIES = (1.0, 10.0, 100.0)
_STEPS = 200


@dataclass(frozen=True, eq=False)
class Contexts:
    """Contexts under perturbations.

    Attributes
    ----------
    x
        (n, d) vector of the context.
    what
        (n,) name of the perturbation.
    """

    x: np.ndarray
    what: np.ndarray


#: Training contexts, their effects (n, genes), their units (n,), held-out contexts, randomness -> predicted effects
#: (m, genes) of the held-out ones, all of whose perturbations occur in training; and facts of the fit.
Probe = Callable[[Contexts, np.ndarray, np.ndarray, Contexts, np.random.Generator], tuple[np.ndarray, dict[str, Any]]]


def ridge(
    known: Contexts, y: np.ndarray, groups: np.ndarray, held: Contexts, rng: np.random.Generator  # noqa: ARG001
) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
    """Predict by one ridge per perturbation (see `fit_ridge`); a gene that is constant in training stays so."""
    found, alphas = np.empty((len(held.x), y.shape[1])), {}
    for name, rows, asked in _each(known, held):
        fitted = fit_ridge(known.x[rows], y[rows], groups[rows])
        part = np.tile(y[rows].mean(axis=0), (len(asked), 1))
        scale = fitted.y_scale
        part[:, scale.keep] = fitted.predict(held.x[asked]) * scale.scale + scale.mean
        found[asked] = part
        alphas[name] = fitted.alpha
    return found, {"alpha": alphas}


def neighbours(
    known: Contexts, y: np.ndarray, groups: np.ndarray, held: Contexts, rng: np.random.Generator  # noqa: ARG001
) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
    """Predict the mean effect in the nearest training contexts (Euclidean, standardised), per perturbation.

    How many is chosen by squared error, the smallest of equals; with fewer than three units it is one. Where contexts
    do not differ, all are equally near.
    """
    found, counts = np.empty((len(held.x), y.shape[1])), {}
    for name, rows, asked in _each(known, held):
        scale = Scale.fit(known.x[rows])
        if not scale.keep.any():
            found[asked], counts[name] = y[rows].mean(axis=0), len(rows)
            continue
        z, target = scale.transform(known.x[rows]), y[rows]
        folds = _folds(groups[rows])
        counts[name] = k = _best_count(z, target, folds) if folds else 1
        found[asked] = KNeighborsRegressor(k).fit(z, target).predict(scale.transform(held.x[asked]))
    return found, {"neighbours": counts}


def network(
    known: Contexts, y: np.ndarray, groups: np.ndarray, held: Contexts, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    """Predict by a network with one hidden layer that reads the context and which perturbation it is.

    It learns how the effect departs from the mean effect of its perturbation, as the first components of these
    departures in training. The penalty is chosen by squared error; with fewer than three units it is the middle one.
    """
    names = np.unique(known.what)
    mean = np.stack([y[known.what == name].mean(axis=0) for name in names])
    code, asked = np.searchsorted(names, known.what), np.searchsorted(names, held.what)
    scale = Scale.fit(known.x)
    rest = y - mean[code]
    n = min(COMPONENTS, len(y) - 1, y.shape[1])
    if not scale.keep.any() or n < 1 or not rest.any():
        return mean[asked], {"penalty": None}
    pca = PCA(n, svd_solver="full").fit(rest)
    target = pca.transform(rest)
    size = max(float(target.std()), 1e-12)
    inputs = [np.hstack([scale.transform(c.x), np.eye(len(names))[k]]) for c, k in ((known, code), (held, asked))]
    seed = int(rng.integers(2**31 - 1))

    def fitted(rows: np.ndarray, penalty: float) -> MLPRegressor:
        model = MLPRegressor(
            hidden_layer_sizes=(HIDDEN,), alpha=penalty, solver="lbfgs", max_iter=_STEPS, random_state=seed
        )
        with warnings.catch_warnings():
            # Stopping after so many steps is part of the budget, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(inputs[0][rows], target[rows] / size)

    folds, penalty = _folds(groups), PENALTIES[len(PENALTIES) // 2]
    if folds:
        loss = [
            sum(_error(fitted(train, p).predict(inputs[0][out]), target[out] / size) for train, out in folds)
            for p in PENALTIES
        ]
        penalty = PENALTIES[int(np.argmin(loss))]
    model = fitted(np.arange(len(y)), penalty)
    moved = np.reshape(model.predict(inputs[1]), (len(asked), n)) * size
    return mean[asked] + pca.inverse_transform(moved), {"penalty": penalty}


PROBES: dict[str, Probe] = {"ridge": ridge, "neighbours": neighbours, "mlp": network}


def _each(known: Contexts, held: Contexts) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield every perturbation that is asked for, with its training rows and its held-out rows."""
    for name in np.unique(held.what):
        yield str(name), np.flatnonzero(known.what == name), np.flatnonzero(held.what == name)


def _folds(groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(np.unique(groups)) < INNER_FOLDS:
        return []
    return list(GroupKFold(INNER_FOLDS).split(groups, groups=groups))


def _best_count(z: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> int:
    counts = [k for k in COUNTS if k <= min(len(train) for train, _ in folds)]
    loss = [
        sum(_error(KNeighborsRegressor(k).fit(z[train], y[train]).predict(z[out]), y[out]) for train, out in folds)
        for k in counts
    ]
    return counts[int(np.argmin(np.round(loss, 12)))]


def _error(predicted: np.ndarray, y: np.ndarray) -> float:
    return float(((np.reshape(predicted, y.shape) - y) ** 2).sum())
