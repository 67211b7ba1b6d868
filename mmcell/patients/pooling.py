"""Means of cells by group, streamed over a memmap: memory is one block, time is one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.memory import release

#: Bytes of one block of rows.
_BLOCK = 1 << 25


def group_means(values: np.ndarray, code: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
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
    step = max(1, _BLOCK // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(values), step):
        block = np.asarray(values[start : start + step])
        # Half precision is for disks; numba adds floats of 32 and 64 bits.
        block = block if block.dtype in (np.float32, np.float64) else block.astype(np.float32)
        _add_rows(np.ascontiguousarray(block), code[start : start + step], sums)
        release(values)
    return np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0), counts


@njit(cache=True, nogil=True)
def _add_rows(x: np.ndarray, code: np.ndarray, sums: np.ndarray) -> None:
    for i in range(len(x)):
        group = code[i]
        if group >= 0:
            for j in range(x.shape[1]):
                sums[group, j] += x[i, j]
