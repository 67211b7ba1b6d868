"""Centred log-ratios of the proportions of a table, with a floor that the training rows share."""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError

#: Rows whose sum is within this of 1 are compositions.
_WHOLE = 0.05
#: The share of positive proportions that are raised to the floor.
_LOW = 0.01


def whole(values: np.ndarray) -> np.ndarray:
    """Return (n,) whether each row of (n, m) proportions adds up to 1."""
    return np.asarray((values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= _WHOLE))


def floor_of(values: np.ndarray) -> float:
    """Return what stands for 0 in (n, m) proportions, and for what is hardly more: 1 % of the positive ones lie below.

    Read from the training rows, for the least that a table can tell from nothing depends on how it was measured: among
    a hundred cells 1e-2, among a million 1e-6. The smallest proportion of the table would make an outlier of whoever
    has it, and of all who lack a type: fractions that are estimated come down to 1e-8, which is no measurement.

    Raises
    ------
    MmcellError
        No proportion is above 0.
    """
    positive = values[values > 0]
    if not len(positive):
        raise MmcellError(
            "log-ratios: no proportion of the training rows is above 0; there is nothing to take ratios of"
        )
    return float(np.quantile(positive, _LOW))


def log_ratios(values: np.ndarray, floor: float) -> np.ndarray:
    """Return centred log-ratios (n, m) of (n, m) proportions: log max(p, δ) less its mean over the types.

    References
    ----------
    Aitchison: The statistical analysis of compositional data. JRSS B 44, 139–177 (1982).
    """
    logs = np.log(np.maximum(values, floor))
    found: np.ndarray = logs - logs.mean(axis=1, keepdims=True)
    return found
