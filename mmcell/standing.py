"""Where held-out items stand among batches and labels: the graph of their vectors meets the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.digest import digest_array, digest_ids
from mmcell.items import Items
from mmcell.metrics.alignment.surroundings import FEWEST, Ground, surroundings

#: More items than these are drawn from, equally many of each unit as far as they go.
MOST = 20_000
#: Graphs that are kept: labels that are permuted, and a second label of the same items, do not change them.
_KEPT = 4
_grounds: dict[tuple[str, str], Ground] = {}


def with_surroundings(
    graded: pd.DataFrame, items: Items, dataset: Dataset, level: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return graded items with the columns of `surroundings`, in the rows that predict anything but the batch.

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
        Of the graph; empty where batches cannot be asked of the data, there are too few items, or one batch.
    """
    asked = list(items.frame["target"].unique())
    if "batch" not in asked:
        return graded, {}
    targets = [t for t in asked if t != "batch"]
    ids = pd.Index(items.frame.loc[items.frame["target"] == targets[0], "item"])
    batch = dataset.truth("batch", level)["y_true"].reindex(ids)
    unit = dataset.units_of(level).reindex(ids)
    kept = np.flatnonzero(batch.notna().to_numpy())
    kept = kept[_drawn(ids[kept], unit.to_numpy()[kept])]
    if len(kept) < FEWEST or batch.iloc[kept].nunique() < 2:
        return graded, {}
    there = ids[kept]
    ground = _ground(items.arrays["vectors"][kept], there.to_numpy().astype(str))
    parts = []
    for target, part in graded.groupby("target", sort=False):
        if target in targets:
            label = dataset.truth(str(target), level)["y_true"].reindex(there).to_numpy()
            found = surroundings(ground, batch.to_numpy()[kept], label, samples=level != "cell")
            at = there.get_indexer(part["item"])
            part = part.assign(**{name: _at(column, at) for name, column in found.items()})
        parts.append(part)
    return pd.concat(parts), ground.facts | {"left out": len(ids) - len(kept)}


def _ground(x: np.ndarray, ids: np.ndarray) -> Ground:
    """Return the graph of some vectors, as it was made the last time where they are the same."""
    key = (digest_array(x), digest_ids(ids))
    if key not in _grounds:
        while len(_grounds) >= _KEPT:
            _grounds.pop(next(iter(_grounds)))
        _grounds[key] = Ground.of(x, ids)
    return _grounds[key]


def _drawn(ids: pd.Index, unit: np.ndarray) -> np.ndarray:
    """Return the positions of `MOST` items at most: one of every unit, then a second, and so on.

    Which come first is as good as random, and the same for every embedding: it hangs on their ids alone.
    """
    order = np.argsort(pd.util.hash_array(ids.to_numpy().astype(str).astype(object)), kind="stable")
    turn = np.empty(len(ids), dtype=np.int64)
    turn[order] = pd.Series(unit[order]).groupby(unit[order], sort=False).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn[order], kind="stable")[:MOST]])


def _at(column: pd.Series, at: np.ndarray) -> np.ndarray:
    """Return the values of a column at some positions, missing where a position is below 0."""
    values = np.full(len(column) + 1, None, dtype=object)
    values[:-1] = column.to_numpy(dtype=object)
    found = values[at]
    return pd.Series(found).astype(float).to_numpy() if column.dtype.kind == "f" else np.asarray(found)
