"""Where held-out items stand among batches and labels: the graph of their vectors meets the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.items import Items
from mmcell.metrics.alignment.surroundings import FEWEST, surroundings

#: More items than these are drawn from, equally many of each unit as far as they go.
MOST = 20_000


def with_surroundings(
    graded: pd.DataFrame, items: Items, dataset: Dataset, level: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return graded items with the columns of `surroundings`, in the rows that predict the first target.

    Parameters
    ----------
    graded
        Items of one split with their truth.
    items
        As the task returned them, with ``vectors`` (n, d) of the items of the first target, in their order.
    dataset, level
        Whose batches.

    Returns
    -------
    graded : pandas.DataFrame
        Without numbers for items that have no batch, or were not drawn.
    facts : dict
        Of the graph; empty where there are too few items or one batch.
    """
    first = graded["target"].iloc[0]
    ids = pd.Index(items.frame.loc[items.frame["target"] == first, "item"])
    values = items.arrays["vectors"]
    batch = dataset.truth("batch", level)["y_true"].reindex(ids)
    label = dataset.truth(str(first), level)["y_true"].reindex(ids)
    unit = dataset.units_of(level).reindex(ids)
    kept = np.flatnonzero(batch.notna().to_numpy())
    kept = kept[_drawn(unit.to_numpy()[kept])]
    if len(kept) < FEWEST or batch.iloc[kept].nunique() < 2:
        return graded, {}
    found, facts = surroundings(
        values[kept], batch.to_numpy()[kept], label.to_numpy()[kept], ids.to_numpy()[kept].astype(str)
    )
    at = pd.Index(ids[kept]).get_indexer(graded["item"])
    at[graded["target"].to_numpy() != first] = -1
    columns = {name: _at(column, at) for name, column in found.items()}
    return graded.assign(**columns), facts | {"left out": len(ids) - len(kept)}


def _drawn(unit: np.ndarray) -> np.ndarray:
    """Return the positions of `MOST` items at most: the first of every unit, then the second, and so on.

    Ids are in no order of biology that a unit's first cells would favour, and the same items are drawn for everybody.
    """
    turn = pd.Series(unit).groupby(unit, sort=False).cumcount().to_numpy()
    return np.sort(np.argsort(turn, kind="stable")[:MOST])


def _at(column: pd.Series, at: np.ndarray) -> np.ndarray:
    """Return the values of a column at some positions, missing where a position is below 0."""
    values = np.full(len(column) + 1, None, dtype=object)
    values[:-1] = column.to_numpy(dtype=object)
    found = values[at]
    return pd.Series(found).astype(float).to_numpy() if column.dtype.kind == "f" else np.asarray(found)
