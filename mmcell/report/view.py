"""What the report shows, sorted out before any markup: tasks, panels, rows, verdicts and findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmcell.records import Finding, RunRecord, Score
from mmcell.report.words import Outcome, metric_name, outcome, place_name, tally
from mmcell.strata import WITHIN

_ROLES = ("candidate", "control", "ceiling")
_SEVERITIES = ("leak", "warning", "info")
#: Facts of a score that get a column where some row has them.
_SELDOM = ("n_gallery", "worst", "skill", "p_null")
#: Target, query, gallery, stratum, split: what is scored apart.
Place = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one task that share a code.

    Attributes
    ----------
    number
        What markers in the tables say.
    severity, code
        As in `Finding`.
    entries
        Finding and the names of the rows it concerns; none where it concerns all of them.
    """

    number: int
    severity: str
    code: str
    entries: tuple[tuple[Finding, tuple[str, ...]], ...]

    @property
    def who(self) -> tuple[str, ...] | None:
        """The rows that all of them concern; None where they differ."""
        found = {names for _, names in self.entries}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Row:
    """One candidate or control in one panel; `score` is None when it was not scored there, `reason` says why."""

    record: RunRecord
    name: str
    score: Score | None
    reason: str = ""
    is_reference: bool = False
    leaks: tuple[Score | None, ...] = ()
    marks: tuple[FindingGroup, ...] = ()

    @property
    def kind(self) -> str:
        """``candidate``, ``reference``, ``control`` or ``ceiling``."""
        return "reference" if self.is_reference else self.record.role

    @property
    def is_rival(self) -> bool:
        """Whether it competes and has a difference from the reference: is not the reference itself."""
        return self.record.competes and not self.is_reference

    @property
    def outcome(self) -> Outcome:
        """What the interval of the difference allows to say."""
        return outcome(self.score) if self.score is not None else "unknown"


@dataclass(frozen=True)
class Panel:
    """One metric in one place, a row for every record of the task.

    Attributes
    ----------
    metric, place, title
        What and where.
    rows
        In the order of the task's first panel: what competes first, then the other controls and ceilings, each from
        best to worst, what has no value last.
    leak_columns
        Heads of `Row.leaks`.
    """

    metric: str
    place: Place
    title: str
    rows: tuple[Row, ...]
    leak_columns: tuple[str, ...] = ()

    @property
    def scored(self) -> list[Row]:
        """Rows that have a score."""
        return [r for r in self.rows if r.score is not None and r.score.value is not None]

    @property
    def best(self) -> Row | None:
        """The leading one of those that compete, whether candidates or controls that were asked for by name."""
        return min((r for r in self.scored if r.is_rival), key=lambda r: _rank(r.score), default=None)

    @property
    def reference(self) -> Row | None:
        """The control that the leading candidate is compared with: through the same probe, where there is one."""
        found, best = [r for r in self.rows if r.is_reference], self.best
        same = (r for r in found if best is not None and r.record.probe == best.record.probe)
        return next(same, found[0] if found else None)

    @property
    def asked_reference(self) -> tuple[Row, int, int] | None:
        """The reference where it was asked for by name: its row, its place by value among all that compete, how many.

        It has no difference from itself, but a value and a place. None where nobody asked for it, or it has no value.
        """
        row = self.reference
        if row is None or row not in self.scored or not row.record.competes:
            return None
        others = [r for r in self.scored if r.is_rival]
        return row, 1 + sum(_rank(r.score) < _rank(row.score) for r in others), 1 + len(others)

    @property
    def tally(self) -> str:
        """How those that compete stand against the reference, in a sentence; "" for a single one."""
        rivals = [r for r in self.rows if r.is_rival]
        found = [r.outcome for r in rivals if r in self.scored]
        what = "candidate" if all(r.record.role == "candidate" for r in rivals) else "competitor"
        return tally(found, len(rivals) - len(found), what) if len(rivals) > 1 else ""

    @property
    def ties(self) -> list[Row]:
        """Others that compete with exactly the leading one's value."""
        best = self.best
        if best is None or best.score is None:
            return []
        same = (r for r in self.scored if r.score is not None and r.score.value == best.score.value)
        return [r for r in same if r is not best and r.is_rival]

    @property
    def best_control(self) -> Row | None:
        """The strongest control, where that is neither the reference nor what leads."""
        controls = [r for r in self.scored if r.record.role == "control" and r is not self.best]
        best = min(controls, key=lambda r: _rank(r.score), default=None)
        return None if best is None or best.is_reference else best

    @property
    def known(self) -> list[str]:
        """Which of the facts that seldom apply are known of some row."""
        scores = [r.score for r in self.rows if r.score is not None]
        return [name for name in _SELDOM if any(getattr(s, name) is not None for s in scores)]


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
        return {role: [self.names[r.key] for r in self.records if r.role == role] for role in _ROLES}

    @property
    def asked(self) -> list[str]:
        """Names of controls that were asked for, too, and compete."""
        return [self.names[r.key] for r in self.records if r.role == "control" and r.asked]

    @property
    def failed(self) -> list[RunRecord]:
        """Records without scores."""
        return [r for r in self.records if r.error]

    @property
    def level(self) -> str:
        """What an item is."""
        return next((s.level for r in self.records for s in r.scores if s.level), "item")

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
            and _without_stratum(other.place) == _without_stratum(panel.place)
            for row in other.scored
            if row.record.key == best.record.key
        ]
        last = max(rows, key=lambda r: _rank(r.score), default=None)
        # Groups may hold fewer classes than all together; where even the worst is no worse, none is worth naming.
        return last if last is not None and _rank(last.score) > _rank(best.score) else None


def tasks_of(records: Sequence[RunRecord]) -> list[TaskView]:
    """Return what is to be shown of every task, in the order of the records."""
    families: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        families.setdefault((record.task["name"], record.dataset), []).append(record)
    return [_task(f"task-{i}", tuple(family)) for i, family in enumerate(families.values(), start=1)]


def _task(ident: str, records: tuple[RunRecord, ...]) -> TaskView:
    names = _names(records)
    findings, marks, everywhere = _findings(records, names)
    primary = records[0].task["primary"]
    for place in _places(records, primary)[:1]:
        records = tuple(sorted(records, key=lambda r: (_stands(r), _rank(_find(r, primary, place)))))
    scored = (s.metric for r in records for s in r.scores)
    metrics = dict.fromkeys([primary, *records[0].task.get("metrics", ()), *scored])
    complete = {m: tuple(_panel(records, names, m, place, marks) for place in _places(records, m)) for m in metrics}
    complete = {m: panels for m, panels in complete.items() if panels}
    panels = complete.get(primary, ())
    heads = [p for p in panels if p.place[3] == "all"] or list(panels[:1])
    headlines = tuple(_with_leaks(p, records, primary) for p in heads)
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
    return 0 if record.competes else _ROLES.index(record.role)


def is_reference(record: RunRecord) -> bool:
    """Whether it is the control that its task compares every score with."""
    return record.role == "control" and record.task.get("reference") == (record.encoder or record.patient_encoder)


def _place(score: Score) -> Place:
    return score.target, score.query, score.gallery, score.stratum, score.split


def _without_stratum(place: Place) -> tuple[str, ...]:
    return *place[:3], place[4]


def _places(records: Iterable[RunRecord], metric: str) -> list[Place]:
    """Every place of a metric; a failed record knows only its splits, so it counts where all failed."""
    scores = [s for r in records for s in r.scores if s.metric == metric]
    return list(dict.fromkeys(_place(s) for s in [s for s in scores if s.status != "failed"] or scores))


def _find(record: RunRecord, metric: str, place: Place) -> Score | None:
    return next((s for s in record.scores if s.metric == metric and _place(s) == place), None)


def _rank(score: Score | None) -> tuple[bool, float]:
    """Best first, what has no value last."""
    if score is None or score.value is None:
        return True, 0.0
    return False, -score.value if score.higher_is_better else score.value


def _panel(
    records: Iterable[RunRecord],
    names: dict[str, str],
    metric: str,
    place: Place,
    marks: dict[str, tuple[FindingGroup, ...]],
) -> Panel:
    rows = []
    for record in records:
        score = None if record.error else _find(record, metric, place)
        reason = record.error or ("" if score is not None else "not scored here")
        rows.append(Row(record, names[record.key], score, reason, is_reference(record), marks=marks[record.key]))
    title = next((place_name(r.score) for r in rows if r.score is not None), place[4])
    return Panel(metric, place, title, tuple(rows))


def _with_leaks(panel: Panel, records: Sequence[RunRecord], primary: str) -> Panel:
    """Put the leaks beside the label's scores: those of its split, and those of splits that have no label's score."""
    labelled = {place[4] for place in _places(records, primary)}
    found = [
        (s.metric, _place(s))
        for r in records
        for s in r.scores
        if s.is_leak and s.metric != primary and s.stratum == "all" and s.status != "failed"
    ]
    columns = [(m, p) for m, p in dict.fromkeys(found) if p[4] == panel.place[4] or p[4] not in labelled]
    heads = []
    for metric, place in columns:
        of = place[0].partition("=")[2] or ("" if place[4] == panel.place[4] else place[4])
        heads.append(metric_name(metric) + (f" ({of})" if of else ""))
    rows = tuple(
        Row(r.record, r.name, r.score, r.reason, r.is_reference, tuple(_find(r.record, *c) for c in columns), r.marks)
        for r in panel.rows
    )
    return Panel(panel.metric, panel.place, panel.title, rows, tuple(heads))


def _findings(
    records: Sequence[RunRecord], names: dict[str, str]
) -> tuple[tuple[FindingGroup, ...], dict[str, tuple[FindingGroup, ...]], tuple[FindingGroup, ...]]:
    """Return numbered groups, record key -> groups that concern it but not everybody, and groups that concern all."""
    texts: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for record in records:
        for finding in record.findings:
            _, keys = texts.setdefault((finding.severity, finding.code, finding.message), (finding, []))
            if record.key not in keys:
                keys.append(record.key)
    codes = sorted(dict.fromkeys((s, c) for s, c, _ in texts), key=lambda c: _SEVERITIES.index(c[0]))
    groups, everywhere = [], []
    marks: dict[str, list[FindingGroup]] = {r.key: [] for r in records}
    for n, (severity, code) in enumerate(codes, start=1):
        chosen = [entry for (s, c, _), entry in texts.items() if (s, c) == (severity, code)]
        entries = tuple((f, () if len(keys) == len(records) else tuple(names[k] for k in keys)) for f, keys in chosen)
        group = FindingGroup(n, severity, code, entries)
        groups.append(group)
        if any(not who for _, who in entries):
            everywhere.append(group)
        for key in dict.fromkeys(k for (_, keys), (_, who) in zip(chosen, entries, strict=True) if who for k in keys):
            marks[key].append(group)
    return tuple(groups), {k: tuple(v) for k, v in marks.items()}, tuple(everywhere)
