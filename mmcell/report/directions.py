"""`DirectionTable`: what every perturbation does beside what the disease does, from perturbations to patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcell.records import RunRecord, Score
from mmcell.report.panel import Row
from mmcell.report.view import TaskView
from mmcell.report.words import CHAIN_STRATA

#: Of the disease and of single perturbations: metric and the p that stands beside it.
_PAIRS = (("severity_spearman", "severity_p"), ("disease_auroc", "disease_p"), ("connectivity", "connectivity_p"))
#: Asked of all perturbations at once.
_WHOLE = ("reversal_rank", "reversal@1", "added_c")


@dataclass(frozen=True)
class Direction:
    """One direction along which patients were ordered.

    Attributes
    ----------
    name
        In words.
    n_chosen
        Folds in which training patients chose this perturbation; None of what is no single perturbation.
    cosine
        Of its signature with the disease's direction: mean, lowest and highest over folds; None where unknown.
    scores
        A score and the p beside it for each metric of the table, None where there is none.
    """

    name: str
    n_chosen: int | None
    cosine: tuple[float, float, float] | None
    scores: tuple[tuple[Score | None, Score | None], ...]


@dataclass(frozen=True)
class DirectionTable:
    """All directions of one record in one split.

    Attributes
    ----------
    name, split
        Whose, and how units were held out.
    metrics
        Of the columns.
    n_folds
        Folds that chose.
    rows
        The chosen perturbation, the disease itself, and every perturbation.
    whole
        Scores that are asked of all perturbations at once.
    """

    name: str
    split: str
    metrics: tuple[str, ...]
    n_folds: int
    rows: tuple[Direction, ...]
    whole: tuple[Score, ...]


def direction_tables(task: TaskView) -> list[DirectionTable]:
    """Return a table for every split, of the leading candidate, or of the reference where nothing competes.

    Nothing for a task of another kind.
    """
    row = (task.panels[0].best or task.panels[0].reference) if task.panels else None
    if row is None or not {s.metric for s in row.record.scores} & {m for pair in _PAIRS for m in pair}:
        return []
    splits = dict.fromkeys(s.split for s in row.record.scores)
    return [_table(row, split) for split in splits]


def _table(row: Row, split: str) -> DirectionTable:
    scores = [s for s in row.record.scores if s.split == split]
    metrics = tuple(pair for pair in _PAIRS if any(s.metric == pair[0] for s in scores))
    of_pairs = {m for pair in metrics for m in pair}
    strata = dict.fromkeys(s.stratum for s in scores if s.metric in of_pairs)
    first = [s for s in CHAIN_STRATA if s in strata]
    folds = _folds(row.record)
    rows = [
        Direction(
            CHAIN_STRATA.get(stratum, stratum),
            None if stratum in CHAIN_STRATA else sum(f["chosen"] == stratum for f in folds),
            _cosine(folds, stratum),
            tuple((_at(scores, m, stratum), _at(scores, p, stratum)) for m, p in metrics),
        )
        for stratum in [*first, *(s for s in strata if s not in first and "/" not in s)]
    ]
    whole = [s for m in _WHOLE if (s := _at(scores, m, "all")) is not None]
    return DirectionTable(row.name, split, tuple(m for m, _ in metrics), len(folds), tuple(rows), tuple(whole))


def _folds(record: RunRecord) -> list[dict[str, Any]]:
    """Return what is known of the folds that chose a perturbation."""
    return [f for f in record.details.get("folds", []) if "chosen" in f and "connectivity" in f]


def _cosine(folds: Sequence[dict[str, Any]], name: str) -> tuple[float, float, float] | None:
    known = [float(f["connectivity"][name]) for f in folds if f["connectivity"].get(name) is not None]
    return (float(np.mean(known)), min(known), max(known)) if known else None


def _at(scores: Sequence[Score], metric: str, stratum: str) -> Score | None:
    return next((s for s in scores if s.metric == metric and s.stratum == stratum), None)
