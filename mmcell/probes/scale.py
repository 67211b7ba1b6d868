"""`Scale`: standardisation that knows a constant column when it sees one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation of training rows; columns that do not vary are left out.

    A column whose spread is rounding noise beside its mean carries nothing, and scaling it up would turn rounding
    into signal.

    Attributes
    ----------
    keep
        (d,) which columns vary.
    mean, scale
        (kept,) moments; the standard deviation has n − 1 in the denominator.
    """

    keep: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> Self:
        """Learn from (n, d) training rows."""
        mean = x.mean(axis=0, dtype=np.float64)
        spread = x.std(axis=0, dtype=np.float64, ddof=1) if len(x) > 1 else np.zeros(x.shape[1])
        keep = spread > 1e-6 * np.maximum(np.abs(mean), 1e-12)
        return cls(keep, mean[keep], spread[keep])

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return (n, kept) standardised rows in float64."""
        z = np.asarray(x)[:, self.keep].astype(np.float64)
        z -= self.mean
        z /= self.scale
        return z


def settled(x: np.ndarray) -> np.ndarray:
    """Return rows (n, d) as they are; zeros where nothing varies in them but rounding.

    Neighbours of such rows are an accident of rounding, which would pass for well mixed batches, and taking means away
    would turn it into all that there is.
    """
    return x if Scale.fit(x).keep.any() else np.zeros_like(x)
