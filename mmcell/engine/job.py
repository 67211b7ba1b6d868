"""`Job`: one fold of one candidate on one task, or one draw from its null; and what a worker does with it."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from mmcell.candidates import Cache, Candidate
from mmcell.code import code_digest
from mmcell.dataset import forget_datasets
from mmcell.digest import digest
from mmcell.encoders.broken import Broken
from mmcell.engine import parcel
from mmcell.engine.parcel import Parcel
from mmcell.engine.part import Part, Parts
from mmcell.errors import MmcellError
from mmcell.memory import give_back
from mmcell.plan import Plan
from mmcell.records import jsonable
from mmcell.work import Work

#: One job at a time in a process, for jobs share what a process holds, and the number of its BLAS threads.
_ALONE = threading.RLock()


@dataclass(frozen=True)
class Job:
    """A fold as it is, or all folds in one permuted world, whose draws splits share."""

    what: Literal["fold", "draw"]
    number: int

    def key(self, of_candidate: str) -> str:
        """Return the name of its part; "" where what decides a candidate's values is not known."""
        return digest(of_candidate, self.what, self.number)[:32] if of_candidate else ""


def jobs_of(plan: Plan, candidate: Candidate) -> list[Job]:
    """Return the jobs of one candidate."""
    draws = 0 if candidate.permuted else plan.n_null
    return [Job("fold", i) for i in range(len(plan.splits))] + [Job("draw", i) for i in range(draws)]


def work_of(plan: Plan, candidate: Candidate, cache: Cache) -> Work:
    """Return the work on one candidate."""
    task = plan.task if candidate.probe == "default" else plan.task.using(candidate.probe)
    return Work(plan, candidate, task, cache)


def do(make: Callable[[], Work], label: str, job: Job) -> Part:
    """Do a job. Whatever goes wrong inside it is its own outcome and stops no other."""
    with _ALONE:
        return _done(make, label, job)


def _done(make: Callable[[], Work], label: str, job: Job) -> Part:
    begun = time.perf_counter()
    try:
        # One BLAS thread a job: on small matrices several spin rather than help, and sums depend on their number.
        with threadpool_limits(1, user_api="blas"):
            work = make()
            if job.what == "draw":
                return Part(values=work.draw(job.number), seconds=time.perf_counter() - begun)
            items = work.fold(job.number)
            items = replace(items, details=jsonable(items.details))
            tables, facts, lost = work.beside(job.number)
        return Part(items, {}, tables, facts, lost, seconds=time.perf_counter() - begun)
    except MmcellError as error:
        reason, trace = str(error), ""
    except ImportError as error:
        reason, trace = Broken.of(label, error).reason, traceback.format_exc()
    except (Exception, SystemExit) as error:
        # A user's encoder may raise anything, or exit. It becomes a failed row with its reason, and the trace is kept.
        text = str(error).strip().splitlines()
        reason = f"{label}: {type(error).__name__}: {text[0] if text else 'no message'}"
        trace = traceback.format_exc()
    return Part(error=reason, trace=trace, seconds=time.perf_counter() - begun)


@dataclass(frozen=True)
class Order:
    """All that travels to a worker: where the plan and some candidates lie, and what to do with which of them.

    Attributes
    ----------
    plan, candidates
        A plan without candidates, and those that share an encoder.
    number
        Which of them.
    job, key
        What to do, and under which key the part is kept.
    parts
        The folder of parts.
    code
        Digest of mmcell's own code, which is part of the key: a part that other code found is another part.
    """

    plan: Parcel
    candidates: Parcel
    number: int
    job: Job
    key: str
    parts: str
    code: str


def fill(order: Order) -> None:
    """Do a job in a worker and leave its part in the folder.

    Raises
    ------
    MmcellError
        The worker has another mmcell, sees no such plan, or cannot write.
    UnsentError
        Plan or candidate cannot be had in this process.
    """
    with _ALONE:
        if code_digest() != order.code:
            raise MmcellError(
                f"{socket.gethostname()}: a worker has another mmcell than the run, or its code was altered meanwhile; "
                "install the same version and start workers anew"
            )
        plan, candidates, cache = _received(order.plan, order.candidates)
        candidate = candidates[order.number]
        part = do(lambda: _held(plan, candidate, cache), candidate.label, order.job)
        Parts(Path(order.parts)).write(order.key, part)
        del part
        # Arrays of one job come and go in many sizes: without it a worker holds the holes between them, too.
        give_back()


@lru_cache(maxsize=1)
def _received(plan: Parcel, candidates: Parcel) -> tuple[Plan, Sequence[Candidate], Cache]:
    """Return copies that a process keeps for the next job: what one job encoded is there for the next."""
    found: Plan = plan.open()
    if not found.dataset.origin:
        # A drawn part of it, perhaps: the whole is not held beside it.
        forget_datasets()
    return found, candidates.open(), Cache(shelf=found.shelf)


@lru_cache(maxsize=1)
def _held(plan: Plan, candidate: Candidate, cache: Cache) -> Work:
    """Return the work on the candidate of the last job, with the embeddings that it holds."""
    return work_of(plan, candidate, cache)


def forget() -> None:
    """Let go of all that this process holds for the next job."""
    _held.cache_clear()
    _received.cache_clear()
    forget_datasets()
    parcel.forget()


def values_of(parts: Sequence[Part]) -> dict[tuple[str, ...], list[Any]]:
    """Return (n draws,) values a place and metric, NaN where a draw could not ask."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for i, part in enumerate(parts):
        for place, value in part.values.items():
            found.setdefault(place, [float("nan")] * len(parts))[i] = value
    return found
