"""Sums of cells by group, in one pass over sparse or dense rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from scipy.sparse import csr_matrix, issparse


def add_sums(x: Any, codes: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> None:
    """Add rows (n, d) and their squares to the sums (groups, d) of their groups; a code below 0 is no group."""
    if issparse(x):
        x = x.tocsr()
        _add(x.data, x.indices, x.indptr, codes, sums, squares)
        return
    inside = np.flatnonzero(codes >= 0)
    groups = csr_matrix((np.ones(len(inside)), (codes[inside], inside)), (len(sums), len(codes)))
    values = np.asarray(x, dtype=np.float64)
    sums += groups @ values
    squares += groups @ np.square(values)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _add(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, codes: np.ndarray, sums: np.ndarray, squares: np.ndarray
) -> None:
    for row in range(len(codes)):
        group = codes[row]
        if group >= 0:
            for at in range(indptr[row], indptr[row + 1]):
                value = np.float64(data[at])
                sums[group, indices[at]] += value
                squares[group, indices[at]] += value * value
