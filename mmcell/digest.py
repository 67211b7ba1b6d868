"""Content hashes: what a cache key, a fingerprint and a random stream are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.memory import release


def digest(*parts: Any) -> str:
    """Return the sha256 (hex) of JSON-able parts; equal content gives an equal digest, whatever the key order."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_array(values: np.ndarray, block: int = 1 << 22) -> str:
    """Return the sha256 of an array's dtype, shape and bytes, read in blocks of rows (a memmap stays on disk)."""
    sha = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    values = np.atleast_1d(values)
    rows = max(1, block // max(1, int(np.prod(values.shape[1:], dtype=np.int64))))
    for start in range(0, len(values), rows):
        sha.update(np.ascontiguousarray(values[start : start + rows]).tobytes())
        release(values)
    return sha.hexdigest()


def digest_ids(ids: Iterable[object]) -> str:
    """Return the sha256 of ids in their order."""
    sha = hashlib.sha256()
    for value in ids:
        sha.update(str(value).encode())
        sha.update(b"\0")
    return sha.hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file, read in blocks."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the random generator of (seed, names): independent of whatever else runs, and in which order."""
    words = np.frombuffer(hashlib.sha256("\0".join(map(str, names)).encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *(int(w) for w in words)]))
