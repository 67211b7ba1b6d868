"""Files of predictions: perturbation × gene tables, or AnnData of means or of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.data.cohort import read_data
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


def read_predictions(source: Any, column: str | None, control: str) -> list[Prediction]:
    """Return the predictors of a file, ``NAME=FILE``, a table or an AnnData.

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

    Raises
    ------
    MmcellError
        What cannot be read as such; a gene that occurs twice, a table in which a perturbation does.
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
        return _of_table(what, name, where, control)
    if not hasattr(what, "obs"):
        raise MmcellError(f"{where}: is neither a table nor an AnnData; give one of them, or a file")
    if hasattr(what, "mod"):
        raise MmcellError(f"{where}: holds several modalities; write the predicted one as .h5ad")
    return [_of_anndata(what, name, where, column, control)]


def _header(path: Path) -> Sequence[str]:
    """Return the column names as they stand in the file: pandas renames those that occur twice."""
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


def _of_anndata(data: AnnData, name: str, where: str, column: str | None, control: str) -> Prediction:
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
    codes = names.get_indexer(labels)
    count = np.bincount(codes, minlength=len(names))
    total = np.zeros((2, len(names), len(genes)))
    add_sums(data.X, codes, *total)
    means = total[0] / count[:, None]
    kept = names != control
    members = {str(n): np.flatnonzero(codes == i) for i, n in enumerate(names)} if (count > 1).any() else None
    own = means[~kept][0] if not kept.all() else None
    return Prediction(
        name, where, names[kept], genes, means[kept], own, data.X if members else None, members, _whole(data.X)
    )  # fmt: skip


def _whole(values: Any) -> bool:
    found = values.data if hasattr(values, "indptr") else np.asarray(values).ravel()
    return bool(found.size and np.nanmax(found) > 1 and (found == np.rint(found)).all())
