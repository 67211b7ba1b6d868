"""The worst subgroup beside every mean: a good mean may hide a cell type, a batch or a cohort that is not served."""

from __future__ import annotations

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.records import Worst
from mmcell.stats.units import MINIMUM

_PREFIX = "by:"
#: What these say of a group of one true class is its recall; other metrics need several to mean anything.
_RECALLS = ("balanced_accuracy", "batch_predictability")


def worst(items: Items, metric: Metric) -> Worst | None:
    """Return the group in which a metric is worst; None where nothing is grouped, or no group is large enough.

    Groups with fewer than 10 units are counted, not compared: the worst of many small groups is noise. It is still
    the worst of several, hence worse than it would be in new patients.

    Parameters
    ----------
    items
        With columns ``by:NAME``, a group each.
    metric
        Its direction says what is worst.
    """
    found: list[tuple[float, str, str, int, int]] = []
    small = undefined = 0
    grouped = items.frame.filter(regex=f"^{_PREFIX}")
    items = items.without(list(grouped))
    for column in grouped:
        known = grouped[column].notna().to_numpy()
        groups = grouped[column].astype(str).where(known, "").to_numpy()
        names = np.unique(groups[known])
        if len(names) < 2:
            continue
        for name in names:
            part = items.where(known & (groups == name))
            if part.units.independent < MINIMUM:
                small += 1
                continue
            one_class = part.kind in ("binary", "multiclass") and part.frame["y_true"].nunique() < 2
            value = np.nan if one_class and metric.name not in _RECALLS else metric.fn(part)
            if not np.isfinite(value):
                undefined += 1
            else:
                found.append((value, column.removeprefix(_PREFIX), str(name), part.units.independent, len(part.frame)))
    if not found:
        return None
    pick = min if metric.higher_is_better else max
    value, role, name, n_units, n_rows = pick(found)
    return Worst(
        role=role,
        name=name,
        value=value,
        n_units=n_units,
        n_items=n_rows,
        n_groups=len(found),
        n_small=small,
        n_undefined=undefined,
    )
