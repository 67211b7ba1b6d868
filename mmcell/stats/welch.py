"""Which features of several groups differ from one group: Welch's t, from sums alone."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student

#: Share of false discoveries within a group.
FDR = 0.05
#: From so many features on a group differs strongly.
STRONG = 10


def differing(
    mean: np.ndarray, square: np.ndarray, n: np.ndarray, base: np.ndarray, base_square: np.ndarray, m: float
) -> np.ndarray:
    """Return which features (groups, d) differ from the base: Welch's t, Benjamini–Hochberg within each group.

    Parameters
    ----------
    mean, square
        (groups, d) means, and sums of squares.
    n
        (groups,) members.
    base, base_square, m
        (d,) mean and sum of squares of the base, and its members.
    """
    n = n[:, None]
    variance = np.maximum(square / n - mean**2, 0.0) / (n - 1)
    other = np.maximum(base_square / m - base**2, 0.0) / (m - 1)
    error = variance + other
    moves = error > 0
    size = np.where(moves, error, 1.0)
    degrees = size**2 / np.where(moves, variance**2 / (n - 1) + other**2 / (m - 1), 1.0)
    p = np.where(moves, 2 * student.sf(np.abs(mean - base) / np.sqrt(size), degrees), 1.0)
    return np.asarray(false_discovery_control(p, axis=1) <= FDR)
