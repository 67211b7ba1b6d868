"""`Size`: how much there was to learn from under one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.splits import Split


@dataclass(frozen=True)
class Size:
    """How much there was to learn from under one split spec.

    Attributes
    ----------
    n_train
        Training units of the median fold, of those that have what is predicted.
    n_cells
        Cells (or whatever the items are) of the median unit; None where the data hold one row a unit.
    n_fewest
        Cells of the training unit with the fewest, in the median fold: of so many a patient's vector is made where all
        are given by equally many.
    """

    n_train: int
    n_cells: int | None
    n_fewest: int | None


def sizes_of(dataset: Dataset, splits: Sequence[Split]) -> dict[str, Size]:
    """Return split name -> its size; of two medians the lower one, so that it is a number that occurs."""
    counts = dataset.unit.value_counts()
    has_cells = dataset.card.level != "patient"
    found = {}
    for name in dict.fromkeys(s.spec.name for s in splits):
        some = [s for s in splits if s.spec.name == name]
        trains = [counts[counts.index.isin(s.train)] for s in some]
        known = _known(dataset, some[0].spec.targets[0])
        units = pd.Index(np.unique(np.concatenate([[*s.train, *s.test] for s in some])))
        found[name] = Size(
            _median([len(known.intersection(t.index)) for t in trains]),
            _median(counts[counts.index.isin(units)]) if has_cells else None,
            _median([t.min() for t in trains]) if has_cells else None,
        )
    return found


def _known(dataset: Dataset, target: str) -> pd.Index:
    """Return the units that have what is predicted; all where that varies within units."""
    columns = [c for r, c in dataset.roles.columns.items() if r.partition(".")[0] == target]
    table = dataset.patients
    return table[columns].dropna().index if columns and all(c in table for c in columns) else table.index


def _median(values: Sequence[int] | pd.Series) -> int:
    return int(np.quantile(np.asarray(values), 0.5, method="lower"))
