"""The worst subgroup beside every mean: a good mean may hide a cell type, a batch or a cohort that is not served."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.records import Worst
from mmcell.stats.units import MINIMUM

_PREFIX = "by:"
#: What these say of a group of one true class is its recall; other metrics need several to mean anything.
_RECALLS = ("balanced_accuracy", "batch_predictability")


def worst(items: Items, metrics: Sequence[Metric]) -> dict[str, Worst]:
    """Return the group in which each metric is worst, by its name; none where nothing is grouped or groups are small.

    Groups with fewer than 10 units are counted, not compared: the worst of many small groups is noise. It is still
    the worst of several, hence worse than it would be in new patients.

    Parameters
    ----------
    items
        With columns ``by:NAME``, a group each.
    metrics
        Their direction says what is worst.
    """
    parts, small = _parts(items)
    found = {}
    # A count of tests is least where it has the least power.
    for metric in (m for m in metrics if m.interval):
        values = [
            np.nan if _one_class(part) and metric.name not in _RECALLS else metric.fn(part) for _, _, part in parts
        ]
        defined = [i for i, value in enumerate(values) if np.isfinite(value)]
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
            n_small=small,
            n_undefined=len(parts) - len(defined),
        )
    return found


def _parts(items: Items) -> tuple[list[tuple[str, str, Items]], int]:
    """Return the items of every group that is large enough, and how many are not."""
    grouped = items.frame.filter(regex=f"^{_PREFIX}")
    items = items.without(list(grouped))
    found, small = [], 0
    for column in grouped:
        groups, names = pd.factorize(grouped[column].astype(object).map(str, na_action="ignore"), sort=True)
        if len(names) < 2:
            continue
        for code, name in enumerate(names):
            part = items.where(groups == code)
            if part.units.independent < MINIMUM:
                small += 1
            else:
                found.append((column.removeprefix(_PREFIX), str(name), part))
    return found, small


def _one_class(items: Items) -> bool:
    return items.kind in ("binary", "multiclass") and items.frame["y_true"].nunique() < 2
