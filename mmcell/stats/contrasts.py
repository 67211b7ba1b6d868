"""Contrasts: how far two groups of units lie apart in every coordinate, with interval and false discovery rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from mmcell.errors import MmcellError
from mmcell.stats.multiplicity import adjusted
from mmcell.stats.permutation import permuted_within
from mmcell.stats.units import MINIMUM

COLUMNS = ("name", "effect", "ci_low", "ci_high", "p", "q", "n_positive", "n_negative", "reason")
#: A spread of less than this is none.
_FLAT = 1e-12


def contrasts(
    values: np.ndarray,
    positive: np.ndarray,
    names: Sequence[str],
    *,
    strata: np.ndarray | None = None,
    n_boot: int = 1000,
    n_permutations: int = 2000,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare two groups of units in every coordinate.

    Parameters
    ----------
    values
        (n, m) one row a unit.
    positive
        (n,) whether a unit is in the group that the effect points to.
    names
        (m,) of the coordinates.
    strata
        (n,) within which group labels are exchangeable (a batch); none: among all.
    n_boot, n_permutations
        Draws of the interval and of the null.
    rng
        Of both.

    Returns
    -------
    pandas.DataFrame
        A row per coordinate: ``effect`` (Hedges' g: the difference of means in pooled standard deviations, corrected
        for few units), its 95 % BCa interval over units (none with fewer than 10 of them, or fewer than 3 in a group),
        ``p`` (two-sided, of |g| under permuted labels), ``q`` (Benjamini–Hochberg over all coordinates), sizes, and
        ``reason`` where something is undefined. Values are NaN then.

    Raises
    ------
    MmcellError
        A group of fewer than two units, or shapes that do not fit.

    References
    ----------
    Hedges: Distribution theory for Glass's estimator of effect size and related estimators. J Educ Stat 6 (1981).
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(positive, dtype=bool)
    if x.shape != (len(y), len(names)):
        raise MmcellError(f"contrasts: values have shape {x.shape} for {len(y)} units and {len(names)} names")
    if min(y.sum(), (~y).sum()) < 2:
        raise MmcellError(
            f"contrasts: the groups have {y.sum()} and {(~y).sum()} units; two or more are needed in each"
        )
    observed = _hedges(x[y].T, x[~y].T)
    defined = np.isfinite(observed)
    groups = np.zeros(len(y), dtype=np.int64) if strata is None else pd.factorize(np.asarray(strata).astype(str))[0]
    extreme = np.ones(len(names))
    for _ in range(n_permutations):
        moved = y[permuted_within(groups, rng)]
        extreme += np.abs(_hedges(x[moved].T, x[~moved].T)) >= np.abs(observed) - _FLAT
    found = pd.DataFrame({"name": list(names), "effect": observed})
    found[["ci_low", "ci_high"]] = np.nan
    enough = len(y) >= MINIMUM and min(y.sum(), (~y).sum()) >= 3
    if enough and defined.any():
        with np.errstate(invalid="ignore", divide="ignore"):
            interval = bootstrap(
                (x[y][:, defined].T, x[~y][:, defined].T), _hedges, n_resamples=n_boot, vectorized=True, axis=-1,
                rng=rng,
            ).confidence_interval  # fmt: skip
        found.loc[defined, ["ci_low", "ci_high"]] = np.stack([interval.low, interval.high], axis=1)
    found["p"] = np.where(defined, extreme / (n_permutations + 1), np.nan)
    found["q"] = adjusted(found["p"].to_numpy(), "bh")
    found["n_positive"], found["n_negative"] = int(y.sum()), int((~y).sum())
    few = "" if enough else "too few units for an interval"
    found["reason"] = np.where(defined, few, "does not vary within the groups")
    return found[list(COLUMNS)]


def _hedges(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return Hedges' g of two groups along an axis; NaN where neither varies."""
    n, m = a.shape[axis], b.shape[axis]
    pooled = np.sqrt(((n - 1) * a.var(axis=axis, ddof=1) + (m - 1) * b.var(axis=axis, ddof=1)) / (n + m - 2))
    gap = a.mean(axis=axis) - b.mean(axis=axis)
    flat = pooled <= _FLAT
    correction = 1.0 - 3.0 / (4.0 * (n + m) - 9.0)
    return np.where(flat, np.nan, correction * gap / np.where(flat, 1.0, pooled))
