"""What candidates add to the clinic: clinical covariates, embedding, both, and the gain, a table a split."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mmcell.report.view import TaskView
from mmcell.report.words import metric_name


@dataclass(frozen=True)
class Gain:
    """One candidate under one metric; a number is None where there is none.

    Attributes
    ----------
    name, metric
        Of whom, and of what; `errs` says that lower is better, so that a gain is negative.
    clinical, alone, both, gain, low, high, mde, p
        Columns of `mmcell.Results.incremental`.
    """

    name: str
    metric: str
    errs: bool
    clinical: float | None
    alone: float | None
    both: float | None
    gain: float | None
    low: float | None
    high: float | None
    mde: float | None
    p: float | None

    @property
    def is_told(self) -> bool:
        """Whether the interval of the gain leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def helps(self) -> bool:
        """Whether the interval of the gain lies on the better side of 0."""
        return self.is_told and self.gain is not None and (self.gain < 0) == self.errs


def gains(task: TaskView, table: pd.DataFrame) -> list[tuple[str, list[Gain]]]:
    """Return title and rows for every split and stratum of a task; `table` is `mmcell.Results.incremental`."""
    mine = table[(table["task"] == task.spec["name"]) & (table["dataset"] == task.dataset)]
    mine = mine[mine["clinical"].notna() & mine["both"].notna()]
    lower = {s.metric for r in task.records for s in r.scores if not s.higher_is_better}
    found = []
    # Held-out groups one by one are in the CSV: there are few patients in each.
    whole = mine["stratum"].eq("all") | mine["stratum"].str.startswith("within ")
    for (split, stratum), part in mine[whole].groupby(["split", "stratum"], sort=False):
        rows = [_gain(row, str(row["metric"]) in lower) for row in part.to_dict("records")]
        title = str(split) if stratum == "all" else f"{split}, {stratum}"
        found.append((title, rows))
    return found


def _gain(row: dict[str, object], errs: bool) -> Gain:
    value = {
        name: None if pd.isna(row[column]) else float(str(row[column]))
        for name, column in (
            ("clinical", "clinical"), ("alone", "alone"), ("both", "both"), ("gain", "gain"), ("low", "ci_low"),
            ("high", "ci_high"), ("mde", "mde"), ("p", "p_null"),
        )
    }  # fmt: skip
    label = " → ".join(str(row[k]) for k in ("encoder", "patient_encoder") if row[k])
    return Gain(f"{label} · {row['probe']}", metric_name(str(row["metric"])), errs, **value)
