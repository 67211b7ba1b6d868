"""What need not be held in this process, or not twice: pages of memmaps, ids of many items."""

from __future__ import annotations

import mmap
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd

# From so many ids on, about a tenth of a kilobyte each with the table that finds them, it matters who has them.
_MANY = 10_000
_ids: WeakValueDictionary[tuple[object, ...], pd.Index] = WeakValueDictionary()


def release(values: np.ndarray) -> None:
    """Let go of the pages of a read-only memmap that have been read: they stay in the system's cache, not here."""
    found: object = values
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
    known = _ids.get(key)
    found = ids if known is None or not known.equals(ids) else known.rename(ids.name)
    _ids[key] = found
    return found
