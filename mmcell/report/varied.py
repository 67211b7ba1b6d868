"""What the page shows of a task that was varied: learning curves, and how far each change moved the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from mmcell.records import RunRecord
from mmcell.report.curves import curve_figures, known
from mmcell.report.figures import Drawn
from mmcell.report.panel import Panel, Row
from mmcell.report.view import TaskView
from mmcell.report.words import number
from mmcell.sensitivity import AXES, Sensitivity

#: What is changed along each axis, for the readers of the page.
_MEANINGS = {
    "space": "the embedding normalised, centred, whitened or cut to few components",
    "similarity": "another similarity",
    "metric": "another metric of the task",
    "training": "the same units held out, fewer of the others to train on",
    "patients": "fewer units on both sides, as in a smaller study",
    "cells": "fewer cells of every unit",
    "equal-cells": "every cell of every patient instead of equally many of each, or the other way round; a gain with "
    "all cells is what their number gives away, or what more cells tell",
    "depth": "thinner counts",
    "balance": "half of one class left out",
    "batch": "one batch left out",
    "confounding": "training sets in which label and batch go together more and more",
}
#: Values that are as good as equal.
_SAME = 1e-6


@dataclass(frozen=True)
class Cell:
    """A number with its interval, as far as they are there, and what it belongs to."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @classmethod
    def of(cls, facts: dict[str, Any], value: str, low: str, high: str, note: str = "") -> Self:
        """Take the numbers out of a row of a table."""
        return cls(known(facts[value]), known(facts[low]), known(facts[high]), note)


@dataclass(frozen=True)
class ChangeTable:
    """One place of the primary metric.

    Attributes
    ----------
    title
        The place.
    axes
        What was varied, a column each.
    rows
        Row of the run, its score as it is, and per axis the change that hurts most; along ``confounding`` the loss.
    order
        Per axis the lowest Kendall's tau between the orders of encoders, and under which change.
    """

    title: str
    axes: tuple[str, ...]
    rows: tuple[tuple[Row, Cell, tuple[Cell, ...]], ...]
    order: tuple[Cell, ...]


@dataclass(frozen=True)
class Varied:
    """All of one task.

    Attributes
    ----------
    meanings
        Axis that was varied -> what was changed.
    curves, tables
        Figures, and a table for every place.
    remarks
        Whose change, and why there is no value, or fewer folds.
    notes
        What could not be varied, in words.
    other
        How the numbers differ from those of the run; then nothing else is shown.
    """

    meanings: dict[str, str]
    curves: tuple[Drawn, ...] = ()
    tables: tuple[ChangeTable, ...] = ()
    remarks: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    other: str = ""


def varied(task: TaskView, found: Sensitivity | None) -> Varied | None:
    """Return what is shown of a task; None where it was not varied.

    Parameters
    ----------
    task
        As it was run.
    found
        Of this run. One of another run (left in its folder) is named, not shown.
    """
    table, order, robustness = (
        (_of(task, f) for f in (found.table, found.least_stable, found.robustness)) if found else (pd.DataFrame(),) * 3
    )
    if found is None or table.empty:
        return None
    if other := _other(task, table):
        return Varied({}, other=other)
    asked = set(table["axis"]) - {"as-is"}
    prefix = f"{task.spec['name']}: "
    return Varied(
        {axis: _MEANINGS[axis] for axis in AXES if axis in asked},
        tuple(curve_figures(task, table)),
        tuple(_changes(p, robustness, order, [a for a in AXES if a in asked]) for p in task.headlines),
        _remarks(task, table, robustness),
        tuple(note.removeprefix(prefix) for note in found.notes if note.startswith(prefix)),
    )


def _of(task: TaskView, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["task"] == task.spec["name"]) & (frame["dataset"] == task.dataset)]


def _who(record: RunRecord) -> tuple[str, str, str]:
    return record.encoding, record.patient_encoder, record.probe


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["encoder"], row["patient_encoder"], row["probe"]


def _place(panel: Panel) -> tuple[str, str]:
    """Return split and query."""
    return panel.place[4], panel.place[1]


def _other(task: TaskView, table: pd.DataFrame) -> str:
    """Say in what the numbers are those of another run; "" when they are of this one."""
    names = {_who(r): task.names[r.key] for r in task.records}
    scores = {(_who(r.record), _place(p)): r.score for p in task.headlines for r in p.scored}
    whole = table[(table["axis"] == "as-is") & (table["metric"] == task.spec["primary"]) & table["value"].notna()]
    for row in whole.to_dict("records"):
        who = _key(row)
        if who not in names:
            return f"{' → '.join(filter(None, who))} was varied and is not in this run"
        score = scores.get((who, (row["split"], row["query"])))
        if score is not None and score.value is not None and abs(score.value - row["value"]) > _SAME:
            return f"{names[who]} scores {number(row['value'])} there and {number(score.value)} here"
    return ""


def _changes(panel: Panel, robustness: pd.DataFrame, order: pd.DataFrame, axes: Sequence[str]) -> ChangeTable:
    split, query = _place(panel)
    here = robustness[(robustness["split"] == split) & (robustness["query"] == query)]
    facts = {_key(r): r for r in here.to_dict("records")}
    rows = []
    for row in panel.rows:
        found = facts.get(_who(row.record))
        if found is None:
            continue
        score = Cell.of(found, "utility", "ci_low", "ci_high")
        cells = [
            Cell.of(found, "confounding_loss", "loss_low", "loss_high")
            if axis == "confounding"
            else Cell(known(found.get(f"{axis}_worst")))
            for axis in axes
        ]
        rows.append((row, score, tuple(cells)))
    lowest = order[(order["split"] == split) & (order["query"] == query)].set_index("axis").to_dict("index")
    taus = tuple(
        Cell.of(lowest[a], "kendall_tau", "tau_low", "tau_high", lowest[a]["variant"]) if a in lowest else Cell()
        for a in axes
    )
    return ChangeTable(panel.title, tuple(axes), tuple(rows), taus)


def _remarks(task: TaskView, table: pd.DataFrame, robustness: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Return who and under what, and the reason, for whatever has no value, fewer folds, or no plain loss."""
    names = {_who(r): task.names[r.key] for r in task.records}
    lacks = table["value"].isna() | table["reason"].str.contains("left out: ", regex=False)
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in table[lacks].to_dict("records"):
        found.setdefault((names.get(_key(row), row["encoder"]), row["axis"], row["reason"]), {})[row["variant"]] = None
    said = {f"{name}, {axis} {', '.join(some)}": reason for (name, axis, reason), some in found.items()}
    for row in robustness[robustness["confounding_reason"] != ""].to_dict("records"):
        said[f"{names.get(_key(row), row['encoder'])}, loss under confounding, {row['split']}"] = row[
            "confounding_reason"
        ]
    return tuple(said.items())
