"""Results on disk: JSON and parquet, written to a temporary name and renamed, so that no half-written file is read."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mmcell.digest import digest, digest_file
from mmcell.distrust import checked, reading
from mmcell.errors import MmcellError, noun, number_of
from mmcell.items import Items
from mmcell.lock import HeldError, lock
from mmcell.readers import read_table
from mmcell.records import FORMAT, RunRecord, other_format
from mmcell.spreadsheet import write_csv

if TYPE_CHECKING:
    from mmcell.results import Results

#: Where a record's file says the digest of all else in it, and the sha256 of the files of its items, by name.
_SEAL, _FILES = "seal", "items"
#: What tables and pages say of the task of every record.
_FACTS = ("name", "version", "question", "primary", "reference")


class AlteredError(ValueError):
    """The file of a record, or of its items, says something else than when it was written; its path."""


@dataclass(frozen=True)
class Store:
    """A folder with ``records/*.json`` (one a candidate), ``items/*.parquet`` beside them, and two tables of scores.

    A record's file holds the sha256 of those of its items, and a seal, the sha256 of all else that it says: what was
    altered by hand is no result of a run. Whoever means harm can make a seal anew; it tells accidents and slips, not
    forgery.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Return the store of a folder, made if it is not there.

        Raises
        ------
        MmcellError
            The folder cannot be made or written.
        """
        try:
            for name in ("records", "items"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MmcellError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
        return cls(folder)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the folder against a second writer, and clear away what one that was killed has left half-written.

        Yields whether nobody else can be writing: False where the file system has no locks.

        Raises
        ------
        MmcellError
            Another run is writing here.
        """
        try:
            file = lock(self.folder / ".lock")
        except HeldError as error:
            raise MmcellError(
                f"{self.folder}: another run is writing here; wait for its end, or choose another --out"
            ) from error
        if file is None:
            # A file system without locks: nothing is cleared away, for somebody may be at it.
            yield False
            return
        with file:
            for name in (".", "records", "items", "parts"):
                for left in (self.folder / name).glob(".*.part"):
                    left.unlink(missing_ok=True)
            shutil.rmtree(self.folder / "parcels", ignore_errors=True)
            yield True

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the store of an existing run.

        Raises
        ------
        MmcellError
            There is no run in this folder.
        """
        if not (folder / "records").is_dir():
            raise MmcellError(f"{folder}: holds no run (no folder 'records'); give the --out of an earlier mmcell run")
        return cls(folder)

    def _record_file(self, record: RunRecord) -> Path:
        name = "-".join(filter(None, (record.task["name"], record.encoding, record.patient_encoder, record.probe)))
        # Names come from users: a file name keeps letters, digits and a few signs; the key tells them apart.
        return self.folder / "records" / f"{re.sub(r'[^A-Za-z0-9_+.-]+', '_', name)[:80]}--{record.key[:16]}.json"

    def _items_file(self, key: str) -> Path:
        return self.folder / "items" / f"{key[:32]}.parquet"

    def write(self, record: RunRecord, items: Items | None) -> None:
        """Write items first, then the record that vouches for them."""
        files = []
        if items is not None:
            frame = items.frame.copy()
            frame.attrs = {"kind": items.kind, "key": record.key}
            files.append(self._items_file(record.key))
            _atomic(files[0], lambda p: frame.to_parquet(p, index=False))
            if items.arrays:
                files.append(files[0].with_suffix(".npz"))
                # Through an open file, for numpy would add an ending to the temporary name.
                _atomic(files[1], lambda p: _savez(p, items.arrays))
        content = json.loads(json.dumps(record.model_dump(mode="json")))
        content[_FILES] = {path.name: digest_file(path) for path in files}
        text = json.dumps(content | {_SEAL: digest(content)}, indent=1, sort_keys=True, ensure_ascii=False)
        _atomic(self._record_file(record), lambda p: p.write_text(text + "\n", encoding="utf-8"))

    def read(self, key: str) -> tuple[RunRecord, Items | None] | None:
        """Return a finished record and its items; None when it is not there, failed, or cannot be read whole.

        One that was altered after it was written, itself or its items, or that has no seal to tell, is not there
        either, and a warning says so.
        """
        for path in (self.folder / "records").glob(f"*--{key[:16]}.json"):
            try:
                record, files = _record(path)
                if record.key == key and files is None:
                    warnings.warn(
                        f"{path}: has no seal to tell whether it was altered; it is computed again", stacklevel=2
                    )
                    continue
                items = self._items(record, files)
            except AlteredError as error:
                warnings.warn(f"{error}: was altered after it was written; it is computed again", stacklevel=2)
                continue
            except (OSError, ValueError, MmcellError):
                continue
            if record.key == key and not record.error and items is not None:
                return record, items
        return None

    def _items(self, record: RunRecord, files: Mapping[str, str] | None) -> Items | None:
        """Return the items of a record, from `files` with these sha256; None when it failed or they are not there.

        Raises
        ------
        AlteredError
            A file is another one than was written.
        MmcellError
            The file is there and is not readable, or belongs to another record.
        """
        path = self._items_file(record.key)
        beside = path.with_suffix(".npz")
        if record.error or not path.is_file():
            return None
        if files is None:
            # Nobody vouches for them.
            there = {file.name for file in (path, beside) if file.is_file()}
        else:
            there = set(files)
            for file in (path, beside):
                if file.name in files and not (file.is_file() and digest_file(file) == files[file.name]):
                    raise AlteredError(str(file))
        if path.name not in there:
            return None
        try:
            frame = read_table(path)
            if frame.attrs["key"] == record.key:
                return Items(frame, str(frame.attrs["kind"]), _arrays(beside) if beside.name in there else {})
        except (LookupError, MmcellError) as error:
            raise MmcellError(f"{path}: are not readable items; run again with reuse='only-missing'") from error
        raise MmcellError(f"{path}: belongs to another record; run again with reuse='only-missing'")

    def last(self) -> tuple[list[RunRecord], dict[str, Items], tuple[str, ...]]:
        """Return what the last run found.

        Returns
        -------
        records
            All of it, in the order of tables.
        items
            Record key -> items, where they are there.
        notes
            What it could not do, in words, and of how many of its records and their items nothing tells whether they
            were altered.

        Raises
        ------
        MmcellError
            The run is not finished; a record or its items are not readable, or were altered after they were written.
        """
        records, items, bare = [], {}, 0
        for name in self._index("records"):
            path = self.folder / "records" / Path(name).name
            try:
                record, files = _record(path)
            except AlteredError as error:
                raise MmcellError(_altered(error)) from error
            except (OSError, ValueError) as error:
                raise MmcellError(_unreadable(path)) from error
            records.append(record)
            bare += files is None
            try:
                found = self._items(record, files)
            except AlteredError as error:
                raise MmcellError(_altered(error)) from error
            if found is not None:
                items[record.key] = found
        unsealed = f"{number_of(bare, 'record')} of {self.folder} {noun(bare, 'has', 'have')} no seal, or none of "
        unsealed += f"{noun(bare, 'its', 'their')} items, for an earlier mmcell or somebody else wrote them: nothing "
        unsealed += "tells whether they were altered"
        return records, items, (*self._index("notes"), *[unsealed] * bool(bare))

    def _index(self, what: str) -> list[str]:
        index = self.folder / "run.json"
        if not index.is_file():
            raise MmcellError(f"{self.folder}: the run is not finished (no run.json); run it again, it will be resumed")
        try:
            return [str(text) for text in json.loads(index.read_bytes())[what]]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise MmcellError(f"{index}: is not readable; run again with reuse='only-missing'") from error

    def finish(self, results: Results) -> None:
        """Write the table and the list of records that belong to this run."""
        names = [self._record_file(r).name for r in results.records]
        _atomic(self.folder / "table.csv", partial(write_csv, results.table()))
        _atomic(self.folder / "groups.csv", partial(write_csv, results.groups()))
        for name in ("crossed", "incremental", "decision_curves"):
            table = getattr(results, name)()
            if len(table):
                _atomic(self.folder / f"{name}.csv", partial(write_csv, table))
        index = json.dumps({"records": names, "notes": results.notes}, indent=1, ensure_ascii=False)
        _atomic(self.folder / "run.json", lambda p: p.write_text(f"{index}\n", encoding="utf-8"))


def _record(path: Path) -> tuple[RunRecord, dict[str, str] | None]:
    """Return the record in a file, and the sha256 of the files of its items; None where no seal vouches for both.

    OSError or ValueError where it is none that a run wrote.

    Raises
    ------
    AlteredError
        Its seal is not that of what it says.
    """
    if not path.is_file():
        raise OSError(f"{path} is no file")
    try:
        said: Any = json.loads(path.read_bytes())
        seal = said.pop(_SEAL, None) if isinstance(said, dict) else None
        own = digest(said)
    except RecursionError as error:
        raise ValueError("nested without end") from error
    files = said.pop(_FILES, None) if isinstance(said, dict) else None
    if not (files is None or (isinstance(files, dict) and all(isinstance(sha, str) for sha in files.values()))):
        raise ValueError("the sha256 of its items are no text")
    record = RunRecord.model_validate_json(json.dumps(said))
    if record.format != FORMAT:
        raise ValueError(other_format(record.format))
    # Part of names of files: a record from elsewhere does not choose which are read.
    if not re.fullmatch(r"[\w-]+", record.key):
        raise ValueError(f"the key {record.key!r}")
    if not {"name", "primary"} <= set(record.task) or any(not isinstance(record.task.get(f, ""), str) for f in _FACTS):
        raise ValueError(f"one of {', '.join(_FACTS)} of its task is no text")
    if any(type(record.parameters.get(name, 0)) is not int for name in ("n_boot", "seed")):
        raise ValueError("n_boot or seed is no whole number")
    folds = record.details.get("folds", [])
    if not (isinstance(folds, list) and all(isinstance(fold, dict) for fold in folds)):
        raise ValueError("its folds are no list of facts")
    if seal not in (None, own):
        raise AlteredError(str(path))
    return record, None if seal is None else files


def _altered(error: AlteredError) -> str:
    return f"{error}: was altered after it was written; delete it and run again"


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with reading(checked(path)), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _unreadable(path: Path) -> str:
    """Say why a record cannot be read: another version of mmcell wrote it, or it is damaged."""
    try:
        written = json.loads(path.read_bytes())["format"] if path.is_file() else FORMAT
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        written = FORMAT
    if written != FORMAT:
        return f"{path}: {other_format(written)}"
    return f"{path}: is not a readable record; run again with reuse='only-missing'"


def _savez(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(arrays))


def _atomic(path: Path, write: object) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)  # type: ignore[operator]
        part.replace(path)
    except OSError as error:
        raise MmcellError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose --out"
        ) from error
    finally:
        part.unlink(missing_ok=True)
