"""`Panel`: one metric in one place, with a `Row` for every record of the task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mmcell.records import RunRecord, Score
from mmcell.report.numbered import FindingGroup
from mmcell.report.words import Outcome, metric_name, outcome, place_name, tally

#: Facts of a score that get a column where some row has them.
_SELDOM = ("n_gallery", "worst", "skill", "p_null")
#: Target, query, gallery, stratum, split: what is scored apart.
Place = tuple[str, str, str, str, str]


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
        return "reference" if self.is_reference else self.record.stands_as

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
        return min((r for r in self.scored if r.is_rival), key=lambda r: rank(r.score), default=None)

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
        return row, 1 + sum(rank(r.score) < rank(row.score) for r in others), 1 + len(others)

    @property
    def tally(self) -> str:
        """How those that compete stand against the reference, in a sentence; "" for a single one."""
        rivals = [r for r in self.rows if r.is_rival]
        found = [r.outcome for r in rivals if r in self.scored]
        return tally(found, len(rivals) - len(found)) if len(rivals) > 1 else ""

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
        """The strongest of those that only stand beside, where that is not the reference."""
        controls = [r for r in self.scored if r.record.stands_as == "control"]
        best = min(controls, key=lambda r: rank(r.score), default=None)
        return None if best is None or best.is_reference else best

    @property
    def known(self) -> list[str]:
        """Which of the facts that seldom apply are known of some row."""
        scores = [r.score for r in self.rows if r.score is not None]
        return [name for name in _SELDOM if any(getattr(s, name) is not None for s in scores)]


def is_reference(record: RunRecord) -> bool:
    """Whether it is the control that its task compares every score with."""
    return record.role == "control" and record.task.get("reference") == (record.encoder or record.patient_encoder)


def place_of(score: Score) -> Place:
    """Return where a score stands."""
    return score.target, score.query, score.gallery, score.stratum, score.split


def without_stratum(place: Place) -> tuple[str, ...]:
    """Return what the strata of one place share."""
    return *place[:3], place[4]


def places_of(records: Iterable[RunRecord], metric: str) -> list[Place]:
    """Every place of a metric; a failed record knows only its splits, so it counts where all failed."""
    scores = [s for r in records for s in r.scores if s.metric == metric]
    return list(dict.fromkeys(place_of(s) for s in [s for s in scores if s.status != "failed"] or scores))


def score_at(record: RunRecord, metric: str, place: Place) -> Score | None:
    """Return the score of a metric in a place, None where there is none."""
    return next((s for s in record.scores if s.metric == metric and place_of(s) == place), None)


def rank(score: Score | None) -> tuple[bool, float]:
    """Best first, what has no value last."""
    if score is None or score.value is None:
        return True, 0.0
    return False, -score.value if score.higher_is_better else score.value


def panel_of(
    records: Iterable[RunRecord],
    names: dict[str, str],
    metric: str,
    place: Place,
    marks: dict[str, tuple[FindingGroup, ...]],
) -> Panel:
    """Return a metric in one place, for all records; `names` and `marks` are given by their keys."""
    rows = []
    for record in records:
        score = None if record.error else score_at(record, metric, place)
        reason = record.error or ("" if score is not None else "not scored here")
        rows.append(Row(record, names[record.key], score, reason, is_reference(record), marks=marks[record.key]))
    title = next((place_name(r.score) for r in rows if r.score is not None), place[4])
    return Panel(metric, place, title, tuple(rows))


def with_leaks(panel: Panel, records: Sequence[RunRecord], primary: str) -> Panel:
    """Put the leaks beside the label's scores: those of its split, and those of splits that have no label's score."""
    labelled = {place[4] for place in places_of(records, primary)}
    found = [
        (s.metric, place_of(s))
        for r in records
        for s in r.scores
        if s.is_leak and s.metric != primary and s.stratum == "all" and s.status != "failed"
    ]
    columns = [(m, p) for m, p in dict.fromkeys(found) if p[4] == panel.place[4] or p[4] not in labelled]
    heads = []
    for metric, place in columns:
        of = place[0].partition("=")[2] or ("" if place[4] == panel.place[4] else place[4])
        heads.append(metric_name(metric) + (f" ({of})" if of else ""))
    rows = tuple(replace(r, leaks=tuple(score_at(r.record, *c) for c in columns)) for r in panel.rows)
    return replace(panel, rows=rows, leak_columns=tuple(heads))
