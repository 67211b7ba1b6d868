"""Silhouettes of labels over all pairs of cells, in blocks: is a cell nearer to its own label than to others?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from mmcell.metrics.alignment.blocks import in_blocks
from mmcell.metrics.alignment.labels import Values, points, several
from mmcell.metrics.alignment.nearest import squared

#: Approximate distances of one block, of which each thread holds one.
_BLOCK = 1 << 21
#: Distances that are added up in single precision.
_RUN = 512


def silhouette_of_cells(x: np.ndarray, label: Values) -> np.ndarray:
    """Return the silhouette (b − a)/max(a, b) of every cell, by Euclidean distance.

    a is the mean distance to the other cells of its label, b the least mean distance to those of another label. As
    scikit-learn's; squared distances are products in single precision, except between near cells, whose differences are
    taken in double precision.

    Parameters
    ----------
    x
        (n, d) embedding.
    label
        (n,); cells without one are left out.

    Returns
    -------
    numpy.ndarray
        (n,) in [−1, 1]; 0 for the only cell of a label (Rousseeuw's convention); NaN where a = b = 0, as where all
        points are equal, and without a label.

    Raises
    ------
    MmcellError
        One label only, values that are not finite, or not one label a cell.

    References
    ----------
    Rousseeuw: Silhouettes: a graphical aid to the interpretation and validation of cluster analysis. J Comput Appl Math
    20, 53–65 (1987).
    """
    values = points(x)
    code, names = several(label, len(values), "label")
    order = np.argsort(code, kind="stable")[(code < 0).sum() :]
    own, size = code[order], np.bincount(code[order], minlength=len(names))
    found = np.full(len(values), np.nan)
    found[order] = silhouettes(distance_sums(values[order], size), own, size)
    return found


def silhouettes(total: np.ndarray, own: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the silhouettes (n,) of cells by sums of their distances.

    Parameters
    ----------
    total
        (n, labels) sums of distances to the cells of each label.
    own
        (n,) code of the own label.
    size
        (labels,) cells; labels without any do not count.
    """
    rows = np.arange(len(own))
    alone = size[own] == 1
    within = total[rows, own] / np.where(alone, 1, size[own] - 1)
    mean = np.divide(total, size, out=np.full(total.shape, np.inf), where=size > 0)
    mean[rows, own] = np.inf
    other = mean.min(axis=1)
    greatest = np.maximum(within, other)
    found = np.full(len(own), np.nan)
    told = (greatest > 0) & np.isfinite(greatest)
    found[told] = (other - within)[told] / greatest[told]
    found[alone] = 0.0
    return found


def label_asw(x: np.ndarray, label: Values) -> float:
    """Return label ASW, the mean silhouette of cells as (s + 1)/2; 0.5 = labels not told apart, higher is better.

    As in scib-metrics, except that it is NaN where a cell has none (where all points are equal scib-metrics gives 0.5).

    Parameters
    ----------
    x, label
        As in `silhouette_of_cells`; cells without a label do not count.

    Raises
    ------
    MmcellError
        As in `silhouette_of_cells`.
    """
    found = silhouette_of_cells(x, label)
    code, _ = several(label, len(found), "label")
    return float((found[code >= 0].mean() + 1) / 2)


def distance_sums(x: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return (n, groups) sums of distances to the cells of each group, of cells sorted by group; `size` of each."""
    n, d = x.shape
    start = np.concatenate([[0], np.cumsum(size)])
    middle = x - x.mean(axis=0)
    scale = np.abs(middle).max(initial=0.0) * np.sqrt(d)
    if scale > 0:
        middle /= scale
    square = np.einsum("ij,ij->i", middle, middle)
    rows = np.column_stack([-2 * middle, square, np.ones(n)]).astype(np.float32)
    columns = np.vstack([middle.T, np.ones(n), square]).astype(np.float32)
    # A product of d + 2 terms of rounded factors is off by less than a sixteenth of this times both squared lengths.
    near = np.float32(32 * (d + 16) * 2.0**-24)
    length = square.astype(np.float32)
    found = np.empty((n, len(start) - 1))

    def add(part: slice) -> None:
        _add(rows[part] @ columns, x, part.start, start, length, near, scale, found[part])

    in_blocks(add, n, max(1, _BLOCK // n))
    return found


@njit(cache=True, nogil=True)
def _add(
    block: np.ndarray, x: np.ndarray, first: int, start: np.ndarray, length: np.ndarray, near: Any, scale: float,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Write the sums of each row; distances of near cells are computed anew."""
    for r in range(len(block)):
        row = block[r]
        i = first + r
        for g in range(len(start) - 1):
            total = 0.0
            for a in range(start[g], start[g + 1], _RUN):
                b = min(a + _RUN, start[g + 1])
                part, n_near = _run(row[a:b], length[a:b], length[i], near)
                if n_near == 0:
                    total += part
                    continue
                for c in range(a, b):
                    if row[c] >= near * (length[i] + length[c]):
                        total += np.sqrt(row[c])
                    elif scale > 0:
                        total += np.sqrt(squared(x[i], x[c])) / scale
            out[r, g] = total * scale


@njit(cache=True, nogil=True, fastmath=True)
def _run(row: np.ndarray, length: np.ndarray, own: Any, near: Any) -> tuple[Any, Any]:
    """Return the sum of the distances, and how many are too near to be trusted."""
    part, n_near = np.float32(0), np.int32(0)
    for c in range(len(row)):
        part += np.sqrt(max(row[c], np.float32(0)))
        n_near += np.int32(row[c] < near * (own + length[c]))
    return part, n_near
