"""`Survey`: what one pass over the values of a modality tells of every row, and of all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.features import contradiction, layout_of, range_of
from mmcell.matrix import slices

if TYPE_CHECKING:
    from mmcell.dataset import Dataset

#: Values of the first rows that are looked at before anything is computed.
_FIRST = 5_000_000


@dataclass(frozen=True, eq=False)
class Survey:
    """Sums and counts, read block by block.

    Attributes
    ----------
    total
        (n,) sum of each row.
    found, positive
        (n,) values of each row that are not 0, and that are above it.
    mitochondrial
        (n,) sum of each row over mitochondrial genes; None where there is none.
    mean, spread
        (n,) of each row's values.
    finite
        (n,) rows without NaN and infinite values.
    least, most
        Of the values that are stored; 0 where none is.
    whole
        Whether all of these are whole numbers.
    bad
        How many of them are NaN or infinite.
    """

    total: np.ndarray
    found: np.ndarray
    positive: np.ndarray
    mitochondrial: np.ndarray | None
    mean: np.ndarray
    spread: np.ndarray
    finite: np.ndarray
    least: float
    most: float
    whole: bool
    bad: int

    @classmethod
    def of(cls, x: Any, mitochondrial: np.ndarray | None = None) -> Survey:
        """Read (n, d) values, dense, sparse or on disk.

        Parameters
        ----------
        x
            The values.
        mitochondrial
            Positions of the mitochondrial genes.
        """
        x = x.tocsr() if getattr(x, "format", "") == "csc" else x
        rows: list[pd.DataFrame] = []
        least, most, whole, bad = np.inf, -np.inf, True, 0
        for where in slices(x):
            block = x[where]
            stored = block.data if hasattr(block, "indptr") else np.asarray(block).ravel()
            with np.errstate(invalid="ignore"):
                if stored.size:
                    # NaN goes through both.
                    least, most = np.minimum(least, stored.min()), np.maximum(most, stored.max())
                    whole = whole and bool((stored == np.round(stored)).all())
                rows.append(pd.DataFrame(_rows(block, mitochondrial)))
            if stored.dtype.kind == "f" and not rows[-1]["finite"].all():
                bad += int((~np.isfinite(stored)).sum())
        table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(_rows(x[:0], mitochondrial))
        values = {str(c): table[c].to_numpy() for c in table}
        low, high = (float(least), float(most)) if most >= least or bad else (0.0, 0.0)
        return cls(**{"mitochondrial": None, **values}, least=low, most=high, whole=whole, bad=bad)

    def refuse_contradicted(self, stated: str, who: str) -> None:
        """Raise when the values cannot be what is stated of them; see `mmcell.features.refuse_contradicted`."""
        if why := contradiction(self.least, self.most, self.whole, self.bad, stated):
            raise MmcellError(f"{who}: {why}")


def _rows(block: Any, mitochondrial: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return what is counted of each row."""
    n, d = block.shape[0], max(1, block.shape[1])
    exact = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
    mean = exact / d
    if hasattr(block, "indptr"):
        stored = np.diff(block.indptr)
        away = (block.data - np.repeat(mean, stored)) ** 2
        squares = np.bincount(np.repeat(np.arange(n), stored), away, n) + (d - stored) * mean**2
    else:
        squares = ((np.asarray(block, dtype=np.float64) - mean[:, None]) ** 2).sum(axis=1)
    counted = {
        "total": np.asarray(block.sum(axis=1)).ravel(),
        "found": np.asarray((block != 0).sum(axis=1)).ravel(),
        "positive": np.asarray((block > 0).sum(axis=1)).ravel(),
        "mean": mean,
        "spread": np.sqrt(squares / d),
        # The sum of a row is finite if all of it is.
        "finite": np.isfinite(exact),
    }
    if mitochondrial is not None and len(mitochondrial):
        counted["mitochondrial"] = np.asarray(block[:, mitochondrial].sum(axis=1)).ravel()
    return counted


def survey(dataset: Dataset, modality: str) -> Survey:
    """Return the survey of a modality that has values, made once."""
    found: Survey = dataset.once(
        ("survey", modality),
        lambda: Survey.of(dataset.values(modality), np.flatnonzero(_mitochondrial(dataset, modality))),
    )
    return found


def refuse_values(dataset: Dataset, modality: str, reader: str = "") -> None:
    """Raise when the values of a modality, unless they are pixels, cannot be what its card says of them.

    A look at every value, once for all who ask. `reader` is who reads them, for the message.
    """
    if not layout_of(dataset.anndata(modality)):
        who = f"{reader}dataset {dataset.name!r}: modality {modality!r}"
        if dataset.values(modality) is None:
            raise MmcellError(f"{who} has no X; write the values into X, or give an embedding")
        survey(dataset, modality).refuse_contradicted(dataset.modality(modality).preprocessing, who)


def refuse_at_sight(dataset: Dataset, modality: str) -> None:
    """Raise when values plainly cannot be what the card says of them: what takes no time, before anything is computed.

    Of counts in memory the least is asked for, and of all values the first rows are looked at; only where these
    contradict the card the others are read, too, as `refuse_values` does, for they may speak for it: counts that were
    corrected for ambient RNA are fractions, and go beyond logarithms. Missing values are left to who reads them.
    """
    values, stated = dataset.values(modality), dataset.modality(modality).preprocessing
    if values is None or layout_of(dataset.anndata(modality)):
        return
    if stated == "counts" and modality not in dataset.disk:
        stored = values.data if hasattr(values, "indptr") else np.asarray(values)
        if why := contradiction(float(stored.min(initial=0)), np.inf, True, 0, stated):
            raise MmcellError(f"dataset {dataset.name!r}: modality {modality!r}: {why}")
    least, most, whole, bad = range_of(values[: max(1, _FIRST // max(1, values.shape[1]))])
    if not bad and contradiction(least, most, whole, bad, stated):
        refuse_values(dataset, modality)


def _mitochondrial(dataset: Dataset, modality: str) -> np.ndarray:
    """Return which features are mitochondrial genes, by their symbols."""
    data, card = dataset.anndata(modality), dataset.modality(modality)
    column = card.gene_columns.get("symbol") if card.identifiers != "symbol" else None
    symbols = pd.Series(data.var.get(column, data.var_names)).astype("string").str.upper()
    return symbols.str.startswith("MT-").fillna(False).to_numpy(dtype=bool)
