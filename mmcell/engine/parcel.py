"""`Parcel`: an object that goes to workers by path. It is written once, and a job carries its name."""

from __future__ import annotations

import dataclasses
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

import numpy as np

from mmcell.dataset import Dataset
from mmcell.digest import digest_array
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.memory import refuse_altered, release

#: Bytes from which on an array is a file of its own, and the ending of that.
_LARGE, _ARRAY = 1 << 23, ".npy"


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
        if self.path.endswith(_ARRAY):
            with self._seen():
                values = np.load(self.path, mmap_mode="r", allow_pickle=False)
            return self._unaltered(digest_array(values), values)
        with self._seen():
            content = Path(self.path).read_bytes()
        self._unaltered(sha256(content).hexdigest(), content)
        try:
            return _Unpickler(io.BytesIO(content)).load()
        except (pickle.UnpicklingError, AttributeError, TypeError, ImportError) as error:
            raise UnsentError(str(error)) from error

    @contextmanager
    def _seen(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MmcellError(
                f"{self.path}: is not to be seen from {socket.gethostname()} ({error.strerror}); give --out a folder "
                "that all workers see"
            ) from error

    def _unaltered(self, sha: str, content: Any) -> Any:
        if sha != self.sha:
            raise MmcellError(f"{self.path}: was altered while it was in use; run again")
        return content


@dataclass(frozen=True)
class Parcels:
    """A folder, of one run alone, of what was sent to workers.

    A dataset in memory, and the values of a large embedding, are written once for all that use them; workers map the
    latter, and share them.

    It holds pickles, written and read by this run only: nobody else may write there.
    """

    folder: Path
    _datasets: dict[int, tuple[Dataset, Parcel]] = field(default_factory=dict, repr=False)
    _arrays: dict[int, tuple[np.ndarray, Parcel]] = field(default_factory=dict, repr=False)

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
        path = self._new()
        with _writing(path):
            path.write_bytes(content)
        return Parcel(str(path), sha256(content).hexdigest())

    def _new(self, ending: str = "") -> Path:
        return (self.folder / f"{uuid4().hex}{ending}").resolve()

    def array(self, values: np.ndarray) -> Parcel:
        """Return the parcel of an array, written when it is first asked for, block by block.

        Raises
        ------
        MmcellError
            The folder cannot be written, or the array lies in a file that was altered after it was read.
        """
        if id(values) not in self._arrays:
            path = self._new(_ARRAY)
            refuse_altered(values)
            with _writing(path):
                _save(path, values)
            sha = digest_array(values)
            refuse_altered(values)
            self._arrays[id(values)] = (values, Parcel(str(path), sha))
        return self._arrays[id(values)][1]

    def dataset(self, dataset: Dataset) -> Parcel:
        """Return the parcel of a dataset, written when it is first asked for."""
        if id(dataset) not in self._datasets:
            reduced, parts = dataset.__reduce__()
            self._datasets[id(dataset)] = (dataset, self.put((reduced, parts)))
        return self._datasets[id(dataset)][1]


def _save(path: Path, values: np.ndarray) -> None:
    """Write an ``.npy`` in C order, block by block; not through a map, whose pages end the process on a full disk."""
    descr = np.lib.format.dtype_to_descr(values.dtype)
    step = max(1, _LARGE * len(values) // values.nbytes)
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": descr, "fortran_order": False, "shape": values.shape})
        for start in range(0, len(values), step):
            file.write(values[start : start + step].tobytes())
            release(values)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MmcellError(f"{path.parent}: cannot be written ({error.strerror}); free space") from error


class _Pickler(pickle.Pickler):
    """A pickler that writes a dataset in memory, and the values of a large embedding, to files of their own."""

    def __init__(self, file: io.BytesIO, parcels: Parcels) -> None:
        super().__init__(file, protocol=5)
        self._parcels = parcels

    def persistent_id(self, thing: Any) -> Parcel | None:
        # What has a name or a path is read from there.
        return self._parcels.dataset(thing) if isinstance(thing, Dataset) and not thing.origin else None

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, Embedding) or thing.values.nbytes < _LARGE:
            return NotImplemented
        fields = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.init}
        return _embedding, (type(thing), {**fields, "values": self._parcels.array(thing.values)})


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, parcel: Parcel) -> Dataset:
        return _dataset(parcel)


def _embedding(kind: type[Embedding], fields: dict[str, Any]) -> Embedding:
    return kind(**{**fields, "values": _array(fields["values"])})


@lru_cache(maxsize=16)
def _array(parcel: Parcel) -> np.ndarray:
    found: np.ndarray = parcel.open()
    return found


@lru_cache(maxsize=2)
def _dataset(parcel: Parcel) -> Dataset:
    made, parts = parcel.open()
    found: Dataset = made(*parts)
    return found


def forget() -> None:
    """Let go of the datasets and arrays that this process opened."""
    _array.cache_clear()
    _dataset.cache_clear()
