"""Files of predictions: perturbation × gene tables, or AnnData of means or of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.data.cohort import read_data
from mmcell.distrust import checked, reading
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.predictions.moments import add_sums
from mmcell.readers import existing, read_table

if TYPE_CHECKING:
    from anndata import AnnData

_TABLES = (".csv", ".tsv", ".gz", ".parquet")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one model predicts.

    Attributes
    ----------
    name, where
        What tables call it, and the file or object that errors name.
    perturbations, genes
        (k,) and (d,), each once.
    means
        (k, d) of each perturbation, NaN where there is none.
    control
        (d,) mean of its own controls; None where it has none.
    values, members
        Cells (n, d) and the rows of every perturbation, where cells are predicted.
    whole
        Whether all that it holds are whole numbers, some of them above 1.
    context
        Where it is predicted for; "" where contexts are not told apart.
    """

    name: str
    where: str
    perturbations: pd.Index
    genes: pd.Index
    means: np.ndarray
    control: np.ndarray | None = None
    values: Any = None
    members: Mapping[str, np.ndarray] | None = None
    whole: bool = False
    context: str = ""


def read_predictions(source: Any, column: str | None, control: str, contexts: Sequence[str] = ()) -> list[Prediction]:
    """Return the predictors of a file, ``NAME=FILE``, a table or an AnnData, one per context if asked.

    Parameters
    ----------
    source
        ``.csv``, ``.tsv``, ``.parquet`` or a frame: one row a perturbation, its name first (or as the index), one
        column a gene; with a column ``predictor`` several models. ``.h5ad``, ``.zarr`` or an AnnData: one row a
        perturbation or a cell. Named by the file, unless ``NAME=FILE`` or a pair (name, object) says otherwise.
    column
        The column of ``obs`` that names the perturbation; without such a column ``obs_names`` do.
    control
        The name of controls, whose rows are the model's own controls.
    contexts
        What the column of contexts may be called, in a table (or among the levels of its index) as in ``obs``; none:
        contexts are not told apart.

    Raises
    ------
    MmcellError
        What cannot be read as such; a gene that occurs twice, a table in which a perturbation does; no such column, or
        a row without a context.
    """
    name, what = source if isinstance(source, tuple) else ("", source)
    if isinstance(what, (str, Path)):
        head, equals, tail = str(what).partition("=")
        if equals and not Path(what).exists():
            name, what = head, tail
        path = existing(Path(what))
        where, name = str(path), name or path.name.partition(".")[0]
        if path.suffix in _TABLES:
            _refuse_twice(_header(path), where)
            what = read_table(path)
        else:
            what = read_data(path)
    else:
        name = name or "prediction"
        where = name
    if isinstance(what, pd.DataFrame):
        return _of_contexts(what, name, where, control, contexts) if contexts else _of_table(what, name, where, control)
    if not hasattr(what, "obs"):
        raise MmcellError(f"{where}: is neither a table nor an AnnData; give one of them, or a file")
    if hasattr(what, "mod"):
        raise MmcellError(f"{where}: holds several modalities; write the predicted one as .h5ad")
    return _of_anndata(what, name, where, column, control, contexts)


def _header(path: Path) -> Sequence[str]:
    """Return the column names as they stand in the file: pandas renames those that occur twice."""
    checked(path)
    with reading(path):
        if path.suffix == ".parquet":
            from pyarrow.parquet import read_schema

            return list(read_schema(path).names)
        ending = path.name.removesuffix(".gz").rpartition(".")[2]
        row = pd.read_csv(path, sep="," if ending == "csv" else "\t", header=None, nrows=1, dtype=str)
        return [str(v) for v in row.iloc[0].fillna("")]


def _refuse_twice(genes: Sequence[str] | pd.Index, where: str) -> None:
    index = pd.Index(genes)
    if index.has_duplicates:
        twice = index[index.duplicated()].unique()
        raise MmcellError(
            f"{where}: {number_of(len(twice), 'gene occurs', 'genes occur')} twice ({first(twice)}); keep one column "
            "of each, or call var_names_make_unique() on prediction and truth alike"
        )


def _of_table(frame: pd.DataFrame, name: str, where: str, control: str) -> list[Prediction]:
    if isinstance(frame.index, pd.RangeIndex):
        frame = frame.set_index(frame.columns[0])
    if "predictor" in frame:
        return [
            one
            for model, part in frame.groupby("predictor", sort=False)
            for one in _of_table(part.drop(columns="predictor"), str(model), where, control)
        ]
    _refuse_twice(frame.columns.astype(str), where)
    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    if text:
        raise MmcellError(
            f"{where}: column {text[0]!r} is not numeric; keep perturbations in the first column and genes after it"
        )
    names = frame.index.astype(str)
    if names.has_duplicates:
        raise MmcellError(
            f"{where}: {first(names[names.duplicated()].unique())} has several rows; give one row a perturbation, or "
            "predicted cells as .h5ad"
        )
    values = frame.to_numpy(dtype=np.float64)
    own = values[names == control][0] if control in names else None
    kept = names != control
    return [
        Prediction(name, where, names[kept], frame.columns.astype(str), values[kept], own, whole=_whole(values))
    ]  # fmt: skip


def _of_contexts(
    frame: pd.DataFrame, name: str, where: str, control: str, contexts: Sequence[str]
) -> list[Prediction]:  # fmt: skip
    """Return the predictors of a table in every context: each part is a table of its own."""
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    found = _column(contexts, frame.columns, where)
    text = _contexts(frame[found], where)
    parts = frame.drop(columns=found).groupby(text.to_numpy(), sort=True)
    return [
        replace(one, context=str(context))
        for context, part in parts
        for one in _of_table(part.reset_index(drop=True), name, f"{where}, {found} {context!r}", control)
    ]


def _column(contexts: Sequence[str], columns: pd.Index, where: str) -> str:
    found = [c for c in contexts if c in columns]
    if not found:
        raise MmcellError(
            f"{where}: has no column {contexts[0]!r} that names the context of a row; "
            f"{did_you_mean(contexts[0], [str(c) for c in columns])}"
        )
    return found[0]


def _contexts(column: pd.Series, where: str) -> pd.Series:
    if column.isna().any():
        raise MmcellError(f"{where}: {int(column.isna().sum())} rows have no {column.name!r}; fill it in or drop them")
    return column.astype(str)


def _of_anndata(
    data: AnnData, name: str, where: str, column: str | None, control: str, contexts: Sequence[str]
) -> list[Prediction]:  # fmt: skip
    genes = data.var_names.astype(str)
    _refuse_twice(genes, where)
    if column is not None and column in data.obs:
        label = data.obs[column]
        if label.isna().any():
            raise MmcellError(f"{where}: {int(label.isna().sum())} rows have no {column!r}; fill it in or drop them")
        labels = pd.Index(label.astype(str))
    else:
        labels = data.obs_names.astype(str)
        if labels.has_duplicates:
            raise MmcellError(
                f"{where}: obs has no column {column!r} that names the perturbation of a row; "
                f"{did_you_mean(str(column), map(str, data.obs.columns))}"
            )
    if data.X is None:
        raise MmcellError(f"{where}: has no X; write the predicted values into X")
    names = pd.Index(sorted(labels.unique()))
    side, sides = np.zeros(len(labels), dtype=int), [""]
    if contexts:
        chosen = _column(contexts, data.obs.columns, where)
        side, found = pd.factorize(_contexts(data.obs[chosen], where).to_numpy(dtype=object), sort=True)
        sides = [str(s) for s in found]
    pairs, codes = np.unique(side * len(names) + names.get_indexer(labels), return_inverse=True)
    count = np.bincount(codes, minlength=len(pairs))
    total = np.zeros((2, len(pairs), len(genes)))
    add_sums(data.X, codes, *total)
    means = total[0] / count[:, None]
    has_cells, whole = bool((count > 1).any()), _whole(data.X)
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(count)[:-1])
    made = []
    for i, context in enumerate(sides):
        at = np.flatnonzero(pairs // len(names) == i)
        own = names[pairs[at] % len(names)]
        kept = own != control
        members = {str(n): rows[k] for n, k in zip(own, at, strict=True)} if has_cells else None
        made.append(
            Prediction(
                name, f"{where}, {chosen} {context!r}" if contexts else where, own[kept], genes, means[at[kept]],
                None if kept.all() else means[at[~kept]][0], data.X if has_cells else None, members, whole, context,
            )
        )  # fmt: skip
    return made


def _whole(values: Any) -> bool:
    found = values.data if hasattr(values, "indptr") else np.asarray(values).ravel()
    return bool(found.size and np.nanmax(found) > 1 and (found == np.rint(found)).all())
