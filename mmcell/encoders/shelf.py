"""`Shelf`: embeddings on disk, found by what decides their values, checked by checksum, finished block by block."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from mmcell.errors import MmcellError

#: Values (n, d) and the names of their dimensions, where they have any.
Kept = tuple[np.ndarray, tuple[str, ...]]
#: Raised when the layout changes.
_FORMAT = 1


@dataclass(frozen=True)
class Shelf:
    """A folder with one entry a key: ``values.npy``, and ``entry.json`` with the sha256 of every block of rows.

    An entry that is being written is a folder ``KEY.partial`` with one file a finished block, each named by its own
    sha256: whoever asks for the same key again goes on behind the last one that is whole. Files are written under
    another name and renamed, so that several processes can write one entry.
    """

    folder: Path

    def read(self, key: str) -> Kept | None:
        """Return the values (n, d) of a finished entry as a read-only memmap, and its columns; None when there is none.

        What was altered or cut short is thrown away, with a warning.
        """
        where = self.folder / key
        if not where.is_dir():
            return None
        try:
            entry = json.loads((where / "entry.json").read_text())
            if (entry["format"], entry["key"], sum(entry["rows"])) != (_FORMAT, key, entry["shape"][0]):
                raise ValueError("another entry")
            # Read as a file, not through the map: pages that are mapped count as memory in use.
            if [_sha(block) for block in blocks_of(where / "values.npy", entry["rows"])] != entry["sha256"]:
                raise ValueError("another content")
            return np.load(where / "values.npy", mmap_mode="r", allow_pickle=False), tuple(entry["columns"])
        except (OSError, ValueError, KeyError, TypeError):
            warnings.warn(f"the embedding {where} was altered or cut short; it is computed again", stacklevel=2)
            shutil.rmtree(where, ignore_errors=True)
            return None

    def resume(self, key: str) -> Writing:
        """Return the entry of a key that is not finished, begun or not.

        Raises
        ------
        MmcellError
            The folder cannot be written.
        """
        partial = self.folder / f"{key}.partial"
        try:
            partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MmcellError(f"{self.folder}: cannot be written ({error.strerror}); choose another --cache") from error
        return Writing(self, key, partial)


@dataclass(frozen=True)
class Writing:
    """An entry on its way: blocks of rows that are finished, each in a file of its own."""

    shelf: Shelf
    key: str
    partial: Path

    def begun(self, block: int) -> int:
        """Return how many rows are finished, in blocks of `block` rows; other blocks are thrown away."""
        sizes = [len(np.load(f, mmap_mode="r", allow_pickle=False)) for f in self.finished()]
        if any(size != block for size in sizes[:-1]) or (sizes and sizes[-1] > block):
            for path in self.partial.glob("*.npy"):
                path.unlink(missing_ok=True)
            return 0
        return sum(sizes)

    def finished(self) -> list[Path]:
        """Return the files of the first blocks that are whole, in order; those behind a gap do not count."""
        found: list[Path] = []
        by_start: dict[int, Path] = {}
        for path in self.partial.glob("*.npy"):
            first, _, sha = path.stem.partition("-")
            if first.isdigit() and len(sha) == 64:
                by_start[int(first)] = path
        start = 0
        while start in by_start:
            path = by_start[start]
            try:
                values = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                break
            if _sha(values) != path.stem.partition("-")[2]:
                break
            found.append(path)
            start += len(values)
        return found

    def add(self, start: int, values: np.ndarray) -> None:
        """Write the block that begins at row `start`."""
        name = f"{start:012d}-{_sha(values)}.npy"
        hidden = self.partial / f".{uuid4().hex}"
        with hidden.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        hidden.replace(self.partial / name)

    def finish(self, n: int, columns: tuple[str, ...] = ()) -> Kept:
        """Join the blocks into one entry of `n` rows and return its values as a memmap, and its columns.

        Raises
        ------
        MmcellError
            Blocks are missing, or of different width.
        """
        files = self.finished()
        heads = [np.load(f, mmap_mode="r", allow_pickle=False) for f in files]
        kinds, rows = {(h.shape[1:], h.dtype.str) for h in heads}, [len(h) for h in heads]
        del heads
        if sum(rows) != n or len(kinds) != 1:
            raise MmcellError(f"{self.partial}: its blocks do not make {n} rows of one width; delete it and run again")
        width, dtype = kinds.pop()
        building = self.shelf.folder / f".{uuid4().hex}"
        building.mkdir()
        with (building / "values.npy").open("wb") as file:
            np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": (n, *width)})
            for path in files:
                file.write(np.load(path, allow_pickle=False).tobytes())
        entry = {
            "format": _FORMAT, "key": self.key, "shape": [n, *width], "columns": columns, "rows": rows,
            "sha256": [f.stem.partition("-")[2] for f in files],
        }  # fmt: skip
        (building / "entry.json").write_text(json.dumps(entry))
        where = self.shelf.folder / self.key
        try:
            os.rename(building, where)  # noqa: PTH104 (a folder that is there must not be replaced)
        except OSError:
            # Somebody else finished the same entry in the meantime.
            shutil.rmtree(building)
        shutil.rmtree(self.partial, ignore_errors=True)
        return np.load(where / "values.npy", mmap_mode="r", allow_pickle=False), columns


def blocks_of(path: Path, rows: Iterable[int]) -> Iterator[np.ndarray]:
    """Yield blocks of so many rows of an ``.npy``, read one after the other.

    Raises
    ------
    ValueError
        The file is no ``.npy`` in C order, or ends too early.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if fortran:
            raise ValueError("not in C order")
        for n in rows:
            block = np.fromfile(file, dtype=dtype, count=n * int(np.prod(shape[1:])))
            yield block.reshape(n, *shape[1:])


def _sha(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def shelf_of(cache: str | Path | None, out: str | Path | None) -> Shelf | None:
    """Return where embeddings are kept: `cache`, or ``MMCELL_CACHE``, or beside the results in `out`, or nowhere."""
    folder = cache or os.environ.get("MMCELL_CACHE") or (Path(out) / "embeddings" if out is not None else None)
    return None if folder is None else Shelf(Path(folder))
