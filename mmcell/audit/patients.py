"""What a record's patient encoder left out, or could not tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcell.errors import first
from mmcell.records import Finding, RunRecord

#: What is found here.
CODES = ("few-cells", "unseen-types", "filled-types", "rows-without-cells", "all-the-same")
#: Below so many cells a patient's vector is mostly noise.
FEW_CELLS = 10


def patient_findings(record: RunRecord) -> list[Finding]:
    """Return what the facts of a record's patient encoders say against its scores, over all folds."""
    folds = [f["patient_encoder"] for f in record.details.get("folds", [record.details]) if "patient_encoder" in f]
    found = [*_few_cells(folds), *_unseen_types(folds), *_filled_types(folds), *_rows_without_cells(folds)]
    # That is what the control is made to be.
    return found if record.encoder == "constant" else [*found, *_all_the_same(folds)]


def _few_cells(folds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    few = [f for f in folds if f.get("cells each") is not None and f["cells each"] < FEW_CELLS]
    if not few:
        return []
    least = min(few, key=lambda f: f["cells each"])
    n = least["cells each"]
    return [
        Finding(
            severity="warning",
            code="few-cells",
            message=f"in {len(few)} of {len(folds)} folds every patient is given by {FEW_CELLS - 1} cells or fewer, as "
            "many as the training patient with the fewest has",
            evidence=f"{n} cell{'s' * (n > 1)} each, for {least['fewest of']} has no more",
            cure="leave patients with so few cells out, or let the patient encoder read :all-cells",
        )
    ]


def _unseen_types(folds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    lost = [f for f in folds if f.get("unseen types")]
    if not lost:
        return []
    types: dict[str, int] = {}
    for fold in lost:
        types |= {t: max(n, types.get(t, 0)) for t, n in fold["unseen types"].items()}
    only = sorted({p for f in lost for p in f["of unseen types only"]})
    named = ", ".join(f"{t} ({n} cells)" for t, n in sorted(types.items(), key=lambda item: (-item[1], item[0])))
    return [
        Finding(
            severity="warning",
            code="unseen-types",
            message=f"in {len(lost)} of {len(folds)} folds cells are left out, for training patients lack their types"
            + (f"; {len(only)} patients have no other cells ({first(only)})" if only else ""),
            evidence=named,
            cure="label cells with types that several patients have",
        )
    ]


def _filled_types(folds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    filled = [f["filled types"] for f in folds if f.get("filled types")]
    if not filled:
        return []
    most = max(filled, key=lambda types: sum(types.values()))
    n = sum(most.values())
    named = ", ".join(f"{t} ({k})" for t, k in sorted(most.items(), key=lambda item: (-item[1], item[0])))
    return [
        Finding(
            severity="warning",
            code="filled-types",
            message=f"in {len(filled)} of {len(folds)} folds patients have no cell of a type: up to {n} patient × type "
            "vectors are the training mean, with a flag that says so",
            evidence=f"patients without: {named}",
            cure="merge rare types, or let the patient encoder read :all-cells",
        )
    ]


def _rows_without_cells(folds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    unused = sorted({str(p) for f in folds for p in f.get("rows without cells", ())})
    if not unused:
        return []
    return [
        Finding(
            severity="warning",
            code="rows-without-cells",
            message=f"{len(unused)} patients of the file have no cells here and are left out ({first(unused)})",
            cure="check that their ids are written alike in both, or leave them out of the file",
        )
    ]


def _all_the_same(folds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    same = sum(bool(f.get("all the same")) for f in folds)
    if not same:
        return []
    return [
        Finding(
            severity="warning",
            code="all-the-same",
            message=f"in {same} of {len(folds)} folds all patients have the same vector: it tells nobody apart",
            cure="see the facts of the patient encoder in the record; give more cells a patient, another embedding, or "
            "another patient encoder",
        )
    ]
