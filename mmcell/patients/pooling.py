"""Moments of cells by group, streamed over a memmap: memory is one block, time is one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.memory import Picked, release
from mmcell.probes.scale import Scale

#: Bytes of one block of rows.
_BLOCK = 1 << 25


def blocks(values: np.ndarray | Picked, width: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows block by block: which they are, and their floats of 32 or 64 bits.

    Parameters
    ----------
    values
        (rows, d) floats; may be a memmap.
    width
        Columns that a row will grow to, so that what is made of a block is no bigger than a block either.
    """
    step = max(1, _BLOCK // max(1, max(width, values.shape[1]) * values.itemsize))
    for start in range(0, len(values), step):
        block = np.asarray(values[start : start + step])
        # Half precision is for disks; numba adds floats of 32 and 64 bits.
        block = block if block.dtype in (np.float32, np.float64) else block.astype(np.float32)
        yield slice(start, start + len(block)), np.ascontiguousarray(block)
        release(values)


def group_means(values: np.ndarray | Picked, code: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean row of each group in float64, and how many rows it has.

    Parameters
    ----------
    values
        (rows, d) floats; may be a memmap.
    code
        (rows,) group of each row; −1 leaves it out.
    n
        Number of groups.

    Returns
    -------
    means : numpy.ndarray
        (n, d); NaN for a group without rows.
    counts : numpy.ndarray
        (n,)
    """
    sums = np.zeros((n, values.shape[1]))
    counts = np.bincount(code[code >= 0], minlength=n)
    for where, block in blocks(values):
        add_rows(block, code[where], sums)
    return np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0), counts


def group_variances(values: np.ndarray | Picked, code: np.ndarray, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the variance of each group, with n − 1 in the denominator: how many rows there are moves it not.

    The second pass after `group_means`: squares are of distances from the mean, so that nothing cancels.

    Parameters
    ----------
    values, code
        As in `group_means`.
    means, counts
        What `group_means` returned.

    Returns
    -------
    numpy.ndarray
        (n, d); NaN for a group of fewer than two rows.
    """
    sums = np.zeros_like(means)
    for where, block in blocks(values):
        _add_squares(block, code[where], means, sums)
    free = counts[:, None] - 1
    return np.divide(sums, free, out=np.full_like(sums, np.nan), where=free > 0)


def scale_of(values: np.ndarray) -> Scale:
    """Return what `Scale.fit` learns from all rows, up to rounding, without a copy of them."""
    code = np.zeros(len(values), dtype=np.int64)
    means, counts = group_means(values, code, 1)
    spread = np.sqrt(group_variances(values, code, means, counts))[0] if len(values) > 1 else np.zeros(means.shape[1])
    keep = spread > 1e-6 * np.maximum(np.abs(means[0]), 1e-12)
    return Scale(keep, means[0][keep], spread[keep])


def names_of(cells: Embedding) -> tuple[str, ...]:
    """Return what the dimensions are called: d0, d1, … where they have no names."""
    return cells.columns or tuple(f"d{i}" for i in range(cells.dim))


def check_width(cells: Embedding, width: int, who: str) -> None:
    """Refuse cells in another number of dimensions than was fitted.

    Raises
    ------
    MmcellError
        There are more or fewer, or nothing was fitted (`width` is 0).
    """
    if not width:
        raise MmcellError(f"patient encoder {who!r} is not fitted; call fit on training patients first")
    if cells.dim != width:
        raise MmcellError(
            f"patient encoder {who!r}: it was fitted on {width} dimensions, embedding {cells.name!r} has {cells.dim}; "
            "give the same embedding"
        )


@njit(cache=True, nogil=True)
def add_rows(x: np.ndarray, code: np.ndarray, sums: np.ndarray) -> None:
    """Add each row of (rows, d) to the row of (n, d) `sums` that its code names; −1 leaves it out."""
    for i in range(len(x)):
        group = code[i]
        if group >= 0:
            for j in range(x.shape[1]):
                sums[group, j] += x[i, j]


@njit(cache=True, nogil=True)
def _add_squares(x: np.ndarray, code: np.ndarray, means: np.ndarray, sums: np.ndarray) -> None:
    for i in range(len(x)):
        group = code[i]
        if group >= 0:
            for j in range(x.shape[1]):
                away = x[i, j] - means[group, j]
                sums[group, j] += away * away
