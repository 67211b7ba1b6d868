"""Lanes: the weights of several draws side by side, so that a kernel goes through the rows once for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from mmcell.errors import MmcellError

#: Draws side by side: the inner loop of a kernel then runs as wide as the machine allows.
LANES = 32


@njit(cache=True, nogil=True)
def _turn(weights: np.ndarray, place: np.ndarray, out: np.ndarray) -> None:
    """Write column i of the weights to row `place[i]`, a few columns at a time so that reading stays in step."""
    n_lanes, n = weights.shape
    for start in range(0, n, 16):
        stop = min(n, start + 16)
        for b in range(n_lanes):
            for i in range(start, stop):
                out[place[i], b] = weights[b, i]


def lanes(weights: np.ndarray, order: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of draws with their weights (n, lanes), rows in `order`: what a kernel takes side by side.

    The weights of a block are overwritten by the next one.

    Raises
    ------
    MmcellError
        The weights have not one column per row.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != len(order):
        raise MmcellError(f"weights have the shape {weights.shape}; give (draws, {len(order)})")
    weights = np.ascontiguousarray(weights, dtype=None if weights.dtype == np.int64 else np.float64)
    out, place = np.empty((len(order), 0)), np.empty_like(order)
    place[order] = np.arange(len(order))
    for start in range(0, len(weights), LANES):
        block = slice(start, min(start + LANES, len(weights)))
        if out.shape[1] != block.stop - start:
            out = np.empty((len(order), block.stop - start))
        _turn(weights[block], place, out)
        yield block, out
