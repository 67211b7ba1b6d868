"""Linear probes: logistic regression and discriminants for classes, ridge with a grouped inner loop for vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier

from mmcell.probes.scale import Scale

#: One fixed budget for every embedding.
ALPHAS = tuple(10.0**k for k in range(-1, 6))
INNER_FOLDS = 3
#: Share of the discriminant's covariance that is replaced by a multiple of the identity.
SHRINKAGE = 0.1


@dataclass(frozen=True, eq=False)
class _Discriminant:
    """Linear scores of each class; (d, k) weights and (k,) offsets."""

    weights: np.ndarray
    offsets: np.ndarray

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return (n, k) probabilities under equal priors."""
        return np.asarray(softmax(x @ self.weights + self.offsets, axis=1))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A fitted probe; `model` is None where no input varies, and every class is then equally likely."""

    scale: Scale
    classes: np.ndarray
    model: LogisticRegression | KNeighborsClassifier | _Discriminant | None

    def probability(self, x: np.ndarray) -> np.ndarray:
        """Return (n, k) class probabilities."""
        if self.model is None:
            return np.full((len(x), len(self.classes)), 1.0 / len(self.classes))
        return np.asarray(self.model.predict_proba(self.scale.transform(x)))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return (n,) classes: the most likely one, the first of equals."""
        return np.asarray(self.classes[np.argmax(self.probability(x), axis=1)])


def fit_logistic(x: np.ndarray, y: np.ndarray, *, penalty: float = 1.0) -> Classifier:
    """Fit a class-balanced, ridge-penalised logistic regression on standardised inputs.

    Parameters
    ----------
    x
        (n, d) training rows only.
    y
        (n,) classes, at least two.
    penalty
        Inverse of scikit-learn's ``C``.
    """
    scale, classes = Scale.fit(x), np.unique(y)
    if not scale.keep.any():
        return Classifier(scale, classes, None)
    model = LogisticRegression(C=1.0 / penalty, class_weight="balanced", max_iter=300, tol=1e-4)
    return Classifier(scale, classes, model.fit(scale.transform(x), y))


def fit_discriminant(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Fit a linear discriminant with equal priors on standardised inputs: a probe for many cells and classes.

    In closed form, so that tens of thousands of cells of many types cost a fraction of a second. The classes share
    the covariance within classes, of which a fixed share is replaced by a multiple of the identity.

    Parameters
    ----------
    x
        (n, d) training rows only.
    y
        (n,) classes, at least two.

    References
    ----------
    Friedman: Regularized discriminant analysis. JASA 84, 165–175 (1989).
    """
    scale = Scale.fit(x)
    classes, code = np.unique(y, return_inverse=True)
    if not scale.keep.any():
        return Classifier(scale, classes, None)
    z = scale.transform(x)
    d = z.shape[1]
    # The training rows span all that counts: of more dimensions than rows only those are turned to.
    turned = np.linalg.qr(z.T)[0] if d > len(z) else None
    z = z if turned is None else z @ turned
    member = csr_array((np.ones(len(z)), (code, np.arange(len(z)))))
    means = (member @ z) / np.bincount(code)[:, None]
    within = (z.T @ z - (means.T * np.bincount(code)) @ means) / max(1, len(z) - len(classes))
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * (np.trace(within) / d + 1e-12) * np.eye(len(within))
    weights = np.linalg.solve(shrunk, means.T)
    offsets = -0.5 * np.einsum("kd,dk->k", means, weights)
    return Classifier(scale, classes, _Discriminant(weights if turned is None else turned @ weights, offsets))


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted ridge map from one standardised space into another, whose constant columns are left out."""

    x_scale: Scale
    y_scale: Scale
    weights: np.ndarray
    alpha: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return (n, kept) predictions in standardised units of the target."""
        return self.x_scale.transform(x) @ self.weights

    def target(self, y: np.ndarray) -> np.ndarray:
        """Return (n, kept) targets in the same units."""
        return self.y_scale.transform(y)


def fit_ridge(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Ridge:
    """Fit a ridge regression whose penalty is chosen on held-out groups inside the training rows.

    Parameters
    ----------
    x, y
        (n, d) inputs and (n, k) targets of training rows.
    groups
        (n,) units; an inner fold never splits one. With fewer than three units the middle penalty is used.
    """
    return _ridge(_Side.of(x), _Side.of(y), _inner_folds(groups))


def fit_ridges(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[Ridge, Ridge]:
    """Fit both directions, as `fit_ridge` does each: y from x, and x from y."""
    a, b, folds = _Side.of(x), _Side.of(y), _inner_folds(groups)
    return _ridge(a, b, folds), _ridge(b, a, folds)


@dataclass(frozen=True, eq=False)
class _Side:
    """One space of a ridge: standardised rows, as coordinates in their own span where they are fewer than columns."""

    scale: Scale
    rows: np.ndarray
    directions: np.ndarray | None

    @classmethod
    def of(cls, values: np.ndarray) -> _Side:
        scale = Scale.fit(values)
        z = scale.transform(values)
        if len(z) >= z.shape[1]:
            return cls(scale, z, None)
        # The same solution, and all products are small.
        left, spread, directions = np.linalg.svd(z, full_matrices=False)
        return cls(scale, left * spread, directions)


def _inner_folds(groups: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each inner fold; one of all rows where the units are too few."""
    if len(np.unique(groups)) < INNER_FOLDS:
        return [np.arange(len(groups))]
    return [held for _, held in GroupKFold(INNER_FOLDS).split(groups, groups=groups)]


def _ridge(x: _Side, y: _Side, folds: list[np.ndarray]) -> Ridge:
    parts = []
    for held in folds:
        a, b = x.rows[held], y.rows[held]
        parts.append((a.T @ a, a.T @ b))
    gram, cross = sum(g for g, _ in parts), sum(c for _, c in parts)
    alpha = ALPHAS[len(ALPHAS) // 2]
    if len(folds) > 1:
        loss = np.zeros(len(ALPHAS))
        for held_gram, held_cross in parts:
            # What training on the other folds would have seen: the totals less this fold.
            solutions = _solve(gram - held_gram, cross - held_cross)
            # ‖A w − B‖² on the held-out rows without ‖B‖², which is the same for every penalty.
            loss += [float(((held_gram @ w - 2 * held_cross) * w).sum()) for w in solutions]
        alpha = ALPHAS[int(np.argmin(loss))]
    weights = _solve(gram, cross, (alpha,))[0]
    if x.directions is not None:
        weights = x.directions.T @ weights
    if y.directions is not None:
        weights = weights @ y.directions
    return Ridge(x.scale, y.scale, weights, alpha)


def _solve(gram: np.ndarray, cross: np.ndarray, alphas: tuple[float, ...] = ALPHAS) -> list[np.ndarray]:
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ cross
    return [vectors @ (rotated / (np.maximum(values, 0.0) + alpha)[:, None]) for alpha in alphas]
