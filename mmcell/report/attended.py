"""Which types of cells a patient encoder looks at: share, weight and score of each, in held-out patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Self

from mmcell.records import RunRecord


@dataclass(frozen=True)
class Spread:
    """The mean over folds, and the lowest and the highest of them."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """Summarise the values of one or more folds."""
        return cls(fmean(values), min(values), max(values))


@dataclass(frozen=True)
class Attended:
    """One type: in how many folds it occurs, its share of cells, its share of the weight, and what its cells score."""

    name: str
    n_folds: int
    share: Spread
    weight: Spread
    score: Spread

    @property
    def ratio(self) -> float:
        """How much more such a cell counts than the average cell does."""
        return self.weight.mean / self.share.mean


@dataclass(frozen=True)
class AttendedTable:
    """The types of one combination of encoders, the most weight first; `score` is what their scores are."""

    name: str
    score: str
    n_folds: int
    rows: tuple[Attended, ...]


def attended_tables(records: Iterable[RunRecord]) -> list[AttendedTable]:
    """Return a table for every combination of encoders that weighs cells that have types, whatever probe follows."""
    found = {}
    for record in records:
        facts = [f["patient_encoder"] for f in record.details.get("folds", ()) if "patient_encoder" in f]
        folds = [f for f in facts if f.get("by type")]
        if folds and record.label not in found:
            found[record.label] = _table(record.label, folds)
    return list(found.values())


def _table(name: str, folds: list[dict[str, Any]]) -> AttendedTable:
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    kinds = dict.fromkeys(row["type"] for fold in folds for row in fold["by type"])
    for fold in folds:
        there = {row["type"]: row for row in fold["by type"]}
        for kind in kinds:
            # Where nobody has a type its share and its weight are 0; its score is not known.
            for what in ("share", "weight"):
                values[kind][what].append(float(there[kind][what]) if kind in there else 0.0)
            if kind in there:
                values[kind]["score"].append(float(there[kind]["score"]))
    rows = (
        Attended(kind, len(of["score"]), *(Spread.of(of[what]) for what in ("share", "weight", "score")))
        for kind, of in values.items()
    )
    ordered = tuple(sorted(rows, key=lambda r: (-r.weight.mean, r.name)))
    return AttendedTable(name, str(folds[0]["score"]), len(folds), ordered)
