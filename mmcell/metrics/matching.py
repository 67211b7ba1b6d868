"""Matching of paired samples from two spaces: FOSCTTM, with ties one half and memory bounded by blocks."""

from __future__ import annotations

import numpy as np

from mmcell.errors import MmcellError

#: Distances that differ by less than this share of their scale are ties: it is rounding.
TOLERANCE = 1e-12
#: Numbers held at once, so that memory does not grow with the square of the samples.
BLOCK = 1 << 23


def foscttm(x: np.ndarray, y: np.ndarray) -> float:
    """Return the fraction of samples closer than the true match, averaged over both directions.

    For each sample, the share of the other samples of the second space that are nearer (Euclidean) than its own
    partner, ties one half. With a strict comparison and no ties a collapsed embedding would score a perfect 0.

    Parameters
    ----------
    x, y
        (n, d) vectors of one common space; row i of both is the same sample.

    Returns
    -------
    float
        In [0, 1]: 0 perfect, 0.5 chance; NaN with fewer than two samples.

    Raises
    ------
    MmcellError
        The two differ in shape.

    References
    ----------
    Liu, Huang, Singh, Vert, Noble: Jointly embedding multiple single-cell omics measurements. WABI 2019.
    """
    if x.shape != y.shape or x.ndim != 2:
        raise MmcellError(f"foscttm: the shapes {x.shape} and {y.shape} differ; give one row per sample and space")
    if len(x) < 2:
        return float("nan")
    # Distances do not change when both are shifted alike, and rounding is least around where most samples are.
    centre = np.median(np.concatenate([x, y]), axis=0).astype(np.float64)
    a, b = x.astype(np.float64) - centre, y.astype(np.float64) - centre
    return (_closer(a, b) + _closer(b, a)) / 2


def _closer(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean share of rows of `y` that are closer to a row of `x` than its partner is."""
    n = len(x)
    length_x, length_y = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    closer = 0.0
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        rows = np.arange(start, min(n, start + step))
        # Squared distances without the length of the query, which is the same on both sides of the comparison.
        distance = length_y - 2.0 * (x[rows] @ y.T)
        gap = distance - distance[np.arange(len(rows)), rows][:, None]
        rounding = TOLERANCE * (length_x[rows, None] + length_y[rows, None] + length_y)
        tied = np.abs(gap) <= rounding
        # Every row ties with itself, which is no other sample.
        closer += np.count_nonzero((gap < 0) & ~tied) + 0.5 * (np.count_nonzero(tied) - len(rows))
    return float(closer / (n * (n - 1)))
