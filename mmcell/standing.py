"""Where held-out items stand among batches and labels: the graph of their vectors meets the truth.

A number of a graph belongs to all of its items together. So that donors can be drawn anew without another graph, every
item carries a pseudo-value: their mean is the number, and a donor's stand off from it by what the number loses without
that donor's cells (the jackknife). What a donor says through the neighbourhoods of others is then part of the interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.digest import digest_array, digest_ids
from mmcell.items import Items
from mmcell.metrics.alignment.surroundings import FEWEST, Ground, Numbers, Surroundings
from mmcell.metrics.mixing import BY_CHANCE, GRAPH, MIXED, NAMES

#: More items than these are drawn from, equally many of each unit as far as they go.
MOST = 20_000
#: Units that are left out one at a time; of more, groups are, and of fewer where sums of distances (items × labels ×
#: groups) would need more than 200 MB.
GROUPS, _SUMS, _FEWEST_GROUPS = 60, 25_000_000, 10
#: Graphs that are kept: labels that are permuted, and a second label of the same items, do not change them.
_KEPT = 4
_grounds: dict[tuple[str, str], Ground] = {}


def with_surroundings(
    graded: pd.DataFrame, items: Items, dataset: Dataset, level: str, real: Dataset, *, resampled: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return graded items with a column for every number of `Surroundings`, in the rows that predict no batch.

    Parameters
    ----------
    graded
        Items of one split with their truth.
    items
        As the task returned them, with ``vectors`` (n, d) of the items of the first target, in their order.
    dataset, level
        Whose batches and labels.
    real
        The same, or where labels are permuted in it, the data as they are. Mixing is then asked of permuted batches and
        real labels, biology of real batches and permuted labels: one null a question. Which labels live in one batch
        only is a fact of the real data.
    resampled
        Whether intervals are wanted; otherwise all items of a fold carry its number.

    Returns
    -------
    graded : pandas.DataFrame
        ``graph`` is 1 where a fold has one. A column is NaN where its number is not asked of a fold, and infinite
        where it is asked and has no value.
    facts : dict
        Of the graph; empty where batches cannot be asked of the data, there are too few items, or one batch.
    """
    asked = list(items.frame["target"].unique())
    targets = [t for t in asked if t != "batch"]
    names = [n for n in (*NAMES, *BY_CHANCE.values()) if level != "cell" or not n.startswith("sample_")]
    graded = graded.assign(**dict.fromkeys([GRAPH, *names], np.nan))
    if "batch" not in asked:
        return graded, {}
    ids = pd.Index(items.frame.loc[items.frame["target"] == targets[0], "item"])
    batch = dataset.truth("batch", level)["y_true"].reindex(ids)
    unit = dataset.units_of(level).reindex(ids)
    kept = np.flatnonzero(batch.notna().to_numpy())
    kept = kept[_drawn(ids[kept], unit.to_numpy()[kept])]
    if len(kept) < FEWEST or batch.iloc[kept].nunique() < 2:
        return graded, {}
    there = ids[kept]
    ground = _ground(items.arrays["vectors"][kept], there.to_numpy().astype(str))
    units, code = np.unique(unit.to_numpy()[kept].astype(str), return_inverse=True)
    parts = []
    for target, part in graded.groupby("target", sort=False):
        if target in targets:
            n_labels = real.truth(str(target), level)["y_true"].nunique()
            most = max(min(GROUPS, _SUMS // (len(kept) * n_labels)), _FEWEST_GROUPS)
            group = code % min(most, len(units))
            found = [
                Surroundings(
                    ground, *worlds, group, samples=level != "cell",
                    **_lives(real, str(target), level, worlds[1]),
                )
                for worlds in _worlds(dataset, real, str(target), level, there)
            ]  # fmt: skip
            values = _both([s.values() for s in found])
            without = [_both([s.values(g) for s in found]) for g in range(group.max() + 1)] if resampled else []
            owner = pd.Index(units).get_indexer(part["unit"].astype(str))
            columns = {name: _pseudo(values[name], [w[name] for w in without], owner, units) for name in values}
            part = part.assign(**columns, **{GRAPH: 1.0})
        parts.append(part)
    return pd.concat(parts), ground.facts | {"left out": len(ids) - len(kept)}


def _worlds(
    dataset: Dataset, real: Dataset, target: str, level: str, ids: pd.Index
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return batch and label of items: as they are, or permuted batches first and permuted labels second."""

    def read(of: Dataset, what: str) -> np.ndarray:
        return np.asarray(of.truth(what, level)["y_true"].reindex(ids).to_numpy(dtype=object))

    if dataset is real:
        return [(read(real, "batch"), read(real, target))]
    return [(read(dataset, "batch"), read(real, target)), (read(real, "batch"), read(dataset, target))]


def _both(found: list[Numbers]) -> Numbers:
    """Return numbers of mixing from the first world, of biology from the last."""
    return {name: found[0 if name in MIXED else -1][name] for name in found[0]}


def _lives(real: Dataset, target: str, level: str, label: np.ndarray) -> dict[str, np.ndarray]:
    """Return whether labels live in several batches of the real data, and in as few as any, where they differ."""

    def count() -> pd.Series:
        both = pd.concat(
            [real.truth(target, level)["y_true"], real.truth("batch", level)["y_true"]], axis=1, keys=["l", "b"]
        )
        return both.dropna().drop_duplicates().groupby("l").size()

    n = real.once(("batches-of-labels", target, level), count)
    own = pd.Series(label).map(n).to_numpy(dtype=float)
    return {"mixable": own > 1, "isolated": (own == n.min()) & (n.min() < n.max())}


def _pseudo(value: float, without: list[float], owner: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return a pseudo-value for every row: their mean is the value, their spread over units that of the jackknife.

    Parameters
    ----------
    value
        With all units.
    without
        Without each group of units; none where no interval is wanted.
    owner
        (rows,) position of each row's unit; −1 where no cell of it is in the graph.
    units
        (units,) names, in groups by their position.
    """
    found = np.full(len(owner), value)
    n = len(without)
    if n < 2 or not np.isfinite([value, *without]).all():
        # Nothing moves: there is no interval.
        return found
    loss = np.sqrt((n - 1) / n) * (np.mean(without) - np.asarray(without))
    position = np.arange(len(units))
    # A group's loss is the sum of those of its units, which are independent.
    of_unit = loss[position % n] / np.sqrt(np.bincount(position % n, minlength=n))[position % n]
    size = np.bincount(owner[owner >= 0], minlength=len(units))
    of_unit = np.where(size > 0, of_unit, 0.0)
    of_unit[size > 0] -= of_unit[size > 0].mean()
    rows = owner >= 0
    found[rows] += of_unit[owner[rows]] * len(owner) / size[owner[rows]]
    return found


def _ground(x: np.ndarray, ids: np.ndarray) -> Ground:
    """Return the graph of some vectors, as it was made the last time where they are the same."""
    key = (digest_array(x), digest_ids(ids))
    found = _grounds.get(key) or Ground.of(x, ids)
    while len(_grounds) >= _KEPT:
        _grounds.pop(next(iter(_grounds)), None)
    _grounds[key] = found
    return found


def _drawn(ids: pd.Index, unit: np.ndarray) -> np.ndarray:
    """Return the positions of `MOST` items at most: one of every unit, then a second, and so on.

    Which come first is as good as random, and the same for every embedding: it hangs on their ids alone.
    """
    order = np.argsort(pd.util.hash_array(ids.to_numpy().astype(str).astype(object)), kind="stable")
    turn = np.empty(len(ids), dtype=np.int64)
    turn[order] = pd.Series(unit[order]).groupby(unit[order], sort=False).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn[order], kind="stable")[:MOST]])
