"""`Engine`: the jobs of a run, where they are computed, and what came of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmcell.candidates import Cache, Candidate
from mmcell.code import code_digest
from mmcell.encoders.shelf import Shelf
from mmcell.engine.job import Job, Order, do, fill, forget, jobs_of, work_of
from mmcell.engine.parcel import Parcel, Parcels, UnsentError
from mmcell.engine.part import Part, Parts
from mmcell.errors import MmcellError
from mmcell.memory import give_back
from mmcell.plan import Plan
from mmcell.progress import Progress, encoding
from mmcell.work import Work

#: Seconds until a part that a worker wrote is looked for again: folders of a network show files late.
_PATIENCE = (0.1, 1.0, 5.0)


@dataclass(eq=False)
class Sent:
    """The jobs of one candidate.

    Attributes
    ----------
    plan, candidate, work
        Whose they are.
    jobs
        Each with the key of its part and, where a worker does it, the future; None where it is there or is done here.
    """

    plan: Plan
    candidate: Candidate
    work: Work
    jobs: list[tuple[Job, str, Future[None] | None]]


@dataclass(eq=False)
class Engine:
    """Computes jobs in this process, or sends them to an executor. What is found is the same.

    A job that several candidates have, such as a control's in a task that is asked twice, is computed once.

    Attributes
    ----------
    executor
        None computes here, one job after the other, when its part is asked for.
    parcels
        What workers are sent, by path; None without any.
    parts
        Where finished parts are kept; None in memory only.
    passing
        Where workers leave parts that no later run can find again; it is gone with the run. None without workers.
    progress
        Called before every job that is waited for.
    """

    executor: Executor | None
    parcels: Parcels | None
    parts: Parts | None
    passing: Parts | None = None
    progress: Progress | None = None
    total: int = 0
    done: int = 0
    _there: set[str] = field(default_factory=set)
    _nameless: set[str] = field(default_factory=set)
    _waiting: list[Future[None]] = field(default_factory=list)
    _sent: dict[str, Future[None]] = field(default_factory=dict)
    _wanted: Counter[str] = field(default_factory=Counter)
    _shared: dict[str, Part] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def open(cls, executor: Executor | None, out: Path | None, progress: Progress | None = None) -> Iterator[Engine]:
        """Yield an engine whose parts are kept in `out`, where there is one, until the run is whole."""
        kept = None if out is None else Parts(out / "parts")
        there = set() if kept is None else kept.there()
        try:
            if executor is None:
                yield cls(None, None, kept, None, progress, _there=there)
                return
            with Parcels.under(None if out is None else out / "parcels") as parcels:
                passing = Parts(parcels.folder / "parts")
                made = cls(executor, parcels, kept or passing, passing, progress, _there=there)
                try:
                    yield made
                finally:
                    # An executor of somebody else outlives the run: what nobody waits for is not begun.
                    for future in made._waiting:
                        future.cancel()
                    # What threads of this process held; processes take it with them.
                    forget()
        finally:
            if kept is not None:
                kept.close()

    def begin(self, plan: Plan, candidates: Sequence[Candidate], *, anew: bool = False) -> list[Sent]:
        """Send off the jobs of some candidates; `anew` those, too, whose parts are there."""
        cache = Cache(shelf=plan.shelf)
        found = []
        sent: dict[str, Parcel] = {}
        for group in _sharing(candidates):
            parcels = self._pack(plan, group, sent)
            for number, candidate in enumerate(group):
                of_candidate, jobs = plan.key(candidate), []
                for job in jobs_of(plan, candidate):
                    key = job.key(of_candidate)
                    if anew and key in self._there and self.parts is not None:
                        self.parts.drop({key})
                    if key:
                        self._wanted[key] += 1
                    future = self._sent.get(key)
                    is_missing = future is None and (anew or key not in self._there)
                    if self.executor is not None and parcels is not None and is_missing:
                        if not key:
                            key = uuid4().hex
                            self._nameless.add(key)
                        where = self._where(key)
                        folder = str(where.folder.resolve()) if where is not None else ""
                        order = Order(*parcels, number, job, key, folder, code_digest())
                        future = self._sent[key] = self.executor.submit(fill, order)
                        self._waiting.append(future)
                    jobs.append((job, key, future))
                self.total += len(jobs)
                found.append(Sent(plan, candidate, work_of(plan, candidate, cache), jobs))
        if anew:
            self._there -= {key for one in found for _, key, _ in one.jobs}
        return found

    def parts_of(self, sent: Sent) -> Iterator[Part]:
        """Yield the parts of a candidate in their order, up to the first that failed; then let go of what it held."""
        try:
            yield from self._parts_of(sent)
        finally:
            sent.work.forget()
            give_back()

    def _parts_of(self, sent: Sent) -> Iterator[Part]:
        for i, (job, key, future) in enumerate(sent.jobs):
            if self.progress is not None:
                step = (f"{sent.plan.task.spec.name}: {sent.candidate.label}", self.done, self.total)
                self.progress(*step)
                sent.work.cache.told = encoding(self.progress, *step, f"{sent.plan.dataset.card.level}s")
            part = self._again(key) or self._part(sent, job, key, future)
            self.done += 1
            if self._let_go(key):
                self._hold(key, part)
            yield part
            if part.error:
                left = sent.jobs[i + 1 :]
                self.done += len(left)
                for _, other, waiting in left:
                    if not self._let_go(other) and waiting is not None:
                        waiting.cancel()
                return

    def _let_go(self, key: str) -> bool:
        """Note that a candidate wants a part no more; return whether another one does."""
        self._wanted[key] -= 1
        return self._wanted[key] > 0

    def _hold(self, key: str, part: Part) -> None:
        """Keep a part for the next candidate that wants it: on disk, where it is already, or in memory."""
        if part.error or self._where(key) is None:
            self._shared[key] = part
        else:
            self._written.add(key)

    def _again(self, key: str) -> Part | None:
        """Return a part that was held; None where there is none, or its file was altered meanwhile."""
        parts = self._where(key)
        if key in self._written and parts is not None:
            return parts.read(key)
        return self._shared.pop(key, None)

    def end(self, plan: Plan, sent: Sequence[Sent], *, drop: bool) -> None:
        """Let go of what was held for a plan; with `drop`, when all its records are written, of its parts, too."""
        for one in sent:
            one.work.cache.forget()
        if drop and self.parts is not None:
            keys = {key for one in sent for _, key, _ in one.jobs}
            if self._there:
                # Those, too, of candidates that were whole when another one failed.
                keys |= {job.key(plan.key(c)) for c in plan.candidates for job in jobs_of(plan, c)}
            self.parts.drop({key for key in keys if self._wanted[key] <= 0})

    def sweep(self) -> int:
        """Delete parts that no job of a run needed which has ended whole, and return how many files that were.

        For whoever holds the folder alone.
        """
        return 0 if self.parts is None else self.parts.sweep()

    def _where(self, key: str) -> Parts | None:
        return self.passing if key in self._nameless else self.parts

    def _pack(self, plan: Plan, group: list[Candidate], sent: dict[str, Parcel]) -> tuple[Parcel, Parcel] | None:
        """Write down what workers need of a plan, once, and of some candidates; None where that cannot be."""
        if self.parcels is None or not group:
            return None
        # Where nothing is kept, workers share embeddings through a folder that is gone with the run.
        shelf = plan.shelf or Shelf(self.parcels.folder / "embeddings")
        try:
            if "plan" not in sent:
                # Without candidates: an encoder that cannot be sent keeps no other one back.
                bare = replace(
                    plan, candidates=[], findings=[], notes=(), shelf=replace(shelf, folder=shelf.folder.resolve())
                )
                sent["plan"] = self.parcels.put(bare)
            return sent["plan"], self.parcels.put(group)
        except UnsentError:
            return None

    def _part(self, sent: Sent, job: Job, key: str, future: Future[None] | None) -> Part:
        if future is not None:
            try:
                future.result()
            except UnsentError:
                # A worker cannot have it, a class of a script perhaps: it is done here.
                return self._here(sent, job, key)
            except MmcellError as error:
                return Part(error=f"{sent.candidate.label}: {error}")
            except Exception as error:
                # A worker that died: failed rows, like any other fault of a candidate.
                text = f"{type(error).__name__}: {' '.join(str(error).split())}"
                return Part(error=f"{sent.candidate.label}: {text}")
        parts = self._where(key)
        if parts is not None and (future is not None or key in self._there):
            found = parts.read(key)
            for seconds in _PATIENCE if future is not None else ():
                if found is None:
                    time.sleep(seconds)
                    found = parts.read(key)
            if found is not None and found.error:
                # What failed is no finished job.
                parts.drop({key})
            if found is not None and not (found.error and future is None):
                return found
        return self._here(sent, job, key)

    def _here(self, sent: Sent, job: Job, key: str) -> Part:
        part = do(lambda: sent.work, sent.candidate.label, job)
        if self.parts is not None and key and key not in self._nameless and not part.error:
            try:
                self.parts.write(key, part)
            except MmcellError as error:
                return Part(error=f"{sent.candidate.label}: {error}", seconds=part.seconds)
        return part


def _sharing(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return candidates by the object that encodes them: one worker that has it can go on with the next."""
    groups: dict[Any, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(id(candidate.source), []).append(candidate)
    return list(groups.values())
