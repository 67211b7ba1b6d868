"""Files whose values stay on disk: ids and tables are read, the matrix is read when rows of it are asked for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.distrust import reading
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.matrix import Matrix, elements, opened
from mmcell.memory import interned
from mmcell.modalities import join

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def open_modalities(path: Path) -> tuple[MuData, dict[str, Matrix]]:
    """Open an ``.h5mu`` without reading its values.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    data : mudata.MuData
        The common obs, and of every modality obs and var, without X.
    values : dict of Matrix
        Modality -> (n, d), on disk; a modality without X has none.

    Raises
    ------
    MmcellError
        No such file, or one that is cut short, or whose modalities are not those that it names.
    """
    root = opened(path)
    with reading(path):
        parts = {name: _bare(root["mod"][name]) for name in names_of(root, path)}
        obs = read_obs(root)
    there = {name: Matrix(path, f"mod/{name}/X") for name in parts if "X" in root["mod"][name]}
    return join(parts, obs), there


def names_of(root: Any, path: Path) -> list[str]:
    """Return the names of the modalities of an ``.h5mu`` in the order in which they were written.

    Names of HDF5 are sorted; the order stands beside them. Where it names others, mudata reads all that are there, or
    fewer, without a word.

    Raises
    ------
    MmcellError
        There are no modalities, or not those, each once, that the order names.
    """
    if "mod" not in root:
        raise MmcellError(f"{path}: has no modalities; write it with mudata, or name it .h5ad")
    there = list(map(str, root["mod"]))
    order = list(map(str, root["mod"].attrs.get("mod-order", there)))
    if sorted(order) != sorted(there):
        raise MmcellError(
            f"{path}: its mod-order names {', '.join(order) or 'no modality'}, and it holds {', '.join(there)}; write "
            "the file again with mudata"
        )
    return order


def _bare(group: Any) -> AnnData:
    """Return obs and var of a modality of a file."""
    import anndata as ad

    return ad.AnnData(obs=read_obs(group), var=read_var(group))


def open_lazily(
    path: Path, layer: str = "X", *, columns: Collection[str] | None = None, only: tuple[str, str] | None = None
) -> tuple[AnnData, Matrix]:
    """Open an ``.h5ad`` or AnnData ``.zarr`` without reading its values.

    Parameters
    ----------
    path
        The file.
    layer
        Where the values are: ``X``, the name of a layer, or ``raw.X``.
    columns
        Of ``obs``, as far as they are there: only these are read; None reads all.
    only
        A column of ``var`` and the value that it has for the features that count; None for all features.

    Returns
    -------
    data : anndata.AnnData
        obs and var, without X.
    values : Matrix
        (n, d), on disk.

    Raises
    ------
    MmcellError
        No such file or layer, one that is cut short, values whose shape is not that of the tables, no such feature.
    """
    import anndata as ad

    root = opened(path)
    element = element_of(root, layer, path)
    with reading(path):
        obs, var = read_obs(root, columns), read_var(root, element)
    keep = None
    if only is not None:
        column, value = only
        if column not in var:
            raise MmcellError(f"{path}: var has no column {column!r}; {did_you_mean(column, map(str, var))}")
        keep = np.flatnonzero((var[column].astype(str) == value).to_numpy())
        if not len(keep):
            kinds = first(var[column].astype(str).unique())
            raise MmcellError(
                f"{path}: no feature has {column} = {value!r} (it is {kinds}); give the file that has them"
            )
        var = var.iloc[keep]
    values = Matrix(path, element, keep)
    if values.shape != (len(obs), len(var)):
        raise MmcellError(
            f"{path}: {element} has {values.shape[0]} × {values.shape[1]} values for {len(obs)} items and {len(var)} "
            "features; write the file again"
        )
    return ad.AnnData(obs=obs, var=var), values


def element_of(root: Any, layer: str, path: Path) -> str:
    """Return where a file holds the values of a layer: ``X``, ``raw/X`` or ``layers/NAME``.

    Raises
    ------
    MmcellError
        It does not hold them.
    """
    element = {"X": "X", "raw.X": "raw/X"}.get(layer, f"layers/{layer}")
    if element not in root:
        known = [name.removeprefix("layers/").replace("raw/X", "raw.X") for name in elements(root)]
        if not known:
            raise MmcellError(f"{path}: has no X; write the values into X")
        raise MmcellError(f"{path}: has no {element}; {did_you_mean(layer, known)}")
    return element


def read_obs(root: Any, columns: Collection[str] | None = None) -> pd.DataFrame:
    """Return ``obs``, or the wanted columns of it as far as they are there, with ids as text."""
    from anndata.io import read_elem

    table = root["obs"]
    if columns is None or table.attrs.get("encoding-version") != "0.2.0":
        # Before 0.2.0 categories lay apart from the column.
        found = read_elem(table)
        found = found if columns is None else found[[c for c in found if c in columns]]
    else:
        # A table of a million rows has many columns that are nobody's business.
        index = read_elem(table[table.attrs.get("_index", "_index")])
        there = [str(c) for c in table.attrs["column-order"] if c in columns]
        found = pd.DataFrame({c: read_elem(table[c]) for c in there}, index=pd.Index(index))
    return found.set_axis(interned(found.index.astype(str)), axis=0)


def read_var(root: Any, element: str = "X") -> pd.DataFrame:
    """Return the table of the features that an element has: that of ``raw`` for ``raw/X``.

    What only ``var`` says of the same features goes along.
    """
    from anndata.io import read_elem

    var: pd.DataFrame = read_elem(root["var"])
    if element.endswith("raw/X"):
        raw: pd.DataFrame = read_elem(root["raw/var"])
        extra = [c for c in var if c not in raw] if var.index.is_unique else []
        var = raw.join(var[extra]) if extra else raw
    return var.set_axis(var.index.astype(str), axis=0)
