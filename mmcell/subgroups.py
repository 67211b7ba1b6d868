"""Subgroups beside every mean: a good mean may hide a cell type, a batch or a cohort that is not served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.records import Group, Worst
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.units import MINIMUM

_PREFIX = "by:"
#: What these say of a group of one true class is its recall; other metrics need several to mean anything.
_RECALLS = ("balanced_accuracy", "batch_predictability")


def worst(items: Items, metrics: Sequence[Metric]) -> dict[str, Worst]:
    """Return the group in which each metric is worst, by its name; none where there are no two groups to compare.

    Groups with fewer than 10 units are counted, not compared: the worst of many small groups is noise. Of a grouping
    of which one group is left, this one is no worst, and may be better than all together. What is found is still the
    worst of several, hence worse than it would be in new patients.

    Parameters
    ----------
    items
        With columns ``by:NAME``, a group each.
    metrics
        Their direction says what is worst.
    """
    every = _parts(items)
    parts = [part for part in every if part[2].units.independent >= MINIMUM]
    found = {}
    # A count of tests is least where it has the least power, and a number of a graph is no subgroup's.
    for metric in (m for m in metrics if m.interval and not m.axis):
        values = [
            np.nan if _one_class(part) and metric.name not in _RECALLS else metric.fn(part) for _, _, part in parts
        ]
        finite = [i for i, value in enumerate(values) if np.isfinite(value)]
        left = Counter(parts[i][0] for i in finite)
        defined = [i for i in finite if left[parts[i][0]] > 1]
        if not defined:
            continue
        pick = min if metric.higher_is_better else max
        at = pick(defined, key=lambda i: (values[i], *parts[i][:2]))
        role, name, part = parts[at]
        found[metric.name] = Worst(
            role=role,
            name=name,
            value=values[at],
            n_units=part.units.independent,
            n_items=part.n_items,
            n_groups=len(defined),
            n_small=len(every) - len(parts),
            n_undefined=len(parts) - len(finite),
        )
    return found


def groups(items: Items, metric: Metric, *, n_boot: int, seed: int) -> tuple[Group, ...]:
    """Return a metric in every group, with its interval over the units of that group; none of fewer than 10 units.

    Parameters
    ----------
    items
        With columns ``by:NAME``, a group each.
    metric
        What is scored.
    n_boot, seed
        Of the draws.
    """
    found = []
    for role, name, part in _parts(items):
        chance, of = metric.chance_of(part), Group(role=role, name=name, value=None)
        if _one_class(part) and metric.name not in _RECALLS:
            found.append(of.model_copy(update={"n_units": part.units.independent, "n_items": part.n_items}))
            continue
        value = bootstrap(part, [metric], n_boot=n_boot, seed=seed)[metric.name]
        found.append(
            Group(
                role=role, name=name, value=value.value, low=value.low, high=value.high, chance=chance,
                n_units=value.n_units, n_items=part.n_items,
            )
        )  # fmt: skip
    return tuple(found)


def _parts(items: Items) -> list[tuple[str, str, Items]]:
    """Return what is grouped, the name of the group and its items, for every group of two or more."""
    grouped = items.frame.filter(regex=f"^{_PREFIX}")
    items = items.without(list(grouped))
    found = []
    for column in grouped:
        codes, names = pd.factorize(grouped[column].astype(object).map(str, na_action="ignore"), sort=True)
        if len(names) < 2:
            continue
        found += [
            (column.removeprefix(_PREFIX), str(name), items.where(codes == code)) for code, name in enumerate(names)
        ]
    return found


def _one_class(items: Items) -> bool:
    return items.kind in ("binary", "multiclass") and items.frame["y_true"].nunique() < 2
