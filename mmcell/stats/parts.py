"""Parts of a mean (classes): a draw that lacks one of them is no draw of that mean."""

from __future__ import annotations

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric

#: The spread of a class between fewer units than this is not known: with two the 95 % interval of a balanced accuracy
#: held the truth in 76 % of simulated cohorts, with three in 87 %, with five in 95 % (`tests.studies.classes`).
LEAST = 3


def drawn(metric: Metric, items: Items, weights: np.ndarray) -> np.ndarray:
    """Return a metric's value under each row of weights (draws, units), NaN where it is undefined.

    `Metric.draws` scores what a draw holds. Over fewer classes than the observed items have that is another mean, and
    moves with how hard the absent class is. Where a class has fewer than three units, all draws are undefined.

    Parameters
    ----------
    metric
        Its `Metric.parts` say of what it is a mean.
    items
        As observed: what has to be in every draw.
    weights
        Multiplicities.
    """
    held = _held(metric, items)
    if held is None:
        return metric.draws(items, weights)
    if thin(metric, items) is not None:
        return np.full(len(weights), np.nan)
    lacking = ((np.asarray(weights) > 0) @ held.astype(float) == 0).any(axis=1)
    return np.where(lacking, np.nan, metric.draws(items, weights))


def thin(metric: Metric, items: Items) -> int | None:
    """Return how many units the part with the fewest has, where these are too few for an interval; None otherwise."""
    held = _held(metric, items)
    fewest = LEAST if held is None else int(_units_of(items, held).min(initial=LEAST))
    return fewest if fewest < LEAST else None


def _held(metric: Metric, items: Items) -> np.ndarray | None:
    """Return (units, parts) whether a unit has items of a part."""
    if metric.parts is None:
        return None
    part = metric.parts(items)
    held = np.zeros((len(items.units), part.max(initial=-1) + 1), dtype=bool)
    held[items.codes[part >= 0], part[part >= 0]] = True
    return held


def _units_of(items: Items, held: np.ndarray) -> np.ndarray:
    """Return (parts,) the units of each part, of two crossed factors the fewer levels."""
    units = items.units
    counts = []
    for level, member in zip(units.levels, units.members, strict=True):
        there = np.zeros((len(level), held.shape[1]), dtype=bool)
        np.logical_or.at(there, member, held)
        counts.append(there.sum(axis=0))
    return np.min(counts, axis=0)
