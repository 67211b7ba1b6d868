"""Cell encoders against patient encoders: one grid a place, the value and the range of ranks in each cell."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mmcell.report.view import TaskView
from mmcell.report.words import metric_name


@dataclass(frozen=True)
class Combination:
    """One cell encoder through one patient encoder; numbers are None where there are none."""

    value: float
    low: float | None
    high: float | None
    rank: tuple[int, int] | None

    @property
    def can_be_first(self) -> bool:
        """Whether its interval of ranks holds the first."""
        return self.rank is not None and self.rank[0] == 1


@dataclass(frozen=True)
class Grid:
    """Patient encoders in rows, cell encoders in columns, each by the best that it reaches.

    Attributes
    ----------
    title, metric
        Where, and of what.
    columns
        Cell encoders.
    rows
        Patient encoder, and its combination with every cell encoder; a single one where it reads no cell embedding.
    n
        How many combinations are ranked.
    """

    title: str
    metric: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Combination | None, ...]], ...]
    n: int


def grids(task: TaskView, table: pd.DataFrame) -> list[Grid]:
    """Return a grid for every split and probe of a task; `table` is `mmcell.Results.crossed`."""
    mine = table[(table["task"] == task.spec["name"]) & (table["dataset"] == task.dataset)]
    found = []
    for (split, query, probe), part in mine.groupby(["split", "query", "probe"], sort=False):
        columns = tuple(dict.fromkeys(e for e in part["encoder"] if e))
        rows = []
        for name, own in part.groupby("patient_encoder", sort=False):
            cells = {str(row["encoder"]): _cell(row) for row in own.to_dict("records")}
            single = tuple(cells.values()) if set(cells) == {""} else tuple(cells.get(c) for c in columns)
            rows.append((str(name), single))
        title = ", ".join(filter(None, (str(split), str(query), str(probe))))
        found.append(
            Grid(title, metric_name(str(part["metric"].iloc[0])), columns, tuple(rows), int(part["n_ranked"].iloc[0]))
        )
    return found


def _cell(row: dict[str, object]) -> Combination:
    value, low, high, first, last = (
        None if pd.isna(row[name]) else float(str(row[name]))
        for name in ("value", "ci_low", "ci_high", "rank_low", "rank_high")
    )
    ranked = None if first is None or last is None else (round(first), round(last))
    return Combination(float("nan") if value is None else value, low, high, ranked)
