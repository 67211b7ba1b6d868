"""`evaluate`: the one orchestrator. Dataset → encoder → (patient encoder) → split → task → items → scores → record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from mmcell.candidates import Candidate
from mmcell.data.catalog import load_dataset
from mmcell.dataset import Dataset
from mmcell.encoders.shelf import shelf_of
from mmcell.engine.engine import Engine, Sent
from mmcell.errors import MmcellError, number_of
from mmcell.grading import Beside, estimate
from mmcell.items import Items
from mmcell.outcome import Outcome, outcome_of, record_of
from mmcell.plan import ControlNames, Plan, check_numbers, make_plan
from mmcell.progress import Progress
from mmcell.records import RunRecord
from mmcell.results import Results
from mmcell.store import Store
from mmcell.task import Task, get_task

Reuse = Literal["only-missing", "always", "never"]
#: In which order roles are run and scored: each is compared with those before it.
_ORDER = {"control": 0, "ceiling": 1, "candidate": 2}


def evaluate(
    encoders: Any = None,
    tasks: str | Task | Sequence[str | Task] = (),
    *,
    dataset: str | Path | Dataset | None = None,
    patient_encoders: Any = None,
    probes: Sequence[str] | None = None,
    corrections: Any = None,
    controls: ControlNames = "default",
    max_items: int | None = None,
    n_boot: int = 1000,
    null: int = 0,
    seed: int = 0,
    executor: Executor | None = None,
    out: str | Path | None = None,
    reuse: Reuse = "only-missing",
    cache: str | Path | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Results:
    """Evaluate frozen encoders or embeddings on tasks, with controls, intervals and findings.

    Parameters
    ----------
    encoders
        Names, ``module:attribute``, objects with ``encode``, embeddings; one, a list, or a mapping from the name in
        tables. None takes what each task names.
    tasks
        Names or `Task` objects.
    dataset
        Replaces each task's own: a name, the path of a card, or a `Dataset`.
    patient_encoders, probes
        Replace each task's own.
    corrections
        What takes batches out of embeddings: names (``centre``, ``tvn``, ``harmony``), ``module:attribute``, objects
        with ``fit`` and ``transform``; see `mmcell.corrections`. Every encoder is evaluated as it is and with each.
    controls
        ``default`` runs those that the task demands; otherwise their names.
    max_items
        Replaces the number of items that tasks of alignment and retrieval draw at most (evenly over units, partners
        together); 0 for all. Other tasks take all items.
    n_boot, seed
        Bootstrap draws, and the seed of everything random.
    null
        Permutations of the labels (or of the partners of a retrieval) through the whole pipeline, for `Score.p_null`;
        0 for none, otherwise at least 19.
    executor
        Where candidates are computed; None means here, one after the other. The results are the same.
    out
        Folder for records, items, the table and the report; None keeps the results in memory.
    reuse
        ``only-missing`` reads what `out` holds already under the same key; ``always`` raises when something is
        missing; ``never`` computes everything.
    cache
        Folder where embeddings are kept by content, for this run and later ones; default: the environment variable
        ``MMCELL_CACHE``, or `out`/embeddings, or nowhere.
    progress, command
        Called while working; noted in the provenance.

    Returns
    -------
    Results
        One record per task and candidate. A candidate that failed has status ``failed`` and its reason.

    Raises
    ------
    MmcellError
        What was asked cannot be done: an unknown name, an embedding that does not fit, roles or labels that do not
        allow the task. Nothing has been computed then.
    """
    if reuse not in get_args(Reuse):
        raise MmcellError(f"reuse is {reuse!r}; use one of {', '.join(get_args(Reuse))}")
    asked = [tasks] if isinstance(tasks, (str, Task)) else list(tasks)
    if not asked:
        raise MmcellError("no task was named; see mmcell.list_tasks()")
    options: dict[str, Any] = {
        "patient_encoders": patient_encoders, "probes": probes, "controls": controls, "n_boot": n_boot, "null": null,
        "seed": seed, "corrections": corrections,
    }  # fmt: skip
    named = [get_task(task) if isinstance(task, str) else task for task in asked]
    check_numbers(n_boot, null, seed)
    if isinstance(dataset, (str, Path)):
        # Once for all tasks.
        dataset = load_dataset(dataset)
    # Beside a task that draws, one that takes all items is no mistake; where none draws it is.
    draws = [task.draws or not any(t.draws for t in named) for task in named]
    plans = [
        make_plan(task, encoders, dataset, max_items=max_items if here else None, **options)
        for task, here in zip(named, draws, strict=True)
    ]
    plans = keeping(plans, cache, out)
    return run_plans(plans, executor=executor, out=out, reuse=reuse, progress=progress, command=command)


def keeping(plans: Sequence[Plan], cache: str | Path | None, out: str | Path | None) -> list[Plan]:
    """Return plans that keep embeddings where `cache` or `out` say; see `evaluate`."""
    return [replace(plan, shelf=shelf_of(cache, out)) for plan in plans]


def run_plans(
    plans: Sequence[Plan],
    *,
    executor: Executor | None = None,
    out: str | Path | None = None,
    reuse: Reuse = "only-missing",
    progress: Progress | None = None,
    command: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Results:
    """Run what was planned, score it, and write it where `out` says.

    Parameters
    ----------
    plans
        See `mmcell.plan.make_plan`.
    executor, out, reuse, progress, command
        As in `evaluate`.
    say
        Called with a line for whoever watches, such as what was cleared away.
    """
    store = Store.create(Path(out)) if out is not None else None
    held = nullcontext(False) if store is None else store.held()
    with held as alone, Engine.open(executor, store.folder if store is not None else None, progress) as engine:
        # All is sent off before anything is scored, so that no worker waits for a score.
        begun = [_begin(plan, store, reuse, engine) for plan in plans]
        found = [_finish(plan, *one, store, engine, command) for plan, one in zip(plans, begun, strict=True)]
        notes = tuple(dict.fromkeys(note for plan in plans for note in plan.notes))
        records = sorted((record for some in found for record, _ in some), key=lambda r: r.order)
        items = {record.key: scored for some in found for record, scored in some if scored is not None}
        results = Results(records, items, notes)
        if store is not None:
            store.finish(results)
        if alone and not results.failed and (swept := engine.sweep()):
            say(f"removed {number_of(swept, 'part')} of earlier runs that nothing here needs, from {out}/parts")
    return results


#: Candidate by its name -> its record and items.
Found = dict[tuple[str, str, str], tuple[RunRecord, Items | None] | None]


def _begin(
    plan: Plan, store: Store | None, reuse: Reuse, engine: Engine
) -> tuple[list[Candidate], Found, dict[tuple[str, str, str], Sent]]:
    """Return the candidates in the order in which they are scored, what is stored of them, and what is on its way."""
    stored = {c.name: _stored(store, plan.key(c), reuse) for c in plan.candidates}
    # The reference comes first, then what else stands beside a candidate: all of it is part of its record.
    order = sorted(plan.candidates, key=lambda c: (c is not plan.reference_for(c.probe), _ORDER[c.role], c.permuted))
    if any(stored[c.name] is None for c in order if c.role != "candidate"):
        # What was compared with an earlier control, or with none, is compared anew.
        stored = dict.fromkeys(stored)
    todo = [c for c in order if stored[c.name] is None]
    sent = engine.begin(plan, todo, anew=reuse == "never")
    return order, stored, {one.candidate.name: one for one in sent}


def _finish(
    plan: Plan, order: Sequence[Candidate], stored: Found, sent: Mapping[tuple[str, str, str], Sent],
    store: Store | None, engine: Engine, command: str,
) -> list[tuple[RunRecord, Items | None]]:  # fmt: skip
    """Score what comes in, control by control and then candidate by candidate, and write it down."""
    # Like is compared with like: every probe that controls went through has its own.
    none = Beside(reference_name=plan.reference.label if plan.reference else "")
    models = plan.task.models
    through = list(dict.fromkeys(c.probe for c in order if c.role != "candidate" and c.probe not in models))
    besides = dict.fromkeys(through or [""], none)
    failed: list[tuple[str, str]] = []
    found: dict[tuple[str, str, str], tuple[RunRecord, Items | None]] = {}
    waiting: list[tuple[Candidate, Outcome]] = []
    for candidate in order:
        known = stored[candidate.name]
        # What covariates add is no part of the model: beside ``cox+clinical`` stand the controls through ``cox``.
        own = plan.task.plain(candidate.probe)
        own = own if own in besides else (through or [""])[0]
        if known is None:
            one = sent[candidate.name]
            outcome = outcome_of(one.work, list(engine.parts_of(one)))
            lacks = plan.lacking(candidate, [name for name, probe in failed if probe == own])
            record, estimates = record_of(plan, candidate, outcome, besides.get(own, none), lacks, command)
            known = (record, outcome.items)
            if candidate.role != "candidate" and candidate.asked:
                # It is put into words when all controls are there, and only then written.
                waiting.append((candidate, outcome))
            elif store is not None:
                store.write(record, outcome.items)
        elif candidate.role != "candidate" and known[1] is not None and sent:
            estimates = estimate(known[1], plan.metrics, n_boot=plan.n_boot, seed=plan.seed)
        if candidate.role != "candidate":
            # What reads no embedding stands beside every probe.
            for name in besides if candidate.probe in models else [own]:
                if known[0].error:
                    failed.append((candidate.encoder or candidate.patient_encoder, name))
                elif sent:
                    besides[name] = besides[name].joined(candidate, estimates, plan)
        found[candidate.name] = known
    for candidate, outcome in waiting:
        lacks = plan.lacking(candidate, [name for name, probe in failed if probe == candidate.probe])
        beside = besides[candidate.probe].without(candidate)
        record, _ = record_of(plan, candidate, outcome, beside, lacks, command)
        found[candidate.name] = (record, outcome.items)
        if store is not None:
            store.write(record, outcome.items)
    # A failed one is tried again, and then what others are compared with is scored again.
    engine.end(plan, list(sent.values()), drop=not any(record.error for record, _ in found.values()))
    return list(found.values())


def _stored(store: Store | None, key: str, reuse: Reuse) -> tuple[RunRecord, Items | None] | None:
    """Return a finished record with its items; a failed one is tried again."""
    if store is None or reuse == "never":
        return None
    found = store.read(key) if key else None
    if found is None and reuse == "always":
        raise MmcellError(f"reuse='always', but {store.folder} lacks a result that was asked for; use 'only-missing'")
    return found
