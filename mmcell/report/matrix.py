"""`Matrix`: encoders against tasks, with letters for those that cannot be told apart within a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import get_metric
from mmcell.records import Score
from mmcell.report.panel import Panel, Row, rank
from mmcell.report.view import TaskView
from mmcell.stats.comparison import compare

#: So many are compared, the best and the reference: time grows with the pairs, and with the draws that each needs.
_MOST = 8


@dataclass(frozen=True)
class Entry:
    """One encoder in one place: its row there, and the letters that it shares with what it is not told apart from."""

    row: Row
    letters: str = ""

    @property
    def score(self) -> Score | None:
        """Its score, None where it failed or was not scored."""
        return self.row.score


@dataclass(frozen=True)
class Column:
    """The primary metric of a task in one place.

    Attributes
    ----------
    task, panel
        What and where.
    entries
        Name -> entry, of what competes and of the reference.
    note
        Why there are no letters, or whose are missing; "" where everybody has some.
    """

    task: TaskView
    panel: Panel
    entries: Mapping[str, Entry]
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Encoders in rows, tasks in columns. A score is read within its column: metrics differ between them."""

    names: tuple[str, ...]
    columns: tuple[Column, ...] = field(default=())


def matrix(tasks: Sequence[TaskView], items: Mapping[str, Items]) -> Matrix | None:
    """Return the matrix of a run; None with fewer than two tasks, or where nothing competes.

    Parameters
    ----------
    tasks
        Of the run.
    items
        Record key -> items, from which differences are computed; without them there are no letters.
    """
    if len(tasks) < 2:
        return None
    columns = tuple(column for task in tasks for column in _columns(task, items))
    names = {name: entry.row.record.competes for column in columns for name, entry in column.entries.items()}
    if not any(names.values()):
        return None
    # What competes first, in the order of the tasks.
    return Matrix(tuple(sorted(names, key=lambda name: not names[name])), columns)


def _columns(task: TaskView, items: Mapping[str, Items]) -> Iterator[Column]:
    for panel in task.headlines:
        rows = [row for row in panel.rows if row.record.competes or row.is_reference]
        # The reference first, then from the best on: what is beyond the most is left out.
        order = sorted(rows, key=lambda row: (not row.is_reference, rank(row.score)))
        scored = {row.name: part for row in order if (part := _scored(row, panel, items)) is not None}
        family = dict(islice(scored.items(), _MOST))
        letters, note = _letters(panel.metric, family, rows)
        if len(scored) > len(family) and not note:
            note = f"letters for the reference and the best alone, {_MOST} in all; mmcell compare takes everybody"
        yield Column(task, panel, {row.name: Entry(row, letters.get(row.name, "")) for row in rows}, note)


def _scored(row: Row, panel: Panel, items: Mapping[str, Items]) -> Items | None:
    """Return the items behind a row that has a value there."""
    own = items.get(row.record.key)
    if own is None or row.score is None or row.score.value is None or not row.record.is_rival:
        return None
    return next((part for facts, part in own.panels() if tuple(facts.values()) == panel.place), None)


def _letters(metric: str, family: Mapping[str, Items], rows: Sequence[Row]) -> tuple[dict[str, str], str]:
    """Return name -> letters, and why there are none."""
    if len(family) < 2:
        return {}, "no letters, for fewer than two have items to compare"
    parameters = rows[0].record.parameters
    try:
        found = compare(
            family, get_metric(metric), n_boot=int(parameters.get("n_boot", 1000)),
            seed=int(parameters.get("seed", 0)),
        )  # fmt: skip
    except MmcellError as error:
        # Not every family can be compared (no shared items, a metric of a package that is not here): the page says so.
        return {}, f"no letters, for {error}"
    return dict(found.letters), ""
