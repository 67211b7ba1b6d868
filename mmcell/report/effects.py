"""What the command line prints of predicted effects: every metric as measured and after curation, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from mmcell.errors import number_of
from mmcell.records import RunRecord, Score
from mmcell.report.grid import console_of
from mmcell.report.terminal import interval, number, print_frame
from mmcell.results import Results

_STRATA = {"all": "as measured", "strong": "strong ones", "curated": "curated"}
_ROLES = ("candidate", "control", "ceiling")


def show_effects(results: Results, shape: str) -> None:
    """Print scored predictions as one table, or all rows as JSON or CSV."""
    if shape != "table":
        print_frame(results.table(), shape)
        return
    records = sorted(results.records, key=lambda r: _ROLES.index(r.stands_as))
    task, reference = records[0].task, str(records[0].task["reference"])
    rows = [_cells(r, metric, reference) for metric in task["metrics"] for r in records if _at(r, metric, "all")]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = [max(len(name), *(len(row[name]) for row in rows)) + 2 for name in names]
    console = console_of(sum(widths))
    title = f"{task['name']} on {records[0].dataset}: {task['question']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    before = rows[0]["metric"]
    for row in rows:
        if row["metric"] != before:
            table.add_row()
        before = row["metric"]
        table.add_row(*(escape(row[name]) for name in names))
    console.print(table)
    for line in _lines(records):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _at(record: RunRecord, metric: str, stratum: str) -> Score | None:
    return next((s for s in record.scores if s.metric == metric and s.stratum == stratum), None)


def _cells(record: RunRecord, metric: str, reference: str) -> dict[str, str]:
    found = {stratum: _at(record, metric, stratum) for stratum in _STRATA}
    first = found["all"]
    curve = record.details.get("rescaling", {}).get(metric)
    cells = {"metric": metric, "predictor": record.label, "role": record.stands_as}
    for stratum, name in _STRATA.items():
        score = found[stratum]
        cells[name] = "" if score is None else _value(score)
    gap = first.difference if first is not None else None
    return cells | {
        "chance": number(first.chance) if first is not None and first.chance is not None else "",
        f"minus {reference}": "" if gap is None else f"{number(gap.value)} ({interval(gap.low, gap.high)})",
        "× 0.1 to 10": "" if curve is None else "moves" if curve["moves"] else "stays",
        "n": str(first.n_units) if first is not None else "",
    }  # fmt: skip


def _value(score: Score) -> str:
    if score.value is None:
        return score.status
    return f"{number(score.value)} ({interval(score.low, score.high)})" if score.ci else number(score.value)


def _lines(records: Sequence[RunRecord]) -> list[str]:
    """Return the verdicts, what curation kept, and what a reader must know."""
    lines = []
    for record in records:
        primary = _at(record, record.task["primary"], "all")
        if primary is not None and primary.verdict:
            lines.append(f"{record.label}: {primary.verdict}")
    parts = records[0].details["curation"]
    whole = parts["all"]
    lines += _worst(records)
    places = f" in {number_of(whole['contexts'], 'context')}, {whole['pairs']} pairs" if "contexts" in whole else ""
    lines.append(f"as measured: {number_of(whole['perturbations'], 'perturbation')}{places}, {whole['genes']} genes")
    if "curated" in parts:
        kept = parts["curated"]
        n, least = kept.get("pairs", kept["perturbations"]), records[0].parameters["strong"]
        lines.append(
            f"strong ones: {n} with {least} significant genes or more; "
            f"curated: these, and the {kept['genes']} genes that are significant in one of them"
        )
    lines.append("moves: the score changes when predicted effects are multiplied by a number, and may not headline")
    said = [
        f"{f.severity}: {f.message}" + (f" ({f.evidence})" if f.evidence else "")
        for record in records for f in record.findings if f.code != "moves-with-scale"
    ]  # fmt: skip
    return [*lines, *dict.fromkeys(said)]


def _worst(records: Sequence[RunRecord]) -> list[str]:
    """Return where the headline of each candidate is worst, of its contexts."""
    lines = []
    for record in records:
        primary = _at(record, record.task["primary"], "all")
        if record.role == "candidate" and primary is not None and primary.worst is not None:
            of = primary.worst
            small = f", {number_of(of.n_small, 'smaller one')} left out" if of.n_small else ""
            lines.append(
                f"{record.label}: worst of {number_of(of.n_groups, of.role)} is {of.name}, {number(of.value)} "
                f"({number_of(of.n_units, 'perturbation')}){small}"
            )
    return lines
