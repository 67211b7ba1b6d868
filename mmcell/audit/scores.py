"""What one record says against itself: leaks, bounds, exclusions, models that did not converge, overlap."""

from __future__ import annotations

from typing import Literal

from mmcell.audit.corrections import correction_findings
from mmcell.audit.evidence import is_leak
from mmcell.audit.overlap import overlap_findings
from mmcell.audit.patients import patient_findings
from mmcell.embedding import ModelCard
from mmcell.errors import first
from mmcell.records import Finding, RunRecord, Score


def audit_scores(record: RunRecord) -> list[Finding]:
    """Return findings about a record that its own scores and cards give away."""
    found = [*overlap_findings(record.cards.values(), record.dataset), *_not_converged(record)]
    found += [*patient_findings(record), *correction_findings(record)]
    found += [_closed(card) for card in record.cards.values() if card.closed]
    for score in record.scores:
        found += _of(score, record)
    return found


def _closed(card: ModelCard) -> Finding:
    return Finding(
        severity="warning",
        code="unverifiable",
        message=f"{card.name} is a closed model: nobody outside can run it, and its scores cannot be verified",
        cure="read them as what its makers' file gives",
    )


def _of(score: Score, record: RunRecord) -> list[Finding]:
    found = []
    place = f"{score.metric}, {score.split}" + (f", {score.stratum}" if score.stratum != "all" else "")
    if score.status == "failed":
        return []
    if score.metric.startswith("batch_") and _beyond_chance(score):
        group = score.target.partition("=")[2]
        label = next((s for s in record.scores if s.metric == record.task["primary"] and s.split == score.split), None)
        beside = f"; {label.metric} of the label is {label.value:.2f}" if label and label.value is not None else ""
        found.append(
            Finding(
                severity=_severity(score),
                code="knows-the-batch",
                message=f"knows the batch{f' {group}' if group else ''}: {score.metric} {score.value:.2f}{beside}",
                evidence=_interval(score),
                cure="read the scores under leave-one-batch-out",
            )
        )
    headline = score.metric == record.task["primary"] and score.stratum == "all"
    if record.encoder == "technical-only" and headline and _beyond_chance(score):
        found.append(
            Finding(
                severity=_severity(score),
                code="technical-leak",
                message=f"the measurement alone (technical-only) reaches {score.metric} {score.value:.2f} "
                f"({score.split})",
                evidence=_interval(score),
                cure="an embedding must beat this control, not chance",
            )
        )
    asked = record.parameters.get("n_null", 0)
    if asked and headline and not score.n_null and score.value is not None and not record.permuted:
        text = f"{place}: none of {asked} permutations of the labels could be scored, so there is no p"
        cure = "permute within fewer roles, or add units of the smaller class"
        found.append(Finding(severity="warning", code="null-undefined", message=text, cure=cure))
    if score.status == "boundary" and headline:
        text = f"{place}: {score.value:.3f} lies on the bound; its interval is one-sided"
        found.append(Finding(severity="info", code="boundary", message=text, evidence=_interval(score)))
    if score.n_excluded and headline:
        text = f"{place}: {score.n_excluded} held-out items could not be scored"
        found.append(Finding(severity="info", code="excluded", message=text))
    return found


def _not_converged(record: RunRecord) -> list[Finding]:
    """Say how many of the models behind a record did not converge."""
    fits = [fold for fold in record.details.get("folds", [record.details]) if "not_converged" in fold]
    failed = [i for i, fold in enumerate(fits, 1) if fold["not_converged"]]
    if not failed:
        return []
    penalties = sorted({fits[i - 1]["penalty"] for i in failed})
    fewest = min(fits[i - 1]["events_train"] for i in failed)
    return [
        Finding(
            severity="warning",
            code="not-converged",
            message=f"{len(failed)} of {len(fits)} {fits[failed[0] - 1].get('model', 'Cox')} fits did not converge",
            evidence=f"fits {first(failed)}; penalty {first(penalties)}; from {fewest} training events on",
            cure="do not read their coefficients, and their risks with care; use fewer inputs, or patients with more "
            "events",
        )
    ]


def _beyond_chance(score: Score) -> bool:
    return score.low is not None and score.chance is not None and score.low > score.chance


def _severity(score: Score) -> Literal["leak", "warning"]:
    """Return how much a score beyond chance weighs: what is small is no leak."""
    if score.value is None or score.low is None or score.chance is None:
        return "warning"
    return "leak" if is_leak(score.value, score.low, score.chance) else "warning"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return f"{score.n_units} units, no interval"
    return f"95 % interval {score.low:.2f} to {score.high:.2f}, {score.n_units} units"
