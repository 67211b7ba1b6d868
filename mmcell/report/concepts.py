"""What can be read of patient vectors: how the classes differ in every component's weight and concepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmcell.records import RunRecord

_WEIGHT = "weight: "
#: An effect of this many standard deviations has the full colour.
_FULL = 1.5


@dataclass(frozen=True)
class Cell:
    """One contrast; `tint` in [−1, 1] is how strongly it is coloured."""

    effect: float | None
    low: float | None
    high: float | None
    q: float | None

    @property
    def tint(self) -> float:
        """Share of the full colour, its sign that of the effect."""
        return 0.0 if self.effect is None else max(-1.0, min(1.0, self.effect / _FULL))

    @property
    def style(self) -> str:
        """The background: blue above, orange below, paler for less."""
        share = abs(self.tint) * 0.55
        colour = "0, 114, 178" if self.tint > 0 else "213, 94, 0"
        return f"background: rgba({colour}, {share:.2f})"


@dataclass(frozen=True)
class ConceptTable:
    """The contrasts of one record: a row a component, a column for its weight and for every concept."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    n_positive: int
    n_negative: int


def concept_tables(records: Iterable[RunRecord], names: Mapping[str, str]) -> list[ConceptTable]:
    """Return a table for every record whose vectors can be read."""
    return [_table(names[r.key], r.details["contrasts"]) for r in records if r.details.get("contrasts")]


def _table(name: str, found: list[dict[str, Any]]) -> ConceptTable:
    cells: dict[tuple[str, str], Cell] = {}
    for entry in found:
        text = str(entry["name"])
        component, _, concept = text.rpartition(": ")
        place = (text.removeprefix(_WEIGHT), "weight") if text.startswith(_WEIGHT) else (component, concept)
        cells[place] = Cell(entry["effect"], entry["ci_low"], entry["ci_high"], entry["q"])
    rows, columns = (tuple(dict.fromkeys(place[i] for place in cells)) for i in (0, 1))
    return ConceptTable(
        name, columns, tuple((row, tuple(cells.get((row, c)) for c in columns)) for row in rows),
        int(found[0]["n_positive"]), int(found[0]["n_negative"]),
    )  # fmt: skip
