"""What a record's correction has seen of those who are held out."""

from __future__ import annotations

from mmcell.errors import first
from mmcell.records import Finding, RunRecord

#: What is found here.
CODES = ("transductive", "new-batches")


def correction_findings(record: RunRecord) -> list[Finding]:
    """Return what must be known of a corrected score, over all folds."""
    folds = [f["correction"] for f in record.details.get("folds", [record.details]) if "correction" in f]
    if not folds:
        return []
    if record.correction_kind == "transductive":
        return [
            Finding(
                severity="info", code="transductive",
                message=f"{record.correction} is fitted on the held-out rows, too, without their labels: the score is "
                "of data at hand, not of patients yet to come",
            )
        ]  # fmt: skip
    new = [f for f in folds if f["new batches"]]
    if not new:
        return []
    names = sorted({name for f in new for name in f["new batches"]})
    return [
        Finding(
            severity="info", code="new-batches",
            message=f"in {len(new)} of {len(folds)} folds {record.correction} meets batches without training rows, and "
            "takes from them what it needs of their own rows, without labels",
            evidence=first(names),
        )
    ]  # fmt: skip
