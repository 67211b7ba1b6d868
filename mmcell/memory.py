"""Memmaps: what has been read of them need not stay in this process."""

from __future__ import annotations

import mmap

import numpy as np


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
