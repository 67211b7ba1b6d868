"""What an encoder is shown of a modality: values without labels, in the units and identifiers that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from anndata import AnnData

#: Scale of an item's counts before log1p.
TARGET_SUM = 1e4
#: log1p of a count that no gene of a cell reaches.
_LOG_MOST = 20.0
#: Where in ``uns`` a dataset says why it has no table of genes.
NO_TABLE = "mmcell_no_gene_table"
#: ENSG00000141510.18 and ENSG00000141510 are one gene, and so are the two copies of a pseudoautosomal one.
_VERSION = r"\.\d+(?:_PAR_Y)?$"


@dataclass(frozen=True, eq=False)
class Names:
    """How the features of a modality are called in another kind of identifier.

    Attributes
    ----------
    names
        (k,) unique names in the wanted identifier.
    target
        (n_vars,) position of every feature among `names`; −1 where it has no such name.
    n_merged
        Features that share a name with an earlier one.
    """

    names: pd.Index
    target: np.ndarray
    n_merged: int

    @classmethod
    def of(cls, wanted: pd.Series) -> Names:
        """Make it from the wanted name of every feature, missing or empty where there is none."""
        text = wanted.astype("string").str.strip()
        known = (text.notna() & (text != "")).to_numpy(dtype=bool)
        codes, names = pd.factorize(text[known].to_numpy(dtype=object))
        target = np.full(len(wanted), -1, dtype=np.int64)
        target[known] = codes
        return cls(pd.Index(names.astype(str)), target, int(known.sum()) - len(names))

    def apply(self, x: Any, *, add: bool) -> Any:
        """Return values (n, k) under the new names.

        Parameters
        ----------
        x
            (n, n_vars) dense or sparse.
        add
            Whether features of one name are added up, which counts allow; otherwise the first one stands for all.
        """
        from scipy.sparse import csr_array, issparse

        source = np.flatnonzero(self.target >= 0)
        if not add:
            _, first = np.unique(self.target[source], return_index=True)
            source = source[np.sort(first)]
        shape = (len(self.target), len(self.names))
        member = csr_array((np.ones(len(source), dtype=x.dtype), (source, self.target[source])), shape=shape)
        return csr_array(x) @ member if issparse(x) else np.asarray(x @ member)


def wanted(have: str, want: str, who: str) -> str:
    """Return the preprocessing that a reader gets: what it wants, or for ``any`` log1p of counts, other values as is.

    Raises
    ------
    MmcellError
        What is there cannot be turned into what is wanted.
    """
    if want == "any":
        return "log1p" if have == "counts" else have
    if want != have and (have, want) != ("counts", "log1p"):
        raise MmcellError(
            f"{who} holds {have}, the encoder needs {want}; give it data it can read or set 'preprocessing' on the card"
        )
    return want


def shown(
    part: AnnData, have: str, want: str, names: Names | None = None, uns: Mapping[str, Any] | None = None
) -> AnnData:
    """Return a copy that holds X, obs_names and var_names and nothing else, converted as asked.

    Parameters
    ----------
    part
        Rows of a modality.
    have, want
        Preprocessing, of the data and for the reader: from ``counts`` to ``log1p`` every row is scaled to 10,000 over
        all of its features, and log1p is taken.
    names
        The wanted identifiers; None leaves the names as they are.
    uns
        What goes along: the layout of images.
    """
    var_names = part.var_names.astype(str) if names is None else names.names
    return bare(converted(part.X.copy(), have, want, names), part.obs_names.astype(str), var_names, uns)


def converted(values: Any, have: str, want: str, names: Names | None = None) -> Any:
    """Return rows (n, d), dense or sparse, converted as in `shown`; where nothing is converted, the very same."""
    lognormalise = (have, want) == ("counts", "log1p")
    values = _scaled(values.astype(np.float32)) if lognormalise else values
    if names is not None:
        values = names.apply(values, add=have == "counts")
    if lognormalise:
        values = np.log1p(values) if isinstance(values, np.ndarray) else values.log1p()
    return values


def bare(values: Any, ids: pd.Index, var_names: pd.Index, uns: Mapping[str, Any] | None = None) -> AnnData:
    """Return values (n, d) with names of rows and columns and nothing else; `uns` goes along."""
    import anndata as ad

    return ad.AnnData(values, pd.DataFrame(index=ids), pd.DataFrame(index=var_names), uns=dict(uns or {}))


def refuse_contradicted(values: Any, stated: str, who: str) -> None:
    """Raise when values cannot be what is stated of them, or are missing.

    Parameters
    ----------
    values
        Dense or sparse.
    stated
        ``counts``, ``log1p``, …, as on the card.
    who
        The data, for the message.

    Raises
    ------
    MmcellError
        NaN or infinite values; counts below zero, or fractions no larger than logarithms called counts; whole
        numbers beyond what a logarithm reaches called log1p.
    """
    if why := contradiction(*range_of(values), stated):
        raise MmcellError(f"{who}: {why}")


def range_of(values: Any) -> tuple[float, float, bool, int]:
    """Return the least and the largest of some values, whether all are whole, and how many are not finite."""
    found = values.data if hasattr(values, "indptr") else np.asarray(values).ravel()
    least, most = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    bad = 0 if np.isfinite(least) and np.isfinite(most) else int((~np.isfinite(found)).sum())
    return least, most, bool((found == np.round(found)).all()), bad


def contradiction(least: float, most: float, whole: bool, bad: int, stated: str) -> str:
    """Return why values cannot be what is stated of them, with the cure, as `refuse_contradicted` does; "" if they can.

    Parameters
    ----------
    least, most
        The extreme values.
    whole
        Whether all of them are whole numbers.
    bad
        How many are NaN or infinite.
    stated
        See `refuse_contradicted`.
    """
    if bad:
        return f"X holds {bad} NaN or infinite values; fill them in, or take these items out"
    if stated == "counts" and least < 0:
        return (
            f"X holds values down to {least:g}, and the card says counts; set preprocessing: values, or give the counts"
        )
    if stated == "counts" and not whole and most <= _LOG_MOST:
        return (
            f"X holds fractions up to {most:g}, which look like logarithms, and the card says counts; set "
            "preprocessing: log1p, or give the counts"
        )
    if stated == "log1p" and whole and most > _LOG_MOST:
        return (
            f"X holds whole numbers up to {most:g}, which are counts, and the card says log1p; set "
            "preprocessing: counts"
        )
    return ""


def layout_of(part: AnnData) -> dict[str, Any]:
    """Return what ``uns`` says of images whose pixels X holds; empty where X holds something else."""
    given = part.uns.get("image")
    shape = np.ravel(given["shape"]) if isinstance(given, Mapping) and "shape" in given else ()
    return {"image": given} if len(shape) == 3 and int(np.prod(shape)) == part.n_vars else {}


def _scaled(values: Any) -> Any:
    """Return rows that sum to 10,000; a row of zeros stays."""
    import anndata as ad
    import scanpy as sc

    data = ad.AnnData(values)
    sc.pp.normalize_total(data, target_sum=TARGET_SUM)
    return data.X


def gene_names(part: AnnData, columns: Mapping[Any, str], have: str, want: str, who: str) -> Names | None:
    """Return how features are called in the identifiers that a reader wants; None where they are called so already.

    Parameters
    ----------
    part
        The modality, its table of genes in ``var``.
    columns
        Kind of identifier (``symbol``, ``ensembl``) -> column of ``var``.
    have, want
        Identifiers of ``var_names`` and of the reader; ``any`` takes them as they are.
    who
        The dataset, for the message.

    Raises
    ------
    MmcellError
        There is no table that leads from the one to the other, or it names no gene.
    """
    if want == have == "ensembl" and part.var_names.str.contains(_VERSION).any():
        return Names.of(_bare(pd.Series(part.var_names)))
    if want in ("any", have):
        return None
    column = columns.get(want)
    if column is None:
        cure = part.uns.get(NO_TABLE) or (
            "give a table with the columns 'symbol' and 'ensembl' (genes: FILE in the card, --genes FILE), or name the "
            "var column that holds them (gene_columns); or correct identifiers, if the card is wrong"
        )
        raise MmcellError(f"{who}: genes are called by {have}, the encoder needs {want}; {cure}")
    if column not in part.var:
        raise MmcellError(f"{who}: gene_columns names {column!r}, which is not in var")
    found = Names.of(_bare(part.var[column]) if want == "ensembl" else part.var[column])
    if not len(found.names):
        raise MmcellError(f"{who}: the var column {column!r} holds no {want} for any gene; correct gene_columns")
    return found


def _bare(ids: pd.Series) -> pd.Series:
    """Return Ensembl ids without their version."""
    return ids.astype("string").str.strip().str.replace(_VERSION, "", regex=True)


def with_table(var: pd.DataFrame, table: pd.DataFrame, have: str, who: str) -> pd.DataFrame:
    """Return ``var`` with the columns ``symbol`` and ``ensembl`` of a table of genes, matched by name.

    Parameters
    ----------
    var
        Features by name.
    table
        With the columns ``symbol`` and ``ensembl``; of several rows for a gene the first one with both counts.
    have
        Identifiers of the features: ``symbol`` or ``ensembl``.
    who
        The table, for the message.

    Raises
    ------
    MmcellError
        A column is missing, the features are called by something else, or none of them is in the table.
    """
    lacking = [c for c in ("symbol", "ensembl") if c not in table]
    if lacking:
        raise MmcellError(f"{who}: no column {lacking[0]!r}; a table of genes has 'symbol' and 'ensembl'")
    if have not in ("symbol", "ensembl"):
        raise MmcellError(f"{who}: set identifiers (symbol or ensembl) in the card, to say how its genes are called")
    plain = _bare if have == "ensembl" else _text
    rows = table[["symbol", "ensembl"]].apply(_text).replace("", pd.NA).dropna()
    rows = rows.assign(**{have: plain(rows[have])}).drop_duplicates(have).set_index(have)
    genes = plain(pd.Series(var.index))
    if not genes.isin(rows.index).any():
        raise MmcellError(
            f"{who}: none of its {have}s is among the {len(var)} features (they look like {var.index[0]!r}); "
            "give the table of this genome, or correct 'identifiers'"
        )
    other = "ensembl" if have == "symbol" else "symbol"
    return var.assign(**{other: rows[other].reindex(genes).to_numpy(dtype=object, na_value=None)})


def _text(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip()
