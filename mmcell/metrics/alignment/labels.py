"""What every metric asks of batches and labels: codes, how many, and which are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError

#: One value a cell: names, numbers or categories; missing where unknown.
Values: TypeAlias = np.ndarray | pd.Series | pd.Categorical | Sequence[Any]


def coded(values: Values, n: int, what: str) -> tuple[np.ndarray, pd.Index]:
    """Return (n,) codes, −1 where missing, and the sorted names behind them.

    Raises
    ------
    MmcellError
        Not one value a cell, or all are missing.
    """
    if len(values) != n:
        raise MmcellError(f"{what}: {len(values)} values for {n} cells; give one a cell, in the same order")
    code, names = pd.factorize(pd.Series(np.asarray(values)), sort=True)
    if not len(names):
        raise MmcellError(f"{what}: all values are missing; name what each cell belongs to")
    return code.astype(np.int64), pd.Index(names)


def several(values: Values, n: int, what: str) -> tuple[np.ndarray, pd.Index]:
    """Return what `coded` does, of two kinds or more.

    Raises
    ------
    MmcellError
        As in `coded`, or all cells are of one kind.
    """
    code, names = coded(values, n, what)
    if len(names) < 2:
        raise MmcellError(f"{what}: all cells are of {names[0]!r}; there is nothing to compare, give two or more")
    return code, names


def batches(values: Values, n: int) -> tuple[np.ndarray, pd.Index]:
    """Return what `several` does of batches, each of which is known.

    Raises
    ------
    MmcellError
        As in `several`, or a cell without a batch.
    """
    code, names = several(values, n, "batch")
    if (code < 0).any():
        raise MmcellError(f"batch: {int((code < 0).sum())} of {n} cells have none; leave them out of all arrays first")
    return code, names


def chosen(cells: np.ndarray | None, n: int) -> np.ndarray:
    """Return (n,) which cells are scored, all unless a mask says otherwise.

    Raises
    ------
    MmcellError
        A mask that is not one bool a cell, or that leaves none.
    """
    if cells is None:
        return np.ones(n, dtype=bool)
    mask = np.asarray(cells)
    if mask.dtype != bool or mask.shape != (n,):
        raise MmcellError(f"cells: give a mask of one bool a cell, ({n},), not {mask.dtype} of {mask.shape}")
    if not mask.any():
        raise MmcellError("cells: the mask leaves no cell to score")
    return mask


def shared(label: Values, batch: Values) -> np.ndarray:
    """Return (n,) whether a cell's label occurs in two batches or more.

    Cells of other labels have nobody to be mixed with; give this as `cells` to a metric of mixing, and score the rest
    apart. Cells without a label are not among them.

    Parameters
    ----------
    label, batch
        (n,) label and batch of each cell.
    """
    n = len(label)
    of_label, _ = coded(label, n, "label")
    of_batch, _ = batches(batch, n)
    return batches_of_labels(of_label, of_batch)[of_label] * (of_label >= 0) > 1


def batches_of_labels(label: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Return (labels,) in how many batches each label occurs, of codes."""
    table = np.zeros((label.max() + 1, batch.max() + 1), dtype=bool)
    known = label >= 0
    table[label[known], batch[known]] = True
    counts: np.ndarray = table.sum(axis=1)
    return counts


def points(x: np.ndarray, what: str = "x") -> np.ndarray:
    """Return (n, d) finite float64 values.

    Raises
    ------
    MmcellError
        Not a matrix, or not finite.
    """
    values = np.ascontiguousarray(x, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise MmcellError(f"{what}: the shape {values.shape} is no matrix; give one row a cell")
    if not np.isfinite(values).all():
        raise MmcellError(f"{what}: it holds NaN or infinite values; leave such cells out")
    return values
