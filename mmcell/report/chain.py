"""What a record of the chain says in words: order, reversal and added value, each beside its chance."""

from __future__ import annotations

from collections import Counter

from mmcell.metrics.chain import CHOSEN
from mmcell.records import RunRecord, Score

_ORDER = (
    ("severity_spearman", "severity_p", "ρ", "with severity"),
    ("disease_auroc", "disease_p", "AUROC", "of the disease"),
)

_PATIENTS = "permuted patients"


def said_of_chain(record: RunRecord) -> list[str]:
    """Return one line for each question that a candidate answers; none for records of other tasks."""
    scores = {(s.metric, s.stratum): s for s in record.scores if s.value is not None}
    return [line for line in (_order(record, scores), _reversal(scores), _outcome(scores)) if line]


def _order(record: RunRecord, scores: dict[tuple[str, str], Score]) -> str:
    chosen = Counter(fold["chosen"] for fold in record.details.get("folds", []) if "chosen" in fold)
    parts = []
    for metric, test, name, of in _ORDER:
        value, p = scores.get((metric, CHOSEN)), scores.get((test, CHOSEN))
        if value is not None:
            parts.append(f"{name} {_with_interval(value)} {of}{_p(p, 'random signatures')}")
    if not parts or not chosen:
        return ""
    folds = sum(chosen.values())
    where = ", ".join(f"{name} (chosen in {n} of {folds} folds)" for name, n in chosen.most_common())
    return f"along {where}: {'; '.join(parts)}"


def _reversal(scores: dict[tuple[str, str], Score]) -> str:
    lies = [s for (metric, _), s in scores.items() if metric == "connectivity"]
    if not lies:
        return ""
    least = min(lies, key=lambda s: s.value or 0.0)
    p = scores.get(("connectivity_p", least.stratum))
    text = f"undoes the disease most: {least.stratum}, connectivity {_with_interval(least)}{_p(p, _PATIENTS)}"
    first = scores.get(("reversal@1", CHOSEN))
    if first is not None:
        share, chance = _with_interval(first), _n(first.chance)
        text += f"; what is known to reverse is the first in {share} of patients (chance {chance})"
        text += _p(scores.get(("reversal_p", CHOSEN)), _PATIENTS)
    return text


def _outcome(scores: dict[tuple[str, str], Score]) -> str:
    added, both = scores.get(("added_c", CHOSEN)), scores.get(("combined_c", CHOSEN))
    if added is None or both is None:
        return ""
    return f"beside clinical covariates: C {_n(both.value)}, of which {_with_interval(added)} is added"


def _with_interval(score: Score) -> str:
    return (
        f"{_n(score.value)} ({_n(score.low)} to {_n(score.high)})" if score.ci else f"{_n(score.value)} (no interval)"
    )


def _p(score: Score | None, among: str) -> str:
    return "" if score is None else f", p {_n(score.value)} among {among}"


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
