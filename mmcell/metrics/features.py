"""Feature prediction: correlation and R² of each predicted feature within strata, and how many are beyond chance.

Items of kind ``features`` hold no single prediction, but the sums that these metrics need: one row per unit and finest
stratum of a fold, pointing (``row``) into ``arrays["moments"]`` (rows, 6, features): n, Σp, Σy, Σp², Σy², Σpy of the
prediction p and the measured value y. Whatever is centred is centred within a fold and within the stratum ``within``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numba import njit
from scipy.stats import false_discovery_control, t

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import Metric, Resampled, plain, ratio
from mmcell.stats.units import MINIMUM

#: Draws whose sums are held at once.
_DRAWS = 128
#: A spread below this share of the squares is rounding.
_ROUNDING = 1e-9
FDR = 0.05


def moments(predicted: np.ndarray, measured: np.ndarray, code: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the sums (n_rows, 6, features) of items that share a row.

    Parameters
    ----------
    predicted, measured
        (n, features) in one unit of measurement per feature.
    code
        (n,) row of each item.
    n_rows
        How many rows there are.

    Raises
    ------
    MmcellError
        Predictions and measured values do not have the same shape, or not as many rows as `code`.
    """
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if p.shape != y.shape or len(p) != len(code):
        raise MmcellError(f"features: predictions {p.shape} and measured values {y.shape} do not fit {len(code)} items")
    out = np.zeros((n_rows, 6, p.shape[1]))
    for k, values in enumerate((np.ones_like(p), p, y, p * p, y * y, p * y)):
        np.add.at(out[:, k], code, values)
    return out


@njit(cache=True, nogil=True)
def _pooled(weights: np.ndarray, sums: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return (draws, 5, features): Σpy, Σp², Σy² about the means of groups, over all groups; Σp², Σy² as they are."""
    n_draws, n_features = len(weights), sums.shape[2]
    out = np.zeros((n_draws, 5, n_features))
    total = np.empty((6, n_features))
    for d in range(n_draws):
        for g in range(len(start) - 1):
            total[:] = 0.0
            for row in range(start[g], start[g + 1]):
                w = weights[d, row]
                if w == 0.0:
                    continue
                for k in range(6):
                    for f in range(n_features):
                        total[k, f] += w * sums[row, k, f]
            for f in range(n_features):
                n = total[0, f]
                if n == 0.0:
                    continue
                p, y = total[1, f], total[2, f]
                out[d, 0, f] += total[5, f] - p * y / n
                out[d, 1, f] += total[3, f] - p * p / n
                out[d, 2, f] += total[4, f] - y * y / n
                out[d, 3, f] += total[3, f]
                out[d, 4, f] += total[4, f]
    return out


def _sorted(items: Items) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of items by group (a fold's stratum), their sums, and where each group starts."""
    if "moments" not in items.arrays:
        raise MmcellError("items of kind 'features': arrays['moments'] is missing; see mmcell.metrics.features")
    group = items.frame.groupby(["repeat", "fold", "within"], sort=False).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(group))]).astype(np.int64)
    return order, np.ascontiguousarray(items.arrays["moments"][items.column("row")[order].astype(np.int64)]), start


def standardised(items: Items) -> Items:
    """Return the items with every feature's predictions at unit spread within strata, as correlations see them."""
    order, sums, start = _sorted(items)
    pooled = _pooled(np.ones((1, len(order))), sums, start)[0]
    moves = pooled[1] > _ROUNDING * pooled[3]
    spread = np.sqrt(np.where(moves, pooled[1], 1.0))
    arrays = items.arrays["moments"].copy()
    for k, power in ((1, 1), (3, 2), (5, 1)):
        arrays[:, k] /= spread**power
    return Items(items.frame, items.kind, {**items.arrays, "moments": arrays})


def _varies(pooled: np.ndarray) -> np.ndarray:
    """Whether the measured values of each feature vary within groups; a constant one cannot be predicted or missed."""
    return np.asarray(pooled[..., 2, :] > _ROUNDING * pooled[..., 4, :])


def _correlation(pooled: np.ndarray) -> np.ndarray:
    """Pearson's r; 0 where the prediction does not vary, NaN where the feature does not."""
    shared, spread, measured, raw, _ = np.moveaxis(pooled, -2, 0)
    moves = (spread > _ROUNDING * raw) & (measured > 0)
    r = np.divide(shared, np.sqrt(np.where(moves, spread * measured, 1.0)), out=np.zeros_like(shared), where=moves)
    return np.where(_varies(pooled), r, np.nan)


def _explained(pooled: np.ndarray) -> np.ndarray:
    """1 − Σ(p − y)²/Σy², both about the means of their stratum; NaN where the feature does not vary."""
    shared, spread, measured, _, _ = np.moveaxis(pooled, -2, 0)
    left = spread - 2.0 * shared + measured
    return 1.0 - np.divide(left, measured, out=np.full_like(left, np.nan), where=_varies(pooled))


def _mean(of: Callable[[np.ndarray], np.ndarray]) -> Resampled:
    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        order, sums, start = _sorted(items)
        out = np.full(len(weights), np.nan)
        for first in range(0, len(weights), _DRAWS):
            part = np.asarray(weights[first : first + _DRAWS], dtype=np.float64)[:, items.codes[order]]
            values = of(_pooled(np.ascontiguousarray(part), sums, start))
            known = np.isfinite(values)
            out[first : first + _DRAWS] = ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))
        return out

    return resampled


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of each feature on a set of items; all arrays (features,).

    Attributes
    ----------
    names
        Of the features.
    pearson, r2
        Within strata, pooled over folds; NaN for a feature that does not vary there.
    p, q
        One-sided p of a positive association, and the same adjusted over features (Benjamini and Hochberg 1995);
        NaN with fewer than 10 units.
    """

    names: np.ndarray
    pearson: np.ndarray
    r2: np.ndarray
    p: np.ndarray
    q: np.ndarray

    @property
    def beyond(self) -> np.ndarray:
        """Which features are predicted beyond chance at a false discovery rate of 5 %."""
        return np.asarray(self.q <= FDR)

    def table(self) -> pd.DataFrame:
        """Return one row per feature: ``feature pearson r2 p q``."""
        return pd.DataFrame(
            {"feature": self.names, "pearson": self.pearson, "r2": self.r2, "p": self.p, "q": self.q}
        ).sort_values("pearson", ascending=False, ignore_index=True, kind="stable")


def features(items: Items) -> Features:
    """Score every feature.

    The test asks whether the association holds from unit to unit: r is computed again without each unit (jackknife),
    and r over its standard error is referred to Student's t. Neither many items nor neighbours that resemble each
    other count as replicates, so that two patients can show nothing. It is approximate: folds share training units,
    which of pure noise lets 7 to 8 % instead of 5 % through at p < 0.05.

    Parameters
    ----------
    items
        Of kind ``features``.

    References
    ----------
    Efron, Stein: The jackknife estimate of variance. Ann Stat 9, 586–596 (1981).
    """
    order, sums, start = _sorted(items)
    pooled = _pooled(np.ones((1, len(order))), sums, start)[0]
    names = items.arrays.get("features", np.arange(sums.shape[2])).astype(str)
    r = _correlation(pooled)
    p = _jackknifed(r, items.codes[order], len(items.units), sums, start)
    if items.units.crossed:
        p[:] = np.nan
    q = np.full(len(names), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return Features(names, r, _explained(pooled), p, q)


def _jackknifed(r: np.ndarray, unit: np.ndarray, n_units: int, sums: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the one-sided p of r > 0 per feature; NaN for a constant one, or where fewer than 10 units hold it."""
    measured = np.zeros((n_units, len(r)))
    np.add.at(measured, unit, sums[:, 0])
    there = measured > 0
    n = there.sum(axis=0)
    left_out = (unit[None, :] != np.arange(n_units)[:, None]).astype(np.float64)
    parts = [
        _correlation(_pooled(np.ascontiguousarray(left_out[i : i + _DRAWS]), sums, start))
        for i in range(0, n_units, _DRAWS)
    ]
    without = np.where(there, np.concatenate(parts), np.nan)
    defined = np.isfinite(r) & (n >= MINIMUM) & (np.isfinite(without).sum(axis=0) == n)
    p = np.full(len(r), np.nan)
    value, others, count = r[defined], without[:, defined], n[defined]
    mean = np.nanmean(others, axis=0) if others.size else value
    error = np.sqrt((count - 1) / count * np.nansum((others - mean) ** 2, axis=0))
    # What no unit moves, such as the 0 of a prediction that does not vary, is beyond nothing.
    moves = error > _ROUNDING
    p[defined] = np.where(moves, t.sf(value / np.where(moves, error, 1.0), count - 1), 1.0)
    return p


def _share(items: Items) -> float:
    found = features(items)
    known = np.isfinite(found.q)
    return float(found.beyond[known].mean()) if known.any() else float("nan")


def _of_kind(
    name: str, of: Callable[[np.ndarray], np.ndarray], bounds: tuple[float, float], chance: float | None, about: str
) -> Metric:
    fast = _mean(of)
    return Metric(name, plain(fast), True, chance, bounds, fast, ("features",), about=about)


FEATURE_PEARSON = replace(
    _of_kind("feature_pearson", _correlation, (-1, 1), 0.0, "mean over features of Pearson's r, about fold means"),
    comparable=standardised,
)
FEATURE_R2 = _of_kind(
    "feature_r2", _explained, (-np.inf, 1), None, "mean over features of the share of variance explained"
)
FEATURES_BEYOND = Metric(
    "features_beyond", _share, True, 0.0, (0, 1), None, ("features",), interval=False, comparable=standardised,
    about="share of features whose association holds from unit to unit, false discovery rate 5 %",
)  # fmt: skip
