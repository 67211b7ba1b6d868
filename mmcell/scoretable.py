"""The scores of records as tidy tables: a row a score, and a row a score in a subgroup."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmcell.records import RunRecord, Score

COLUMNS = (
    "task", "dataset", "encoder", "patient_encoder", "probe", "correction", "role", "metric", "query", "gallery",
    "stratum", "split", "shift", "value", "ci_low", "ci_high", "chance", "difference", "skill", "p_null", "n_units",
    "n_items", "n_excluded", "status", "reason", "seconds",
)  # fmt: skip
#: Beside `COLUMNS` when details are asked for.
DETAILS = (
    "target", "difference_low", "difference_high", "mde", "verdict", "worst", "worst_value", "worst_n", "n_null",
    "missing_controls", "higher_is_better", "method", "n_gallery", "primary", "competes", "correction_kind",
)  # fmt: skip
_NUMBERS = (
    "value", "ci_low", "ci_high", "chance", "difference", "skill", "p_null", "seconds", "difference_low",
    "difference_high", "mde", "worst_value", "n_gallery",
)  # fmt: skip


_GROUPS = (
    "task", "dataset", "encoder", "patient_encoder", "probe", "role", "metric", "target", "query", "gallery", "stratum",
    "split", "by", "group", "value", "ci_low", "ci_high", "chance", "n_units", "n_items",
)  # fmt: skip


def score_table(records: Sequence[RunRecord], details: bool = False) -> pd.DataFrame:
    """Return a row a score; see `mmcell.Results.table`."""
    rows = [_row(record, score) for record in records for score in record.scores]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *DETAILS])
    frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype("Float64")
    return frame if details else frame[list(COLUMNS)]


def group_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return a row a score in a subgroup; see `mmcell.Results.groups`."""
    places = ("metric", "target", "query", "gallery", "stratum", "split")
    rows = [
        {
            "task": record.task["name"], "dataset": record.dataset, "encoder": record.encoding,
            "patient_encoder": record.patient_encoder, "probe": record.probe, "role": record.stands_as,
            **{name: getattr(score, name) for name in places},
            "by": g.role, "group": g.name, "value": g.value, "ci_low": g.low, "ci_high": g.high,
            "chance": g.chance, "n_units": g.n_units, "n_items": g.n_items,
        }
        for record in records for score in record.scores for g in score.groups
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(_GROUPS))
    numbers = ["value", "ci_low", "ci_high", "chance"]
    frame[numbers] = frame[numbers].astype("Float64")
    return frame


def _row(record: RunRecord, score: Score) -> dict[str, object]:
    gap = score.difference
    return {
        "task": record.task["name"], "dataset": record.dataset, "encoder": record.encoder,
        "patient_encoder": record.patient_encoder, "probe": record.probe, "correction": record.correction,
        "role": record.stands_as, "metric": score.metric, "query": score.query, "gallery": score.gallery,
        "stratum": _stratum(score), "split": score.split, "shift": score.shift, "value": score.value,
        "ci_low": score.low, "ci_high": score.high, "chance": score.chance,
        "difference": gap.value if gap else None, "skill": score.skill, "p_null": score.p_null,
        "n_units": score.n_units, "n_items": score.n_items, "n_excluded": score.n_excluded, "status": score.status,
        "reason": score.reason, "seconds": record.provenance.seconds, "target": score.target,
        "difference_low": gap.low if gap else None, "difference_high": gap.high if gap else None,
        "mde": gap.mde if gap else None, "verdict": score.verdict,
        "worst": f"{score.worst.role}={score.worst.name}" if score.worst else "",
        "worst_value": score.worst.value if score.worst else None,
        "worst_n": score.worst.n_units if score.worst else pd.NA, "n_null": score.n_null,
        "missing_controls": ", ".join(record.missing_controls),
        "higher_is_better": score.higher_is_better, "method": score.method, "n_gallery": score.n_gallery,
        "primary": score.metric == record.task["primary"], "competes": record.competes,
        "correction_kind": record.correction_kind,
    }  # fmt: skip


def _stratum(score: Score) -> str:
    """Return the gallery or group; where one value is told from the rest (``batch=B1``), that value is the group."""
    _, is_value, value = score.target.partition("=")
    return value if is_value and score.stratum == "all" else score.stratum
