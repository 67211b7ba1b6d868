"""What need not be held in this process, or not twice: pages of memmaps, ids of many items."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError

# From so many ids on, about a tenth of a kilobyte each with the table that finds them, it matters who has them.
_MANY = 10_000
_ids: WeakValueDictionary[tuple[object, ...], pd.Index] = WeakValueDictionary()


def mapped(path: Path, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Return part of a file as a read-only memmap that knows which file it was, for `refuse_altered`."""
    stamp = stamp_of(path)
    values: np.memmap[Any, Any] = np.memmap(path, dtype, "r", offset, shape)
    vars(values)["stamp"] = (path.resolve(), stamp)
    return values


def refuse_altered(values: np.ndarray | Picked) -> None:
    """Refuse values, or a view of them, that `mapped` found in a file which is another one now.

    They are read when they are used: what was hashed and what is computed with would not be the same.

    Raises
    ------
    MmcellError
        The file was written, cut short, replaced or deleted.
    """
    found: object = values
    while isinstance(found, Picked):
        found = found.values
    while isinstance(found, np.ndarray):
        path, stamp = getattr(found, "stamp", (None, None))
        if path is not None and stamp_of(path) != stamp:
            raise MmcellError(f"{path}: was altered while it was in use; run again")
        found = found.base


def stamp_of(path: Path) -> tuple[int, int, int, int] | None:
    """Return device, inode, size (bytes) and time of the last change (ns) of a file; None where it is not there."""
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Picked:
    """Some rows of an array, read when they are asked for, for who reads block by block: nothing is copied before.

    Attributes
    ----------
    values
        (n, d); may be a memmap, or picked from another array itself.
    where
        (m,) positions of the rows.
    """

    values: np.ndarray | Picked
    where: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return len(self.where), *self.values.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.values.itemsize

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, rows: Any) -> np.ndarray:
        found: np.ndarray = self.values[self.where[rows]]
        return found


def release(values: np.ndarray | Picked) -> None:
    """Let go of the pages of a read-only memmap that have been read: they stay in the system's cache, not here."""
    found: object = values
    while isinstance(found, Picked):
        found = found.values
    while isinstance(found, np.ndarray):
        mapped = getattr(found, "_mmap", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            if getattr(found, "mode", "") == "r":
                mapped.madvise(mmap.MADV_DONTNEED)
            return
        found = found.base


def interned(ids: pd.Index) -> pd.Index:
    """Return ids that share text and lookup table with equal ones that this process has already."""
    if len(ids) < _MANY:
        return ids
    key = (len(ids), str(ids.dtype), ids[0], ids[-1])
    # Of one name the very same object, so that nobody compares them one by one.
    own = _ids.get((*key, ids.name))
    if own is not None and own.equals(ids):
        return own
    known = _ids.get(key)
    found = ids if known is None or not known.equals(ids) else known.rename(ids.name)
    _ids[key] = _ids[(*key, ids.name)] = found
    return found


def give_back() -> None:
    """Give memory that is free, but held by the C library for later, back to the system, where that is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
