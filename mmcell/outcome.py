"""What one candidate answered over all splits of a task, and the record that comes of it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mmcell.audit.retention import retention_findings
from mmcell.audit.scores import audit_scores
from mmcell.candidates import Candidate, fit_findings, modality_of
from mmcell.digest import digest, digest_array
from mmcell.embedding import Embedding
from mmcell.encoders.coverage import coverage, coverage_findings
from mmcell.engine.job import values_of
from mmcell.engine.part import Part
from mmcell.errors import MmcellError
from mmcell.grading import Beside, Estimates, estimate, scores_of
from mmcell.items import Items
from mmcell.metrics.alignment.surroundings import FEWEST
from mmcell.pictures import pictures
from mmcell.plan import Plan
from mmcell.provenance import provenance
from mmcell.records import Finding, RunRecord, Score, jsonable
from mmcell.task import PLUS_CLINICAL, unasked
from mmcell.work import Work


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one candidate answered: its items, or an error in one line; and the seconds it took.

    `nulls` holds, per place and metric, the values under permuted labels; `retention` what its patient vectors say of
    the measurement, `contrasts` how the classes differ in what can be read of them, `geometry` how patients lie to each
    other, `composition` of what types their cells are; `lost` holds why one of these could not be had, by name in the
    order of the alphabet: whichever fold lost it, and wherever it was computed.
    """

    items: Items | None
    error: str
    seconds: float
    trace: str = ""
    nulls: Mapping[tuple[str, ...], np.ndarray] = field(default_factory=dict)
    retention: pd.DataFrame | None = None
    contrasts: pd.DataFrame | None = None
    geometry: dict[str, Any] | None = None
    composition: dict[str, Any] | None = None
    lost: Mapping[str, str] = field(default_factory=dict)


def outcome_of(work: Work, parts: Sequence[Part]) -> Outcome:
    """Return what the parts of one candidate say together; those of folds come first, and then the draws of its null.

    After a part that failed there is no other.
    """
    seconds = sum(part.seconds for part in parts)
    if parts[-1].error:
        return Outcome(None, parts[-1].error, seconds, parts[-1].trace)
    try:
        return _joined(work, parts, seconds)
    except MmcellError as error:
        return Outcome(None, str(error), seconds)
    except Exception as error:
        # A user's task may return folds that do not go together: its rows fail, the others stand.
        reason = f"{work.candidate.label}: {type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(None, reason, seconds, traceback.format_exc())


def _joined(work: Work, parts: Sequence[Part], seconds: float) -> Outcome:
    n_folds = len(work.plan.splits)
    folds, draws = parts[:n_folds], parts[n_folds:]
    lost = {name: why for part in reversed(folds) for name, why in part.lost.items()}
    readings = [part.tables["contrasts"] for part in folds if "contrasts" in part.tables]
    differences = None
    if "contrasts" not in lost:
        try:
            # One BLAS thread, as in jobs: sums depend on their number.
            with threadpool_limits(1, user_api="blas"):
                differences = work.contrasts(readings)
        except MmcellError as error:
            lost["contrasts"] = str(error)
    nulls = {place: np.array(values) for place, values in values_of(draws).items()}
    first = folds[0]
    items = Items.concat([part.items for part in folds if part.items is not None])
    return Outcome(
        items, "", seconds, "", nulls, first.tables.get("retention"), differences, first.facts.get("geometry"),
        first.facts.get("composition"), dict(sorted(lost.items())),
    )  # fmt: skip


def record_of(
    plan: Plan, candidate: Candidate, outcome: Outcome, beside: Beside, missing: tuple[str, ...], command: str
) -> tuple[RunRecord, Estimates]:
    """Score an outcome and write down all that belongs to it.

    Parameters
    ----------
    plan, candidate, outcome
        What was run and what came of it.
    beside
        Estimates of the controls that it is compared with, as far as they have been run.
    missing
        Controls that are required and were left out or failed.
    command
        For the provenance.

    Returns
    -------
    record : RunRecord
        With its scores; after a failure with its reason instead.
    estimates
        With all bootstrap draws; empty after a failure.
    """
    spec = plan.task.spec
    level = spec.slot[2]
    details: dict[str, Any] = {}
    estimates: Estimates = {}
    scores: list[Score] = []
    content: Any
    genes: Mapping[str, float] | None = None
    if outcome.items is not None:
        try:
            estimates = estimate(outcome.items, plan.metrics, n_boot=plan.n_boot, seed=plan.seed)
            scores = scores_of(
                plan, estimates, beside, outcome.nulls, headline=candidate.competes, permuted=candidate.permuted,
                grouped=candidate.competes or candidate is plan.reference_for(candidate.probe),
                adds=candidate.probe.endswith(PLUS_CLINICAL),
            )  # fmt: skip
            scores += _undefined(plan, scores)
            genes = _coverage(plan, candidate)
        except Exception as error:
            # A user's metric or an encoder's vocabulary may raise anything: these rows fail, the others stand.
            reason = f"{candidate.label}: scoring failed: {type(error).__name__}: {' '.join(str(error).split())}"
            outcome = Outcome(None, reason, outcome.seconds, traceback.format_exc())
    if outcome.items is None:
        names = {s.spec.name: s.spec.shift for s in plan.splits}
        scores = [
            Score(
                metric=m.name,
                higher_is_better=m.higher_is_better,
                status="failed",
                reason=outcome.error,
                split=name,
                shift=shift,
                level=level,
            )
            for name, shift in names.items()
            for m in plan.metrics
        ]
        content = outcome.error
        details = {"traceback": outcome.trace} if outcome.trace else {}
    else:
        values = {name: digest_array(array) for name, array in outcome.items.arrays.items()}
        content = [str(pd.util.hash_pandas_object(outcome.items.frame, index=False).sum()), values]
        details = dict(outcome.items.details)
        examples = [e for fold in details.get("folds", []) for of in fold.get("examples", {}).values() for e in of]
        if examples and candidate.competes:
            shown = [i for e in examples for i in (e["query"], *e["partners"], *e["found"])]
            details["pictures"] = pictures(plan.dataset, shown)
        if outcome.retention is not None:
            details["retention"] = outcome.retention.to_dict("records")
        if outcome.contrasts is not None:
            details["contrasts"] = jsonable(outcome.contrasts.to_dict("records"))
        details |= {
            name: found for name in ("geometry", "composition") if (found := getattr(outcome, name)) is not None
        }
        if genes is not None:
            details["genes"] = genes
    key = plan.key(candidate) or digest(spec.facts(), candidate.name, plan.split_hash, plan.seed, plan.n_boot, content)
    record = RunRecord(
        key=key,
        task=jsonable(spec.facts()),
        dataset=plan.dataset.name,
        dataset_fingerprint=plan.dataset.fingerprint,
        time_unit=plan.dataset.card.time_unit,
        split_hash=plan.split_hash,
        encoder=candidate.encoder,
        patient_encoder=candidate.patient_encoder,
        correction=candidate.correction,
        correction_kind=candidate.correcting.kind if candidate.correcting is not None else "",
        probe="" if candidate.probe == "default" else candidate.probe,
        role=candidate.role,
        permuted=candidate.permuted,
        asked=candidate.asked,
        cards=candidate.cards,
        parameters={"n_boot": plan.n_boot, "n_null": plan.n_null, "seed": plan.seed},
        scores=tuple(scores),
        missing_controls=missing,
        details=jsonable(details | ({"ways": candidate.ways} if candidate.ways else {})),
        error=outcome.error,
        provenance=provenance(outcome.seconds, command),
    )
    leaks = retention_findings(outcome.retention) if outcome.retention is not None else []
    unknown = coverage_findings(candidate.encoder, genes)
    drawn = fit_findings(candidate, plan.dataset, plan.task.spec.slot[1], plan.splits)
    gone = [
        Finding(severity="warning", code="not-measured", message=f"{candidate.label}: {name} was not measured: {why}")
        for name, why in outcome.lost.items()
    ]
    findings = (*plan.findings, *leaks, *unknown, *drawn, *gone, *audit_scores(record))
    return record.model_copy(update={"findings": findings}), estimates


def _coverage(plan: Plan, candidate: Candidate) -> Mapping[str, float] | None:
    """Return how many of the encoder's genes the data have; None where nothing is known of its genes."""
    if isinstance(candidate.source, (str, Embedding)):
        return None
    return coverage(candidate.source, plan.dataset, modality_of(plan.task.spec.slot[1], plan.dataset))


#: Why there are no items that a metric of alignment reads.
_NO_GRAPH = (
    f"no neighbour graph: held-out items of a fold are of one batch or fewer than {FEWEST}, or no split asks for batch "
    "and label of the same items"
)


def _undefined(plan: Plan, scores: list[Score]) -> list[Score]:
    """Return a row for every metric of the task that nothing could be scored with, and why."""
    level, scored = plan.task.spec.slot[2], {s.metric for s in scores}
    found = []
    for metric in plan.metrics:
        if metric.name in scored:
            continue
        is_role = hasattr(plan.dataset.roles, metric.target)
        why = unasked(plan.dataset, metric.target, level) if is_role else metric.undefined if metric.target else ""
        lacks = f"no items that it reads{f' (it needs {metric.needs[0]})' if metric.needs else ''}"
        has_graph = any(m.axis for m in plan.metrics if m.name in scored)
        reason = why or ((metric.undefined if has_graph else _NO_GRAPH) if metric.axis else lacks)
        found.append(
            Score(
                metric=metric.name, higher_is_better=metric.higher_is_better, target=metric.target or "label",
                status="undefined", reason=reason, split=plan.splits[0].spec.name, level=level,
            )
        )  # fmt: skip
    return found
