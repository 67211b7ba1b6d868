"""`Matrix`: values in a file, of which rows are read when they are asked for; the file is never held in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.distrust import checked, reading
from mmcell.errors import MmcellError, did_you_mean
from mmcell.readers import existing

#: Rows of one read at most, and rows between two wanted ones that are rather read along than read around.
_SPAN, _GAP = 8192, 64
#: Values of a block, as many as if it were dense; a sparse block is never smaller than so many rows.
_BLOCK, _SPARSE_ROWS = 20_000_000, 4096


@dataclass(frozen=True, eq=False)
class Matrix:
    """Values of an ``.h5ad``, ``.h5mu`` or AnnData ``.zarr`` on disk: ``matrix[rows]`` reads these rows, and no others.

    It travels to other processes as a path; every process opens the file for itself.

    Attributes
    ----------
    path
        The file.
    element
        Where in it: ``X``, ``raw/X``, ``layers/NAME``, with ``mod/NAME/`` before it in an ``.h5mu``.
    columns, kept
        Positions of the columns, and of the rows, that count; None for all.
    """

    path: Path
    element: str = "X"
    columns: np.ndarray | None = None
    kept: np.ndarray | None = None
    _opened: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Matrix, (self.path, self.element, self.columns, self.kept)

    def of(self, rows: np.ndarray) -> Matrix:
        """Return some of the rows, by truth values or positions; they stay on disk."""
        kept = np.arange(self.shape[0]) if self.kept is None else self.kept
        return Matrix(self.path, self.element, self.columns, kept[rows])

    @property
    def _rows(self) -> Any:
        """What is sliced, opened once a process: a handle of HDF5 survives no fork."""
        found = self._opened.get(os.getpid())
        if found is None:
            from anndata.io import sparse_dataset

            group, name = opened(self.path), self.element
            if name not in group:
                raise MmcellError(f"{self.path}: has no {name}; {did_you_mean(name, elements(group))}")
            found = group[name]
            if not (hasattr(found, "shape") and hasattr(found, "dtype")):
                with reading(self.path):
                    found = sparse_dataset(found)
                if found.format != "csr":
                    raise MmcellError(
                        f"{self.path}: {name} is stored by columns (CSC), and its rows cannot be read one by one; "
                        "write it with X = X.tocsr()"
                    )
            self._opened[os.getpid()] = found
        return found

    @cached_property
    def is_sparse(self) -> bool:
        """Whether blocks come as CSR."""
        return hasattr(self._rows, "format")

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.dtype(self._rows.dtype)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n, d = self._rows.shape
        rows = int(n) if self.kept is None else len(self.kept)
        return rows, int(d) if self.columns is None else len(self.columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        """Return rows by slice, truth values or positions in any order: CSR where the file is sparse, else an array.

        Raises
        ------
        MmcellError
            The file cannot be read there.
        """
        if self.kept is None and isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(self.shape[0])
            return self._span(start, max(start, stop))
        index = (np.arange(self.shape[0]) if self.kept is None else self.kept)[rows]
        order = np.argsort(index, kind="stable")
        wanted = index[order]
        parts = [self._span(a, b)[wanted[i:j] - a] for i, j, a, b in _spans(wanted)]
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return (stack(parts) if parts else self._span(0, 0))[back]

    def _span(self, start: int, stop: int) -> Any:
        rows = self._rows
        with reading(self.path):
            found = rows[start:stop]
        return found if self.columns is None else found[:, self.columns]


def is_sparse(x: Any) -> bool:
    """Whether a matrix, in memory or on disk, gives its rows sparse."""
    return hasattr(x, "indptr") or bool(getattr(x, "is_sparse", False))


@dataclass(frozen=True, eq=False)
class Lazy:
    """Rows that are made when they are asked for: what an encoder is shown of values on disk, or some of its rows.

    Attributes
    ----------
    shape
        Rows and columns.
    take
        Slice, truth values or positions -> these rows.
    is_sparse
        Whether they come as CSR.
    """

    shape: tuple[int, int]
    take: Callable[[Any], Any]
    is_sparse: bool

    def __getitem__(self, rows: Any) -> Any:
        """Return these rows."""
        return self.take(rows)


def stack(parts: list[Any]) -> Any:
    """Return blocks of rows, dense or sparse, as one."""
    if hasattr(parts[0], "indptr"):
        from scipy.sparse import vstack

        return vstack(parts, format="csr")
    return np.concatenate(parts)


def _spans(wanted: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield (from, to) positions in sorted rows, and the (first, end) rows that one read covers."""
    i = 0
    while i < len(wanted):
        most = int(np.searchsorted(wanted, wanted[i] + _SPAN))
        gaps = np.flatnonzero(np.diff(wanted[i:most]) > _GAP)
        j = i + int(gaps[0]) + 1 if len(gaps) else most
        yield i, j, int(wanted[i]), int(wanted[j - 1]) + 1
        i = j


def slices(x: Any) -> Iterator[slice]:
    """Yield the slices of rows in which a matrix, in memory or on disk, is looked at block by block."""
    step = max(1, _BLOCK // max(1, x.shape[1]))
    step = max(step, _SPARSE_ROWS) if is_sparse(x) else step
    for start in range(0, x.shape[0], step):
        yield slice(start, min(start + step, x.shape[0]))


def opened(path: Path) -> Any:
    """Return the root of an ``.h5ad``, ``.h5mu`` or ``.zarr``, open to be read.

    Raises
    ------
    MmcellError
        No such file, another ending, or a file that is not what its ending says, such as one cut short.
    """
    existing(path)
    if path.suffix in (".zarr", ".h5ad", ".h5mu"):
        checked(path)
    with reading(path):
        if path.suffix == ".zarr":
            import zarr

            return zarr.open_group(str(path), mode="r")
        if path.suffix in (".h5ad", ".h5mu"):
            import h5py

            return h5py.File(path, "r")
    raise MmcellError(f"{path}: the ending {path.suffix!r} is not one of .h5ad, .h5mu, .zarr")


def elements(group: Any) -> list[str]:
    """Return the names under which a file holds values of items × features."""
    found = [name for name in ("X", "raw/X") if name in group]
    return found + [f"layers/{name}" for name in group.get("layers", ())]
