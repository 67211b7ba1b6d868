"""A finished run: what its records found, what failed, what is incomplete, and what its items give away."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmcell.audit.evidence import ordered
from mmcell.audit.overlap import overlap_findings
from mmcell.audit.predictions import audit_predictions, twin_findings
from mmcell.errors import first
from mmcell.records import Finding, RunRecord
from mmcell.results import Results

#: What the items of a record repeat of the data; a record's own findings say it already.
_SAID = {"no-fold", "few-units", "few-events", "few-in-class", "no-truth", "no-prediction"}

#: Findings that many records have, each with values of its own: said once a task.
_TOGETHER = {
    "knows-the-batch": "these know the batch of held-out units",
    "technical-retention": "the vectors of these tell how held-out patients were measured",
    "boundary": "scores of these lie on the bound, and their intervals are one-sided",
    "not-converged": "not all Cox models of these converged",
    "excluded": "not all items could be scored for these",
}


def audit_run(results: Results) -> list[Finding]:
    """Return the findings of all records, each once with the places it touches, and those about the run itself."""
    found: list[Finding] = []
    tasks: dict[tuple[str, str], list[RunRecord]] = {}
    for record in results.records:
        tasks.setdefault((record.task["name"], record.dataset), []).append(record)
    for (task, dataset), records in tasks.items():
        where = f"{task} on {dataset}"
        found += _failed(records, where)
        found += _incomplete(records, where)
        found += _items(results, records, where)
    return ordered([*found, *_collected(results.records)])


def _failed(records: list[RunRecord], where: str) -> list[Finding]:
    found = []
    for record in (r for r in records if r.error):
        found.append(
            Finding(
                severity="warning", code="failed", message=f"{where}: the {record.stands_as} {record.label} failed",
                evidence=record.error, cure="mend it and run again; finished results are kept",
            )
        )  # fmt: skip
    undefined = [(r, s) for r in records if not r.error for s in r.scores if s.status in ("undefined", "failed")]
    if undefined:
        names = [f"{r.label}: {s.metric}, {s.split}{f', {s.stratum}' if s.stratum != 'all' else ''} ({s.reason})"
                 for r, s in undefined]  # fmt: skip
        text = f"{where}: {len(undefined)} scores have no value"
        found.append(Finding(severity="info", code="undefined-scores", message=text, evidence=first(names)))
    return found


def _incomplete(records: list[RunRecord], where: str) -> list[Finding]:
    lacking: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        if record.missing_controls:
            lacking.setdefault(tuple(record.missing_controls), []).append(record.label)
    return [
        Finding(
            severity="warning", code="incomplete",
            message=f"{where}: {len(labels)} of {len(records)} records lack the required controls {', '.join(names)}",
            evidence=first(labels), cure="run with the default controls; no leaderboard takes these results",
        )
        for names, labels in lacking.items()
    ]  # fmt: skip


def _items(results: Results, records: list[RunRecord], where: str) -> list[Finding]:
    """Say what the stored items tell of units and folds, once, for all candidates share the splits."""
    found: dict[Finding, None] = {}
    tables: dict[str, pd.DataFrame] = {}
    for record in records:
        items = results.items.get(record.key)
        if items is None:
            if not record.error:
                text = f"{where}: the items of {record.label} are not there"
                found[Finding(severity="warning", code="no-items", message=text, cure="run again")] = None
            continue
        if record.permuted:
            # Its labels were drawn anew for every repeat: that they vary within a unit is what it is for.
            continue
        for finding in audit_predictions(items.frame, where):
            if finding.code not in _SAID:
                found[finding.model_copy(update={"message": f"{where}: {finding.message}"})] = None
        if record.role == "candidate" and items.kind != "retrieval":
            tables[f"{record.label} {record.probe}"] = items.frame
    twins = [f.model_copy(update={"message": f"{where}: {f.message}"}) for f in twin_findings(tables)]
    return [*found, *twins]


def _collected(records: Sequence[RunRecord]) -> list[Finding]:
    """Return each finding of the records once; the message says whom it is about, where it is not all of them."""
    places: dict[Finding, list[RunRecord]] = {}
    for record in records:
        overlap = overlap_findings(record.cards.values(), record.dataset)
        others = [f for f in record.findings if f.code != "pretraining-overlap"]
        for finding in dict.fromkeys([*others, *overlap]):
            places.setdefault(finding, []).append(record)
    merged: dict[tuple[str, str, str], list[tuple[Finding, list[RunRecord]]]] = {}
    for finding, touched in places.items():
        merged.setdefault((finding.severity, finding.code, finding.message), []).append((finding, touched))
    found = []
    grouped: dict[tuple[str, str, str], list[tuple[Finding, list[RunRecord]]]] = {}
    for (severity, code, _), variants in merged.items():
        finding, touched = variants[0][0], [r for _, some in variants for r in some]
        if code in _TOGETHER:
            for task in dict.fromkeys(r.task["name"] for r in touched):
                of_task = [r for r in touched if r.task["name"] == task]
                grouped.setdefault((severity, code, task), []).append((finding, of_task))
            continue
        evidence = " | ".join(dict.fromkeys(f.evidence for f, _ in variants if f.evidence))
        message = f"{_who(touched, records)}: {finding.message}"
        found.append(finding.model_copy(update={"message": message, "evidence": evidence}))
    for (_, code, task), same in grouped.items():
        labels = dict.fromkeys(_name(r) for _, own in same for r in own)
        said = "; ".join(f"{', '.join(dict.fromkeys(map(_name, own)))}: {f.message} ({f.evidence})" for f, own in same)
        update = {"message": f"{task}: {_TOGETHER[code]}: {', '.join(labels)}", "evidence": said}
        found.append(same[0][0].model_copy(update=update))
    return found


def _name(record: RunRecord) -> str:
    return " ".join(filter(None, (record.label, record.probe)))


def _who(touched: list[RunRecord], records: Sequence[RunRecord]) -> str:
    """Name the tasks in which a finding touches all records, and the records where it touches some."""
    parts = []
    for task in dict.fromkeys(r.task["name"] for r in touched):
        some = dict.fromkeys(_name(r) for r in touched if r.task["name"] == task)
        every = {_name(r) for r in records if r.task["name"] == task}
        parts.append(task if set(some) == every and len(every) > 1 else f"{task}, {first(some, 4)}")
    return "; ".join(parts)
