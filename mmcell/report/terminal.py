"""What the command line prints: tables for people on a terminal, CSV or JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from mmcell.errors import MmcellError, did_you_mean
from mmcell.records import RunRecord, Score
from mmcell.results import Results
from mmcell.scoring import Scoring

#: Wide enough for every table when nobody's window decides.
_PIPE_WIDTH = 160
#: Windows narrower than this get fewer columns.
_WIDE = 130


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, color_system=None)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: fixed digits, a real minus sign, a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return an interval for people, a dash where there is none."""
    return "–" if low is None or high is None or pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


def headline(record: RunRecord) -> list[Score]:
    """Return the scores of a record that stand in the short table.

    The primary metric over all items in each split and gallery, and whatever it knows that it should not.
    """
    primary = record.task["primary"]
    return [s for s in record.scores if s.stratum in ("all", "batch", "batch×cell_type") and s.metric == primary] + [
        s for s in record.scores if s.stratum == "all" and not s.higher_is_better
    ]


def show_results(results: Results, shape: str) -> None:
    """Print results as a short table a task, or all rows as JSON or CSV."""
    if shape != "table":
        _print_frame(results.table(), shape)
        return
    console = _console()
    for task in dict.fromkeys(r.task["name"] for r in results.records):
        records = [r for r in results.records if r.task["name"] == task]
        spec = records[0].task
        table = Table(
            title=f"{task} on {records[0].dataset}: {spec['question']}", title_justify="left", box=None, pad_edge=False
        )
        rows = [_cells(record, score, spec["reference"]) for record in records for score in headline(record)]
        # A narrow window gets what says most; a column without any entry is left out everywhere.
        left_out = set() if console.width >= _WIDE else {"role", "chance", "n", "status"}
        names = [n for n in rows[0] if n not in left_out and any(row[n] for row in rows)] if rows else []
        for name in names:
            table.add_column(name, justify="right" if name in ("value", "chance", "n") else "left", overflow="fold")
        for row in rows:
            table.add_row(*(row[name] for name in names))
        console.print(table)
        for line in _leaks(records):
            console.print(line, markup=False, highlight=False)
        console.print()


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


def _cells(record: RunRecord, score: Score, reference: str) -> dict[str, str]:
    ways = f"{score.query}→{score.gallery}" if score.query else ""
    group = score.target.partition("=")[2] or (score.stratum if score.stratum != "all" else "")
    of = ", ".join(filter(None, (ways, group, score.split)))
    gap = score.difference
    minus = f"{number(gap.value)} ({interval(gap.low, gap.high)})" if gap is not None else "–"
    name = record.label.replace("[", "\\[")
    return {
        "encoder": name, "probe": record.probe, "role": record.role, "metric": score.metric, "of": of,
        "value": number(score.value), "95 % interval": interval(score.low, score.high),
        "chance": number(score.chance, 4 if (score.chance or 1) < 0.01 else 3), f"minus {reference}": minus,
        "n": str(score.n_units), "status": score.status,
    }  # fmt: skip


def _print_frame(frame: pd.DataFrame, shape: str) -> None:
    if shape == "csv":
        frame.to_csv(sys.stdout, index=False)
    else:
        print(frame.to_json(orient="records", indent=1, force_ascii=False))


def show_scoring(found: Scoring, shape: str) -> None:
    """Print scored predictions and their comparison."""
    if shape == "csv":
        _print_frame(found.table, shape)
        return
    if shape == "json":
        pairs = found.comparison.table if found.comparison is not None else pd.DataFrame()
        parts = {"scores": found.table, "comparisons": pairs}
        print(json.dumps({k: json.loads(v.to_json(orient="records")) for k, v in parts.items()}, indent=1))
        return
    console = _console()
    table = Table(box=None, pad_edge=False)
    for name in (
        "predictor",
        "metric",
        "value",
        "95 % interval",
        "chance",
        "letters",
        "rank",
        "n",
        "excluded",
        "status",
    ):
        table.add_column(name)
    for row in found.table.to_dict("records"):
        rank = "" if pd.isna(row["rank"]) else f"{row['rank']:g} ({row['rank_low']:g}–{row['rank_high']:g})"
        status = row["status"] + (f": {row['reason']}" if row["reason"] else "")
        table.add_row(
            str(row["predictor"]).replace("[", "\\["), row["metric"], number(row["value"]),
            interval(row["ci_low"], row["ci_high"]), number(row["chance"]), row["letters"], rank,
            f"{row['n_items']} items, {row['n_units']} units", str(row["n_excluded"]), status.replace("[", "\\["),
        )  # fmt: skip
    console.print(table)
    if found.comparison is not None:
        pairs = Table(box=None, pad_edge=False)
        for name in ("pair", "difference", "95 % interval", "p", "p adjusted"):
            pairs.add_column(name)
        for row in found.comparison.table.to_dict("records"):
            pairs.add_row(
                f"{row['a']} − {row['b']}".replace("[", "\\["), number(row["difference"]),
                interval(row["ci_low"], row["ci_high"]), number(row["p"], 4), number(row["p_adjusted"], 4),
            )  # fmt: skip
        console.print()
        console.print(pairs)
        console.print("Predictors that share a letter cannot be told apart at 5 %.")
    for note in found.notes:
        console.print(f"note: {note}", markup=False)


def _sources() -> dict[str, Any]:
    from mmcell.data.catalog import DATASETS
    from mmcell.encoders.base import ENCODERS
    from mmcell.metrics.base import METRICS
    from mmcell.patients.base import PATIENT_ENCODERS
    from mmcell.task import tasks_registry

    return {
        "tasks": tasks_registry(), "datasets": DATASETS, "encoders": ENCODERS, "patient-encoders": PATIENT_ENCODERS,
        "metrics": METRICS,
    }  # fmt: skip


def describe(what: str, name: str) -> str:
    """Return one line about a task, dataset, encoder, patient encoder or metric, without loading data."""
    found = _sources()[what].get(name)
    if what == "tasks":
        return f"{found.spec.question} ({found.spec.dataset})"
    if what == "metrics":
        low, high = found.bounds
        way = "higher" if found.higher_is_better else "lower"
        return f"{', '.join(found.kinds)}; {way} is better, {low:g} to {high:g}"
    return str(found.__doc__ or "").strip().splitlines()[0]


def show_list(what: str) -> None:
    """Print every name of one kind with one line about it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in _sources()[what].names():
        table.add_row(name, describe(what, name))
    _console().print(table, markup=False)


def show_card(name: str) -> None:
    """Print all that is known of one name.

    Raises
    ------
    MmcellError
        Nothing has this name.
    """
    sources = _sources()
    kind = next((k for k, registry in sources.items() if name in registry.references), None)
    if kind is None:
        known = [n for registry in sources.values() for n in registry.names()]
        raise MmcellError(f"nothing is called {name!r}; {did_you_mean(name, known)}")
    found = sources[kind].get(name)
    lines: dict[str, Any] = {kind.removesuffix("s"): name}
    if kind == "tasks":
        facts = found.spec.facts()
        module = sys.modules[sources[kind].references[name].partition(":")[0]]
        lines |= {"about": (module.__doc__ or "").strip(), **{k: v for k, v in facts.items() if v and k != "name"}}
    elif kind == "datasets":
        from mmcell.data.catalog import load_dataset

        data = load_dataset(name)
        roles = data.roles.columns
        lines |= {**data.card.model_dump(exclude={"name"}), "roles": roles, "fingerprint": data.fingerprint}
        lines |= {"items": len(data.ids), "units": data.unit.nunique()}
    elif kind == "metrics":
        lines |= {"about": describe(kind, name), "fast resampling": found.resampled is not None}
    else:
        lines |= {"about": (found.__doc__ or "").strip()}
    for key, value in lines.items():
        _print_field(key, value)


def _print_field(key: str, value: Any, indent: str = "") -> None:
    if isinstance(value, dict) and value:
        print(f"{indent}{key}:")
        for inner, content in value.items():
            _print_field(str(inner), content, indent + "  ")
    elif isinstance(value, (list, tuple)) and value and not all(isinstance(v, str) and len(v) < 30 for v in value):
        print(f"{indent}{key}:")
        for content in value:
            print(f"{indent}  - {content}")
    elif isinstance(value, (list, tuple)):
        print(f"{indent}{key}: {', '.join(map(str, value))}")
    else:
        text = str(value).replace("\n", "\n" + indent + "  ")
        print(f"{indent}{key}: {text}")
