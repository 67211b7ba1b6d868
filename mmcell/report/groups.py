"""Scores by subgroup: cell types, batches and strata, for the leading candidate beside its reference."""

from __future__ import annotations

from dataclasses import dataclass

from mmcell.records import Group
from mmcell.report.panel import Panel, Row
from mmcell.report.view import TaskView


@dataclass(frozen=True)
class GroupTable:
    """One way to group, a column for every place of the primary metric.

    Attributes
    ----------
    role
        What is grouped.
    columns
        Names of the places.
    rows
        Name of a group, and for every place what the candidate and what the reference reach there.
    """

    role: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[Group | None, Group | None], ...]], ...]


def group_tables(task: TaskView) -> list[GroupTable]:
    """Return a table for everything that items are grouped by, groups in the order of their names."""
    first, reference = leading(task), task.panels[0].reference if task.panels and task.panels[0].best else None
    panels = [p for p in task.panels if _groups(p, first)]
    ours = {(p.place, g.role, g.name): g for p in panels for g in _groups(p, first)}
    beside = {(p.place, g.role, g.name): g for p in panels for g in _groups(p, reference)}
    roles = dict.fromkeys(role for _, role, _ in ours)
    found = []
    for role in roles:
        here = [p for p in panels if any(place == p.place and r == role for place, r, _ in ours)]
        names = sorted({name for _, r, name in ours if r == role})
        rows = tuple(
            (n, tuple((ours.get((p.place, role, n)), beside.get((p.place, role, n))) for p in here)) for n in names
        )
        found.append(GroupTable(role, tuple(p.title for p in here), rows))
    return found


def leading(task: TaskView) -> Row | None:
    """Return the row whose groups are shown in every place: the leading candidate of the first one."""
    return (task.panels[0].best or task.panels[0].reference) if task.panels else None


def _groups(panel: Panel, who: Row | None) -> tuple[Group, ...]:
    """Return the groups of a record in one place."""
    for row in panel.rows:
        if who is not None and row.record.key == who.record.key and row.score is not None:
            return row.score.groups
    return ()
