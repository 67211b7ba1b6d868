"""What the report shows beside a score: differences from every control, and what vectors know of the measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from mmcell.records import Gap, RunRecord, Score, Versus
from mmcell.report.panel import Panel, Row
from mmcell.report.words import Outcome, covariate_name, told

#: Of a strip's viewBox; it is drawn at about this size.
_WIDTH, _HEIGHT, _EDGE = 120.0, 16.0, 6.0
#: Linear probes are named by what they predict; they share a column.
_LINEAR = ("ridge", "logistic")


@dataclass(frozen=True)
class Against:
    """One candidate's difference from one control, with a small picture of it."""

    gap: Versus
    outcome: Outcome
    strip: Markup


@dataclass(frozen=True)
class Said:
    """A candidate in one panel with its differences, the reference first, then from the strongest control on."""

    row: Row
    against: tuple[Against, ...]


def said(panel: Panel, reference: str) -> list[Said]:
    """Return what can be said of every candidate of a panel that was compared with controls.

    Parameters
    ----------
    panel
        Its candidates share the scale of the pictures.
    reference
        Label of the reference control.
    """
    rows = [r for r in panel.rows if r.record.competes and r.score is not None and r.score.verdict]
    limits = _limits(gap for r in rows if r.score is not None for gap in r.score.versus)
    return [Said(row, _against(row.score, reference, limits)) for row in rows if row.score is not None]


def _against(score: Score, reference: str, limits: tuple[float, float]) -> tuple[Against, ...]:
    sign = 1.0 if score.higher_is_better else -1.0

    def order(gap: Versus) -> tuple[bool, bool, float]:
        return gap.control != reference, gap.value is None, sign * (gap.value or 0.0)

    outcomes = {gap.control: told(gap, score.higher_is_better) for gap in score.versus}
    return tuple(
        Against(gap, outcomes[gap.control], strip(gap, outcomes[gap.control], limits))
        for gap in sorted(score.versus, key=order)
    )


def _limits(gaps: Iterable[Gap]) -> tuple[float, float]:
    known = [x for gap in gaps for x in (gap.value, gap.low, gap.high) if x is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def strip(gap: Gap, outcome: Outcome, limits: tuple[float, float]) -> Markup:
    """Draw a difference as a line with a dot, beside a dashed zero; the dot is hollow where the interval holds zero.

    The numbers stand beside it as text, so it is hidden from screen readers.
    """

    def at(value: float) -> str:
        share = (value - limits[0]) / (limits[1] - limits[0])
        return f"{_EDGE + share * (_WIDTH - 2 * _EDGE):.1f}"

    middle, zero = f"{_HEIGHT / 2:g}", at(0.0)
    parts = [f'<line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="{_HEIGHT:g}"/>']
    if gap.low is not None and gap.high is not None:
        parts.append(f'<line class="range" x1="{at(gap.low)}" x2="{at(gap.high)}" y1="{middle}" y2="{middle}"/>')
    if gap.value is not None:
        parts.append(f'<circle cx="{at(gap.value)}" cy="{middle}" r="4"/>')
    head = f'<svg class="strip {outcome}" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-hidden="true">'
    # Numbers and one word of our own: there is nothing to escape.
    return Markup(f"{head}{''.join(parts)}</svg>")


@dataclass(frozen=True)
class Cell:
    """How well one probe recovers a covariate; `leaks` where the interval lies above chance."""

    value: float | None
    low: float | None
    high: float | None
    leaks: bool


@dataclass(frozen=True)
class Covariate:
    """One covariate of the measurement; `cells` are in the order of `Retention.probes`, None where not asked."""

    name: str
    metric: str
    chance: float | None
    n_units: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Retention:
    """How well the patient vectors of one record recover how the patients were measured."""

    name: str
    probes: tuple[str, ...]
    covariates: tuple[Covariate, ...]

    @property
    def known(self) -> list[str]:
        """Covariates that some probe tells above chance."""
        return [c.name for c in self.covariates if any(cell is not None and cell.leaks for cell in c.cells)]


def retention(records: Iterable[RunRecord], names: Mapping[str, str]) -> list[Retention]:
    """Return the technical retention of every record that has one.

    Parameters
    ----------
    records
        Of one task, in the order of its tables.
    names
        Record key -> name.
    """
    tables = [(names[r.key], r.details["retention"]) for r in records if r.details.get("retention")]
    probes = tuple(dict.fromkeys(_probe(row["probe"]) for _, rows in tables for row in rows))
    return [Retention(name, probes, tuple(_covariates(rows, probes))) for name, rows in tables]


def _covariates(rows: list[dict[str, object]], probes: tuple[str, ...]) -> Iterable[Covariate]:
    for name in dict.fromkeys(str(row["covariate"]) for row in rows):
        of = {_probe(row["probe"]): row for row in rows if row["covariate"] == name}
        first = next(iter(of.values()))
        cells = tuple(_cell(of[probe]) if probe in of else None for probe in probes)
        yield Covariate(covariate_name(name), str(first["metric"]), _number(first, "chance"), _count(first), cells)


def _probe(name: object) -> str:
    return "linear" if name in _LINEAR else str(name)


def _cell(row: Mapping[str, object]) -> Cell:
    low, chance = _number(row, "ci_low"), _number(row, "chance")
    leaks = low is not None and chance is not None and low > chance
    return Cell(_number(row, "value"), low, _number(row, "ci_high"), leaks)


def _number(row: Mapping[str, object], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _count(row: Mapping[str, object]) -> int:
    return int(_number(row, "n_units") or 0)
