"""Centred log-ratios of the proportions of a table, with a floor that training patients share."""

from __future__ import annotations

import numpy as np

#: Rows whose sum is within this of 1 are compositions.
_WHOLE = 0.05


def is_whole(values: np.ndarray) -> bool:
    """Whether all rows of (n, m) proportions add up to 1."""
    return bool((values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() <= _WHOLE)


def floor_of(values: np.ndarray) -> float:
    """Return the detection limit of (n, m) proportions: the median over patients of their smallest one above 0.

    The smallest of the whole table would make an outlier of whoever has it, and of all who lack a type.
    """
    least = np.where(values > 0, values, np.inf).min(axis=1)
    return float(np.median(least[np.isfinite(least)]))


def log_ratios(values: np.ndarray, floor: float) -> np.ndarray:
    """Return centred log-ratios (n, m) of (n, m) proportions: log max(p, δ) less its mean over the types.

    References
    ----------
    Aitchison: The statistical analysis of compositional data. JRSS B 44, 139–177 (1982).
    """
    logs = np.log(np.maximum(values, floor))
    found: np.ndarray = logs - logs.mean(axis=1, keepdims=True)
    return found
