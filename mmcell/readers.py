"""Files that hold a matrix with ids: read one element, never the whole file, and never a pickle."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcell.distrust import checked, plain, product, reading, refuse_bomb
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.memory import mapped

ENDINGS = (".h5ad", ".h5mu", ".zarr", ".npz", ".parquet", ".csv")
#: Where a file that `embed` wrote says which model it comes from, as the JSON text of a model card.
CARD = "mmcell_card"
#: Bytes from which on values stay on disk where they can.
_LARGE = 1 << 26


def existing(path: Path) -> Path:
    """Return `path`, or raise with a hint when it is not there, or is a pipe or a device."""
    try:
        there = path.exists()
    except OSError as error:
        raise MmcellError(f"{str(path)[:200]}: cannot be looked at ({error.strerror}); check the path") from error
    if not there:
        if path.is_symlink():
            raise MmcellError(f"{path}: is a link to what is not there; link it to the file, or copy the file here")
        if not path.parent.is_dir():
            raise MmcellError(f"{path}: no such file; the folder {path.parent} is not there either")
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "check the path"
        raise MmcellError(f"{path}: no such file; {hint}")
    return plain(path)


def read_matrix(path: Path, key: str | None) -> tuple[pd.Index, np.ndarray, list[str]]:
    """Read ids (n,), values (n, d) and, where the file names them, the columns (d,).

    Raises
    ------
    MmcellError
        No such file, key or array; an unknown ending; a file that is not what its ending says.
    """
    existing(path)
    if path.suffix in ENDINGS:
        checked(path)
    with reading(path):
        match path.suffix:
            case ".h5ad" | ".h5mu":
                return _read_h5(path, key)
            case ".zarr":
                return _read_zarr(path, key)
            case ".npz":
                return _read_npz(path, key)
            case ".parquet" | ".csv" if key is not None:
                raise MmcellError(f"{path}: a {path.suffix} has no element {key!r}; leave the key out")
            case ".parquet" | ".csv":
                return _read_table(path)
    raise MmcellError(f"{path}: the ending {path.suffix!r} is not one of {', '.join(ENDINGS)}")


def read_card_text(path: Path) -> str | None:
    """Return the text of the model card that lies beside the embedding of a file; None where there is none.

    It is ``uns["mmcell_card"]`` of an ``.h5ad`` or ``.zarr``, the array ``card`` of an ``.npz``, and the metadata
    ``mmcell_card`` of a ``.parquet``.

    Raises
    ------
    MmcellError
        No such file; a file that is not what its ending says.
    """
    existing(path)
    with reading(path):
        match path.suffix:
            case ".h5ad":
                import h5py

                with h5py.File(path, "r") as file:
                    return _card_of(file)
            case ".zarr":
                import zarr

                return _card_of(zarr.open_group(str(path), mode="r"))
            case ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return str(arrays["card"]) if "card" in arrays.files else None
            case ".parquet":
                from pyarrow.parquet import read_schema

                found = (read_schema(path).metadata or {}).get(CARD.encode())
                return None if found is None else found.decode()
    return None


def _card_of(group: Any) -> str | None:
    from anndata.io import read_elem

    return str(read_elem(group["uns"][CARD])) if CARD in group.get("uns", ()) else None


def read_table(path: Path) -> pd.DataFrame:
    """Read a ``.csv``, ``.tsv`` (either may be packed as ``.gz``) or ``.parquet`` as it is.

    Raises
    ------
    MmcellError
        No such file, another ending, or a file that cannot be parsed.
    """
    existing(path)
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending in ("csv", "tsv", "parquet"):
        checked(path)
    with reading(path):
        if path.suffix == ".parquet":
            return _without_nul(path, pd.read_parquet(path))
        if ending in ("csv", "tsv"):
            return _of_one_index(path, pd.read_csv(path, sep="," if ending == "csv" else "\t"))
    raise MmcellError(f"{path}: the ending {path.suffix!r} is not .csv, .tsv (or either with .gz) or .parquet")


def _text(path: Path, ids: np.ndarray) -> np.ndarray:
    # Letters are numbers there, and not every number is a letter: Python itself fails on the others.
    if ids.dtype.kind == "U" and ids.size:
        codes = np.ascontiguousarray(ids).astype(ids.dtype.newbyteorder("=")).view(np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
            raise MmcellError(f"{path}: the array 'ids' holds what is no text; write it again: ids.astype(str)")
    return ids


def _without_nul(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    # Where numpy and pandas end a name, so that two names would be one.
    for column in (frame.index, *(column for _, column in frame.items())):
        if pd.api.types.is_object_dtype(column) and any(isinstance(v, str) and "\0" in v for v in column):
            raise MmcellError(f"{path}: {column.name or 'the index'} holds NUL characters; write the names without")
    return frame


def _of_one_index(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    # pandas takes the first fields of a row for ids where the header names fewer columns than the row has.
    if isinstance(frame.index, pd.MultiIndex):
        if frame.shape[1] == 1 and any(mark in str(frame.columns[0]) for mark in ";|\t"):
            # Another separator, and commas in its numbers: whoever asks for columns finds one, and says so.
            return frame.reset_index(drop=True)
        raise MmcellError(f"{path}: rows have more fields than the header names; name every column, ids first")
    return frame


def _dense(path: Path, values: Any) -> np.ndarray:
    if hasattr(values, "toarray"):
        refuse_bomb(path, product(map(int, values.shape)) * values.dtype.itemsize, values.data.nbytes)
        return np.asarray(values.toarray())
    return np.asanyarray(values)


def _element(path: Path, group: Any, key: str | None) -> tuple[pd.Index, np.ndarray, list[str]]:
    from anndata.io import read_elem

    if key is None and path.suffix != ".h5mu":
        _refuse_choice(path, group)
    key = key or "X"
    parts = key.split("/")
    if path.suffix == ".h5mu":
        if parts[0] not in group["mod"]:
            there = [f"{name}/{key}" for name in group["mod"] if key in group["mod"][name]]
            hint = f"did you mean {first(there)}?" if there else did_you_mean(parts[0], group["mod"].keys())
            raise MmcellError(
                f"{path}: no modality {parts[0]!r}; {hint} The key of an .h5mu is MODALITY/obsm/KEY, such as "
                "rna/obsm/X_pca"
            )
        group, key = group["mod"][parts[0]], "/".join(parts[1:]) or "X"
    if key not in group:
        known = ["X"] if "X" in group else []
        known += [f"{slot}/{k}" for slot in ("obsm", "layers") if slot in group for k in group[slot]]
        raise MmcellError(f"{path}: no element {key!r}; {did_you_mean(key, known)}")
    values = _mapped(path, group[key])
    if values is None:
        values = read_elem(group[key])
    columns = list(map(str, values.columns)) if isinstance(values, pd.DataFrame) else []
    return read_elem(group["obs"]).index, _dense(path, values), columns


def _mapped(path: Path, element: Any) -> np.ndarray | None:
    """Return large floats that lie in an HDF5 file as they are as a read-only memmap; None for all others.

    So `AnnData.write_h5ad` writes them without `compression`: an embedding of millions of cells then costs no memory.
    """
    where = getattr(getattr(element, "id", None), "get_offset", lambda: None)()
    if where is None or element.dtype.kind != "f" or element.nbytes < _LARGE or element.file.userblock_size:
        return None
    return mapped(path, element.dtype, int(where), element.shape)


def _refuse_choice(path: Path, group: Any) -> None:
    """Refuse to take X for the embedding where it looks like expression and ``obsm`` holds matrices."""
    known = [f"obsm/{k}" for k in sorted(group.get("obsm", ()))]
    if not known or "X" not in group or CARD in group.get("uns", ()):
        return
    x = group["X"]
    if hasattr(x, "dtype") and np.issubdtype(x.dtype, np.floating):
        some = np.asarray(x[:1000])
        if (some != np.rint(some)).any():
            return
    raise MmcellError(
        f"{path}: X is sparse or holds whole numbers, and there is {first(known)}; give the key, :{known[0]}, or :X if "
        "X is meant"
    )


def _read_h5(path: Path, key: str | None) -> tuple[pd.Index, np.ndarray, list[str]]:
    import h5py

    with h5py.File(path, "r") as file:
        return _element(path, file, key)


def _read_zarr(path: Path, key: str | None) -> tuple[pd.Index, np.ndarray, list[str]]:
    import zarr

    return _element(path, zarr.open_group(str(path), mode="r"), key)


def _read_npz(path: Path, key: str | None) -> tuple[pd.Index, np.ndarray, list[str]]:
    key = key or "values"
    with np.load(path, allow_pickle=False) as file:
        for name in ("ids", key):
            if name not in file.files:
                raise MmcellError(f"{path}: no array {name!r}; it holds {', '.join(file.files)}")
        try:
            return pd.Index(_text(path, file["ids"]).astype(str)), file[key], []
        except ValueError as error:
            raise MmcellError(
                f"{path}: the array 'ids' or {key!r} holds Python objects; save ids as text: ids.astype(str)"
            ) from error


def _read_table(path: Path) -> tuple[pd.Index, np.ndarray, list[str]]:
    # Ids are text as they stand: 001 is not 1, and NA may be a name.
    frame = pd.read_csv(path, converters={0: str}) if path.suffix == ".csv" else read_table(path)
    _of_one_index(path, frame)
    if isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_index(frame.columns[0])
    text = [c for c in frame.columns if not pd.api.types.is_numeric_dtype(frame[c])]
    if text:
        raise MmcellError(
            f"{path}: column {text[0]!r} is not numeric; keep ids in the first column and numbers after it"
        )
    return frame.index, frame.to_numpy(dtype=float), list(map(str, frame.columns))
