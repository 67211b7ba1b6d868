"""Heads: how two embedding spaces meet. Fitted on training pairs, or (``gromov``) on training rows without pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import PLSSVD
from sklearn.model_selection import GroupKFold

from mmcell.errors import MmcellError, did_you_mean
from mmcell.metrics.retrieval import ranks
from mmcell.probes.contrastive import fit_contrastive
from mmcell.probes.head import Head, Pairs
from mmcell.probes.linear import INNER_FOLDS, fit_ridges
from mmcell.probes.scale import Scale
from mmcell.probes.unpaired import fit_gromov

#: Rows that the inner loop looks at: its choice needs no more, and the dearest head then costs seconds.
_INNER_ROWS = 4000
#: Settings of a head, as many for each as ridge has penalties.
_COMPONENTS = (2, 4, 8, 16, 32, 64, 128)
_SHRINKAGE = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
#: Canonical directions beyond these carry rounding.
_WIDEST = 64


Fit = Callable[[Pairs, Any], Head]


def fit_head(name: str, pairs: Pairs) -> Head:
    """Fit a head on training pairs.

    What a head may set (``ridge``: its penalty; ``procrustes``, ``pls``: the number of components; ``cca``: its
    shrinkage; ``clip-linear``, ``clip-mlp``: weight decay) is chosen among seven values on three inner folds of units:
    ridge by its squared error, the others by the percentile of held-out pairs in both directions. ``none`` and
    ``gromov`` choose nothing.

    Parameters
    ----------
    name
        ``none``: the spaces are shared already. ``procrustes``: principal components of both, turned onto each other.
        ``ridge``: each space predicts the other. ``cca``: canonical directions with shrunken covariances, weighted by
        their correlation (Vinod 1976). ``pls``: directions of greatest covariance. ``clip-linear``, ``clip-mlp``:
        contrastive projections (Radford et al. 2021). ``gromov``: sees no pair; rows are matched by (fused)
        Gromov–Wasserstein (Vayer et al. 2020), and ridge is fitted to the matches.
    pairs
        Of the training units.

    Raises
    ------
    MmcellError
        An unknown name, spaces that ``none`` cannot compare, fewer than three pairs, or spaces that do not vary.
    """
    if name not in HEADS:
        raise MmcellError(f"unknown head {name!r}; {did_you_mean(name, list(HEADS))}")
    if len(pairs.x) < 3:
        raise MmcellError(f"head {name!r}: {len(pairs.x)} training pairs; at least 3 are needed, use fewer folds")
    fit, settings = HEADS[name]
    return fit(pairs, _chosen(fit, settings, pairs) if settings else None)


def _chosen(fit: Fit, settings: tuple[Any, ...], pairs: Pairs) -> Any:
    """Return the setting under which held-out pairs find each other best; the middle one of too few units."""
    if len(np.unique(pairs.groups)) < INNER_FOLDS:
        return settings[len(settings) // 2]
    if len(pairs.x) > _INNER_ROWS:
        some = np.random.default_rng([pairs.seed, 1]).choice(len(pairs.x), _INNER_ROWS, replace=False)
        pairs = pairs.rows(np.sort(some))
        if len(np.unique(pairs.groups)) < INNER_FOLDS:
            return settings[len(settings) // 2]
    found = np.zeros(len(settings))
    for train, held in GroupKFold(INNER_FOLDS).split(pairs.x, groups=pairs.groups):
        inner, outer = pairs.rows(train), pairs.rows(held)
        found += [_percentile(fit(inner, setting), outer) for setting in settings]
    return settings[int(np.argmax(found))]


def _percentile(head: Head, pairs: Pairs) -> float:
    correct = [np.flatnonzero(pairs.same == code) for code in pairs.same]
    found = []
    for (query, gallery), (a, b) in ((head.forward, (pairs.x, pairs.y)), (head.backward, (pairs.y, pairs.x))):
        ranked = ranks(query(a).astype(np.float32), gallery(b).astype(np.float32), correct)
        found.append(np.nanmean(ranked.percentile) if np.isfinite(ranked.percentile).any() else 0.5)
    return float(np.mean(found))


def _scaled(pairs: Pairs) -> tuple[Scale, Scale, np.ndarray, np.ndarray]:
    """Return both standardisations and the standardised rows; a space without spread becomes one column of zeros."""
    scales = Scale.fit(pairs.x), Scale.fit(pairs.y)
    return *scales, scales[0].transform(pairs.x), scales[1].transform(pairs.y)


def _none(pairs: Pairs, _: None) -> Head:
    if pairs.x.shape[1] != pairs.y.shape[1]:
        raise MmcellError(
            f"head 'none': the spaces have {pairs.x.shape[1]} and {pairs.y.shape[1]} dimensions and are not shared; "
            "choose another head, such as ridge"
        )
    return Head.shared(np.asarray, np.asarray)


def _ridge(pairs: Pairs, _: None) -> Head:
    there, back = fit_ridges(pairs.x, pairs.y, pairs.groups)
    details = {"alpha": there.alpha, "alpha_back": back.alpha}
    return Head((there.predict, there.target), (back.predict, back.target), details)


def _principal(z: np.ndarray, k: int) -> np.ndarray:
    """Return (d, k) leading directions of standardised rows."""
    _, vectors = np.linalg.eigh(z.T @ z)
    return vectors[:, ::-1][:, :k]


def _procrustes(pairs: Pairs, components: int) -> Head:
    x_scale, y_scale, a, b = _scaled(pairs)
    k = min(components, a.shape[1], b.shape[1], len(a))
    of_x, of_y = _principal(a, k), _principal(b, k)
    turn = orthogonal_procrustes(a @ of_x, b @ of_y)[0] if k else np.zeros((0, 0))
    return Head.shared(
        lambda x: x_scale.transform(x) @ of_x @ turn, lambda y: y_scale.transform(y) @ of_y, components=k
    )


def _cca(pairs: Pairs, shrinkage: float) -> Head:
    x_scale, y_scale, a, b = _scaled(pairs)
    of_x, of_y = _whitening(a, shrinkage), _whitening(b, shrinkage)
    u, correlation, v = np.linalg.svd(of_x.T @ (a.T @ b / len(a)) @ of_y, full_matrices=False)
    # Both sides carry the root, so that a product weighs every direction by its correlation.
    weight = np.sqrt(correlation[:_WIDEST])
    left, right = of_x @ u[:, :_WIDEST] * weight, of_y @ v[:_WIDEST].T * weight
    return Head.shared(
        lambda x: x_scale.transform(x) @ left, lambda y: y_scale.transform(y) @ right, shrinkage=shrinkage
    )


def _whitening(z: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return (d, d) inverse root of the covariance plus a share of its mean eigenvalue."""
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    values = np.maximum(values, 0.0) + shrinkage * max(float(values.mean()) if len(values) else 0.0, 1e-12)
    return (vectors / np.sqrt(values)) @ vectors.T


def _pls(pairs: Pairs, components: int) -> Head:
    x_scale, y_scale, a, b = _scaled(pairs)
    k = min(components, a.shape[1], b.shape[1], len(a) - 1)
    if k < 1:
        return Head.shared(lambda x: np.zeros((len(x), 1)), lambda y: np.zeros((len(y), 1)), components=0)
    model = PLSSVD(n_components=k, scale=False).fit(a, b)
    left, right = model.x_weights_, model.y_weights_
    return Head.shared(lambda x: x_scale.transform(x) @ left, lambda y: y_scale.transform(y) @ right, components=k)


def _clip_linear(pairs: Pairs, decay: float) -> Head:
    return fit_contrastive(pairs, decay, hidden=0)


def _clip_mlp(pairs: Pairs, decay: float) -> Head:
    return fit_contrastive(pairs, decay, hidden=128)


def _gromov(pairs: Pairs, _: None) -> Head:
    return fit_gromov(pairs)


#: name -> (fit, settings of the inner loop). Ridge chooses its penalty itself, in closed form.
HEADS: dict[str, tuple[Fit, tuple[Any, ...]]] = {
    "ridge": (_ridge, ()),
    "none": (_none, ()),
    "procrustes": (_procrustes, _COMPONENTS),
    "cca": (_cca, _SHRINKAGE),
    "pls": (_pls, _COMPONENTS),
    "clip-linear": (_clip_linear, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
    "clip-mlp": (_clip_mlp, (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
    "gromov": (_gromov, ()),
}
