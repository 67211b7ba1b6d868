"""What the command line prints of a run: a table for people on a terminal, CSV or JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pandas as pd

from mmcell.audit.patients import CODES
from mmcell.errors import first
from mmcell.protocols.mechanism import CONTROLS
from mmcell.records import RunRecord, Score
from mmcell.report.chain import said_of_chain
from mmcell.report.grid import Grid, console_of
from mmcell.report.words import group_name, unseen
from mmcell.results import Results
from mmcell.spreadsheet import write_csv
from mmcell.strata import WITHIN

#: What a narrow window says once, where it is the same in every row, and then does without, both first to last.
_ONCE = {"status": "status {}", "n": "n = {}", "chance": "chance {}", "of": "{}", "metric": "{}"}
_SPARE = ("n", "status", "role", "worst", "p (null)", "chance")
#: In this order; ceilings are no rivals and come last.
_ROLES = ("candidate", "control", "ceiling")
_RIGHT = ("value", "chance", "p (null)", "n")
_NEEDS = "needs: only a true difference of this size or more would have been found in 80 % of such studies"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: fixed digits, a real minus sign, a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return an interval for people, a dash where there is none."""
    return "–" if low is None or high is None or pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def print_frame(frame: pd.DataFrame, shape: str) -> None:
    """Print a table as CSV or JSON."""
    if shape == "csv":
        write_csv(frame, sys.stdout)
    else:
        print_json(rows_of(frame))


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON has them: what is no number is null, and a small p does not become 0."""
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return found


def print_json(content: Any) -> None:
    """Print JSON, and nothing beside it."""
    print(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def headline(record: RunRecord) -> list[Score]:
    """Return the scores of a record that stand in the short table.

    The primary metric over all items in each split and gallery and within strata, and whatever it knows that it should
    not.
    """
    primary = record.task["primary"]
    shown = ("all", "batch", "batch×cell_type", "unit", "unit×cell_type", CONTROLS)
    own = [s for s in record.scores if s.metric == primary and (s.stratum in shown or s.stratum.startswith(WITHIN))]
    return own + [s for s in record.scores if s.stratum == "all" and s.is_leak and s.metric != primary]


def show_results(results: Results, shape: str) -> None:
    """Print results as a short table a task, or all rows as JSON or CSV."""
    if shape != "table":
        print_frame(results.table(), shape)
        return
    for task in dict.fromkeys(r.task["name"] for r in results.records):
        of_task = [r for r in results.records if r.task["name"] == task]
        _show_task(task, sorted(of_task, key=lambda r: _ROLES.index(r.stands_as)))


def _show_task(task: str, records: list[RunRecord]) -> None:
    spec = records[0].task
    rows = [_cells(record, score, spec["reference"]) for record in records for score in headline(record)]
    minus = f"minus {spec['reference']}"
    title = f"{task} on {records[0].dataset}: {spec['question']}"
    grid = Grid(rows, title, right=_RIGHT, once=_ONCE, spare=_SPARE, breaks=(minus, "worst"))
    console = console_of(grid.width)
    console.print(grid.table(console.width))
    lines = [*_verdicts(records), *_incomplete(records), *_leaks(records), *_warned(records), *_left_out(records)]
    if any("; needs" in text for row in rows for text in row.values()):
        lines.append(f"  {_NEEDS}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
    console.print()


def _verdicts(records: list[RunRecord]) -> list[str]:
    """Return one line a candidate and verdict, with the places it holds for where there are several."""
    said: dict[tuple[str, str], list[str]] = {}
    for record in records:
        name = " · ".join(filter(None, (record.label, record.probe)))
        for score in headline(record):
            if score.verdict:
                said.setdefault((name, score.verdict), []).append(_of(score))
    several = len({place for places in said.values() for place in places}) > 1
    where = {key: f" ({'; '.join(places)})" if several else "" for key, places in said.items()}
    lines = [f"  {name}{where[name, verdict]}: {verdict}" for name, verdict in said]
    links = [(record, line) for record in records if record.competes for line in said_of_chain(record)]
    return lines + [f"  {' · '.join(filter(None, (record.label, record.probe)))}: {line}" for record, line in links]


def _incomplete(records: list[RunRecord]) -> list[str]:
    """Return one line for each set of controls that results lack."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        if record.missing_controls:
            lacking.setdefault(record.missing_controls, []).append(record.label)
    return [
        f"  incomplete: {'every result' if len(who) == len(records) else ', '.join(dict.fromkeys(who))} lacks "
        f"{', '.join(missing)}; no leaderboard takes it"
        for missing, who in lacking.items()
    ]


def _leaks(records: list[RunRecord]) -> list[str]:
    """Return one line a leak: of the data, of the technical control, and which embeddings know the batch."""
    everywhere = {f.message for f in records[0].findings if all(f in r.findings for r in records)}
    lines, knowing = [], []
    for record in records:
        for finding in record.findings:
            if finding.severity != "leak":
                continue
            if finding.code == "knows-the-batch":
                knowing.append(record.label)
            else:
                who = "" if finding.message in everywhere else f"{record.label}: "
                lines.append(f"  leak: {who}{finding.message}")
    if knowing:
        lines.append(f"  leak: these know the batch of held-out donors: {', '.join(dict.fromkeys(knowing))}")
    return list(dict.fromkeys(lines))


def _warned(records: list[RunRecord]) -> list[str]:
    """Return one line for each warning of the data or the split, which stands with every record."""
    shared = [f for f in records[0].findings if f.severity == "warning" and f.code not in CODES]
    return [f"  warning: {f.message}" for f in shared if len(records) > 1 and all(f in r.findings for r in records)]


def _left_out(records: list[RunRecord]) -> list[str]:
    """Return one line for all that patient encoders left out, filled in or could not tell apart."""
    found: dict[str, list[str]] = {}
    for record in records:
        for finding in record.findings:
            if finding.code in CODES:
                text = finding.message + (f" ({finding.evidence})" if finding.evidence else "")
                found.setdefault(text, []).append(record.label)
    return [f"  warning: {first(dict.fromkeys(who))}: {text}" for text, who in found.items()]


def _of(score: Score) -> str:
    ways = f"{score.query}→{score.gallery}" if score.query else ""
    group = score.target.partition("=")[2] or (score.stratum if score.stratum != "all" else "")
    return ", ".join(filter(None, (ways, group, score.split, score.asked)))


def _cells(record: RunRecord, score: Score, reference: str) -> dict[str, str]:
    worst, primary = score.worst, score.metric == record.task["primary"]
    return {
        "encoder": record.label, "probe": record.probe, "role": record.stands_as, "metric": score.metric,
        "of": _of(score), "value": number(score.value), "95 % interval": interval(score.low, score.high),
        "chance": number(score.chance, 4 if (score.chance or 1) < 0.01 else 3), f"minus {reference}": _minus(score),
        "worst": f"{number(worst.value)} {group_name(worst)} ({worst.n_units})" if worst is not None else "",
        # Labels are permuted, so the null is one of the label's own metric.
        "p (null)": number(score.p_null) if primary and score.p_null is not None else "", "n": str(score.n_units),
        "status": score.status,
    }  # fmt: skip


def _minus(score: Score) -> str:
    """Return the difference from the reference; beside one that was not found, what it would have needed."""
    gap = score.difference
    if gap is None or gap.value is None:
        return "–"
    needs = f"; needs {number(gap.mde)}" if unseen(gap) else ""
    return f"{number(gap.value)} ({interval(gap.low, gap.high)}{needs})"
