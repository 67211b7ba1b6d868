"""Principal-component regression: how much of an embedding's variance the batch explains."""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError
from mmcell.metrics.alignment.labels import Values, batches, points


def batch_variance(x: np.ndarray, batch: Values, *, n_components: int | None = None) -> float:
    """Return the share of variance that batches explain, in [0, 1]: Σ_i var_i R²_i / Σ_i var_i over components.

    With all components that is the variance between batch means over all variance. Lower is better; what batches of
    different composition owe to biology is in it.

    Parameters
    ----------
    x
        (n, d) embedding.
    batch
        (n,) batches.
    n_components
        Principal components that count, all by default.

    Returns
    -------
    float
        NaN where the embedding does not vary.

    Raises
    ------
    MmcellError
        One batch only, a cell without a batch, fewer components than asked for, or values that are not finite.

    References
    ----------
    Büttner et al.: A test metric for assessing single-cell RNA-seq batch correction. Nat Methods 16, 43–49 (2019).
    """
    values = points(x)
    code, names = batches(batch, len(values))
    member = np.zeros((len(values), len(names)))
    member[np.arange(len(values)), code] = 1.0
    return _explained(values, member, n_components)


def covariate_variance(x: np.ndarray, covariate: np.ndarray, *, n_components: int | None = None) -> float:
    """Return the share of variance that a number explains linearly, such as depth; as `batch_variance`.

    Parameters
    ----------
    x
        (n, d) embedding.
    covariate
        (n,) numbers, or names of classes.
    n_components
        Principal components at most.

    Returns
    -------
    float
        NaN where the embedding or the number does not vary.

    Raises
    ------
    MmcellError
        Not one finite number a cell, fewer components than asked for, or values that are not finite.
    """
    values, number = points(x), np.asarray(covariate, dtype=np.float64)
    if number.shape != (len(values),) or not np.isfinite(number).all():
        raise MmcellError(f"covariate: give one finite number for each of the {len(values)} cells")
    if np.ptp(number) == 0:
        return float("nan")
    return _explained(values, np.column_stack([np.ones(len(values)), number - number.mean()]), n_components)


def variance_comparison(before: np.ndarray, after: np.ndarray, batch: Values) -> float:
    """Return the share of a batch effect that a correction took away: (before − after)/before of `batch_variance`.

    As `pcr_comparison` of scib-metrics, but negative where the correction added to the effect (scib-metrics clips to
    0).

    Parameters
    ----------
    before, after
        (n, d) and (n, e) embeddings of the same cells.
    batch
        (n,) batches.

    Returns
    -------
    float
        At most 1; NaN where an embedding does not vary or there was no effect.

    Raises
    ------
    MmcellError
        As in `batch_variance`.
    """
    one, other = batch_variance(before, batch), batch_variance(after, batch)
    return (one - other) / one if one > 0 else float("nan")


def _explained(x: np.ndarray, design: np.ndarray, n_components: int | None) -> float:
    """Return the variance-weighted R² of principal components on the columns of a design that holds the constant."""
    if (x == x[0]).all():
        return float("nan")
    centred = x - x.mean(axis=0)
    if n_components is not None:
        if not 1 <= n_components <= min(x.shape):
            raise MmcellError(f"n_components: {n_components} of {min(x.shape)} components; lower it")
        centred = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -n_components:]
    fitted = design @ np.linalg.lstsq(design.T @ design, design.T @ centred)[0]
    return float((fitted**2).sum() / (centred**2).sum())
