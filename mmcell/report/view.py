"""`TaskView`: what the report shows of a task, sorted out before any markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmcell.errors import MmcellError
from mmcell.records import RunRecord
from mmcell.report.numbered import FindingGroup, numbered
from mmcell.report.panel import (
    Panel,
    Row,
    is_reference,
    panel_of,
    places_of,
    rank,
    score_at,
    with_leaks,
    without_stratum,
)
from mmcell.report.words import CHAIN_METRICS
from mmcell.strata import WITHIN

_ROLES = ("candidate", "control", "ceiling")


@dataclass(frozen=True)
class TaskView:
    """All that the report says about one task on one dataset.

    Attributes
    ----------
    ident
        Anchor, unique in the page.
    records
        Of this task.
    headlines
        The primary metric in every place with stratum ``all``.
    panels
        The primary metric in every place: what the forest plot shows.
    complete
        Metric -> panels, all of them.
    findings, everywhere
        Numbered groups, leaks first; those of them that concern every row.
    """

    ident: str
    records: tuple[RunRecord, ...]
    headlines: tuple[Panel, ...]
    panels: tuple[Panel, ...]
    complete: dict[str, tuple[Panel, ...]]
    findings: tuple[FindingGroup, ...]
    everywhere: tuple[FindingGroup, ...]
    names: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """The task's facts."""
        return self.records[0].task

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.records[0].dataset

    @property
    def splits(self) -> list[dict[str, Any]]:
        """The split specs."""
        split = self.spec.get("split") or []
        return list(split) if isinstance(split, (list, tuple)) else [split]

    @property
    def reference(self) -> str:
        """Name of the reference control; where it stands for every probe, each row is compared with its own."""
        found = [self.names[r.key] for r in self.records if is_reference(r)]
        if len(found) > 1:
            return f"{self.spec['reference']} through the same probe"
        return found[0] if found else str(self.spec.get("reference", ""))

    @property
    def roles(self) -> dict[str, list[str]]:
        """Role -> names, in the order of the table."""
        return {role: [self.names[r.key] for r in self.records if r.stands_as == role] for role in _ROLES}

    @property
    def failed(self) -> list[RunRecord]:
        """Records without scores."""
        return [r for r in self.records if r.error]

    @property
    def level(self) -> str:
        """What an item is."""
        score = next((s for r in self.records for s in r.scores if s.level), None)
        if score is not None and score.target == "effect" and score.query:
            # Cells are what is read, not what is scored.
            return "perturbation" if score.level == "profile" else "unit under one perturbation"
        if score is not None and score.metric in CHAIN_METRICS:
            return "unit along one direction"
        return score.level if score is not None else "item"

    @property
    def n_units(self) -> int:
        """Most units behind a score."""
        return max((s.n_units for r in self.records for s in r.scores), default=0)

    @property
    def n_items(self) -> int:
        """Most items behind a score."""
        return max((s.n_items for r in self.records for s in r.scores), default=0)

    @property
    def incomplete(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Controls that are lacking, with the names of the rows that lack them; no name where all do."""
        found: dict[tuple[str, ...], list[str]] = {}
        for record in self.records:
            if record.missing_controls:
                found.setdefault(record.missing_controls, []).append(self.names[record.key])
        return [(m, () if len(who) == len(self.records) else tuple(who)) for m, who in found.items()]

    @property
    def published(self) -> list[tuple[dict[str, Any], Row | None]]:
        """Figures published for the same data and protocol, each with the leading candidate's row in its place."""
        found = []
        for figure in self.spec.get("published") or ():
            places = [
                panel for panel in self.complete.get(figure["metric"], ())
                if figure["query"] in ("", panel.place[1]) and figure["stratum"] == panel.place[3]
                and figure["split"] in ("", panel.place[4])
            ]  # fmt: skip
            found.append((figure, places[0].best if places else None))
        return found

    @property
    def leaks(self) -> list[FindingGroup]:
        """Findings of severity ``leak``."""
        return [g for g in self.findings if g.severity == "leak"]

    def worst(self, panel: Panel) -> Row | None:
        """Return the leading candidate's row in the held-out group where it does worst.

        None without groups, and where its score knows its worst subgroup itself.
        """
        best = panel.best
        if best is None or best.score is None or not best.score.shift or best.score.worst is not None:
            return None
        rows = [
            row
            for other in self.panels
            if other.place[3] != "all"
            and not other.place[3].startswith(WITHIN)
            and without_stratum(other.place) == without_stratum(panel.place)
            for row in other.scored
            if row.record.key == best.record.key
        ]
        last = max(rows, key=lambda r: rank(r.score), default=None)
        # Groups may hold fewer classes than all together; where even the worst is no worse, none is worth naming.
        return last if last is not None and rank(last.score) > rank(best.score) else None


def tasks_of(records: Sequence[RunRecord]) -> list[TaskView]:
    """Return what is to be shown of every task, in the order of the records.

    Raises
    ------
    MmcellError
        A record, perhaps from elsewhere, does not say what its task is.
    """
    families: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if "question" not in record.task:
            raise MmcellError(f"report: the record {record.label!r} does not say what its task asks; run it again")
        families.setdefault((record.task["name"], record.dataset), []).append(record)
    return [_task(f"task-{i}", tuple(family)) for i, family in enumerate(families.values(), start=1)]


def _task(ident: str, records: tuple[RunRecord, ...]) -> TaskView:
    names = _names(records)
    findings, marks, everywhere = numbered(records, names)
    primary = records[0].task["primary"]
    for place in places_of(records, primary)[:1]:
        records = tuple(sorted(records, key=lambda r: (_stands(r), rank(score_at(r, primary, place)))))
    scored = (s.metric for r in records for s in r.scores)
    metrics = dict.fromkeys([primary, *records[0].task.get("metrics", ()), *scored])
    complete = {m: tuple(panel_of(records, names, m, place, marks) for place in places_of(records, m)) for m in metrics}
    complete = {m: panels for m, panels in complete.items() if panels}
    panels = complete.get(primary, ())
    heads = [p for p in panels if p.place[3] == "all"] or list(panels[:1])
    headlines = tuple(with_leaks(p, records, primary) for p in heads)
    return TaskView(ident, records, headlines, panels, complete, findings, everywhere, names)


def _names(records: Iterable[RunRecord]) -> dict[str, str]:
    """Record key -> the shortest name that tells it from the others of its task."""
    records = list(records)
    labels = [r.label for r in records]
    return {
        r.key: r.label if labels.count(r.label) == 1 else " · ".join(filter(None, (r.label, r.probe))) for r in records
    }


def _stands(record: RunRecord) -> int:
    """Return where a record stands in tables: what competes comes first, then what it is compared with."""
    return _ROLES.index(record.stands_as)
