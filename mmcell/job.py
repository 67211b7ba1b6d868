"""One job: a candidate over all splits of a task; and the record that comes of it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from mmcell.audit.scores import audit_scores
from mmcell.candidates import Cache, Candidate, embeddings_of
from mmcell.digest import digest, stream
from mmcell.errors import MmcellError
from mmcell.grading import Estimates, estimate, grade, scores_of
from mmcell.items import Items
from mmcell.plan import Plan
from mmcell.provenance import provenance
from mmcell.records import RunRecord, Score, jsonable
from mmcell.splits import Split
from mmcell.task import MethodView, Task


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one candidate answered: its items, or an error in one line; and the seconds it took."""

    items: Items | None
    error: str
    seconds: float
    trace: str = ""


def answer(plan: Plan, candidate: Candidate, cache: Cache | None = None) -> Outcome:
    """Run one candidate over all splits. Whatever goes wrong inside it is its own outcome and stops no other."""
    cache = cache or Cache()
    begun = time.perf_counter()
    task = plan.task if candidate.probe == "default" else plan.task.using(candidate.probe)
    try:
        # One BLAS thread a job: on small matrices several spin rather than help, and sums depend on their number.
        with threadpool_limits(1, user_api="blas"):
            items = Items.concat([_one(plan, candidate, task, split, cache) for split in plan.splits])
        return Outcome(items, "", time.perf_counter() - begun)
    except MmcellError as error:
        return Outcome(None, str(error), time.perf_counter() - begun)
    except Exception as error:
        # A user's encoder may raise anything. It becomes a failed row with its reason, and the trace is kept.
        text = str(error).strip().splitlines()
        reason = f"{candidate.label}: {type(error).__name__}: {text[0] if text else 'no message'}"
        return Outcome(None, reason, time.perf_counter() - begun, traceback.format_exc())


def _one(plan: Plan, candidate: Candidate, task: Task, split: Split, cache: Cache) -> Items:
    """Return the graded items of one split."""
    level = task.spec.slot[2]
    embeddings = embeddings_of(candidate, task, plan.dataset, split, cache, plan.seed)
    rng = stream(plan.seed, task.spec.name, *candidate.name, split.key)
    items = task.run(MethodView.of(plan.dataset, split, level), embeddings, split, rng)
    if not isinstance(items, Items):
        raise MmcellError(f"task {task.spec.name!r}: run returned {type(items).__name__}; return Items")
    return grade(items, plan.dataset, split, level)


def record_of(
    plan: Plan, candidate: Candidate, outcome: Outcome, base: Estimates | None, command: str
) -> tuple[RunRecord, Estimates]:
    """Score an outcome and write down all that belongs to it.

    Parameters
    ----------
    plan, candidate, outcome
        What was run and what came of it.
    base
        Estimates of the reference control; None for itself, or where it could not be run.
    command
        For the provenance.

    Returns
    -------
    record : RunRecord
    estimates
        With all bootstrap draws; empty after a failure.
    """
    spec = plan.task.spec
    level = spec.slot[2]
    details: dict[str, Any] = {}
    estimates: Estimates = {}
    scores: list[Score] = []
    if outcome.items is not None:
        try:
            estimates = estimate(outcome.items, plan.metrics, n_boot=plan.n_boot, seed=plan.seed)
            scores = scores_of(estimates, base, plan.splits, plan.dataset.units_of(level), level)
        except Exception as error:
            # A user's metric may raise anything: these rows fail with its reason, the others stand.
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
        content = str(pd.util.hash_pandas_object(outcome.items.frame, index=False).sum())
        details = dict(outcome.items.details)
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
        probe="" if candidate.probe == "default" else candidate.probe,
        role=candidate.role,
        cards=candidate.cards,
        parameters={"n_boot": plan.n_boot, "seed": plan.seed},
        scores=tuple(scores),
        details=jsonable(details),
        error=outcome.error,
        provenance=provenance(outcome.seconds, command),
    )
    findings = (*plan.findings, *audit_scores(record))
    return record.model_copy(update={"findings": findings}), estimates
