"""Grading: the truth meets the predictions, by id, and becomes scores. The method never comes here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.records import Gap, Score
from mmcell.splits import Split
from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.stats.comparison import difference

#: (target, query, gallery, stratum, split, metric) -> the items, the metric and its estimate there.
Estimates = Mapping[tuple[str, ...], tuple[Items, Metric, Estimate]]


def grade(items: Items, dataset: Dataset, split: Split, level: str) -> Items:
    """Return the items of one split with unit, repeat, fold and truth attached by id.

    Items whose truth is missing are left out; they are counted as excluded when the split is scored.

    Raises
    ------
    MmcellError
        An item that is not held out under this split, or is not in the dataset.
    """
    frame = items.frame.copy()
    frame["unit"] = dataset.units_of(level).reindex(frame["item"]).to_numpy()
    foreign = ~frame["unit"].isin(split.test)
    if foreign.any():
        raise MmcellError(
            f"the task returned {int(foreign.sum())} items that are not held out in this fold "
            f"({first(frame.loc[foreign, 'item'])}); score only view.test"
        )
    frame["split"], frame["repeat"], frame["fold"] = split.spec.name, split.repeat, split.fold
    if set(frame["target"]) == {"label"} and "label" not in split.spec.targets:
        frame["target"] = split.spec.targets[0]
    if items.kind == "retrieval":
        return Items(frame, items.kind, details=items.details)
    parts = []
    for target, part in frame.groupby("target", sort=False):
        truth = dataset.truth(str(target), level)
        known = part[part["item"].isin(truth.index)]
        parts.append(known.assign(**{c: truth.loc[known["item"], c].to_numpy() for c in truth}))
    graded = pd.concat(parts)
    if items.kind == "multiclass":
        # Classes are text, whatever a task returned, so that truth and prediction meet.
        graded = graded.astype({"y_true": str, "y_pred": str})
    return Items(graded, items.kind, details=items.details)


def estimate(items: Items, metrics: list[Metric], *, n_boot: int, seed: int) -> Estimates:
    """Return the estimate of every metric on every panel of items."""
    found = {}
    for facts, panel in items.panels():
        wanted = {m.name: m for m in metrics if m.reads(panel.kind, facts["target"])}
        for name, value in bootstrap(panel, list(wanted.values()), n_boot=n_boot, seed=seed).items():
            found[(*facts.values(), name)] = (panel, wanted[name], value)
    return found


def scores_of(
    estimates: Estimates, reference: Estimates | None, splits: list[Split], unit: pd.Series, level: str
) -> list[Score]:
    """Return the scores of one candidate, each with its difference from the reference.

    Parameters
    ----------
    estimates, reference
        Of the candidate and of the reference control; None for the reference itself, or where there is none.
    splits
        All splits that were run.
    unit
        Item -> unit, for what should have been scored.
    level
        The level of the items.
    """
    found = []
    for place, (panel, metric, value) in estimates.items():
        target, query, gallery, stratum, split, _ = place
        of_spec = [s for s in splits if s.spec.name == split]
        there = [s for s in of_spec if s.group == stratum] or of_spec
        expected = unit.index[unit.isin(np.concatenate([s.test for s in there]))]
        scored = pd.Index(panel.frame["item"].unique())
        other = reference.get(place) if reference is not None else None
        gap = difference(value, other[2]) if other is not None else None
        found.append(
            Score(
                metric=metric.name,
                higher_is_better=metric.higher_is_better,
                target=target,
                query=query,
                gallery=gallery,
                stratum=stratum,
                split=split,
                shift=of_spec[0].spec.shift,
                value=value.value,
                status=value.status,
                reason=value.reason,
                low=value.low,
                high=value.high,
                method=value.method,
                level=level,
                n_items=len(scored),
                n_units=value.n_units,
                n_excluded=len(expected.difference(scored)),
                chance=metric.chance_of(panel),
                difference=None if gap is None else Gap(value=gap.value, low=gap.low, high=gap.high),
                n_gallery=float(panel.frame["n_gallery"].median()) if "n_gallery" in panel.frame else None,
            )
        )
    return found
