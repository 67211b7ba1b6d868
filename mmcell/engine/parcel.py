"""`Parcel`: an object that goes to workers by path. It is written once, and a job carries its name."""

from __future__ import annotations

import io
import pickle
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError


class UnsentError(Exception):
    """An object that another process cannot have, such as a closure: its job is run where it is."""


@dataclass(frozen=True)
class Parcel:
    """The path of a file and the sha256 of its content; a worker opens what it was told of, and nothing else."""

    path: str
    sha: str

    def open(self) -> Any:
        """Return the object, a copy of its own.

        Raises
        ------
        MmcellError
            The file is not to be seen from here, or another.
        UnsentError
            What it is made of is not to be had here.
        """
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise MmcellError(
                f"{self.path}: is not to be seen from {socket.gethostname()} ({error.strerror}); give --out a folder "
                "that all workers see"
            ) from error
        if sha256(content).hexdigest() != self.sha:
            raise MmcellError(f"{self.path}: was altered while it was in use; run again")
        try:
            return _Unpickler(io.BytesIO(content)).load()
        except (pickle.UnpicklingError, AttributeError, TypeError, ImportError) as error:
            raise UnsentError(str(error)) from error


@dataclass(frozen=True)
class Parcels:
    """A folder, of one run alone, of what was sent to workers; a dataset in memory is written once for all that use it.

    It holds pickles, written and read by this run only: nobody else may write there.
    """

    folder: Path
    _datasets: dict[int, tuple[Dataset, Parcel]] = field(default_factory=dict, repr=False)

    @classmethod
    @contextmanager
    def under(cls, folder: Path | None) -> Iterator[Parcels]:
        """Yield a place under `folder`, or where temporary files are, that is gone in the end."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix="mmcell-" if folder is None else "", dir=folder))
        try:
            yield cls(own)
        finally:
            shutil.rmtree(own, ignore_errors=True)
            if folder is not None:
                with suppress(OSError):
                    folder.rmdir()

    def put(self, thing: Any) -> Parcel:
        """Write an object and return its parcel.

        Raises
        ------
        UnsentError
            It cannot be sent.
        MmcellError
            The folder cannot be written.
        """
        buffer = io.BytesIO()
        try:
            _Pickler(buffer, self).dump(thing)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UnsentError(str(error)) from error
        content = buffer.getvalue()
        path = (self.folder / uuid4().hex).resolve()
        try:
            path.write_bytes(content)
        except OSError as error:
            raise MmcellError(f"{path.parent}: cannot be written ({error.strerror}); free space") from error
        return Parcel(str(path), sha256(content).hexdigest())

    def dataset(self, dataset: Dataset) -> Parcel:
        """Return the parcel of a dataset, written when it is first asked for."""
        if id(dataset) not in self._datasets:
            reduced, parts = dataset.__reduce__()
            self._datasets[id(dataset)] = (dataset, self.put((reduced, parts)))
        return self._datasets[id(dataset)][1]


class _Pickler(pickle.Pickler):
    """A pickler that writes a dataset in memory to a file of its own."""

    def __init__(self, file: io.BytesIO, parcels: Parcels) -> None:
        super().__init__(file, protocol=5)
        self._parcels = parcels

    def persistent_id(self, thing: Any) -> Parcel | None:
        # What has a name or a path is read from there.
        return self._parcels.dataset(thing) if isinstance(thing, Dataset) and not thing.origin else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, parcel: Parcel) -> Dataset:
        return _dataset(parcel)


@lru_cache(maxsize=2)
def _dataset(parcel: Parcel) -> Dataset:
    made, parts = parcel.open()
    found: Dataset = made(*parts)
    return found


def forget() -> None:
    """Let go of the datasets that this process opened."""
    _dataset.cache_clear()
