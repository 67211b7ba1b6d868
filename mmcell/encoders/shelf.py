"""`Shelf`: embeddings on disk, found by what decides their values, checked by checksum, finished block by block."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

import numpy as np

from mmcell.digest import digest, digest_array
from mmcell.errors import MmcellError
from mmcell.lock import HeldError, lock

#: Values (n, d) and the names of their dimensions, where they have any.
Kept = tuple[np.ndarray, tuple[str, ...]]
#: Raised when the layout changes.
_FORMAT = 2
#: Seconds until one who waits for another's entry looks again, and after which it waits no longer.
_LOOK, _WAIT = 0.05, 3600.0
#: Bytes that have a checksum of their own, at most.
_CHECKED = 1 << 26


@dataclass(frozen=True)
class Shelf:
    """A folder with one entry a key: ``values.npy``, and ``entry.json`` with the sha256 of every few rows.

    An entry that is being written is a folder ``KEY.partial-ID`` of its writer alone, with one file a finished block,
    each named by a seal of its key, its first row and its content. Beside it lies ``KEY.partial-ID.lock``, which the
    writer holds locked; the system opens the lock when the writer ends, however it ends. Whoever asks for the same key
    takes over a folder that nobody holds and goes on behind its last whole block; while all are held, several write,
    and the first entry stays. Where the file system cannot lock, nothing is taken over.

    Whoever is about to write an entry takes a `turn` first, so that workers which need the same cells encode them once.
    That is a saving and no condition: who takes none, or sees no lock of another machine, writes what all would write.
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
            if not (where / "values.npy").is_file():
                raise ValueError("no file")
            entry = _entry(where)
            if (entry["format"], entry["key"], sum(entry["rows"])) != (_FORMAT, key, entry["shape"][0]):
                raise ValueError("another entry")
            values = np.load(where / "values.npy", mmap_mode="r", allow_pickle=False)
            if (list(values.shape), values.dtype.str) != (entry["shape"], entry["dtype"]):
                raise ValueError("another header")
            # Read as a file, not through the map: pages that are mapped count as memory in use.
            if [digest_array(block) for block in blocks_of(where / "values.npy", entry["rows"])] != entry["sha256"]:
                raise ValueError("another content")
        except (OSError, ValueError, LookupError, TypeError, EOFError, RecursionError, MemoryError, OverflowError):
            warnings.warn(f"the embedding {where} was altered or cut short; it is computed again", stacklevel=2)
            shutil.rmtree(where, ignore_errors=True)
            return None
        for left in self._unheld(key):
            left.drop()
        return values, tuple(entry["columns"])

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Hold an entry against others that would write it as well, and wait until one of these has ended, or an hour.

        The lock is ``KEY.lock``; the system opens it when its holder ends, however it ends. Where it cannot be had, for
        the file system has none or cannot be written, nobody waits.
        """
        path, until = self.folder / f"{key}.lock", time.monotonic() + _WAIT
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        file = None
        while time.monotonic() < until:
            try:
                file = lock(path)
                break
            except HeldError:
                time.sleep(_LOOK)
        try:
            yield
        finally:
            if file is not None:
                # Gone before it is opened: who waits finds the entry, or makes a lock anew.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                file.close()

    def resume(self, key: str) -> Writing:
        """Return the entry of a key that is not finished, begun or not, to be used in a ``with`` block.

        Raises
        ------
        MmcellError
            The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The one that came furthest; the others are of no use.
            begun = sorted(self._unheld(key), key=lambda w: len(list(w.partial.glob("*.npy"))))
            for left in begun[:-1]:
                left.drop()
            if begun:
                return begun[-1]
            partial = self.folder / f"{key}.partial-{uuid4().hex}"
            # Locked before it is there, so that nobody can take it over in between.
            lock = _locked(_lock_of(partial))
            partial.mkdir()
        except OSError as error:
            raise MmcellError(f"{self.folder}: cannot be written ({error.strerror}); choose another --cache") from error
        return Writing(self, key, partial, lock)

    def drop(self, key: str) -> None:
        """Delete an entry, and what nobody holds of it."""
        shutil.rmtree(self.folder / key, ignore_errors=True)
        for left in self._unheld(key):
            left.drop()

    def clear(self) -> None:
        """Delete the whole folder, except for what is still being written."""
        for left in self._unheld("*"):
            left.drop()
        if not any(p.is_dir() for p in self.folder.glob("*.partial-*")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _unheld(self, key: str) -> list[Writing]:
        """Take over every unfinished folder of a key that nobody holds."""
        found = []
        for partial in sorted(p for p in self.folder.glob(f"{key}.partial-*") if p.is_dir()):
            lock = _locked(_lock_of(partial))
            if lock is None:
                continue
            writing = Writing(self, partial.name.partition(".partial-")[0], partial, lock)
            if partial.is_dir():
                found.append(writing)
            else:
                # Its writer finished while we looked.
                writing.drop()
        return found


@dataclass(frozen=True)
class Writing:
    """An entry on its way: blocks of rows that are finished, each in a file of its own; nobody else writes there."""

    shelf: Shelf
    key: str
    partial: Path
    lock: IO[bytes] | None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not any(self.partial.glob("*.npy")):
            self.drop()
        self.release()

    def release(self) -> None:
        """Let somebody else take over."""
        if self.lock is not None:
            self.lock.close()

    def drop(self) -> None:
        """Delete what is finished."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.release()
        with suppress(OSError):
            _lock_of(self.partial).unlink(missing_ok=True)

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
            first, _, seal = path.stem.partition("-")
            if first.isdigit() and len(seal) == 64:
                by_start[int(first)] = path
        start = 0
        while start in by_start:
            path = by_start[start]
            try:
                values = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError, MemoryError):
                break
            if _seal(self.key, start, digest_array(values)) != path.stem.partition("-")[2]:
                break
            found.append(path)
            start += len(values)
        return found

    def add(self, start: int, values: np.ndarray, columns: tuple[str, ...] = ()) -> None:
        """Write the block that begins at row `start`, and the names of its dimensions, known by then."""
        # Names first: a block that counts has them.
        if columns != self.columns:
            with self._under("columns.json") as file:
                file.write(json.dumps(columns).encode())
        with self._under(f"{start:012d}-{_seal(self.key, start, digest_array(values))}.npy") as file:
            np.save(file, values, allow_pickle=False)

    @contextmanager
    def _under(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file to write that has its name only when it is whole."""
        hidden = self.partial / ".unfinished"
        with hidden.open("wb") as file:
            yield file
        hidden.replace(self.partial / name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the dimensions, as the last block gave them."""
        try:
            return tuple(map(str, json.loads((self.partial / "columns.json").read_text())))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise MmcellError(f"{self.partial}: its columns.json is damaged; delete it and run again") from error

    def finish(self, n: int) -> Kept:
        """Join the blocks into one entry of `n` rows and return its values as a memmap, and its columns.

        An entry that somebody else has finished in the meantime stays, and is returned.

        Raises
        ------
        MmcellError
            Blocks are missing, or of different width.
        """
        files = self.finished()
        heads = [np.load(f, mmap_mode="r", allow_pickle=False) for f in files]
        kinds, found = {(h.shape[1:], h.dtype.str) for h in heads}, sum(map(len, heads))
        del heads
        if found != n or len(kinds) != 1:
            raise MmcellError(f"{self.partial}: its blocks do not make {n} rows of one width; delete it and run again")
        width, dtype = kinds.pop()
        # Inside what we hold: whoever takes over after us clears it away.
        building = self.partial / "entry"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        with (building / "values.npy").open("wb") as file:
            np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": (n, *width)})
            rows, shas = [], []
            for path in files:
                block = np.load(path, mmap_mode="r", allow_pickle=False)
                # A block may be all rows: whoever checks the entry later holds a part of it at a time.
                step = max(1, _CHECKED // max(1, block.nbytes // len(block)))
                for part in (block[i : i + step] for i in range(0, len(block), step)):
                    file.write(part.tobytes())
                    rows.append(len(part))
                    shas.append(digest_array(part))
        entry = {
            "format": _FORMAT, "key": self.key, "shape": [n, *width], "dtype": dtype, "columns": list(self.columns),
            "rows": rows, "sha256": shas,
        }  # fmt: skip
        (building / "entry.json").write_text(json.dumps({**entry, "seal": digest(entry)}))
        where = self.shelf.folder / self.key
        # A folder that is there is not replaced: somebody else finished the same entry in the meantime.
        with suppress(OSError):
            os.rename(building, where)  # noqa: PTH104
        self.drop()
        return np.load(where / "values.npy", mmap_mode="r", allow_pickle=False), tuple(_entry(where)["columns"])


def _entry(where: Path) -> dict[str, Any]:
    """Return what ``entry.json`` says; ValueError when it is not what was written."""
    if not (where / "entry.json").is_file():
        raise ValueError("no file")
    entry = json.loads((where / "entry.json").read_text(encoding="utf-8"))
    if not isinstance(entry, dict) or entry.pop("seal", None) != digest(entry):
        raise ValueError("another entry")
    return entry


def _seal(key: str, start: int, sha256: str) -> str:
    """Return what tells a block from one of another entry or of another place."""
    return digest(key, start, sha256)


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")


def _locked(path: Path) -> IO[bytes] | None:
    """Return a file locked until it is closed or the process ends; None where another holds it, or none can be."""
    try:
        return lock(path)
    except HeldError:
        return None


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


def shelf_of(cache: str | Path | None, out: str | Path | None) -> Shelf | None:
    """Return where embeddings are kept: `cache`, or ``MMCELL_CACHE``, or beside the results in `out`, or nowhere."""
    folder = cache or os.environ.get("MMCELL_CACHE") or (Path(out) / "embeddings" if out is not None else None)
    return None if folder is None else Shelf(Path(folder))
