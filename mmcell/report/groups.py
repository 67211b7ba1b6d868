"""Scores by subgroup: cell types, batches and strata, for the leading candidate beside its reference."""

from __future__ import annotations

from dataclasses import dataclass

from mmcell.records import Group
from mmcell.report.view import Panel, Row, TaskView


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

    @property
    def sizes(self) -> dict[str, Group]:
        """Of every group the entry with most items: how many there are."""
        found = {}
        for name, cells in self.rows:
            entries = [group for pair in cells for group in pair if group is not None]
            found[name] = max(entries, key=lambda g: g.n_items)
        return found


def group_tables(task: TaskView) -> list[GroupTable]:
    """Return a table for everything that items are grouped by, groups in the order of their names."""
    panels = [p for p in task.panels if _groups(_leading(p))]
    if not panels:
        return []
    leading = {(p.place, g.role, g.name): g for p in panels for g in _groups(_leading(p))}
    beside = {(p.place, g.role, g.name): g for p in panels if p.best for g in _groups(p.reference)}
    roles = dict.fromkeys(role for _, role, _ in leading)
    found = []
    for role in roles:
        here = [p for p in panels if any(place == p.place and r == role for place, r, _ in leading)]
        names = sorted({name for _, r, name in leading if r == role})
        rows = tuple(
            (n, tuple((leading.get((p.place, role, n)), beside.get((p.place, role, n))) for p in here)) for n in names
        )
        found.append(GroupTable(role, tuple(p.title for p in here), rows))
    return found


def _leading(panel: Panel) -> Row | None:
    return panel.best or panel.reference


def _groups(row: Row | None) -> tuple[Group, ...]:
    return row.score.groups if row is not None and row.score is not None else ()
