"""Paired profile tables: one table a modality, rows that meet by id or by a column (perturbation and dose)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.modalities import join
from mmcell.readers import existing, read_table
from mmcell.roles import TableCard

if TYPE_CHECKING:
    from mudata import MuData

#: What marks a column that describes a profile, where nothing says which columns are features.
_DESCRIBES = "Metadata_"


def read_profiles(tables: Mapping[str, TableCard], folder: Path) -> tuple[MuData, tuple[str, ...]]:
    """Read one table a modality.

    Rows of two tables with equal ids are the same item; where a table has no ids (replicates), its rows are items of
    its own, and a column that both tables have under one name, such as the perturbation, pairs them.

    Parameters
    ----------
    tables
        Modality -> where its table is and what its columns mean.
    folder
        Paths in `tables` are relative to it.

    Returns
    -------
    data : MuData
        One modality a table; ``obs`` holds what describes the profiles, and ``id``.
    caveats
        In words, what was left out.

    Raises
    ------
    MmcellError
        A file that cannot be read, no features, repeated ids, or two tables that describe one item differently.
    """
    import anndata as ad

    parts, described, caveats = {}, [], []
    for modality, table in tables.items():
        values, about, left_out = _table(modality, table, existing(folder / table.file))
        parts[modality] = ad.AnnData(
            values.to_numpy(np.float32), obs=pd.DataFrame(index=values.index), var=pd.DataFrame(index=values.columns)
        )
        described.append(about)
        if left_out:
            caveats.append(
                f"{modality}: {len(left_out)} of {len(left_out) + values.shape[1]} features hold missing or infinite "
                f"values and were left out ({first(left_out)})."
            )
    return join(parts, _joined(described, list(tables))), tuple(caveats)


def _table(modality: str, table: TableCard, path: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return features, descriptions and the names of features that were left out, rows by id."""
    frame = read_table(path)
    frame.columns = frame.columns.map(str)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names="id")
    known = list(frame)
    for column in (*table.rename, *([table.id] if table.id else [])):
        if column not in known:
            raise MmcellError(f"{path}: has no column {column!r}; {did_you_mean(column, known)}")
    one = known[0]
    given = table.id or (one if one in ("id", "Unnamed: 0", "") else None)
    ids = frame[given].astype(str) if given else pd.Series(np.arange(len(frame))).map(lambda n: f"{modality}:{n}")
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise MmcellError(
            f"{path}: {number_of(len(repeated), 'id')} of {given!r} occur more than once ({first(repeated)}); leave "
            "'id' out where "
            "rows are replicates, and pair them by a column"
        )
    frame = frame.set_axis(pd.Index(ids, name=None), axis=0).drop(columns=[given] if given else [])
    names = _features(frame, table, path)
    values = frame[names].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(values.to_numpy(dtype=float)).all(axis=0)
    if bad.all():
        raise MmcellError(
            f"{path}: all {number_of(len(names), 'feature holds', 'features hold')} missing or infinite values; fill "
            "them in"
        )
    about = frame.drop(columns=names).rename(columns=table.rename)
    twice = about.columns[about.columns.duplicated()]
    if len(twice):
        raise MmcellError(f"{path}: two columns are called {twice[0]!r} after renaming; rename one of them otherwise")
    return values.loc[:, ~bad], about, [n for n, b in zip(names, bad, strict=True) if b]


def _features(frame: pd.DataFrame, table: TableCard, path: Path) -> list[str]:
    if table.features is not None:
        try:
            found = [c for c in frame if re.search(table.features, c)]
        except re.error as error:
            raise MmcellError(f"{path}: features {table.features!r} is no regular expression ({error})") from error
    else:
        numeric = frame.select_dtypes("number").columns
        found = [c for c in numeric if not c.startswith(_DESCRIBES) and c not in table.rename]
    if not found:
        what = "no numeric column" if table.features is None else f"no column matches features {table.features!r}"
        raise MmcellError(f"{path}: {what}; it has {first(list(frame), 6)}")
    return found


def _joined(described: list[pd.DataFrame], names: list[str]) -> pd.DataFrame:
    """Return one row per item; columns that two tables share must agree where both describe it."""
    found = described[0]
    for name, other in zip(names[1:], described[1:], strict=True):
        shared = found.columns.intersection(other.columns)
        both = found.index.intersection(other.index)
        for column in shared:
            mine, theirs = found.loc[both, column], other.loc[both, column]
            numbers = all(pd.api.types.is_numeric_dtype(v) for v in (mine, theirs))
            same = mine == theirs if numbers else mine.astype(str) == theirs.astype(str)
            differ = mine.notna() & theirs.notna() & ~same
            if differ.any():
                raise MmcellError(
                    f"column {column!r}: {name} and an earlier table differ for {number_of(int(differ.sum()), 'item')} "
                    f"({first(both[differ])}); correct one, or rename the column in one of them"
                )
        found = found.combine_first(other)
    return found.assign(id=found.index.to_numpy())
