"""Pickles of data wheels: opened only after their sha256 is the known one, and even then with a list of what may be.

A pickle is a program. The reader here runs none: every name that a file asks for must stand on a list, and everything
else ends the reading. No pickle of a user is ever read.
"""

from __future__ import annotations

import io
import lzma
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError

#: Bytes that a packed file may unpack to.
_MOST = 1 << 24


class _NumberType:
    """Stands in for ``numpy.dtype`` where a pickle holds numpy numbers: knows integers and floats, nothing else."""

    def __init__(self, name: str, *_: object) -> None:
        if not re.fullmatch(r"[iuf][1248]", name):
            raise pickle.UnpicklingError(f"numpy numbers of type {name!r}")
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">", "|": "="}[state[1]]


def _number(kind: _NumberType, raw: bytes) -> int | float:
    """Return a numpy number as a plain one."""
    found: int | float = np.frombuffer(raw, dtype=kind.order + kind.name, count=1)[0].item()
    return found


#: What a dictionary of plain values may ask for: how numpy wrote its numbers, before version 2 and since.
_PLAIN: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _NumberType,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
#: What a table may ask for besides.
_TABLE = frozenset(
    {
        "builtins.slice",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.numeric._frombuffer",
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
        "pandas._libs.internals._unpickle_block",
        "pandas.core.arrays.categorical.Categorical",
        "pandas.core.arrays.integer.Int32Dtype",
        "pandas.core.arrays.integer.IntegerArray",
        "pandas.core.dtypes.dtypes.CategoricalDtype",
        "pandas.core.frame.DataFrame",
        "pandas.core.indexes.base.Index",
        "pandas.core.indexes.base._new_Index",
        "pandas.core.indexes.range.RangeIndex",
        "pandas.core.internals.managers.BlockManager",
    }
)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name of the list."""
        if f"{module}.{name}" not in _PLAIN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _PLAIN[f"{module}.{name}"]


class _Table(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the list stands for."""
        if f"{module}.{name}" not in _TABLE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # numpy 2 moved its insides; the tables were written before.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_plain_pickle(path: Path) -> Any:
    """Return containers, text and numbers from a pickle; numpy numbers become plain ones.

    Parameters
    ----------
    path
        A file whose sha256 has been checked (`mmcell.data.sources.package_file`).

    Raises
    ------
    MmcellError
        It holds anything else, or is no pickle.
    """
    return _read(path, _Plain, "text and numbers")


def read_table_pickle(path: Path, *, xz: bool = False) -> pd.DataFrame:
    """Return the data frame of a pickle.

    Parameters
    ----------
    path
        A file whose sha256 has been checked (`mmcell.data.sources.package_file`).
    xz
        Whether it is packed with xz.

    Raises
    ------
    MmcellError
        It holds anything else, or is no pickle.
    """
    frame = _read(path, _Table, "a table", xz=xz)
    if not isinstance(frame, pd.DataFrame):
        raise MmcellError(f"{path}: the pickle holds {type(frame).__name__}, not a table; it is not the known file")
    return frame


def _read(path: Path, reader: type[pickle.Unpickler], what: str, *, xz: bool = False) -> Any:
    try:
        with io.BytesIO(_unpacked(path)) if xz else path.open("rb") as file:
            return reader(file).load()
    except (
        pickle.UnpicklingError,
        lzma.LZMAError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        EOFError,
    ) as error:
        reason = " ".join(str(error).split())
        raise MmcellError(
            f"{path}: this pickle may hold {what} only, and is not read ({reason}); install the package anew"
        ) from error


def _unpacked(path: Path) -> bytes:
    """Return the content of an xz file that is no longer than `_MOST` bytes; only so much is ever unpacked."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    found = reader.decompress(path.read_bytes(), max_length=_MOST)
    if not reader.eof:
        raise pickle.UnpicklingError(f"it is cut short, or unpacks to more than {_MOST} bytes")
    return found
