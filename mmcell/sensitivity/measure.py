"""`sensitivity`: every candidate under every variant, and what that says of scores and of the order of encoders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mmcell.candidates import Cache, Candidate
from mmcell.engine.parcel import Parcel, Parcels, UnsentError
from mmcell.errors import MmcellError
from mmcell.plan import Plan
from mmcell.progress import Progress
from mmcell.sensitivity.axes import Variant, check_axes, variants_of
from mmcell.sensitivity.reading import Place, Reading, asked, chances, estimates_of, items_of, readings, reads, said
from mmcell.sensitivity.result import ROBUSTNESS, STABILITY, TABLE, Sensitivity, framed
from mmcell.sensitivity.shortcut import AXIS as CONFOUNDING
from mmcell.sensitivity.shortcut import confounded, designs_of
from mmcell.sensitivity.sizes import sizes_of
from mmcell.sensitivity.tables import Readings
from mmcell.stats.bootstrap import Estimate, check_draws

#: Variants use the first repeat of the folds only, and are compared with the same folds as they are.
REPEATS = 1
#: Bootstrap draws: fewer than a run has, for there are many intervals.
N_BOOT = 200

#: Plan and cache -> readings of all its candidates.
Job = Callable[[Plan, Cache | None], list[Reading]]
Row = dict[str, Any]


def sensitivity(
    plans: Sequence[Plan],
    *,
    seed: int = 0,
    axes: Collection[str] | None = None,
    n_boot: int = N_BOOT,
    executor: Executor | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Vary what should not matter and the structure of the data, and see what becomes of scores and of their order.

    Candidates and the reference control take part, and other controls of a candidate's encoder.

    Parameters
    ----------
    plans
        What was evaluated.
    seed
        Of the variants and of the bootstrap draws; folds and encoders keep the seed of their plan.
    axes
        Some of `mmcell.sensitivity.AXES`; None for all.
    n_boot
        Bootstrap draws; at least 100.
    executor
        Where variants are computed; None means here. The results are the same.
    folder
        Where workers find what they are sent, while it runs; None for the machine's temporary files.
    progress
        Called with what is being done, steps done and steps in all.

    Returns
    -------
    Sensitivity
        What cannot be asked of a task or candidate is named with its reason.

    Raises
    ------
    MmcellError
        An unknown axis, fewer than 100 draws, no plan.
    """
    wanted = check_axes(axes)
    check_draws(n_boot)
    if not plans:
        raise MmcellError("no task was planned; see mmcell.list_tasks()")
    with Parcels.under(folder) as parcels:
        return _measured(plans, wanted, seed, n_boot, _Sender(executor, parcels), progress)


def _measured(
    plans: Sequence[Plan], wanted: Collection[str], seed: int, n_boot: int, sender: _Sender, progress: Progress | None
) -> Sensitivity:
    planned = [_steps(plan, wanted, seed, n_boot) for plan in plans]
    total = sum(len(steps) + 1 for steps, _ in planned)
    done = 0
    rows: tuple[list[Row], ...] = ([], [], [])
    notes: list[str] = []
    for plan, (steps, lost) in zip(plans, planned, strict=True):
        name = plan.task.spec.name
        whole = _reduced(plan)
        cache = Cache(shelf=plan.shelf)
        if progress is not None:
            progress(f"{name}: as it is", done, total)
        as_is = _Step(partial(_as_is, seed=seed, n_boot=n_boot), "as-is", "as-is")
        start = next(sender.done([(as_is, whole)], cache))
        ends = {c.name: [r for r in start if r.candidate == c.name] for c in whole.candidates}
        found = Readings(
            whole, asked(plan), {n: r[0] for n, r in ends.items()}, {n: r[-1] for n, r in ends.items()}
        )  # fmt: skip
        few = _reduced(plan, REPEATS)
        alive = [c for c in whole.candidates if c.name in found.alive]
        sent = [
            (s, replace(few, candidates=[c for c in alive if s.variant is None or not s.variant.spared(c)]))
            for s in steps
        ]
        for step, made in zip(steps, sender.done(sent, cache), strict=True):
            done += 1
            if progress is not None:
                progress(f"{name}: {step.axis} {step.name}", done, total)
            found.add(made)
            if step.variant is not None:
                found.add(found.untouched(step.variant))
        done += 1
        for table, more in zip(rows, (found.table(wanted), found.stability(wanted), found.robustness()), strict=True):
            table += more
        notes += lost
    table, order, robustness = (framed(r, c) for r, c in zip(rows, (TABLE, STABILITY, ROBUSTNESS), strict=True))
    return Sensitivity(table, order, robustness, tuple(dict.fromkeys(notes)))


@dataclass(frozen=True, eq=False)
class _Step:
    """A job with the names that tables give it; `variant` is None for the confounded training sets."""

    job: Job
    axis: str
    name: str
    level: float = float("nan")
    variant: Variant | None = None


def taking_part(plan: Plan) -> list[Candidate]:
    """Return who competes in a plan, its reference control, and controls with a competitor's encoder."""
    encoders = {c.encoder for c in plan.candidates if c.competes} - {""}
    reference = plan.reference
    return [c for c in plan.candidates if c.competes or c.encoder in encoders or c is reference]


def _reduced(plan: Plan, repeats: int | None = None) -> Plan:
    """Return a plan with who takes part and the splits that the primary metric reads, or the first repeats of these."""
    primary = asked(plan)[0]
    splits = [s for s in plan.splits if any(reads(primary, t) for t in s.spec.targets)]
    splits = [s for s in splits if repeats is None or s.repeat < repeats]
    return replace(plan, candidates=taking_part(plan), splits=splits, findings=[], notes=(), n_null=0)


def _steps(plan: Plan, axes: Collection[str], seed: int, n_boot: int) -> tuple[list[_Step], list[str]]:
    """Return what is to be done for a plan, and in words what cannot be asked."""
    few = _reduced(plan, REPEATS)
    variants, notes = variants_of(few, axes)
    steps = [_Step(partial(_varied, variant=v, seed=seed, n_boot=n_boot), v.axis, v.name, v.level, v) for v in variants]
    if "metric" in axes and len(plan.metrics) < 2:
        notes.append(f"{plan.task.spec.name}: metric was not varied: the task has one metric only")
    if CONFOUNDING in axes:
        try:
            designs_of(few)
            # First, while the embeddings of the folds as they are are still at hand.
            steps.insert(0, _Step(partial(_confounded, seed=seed, n_boot=n_boot), CONFOUNDING, "V"))
        except MmcellError as error:
            notes.append(f"{plan.task.spec.name}: {CONFOUNDING} was not varied: {error}")
    return steps, notes


def _as_is(plan: Plan, cache: Cache | None, *, seed: int, n_boot: int) -> list[Reading]:
    """Return two readings a candidate: all folds and metrics, and the folds of the variants on the primary metric."""
    cache = cache or Cache()
    metrics, sizes = asked(plan), sizes_of(plan.dataset, plan.splits)
    found = []
    for candidate in plan.candidates:
        who = (candidate.name, "as-is", "as-is")
        both: list[tuple[dict[Place, Estimate], dict[Place, float]]] = []
        try:
            items = items_of(plan, candidate, cache)
            first = items.where(items.frame["repeat"] < REPEATS)
            for some, read in ((items, metrics), (first, metrics[:1])):
                estimates, panels = estimates_of(some, read, n_boot=n_boot, seed=seed)
                both.append((estimates, chances(metrics, panels)))
        except Exception as error:
            # A user's encoder or task may raise anything: its rows fail with the reason, all others stand.
            found += [Reading(*who, status="failed", reason=said(error))] * 2
            continue
        found += [
            Reading(*who, estimates={p: (e,) for p, e in some.items()}, chance=chance, sizes=sizes)
            for some, chance in both
        ]
    return found


def _varied(plan: Plan, cache: Cache | None, *, variant: Variant, seed: int, n_boot: int) -> list[Reading]:
    return readings(plan, variant, seed, n_boot, cache)


def _confounded(plan: Plan, cache: Cache | None, *, seed: int, n_boot: int) -> list[Reading]:
    return confounded(plan, seed, n_boot, cache)


def _job(job: Job, plan: Plan, cache: Cache | None = None) -> list[Reading]:
    # One BLAS thread, as in a run: sums depend on their number.
    with threadpool_limits(1, user_api="blas"):
        return job(plan, cache or Cache(shelf=plan.shelf))


@dataclass(frozen=True, eq=False)
class _Sender:
    """Where jobs are computed, and what carries them there."""

    executor: Executor | None
    parcels: Parcels
    _candidates: dict[int, tuple[Candidate, Parcel]] = field(default_factory=dict, repr=False)

    def done(self, sent: Sequence[tuple[_Step, Plan]], cache: Cache) -> Iterator[list[Reading]]:
        """Yield the readings of each step; in another process each candidate is a job of its own."""
        if self.executor is None:
            for step, plan in sent:
                yield _job(step.job, plan, cache)
            return
        submit = self.executor.submit
        waiting = [(step, [(c, self._sent(submit, step, plan, c)) for c in plan.candidates]) for step, plan in sent]
        for step, futures in waiting:
            yield [reading for candidate, future in futures for reading in _returned(step, candidate, future)]

    def _sent(
        self, submit: Callable[..., Future[list[Reading]]], step: _Step, plan: Plan, candidate: Candidate
    ) -> Future[list[Reading]]:  # fmt: skip
        try:
            # A candidate may be an embedding, and goes once for all steps.
            if id(candidate) not in self._candidates:
                self._candidates[id(candidate)] = (candidate, self.parcels.put(candidate))
            step_alone = self.parcels.put((step.job, replace(plan, candidates=[])))
            return submit(_in_worker, step_alone, self._candidates[id(candidate)][1])
        except UnsentError as error:
            future: Future[list[Reading]] = Future()
            future.set_exception(error)
            return future


def _in_worker(step: Parcel, candidate: Parcel) -> list[Reading]:
    """Do in a worker what came in parcels."""
    job, plan = step.open()
    return _job(job, replace(plan, candidates=[candidate.open()]))


def _returned(step: _Step, candidate: Candidate, future: Future[list[Reading]]) -> list[Reading]:
    try:
        return future.result()
    except Exception as error:
        # What cannot be sent to a worker, or a worker that died, is the fault of this one.
        facts = (step.axis, step.name, step.level)
        return [Reading(candidate.name, *facts, status="failed", reason=said(error))]
