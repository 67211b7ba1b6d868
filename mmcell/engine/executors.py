"""Executors: processes of this machine, and workers of dask; what runs in this process needs none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.process import BaseProcess
from typing import Any

from mmcell.errors import MmcellError, did_you_mean

#: Name on the command line -> class of dask-jobqueue; ``local`` runs its scripts on this machine, to try it.
QUEUES = {
    "htcondor": "htcondor.HTCondorCluster", "local": "local.LocalCluster", "lsf": "lsf.LSFCluster",
    "moab": "moab.MoabCluster", "oar": "oar.OARCluster", "pbs": "pbs.PBSCluster", "sge": "sge.SGECluster",
    "slurm": "slurm.SLURMCluster",
}  # fmt: skip


class Processes(ThreadPoolExecutor):
    """Processes of this machine, each with a thread here that waits for it.

    A process that ends takes its one job with it and no other: the job is tried once more in a new process.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, thread_name_prefix="mmcell-worker")
        self._own = threading.local()
        self._all: list[ProcessPoolExecutor] = []
        self._killed = False
        self._making = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to the next process that is free."""
        return super().submit(self._elsewhere, fn, args, kwargs)

    def _elsewhere(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for _ in range(2):
            pool = getattr(self._own, "pool", None)
            if pool is None:
                pool = self._own.pool = self._made()
            try:
                return pool.submit(fn, *args, **kwargs).result()
            except BrokenProcessPool:
                self._own.pool = None
                pool.shutdown(wait=False)
                if self._killed:
                    raise
        raise MmcellError(
            "the worker process ended twice in the middle of this job: it was out of memory, or crashed; use fewer "
            "--workers"
        )

    def _made(self) -> ProcessPoolExecutor:
        with self._making:
            if self._killed:
                raise BrokenProcessPool("this executor has ended")
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)
            self._all.append(pool)
            # Begun now, so that whoever ends all processes finds this one.
            pool.submit(os.getpid)
            return pool

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes; without `wait` in the middle of what they do."""
        if not wait:
            with self._making:
                self._killed = True
                for process in [p for pool in self._all for p in (pool._processes or {}).values()]:
                    process.kill()
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
        for pool in self._all:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def _begin() -> None:
    """Begin a worker process: it leaves Ctrl-C to its parent, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Yield an executor of so many processes; whoever leaves by an error leaves at once."""
    pool = Processes(workers)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def dask_executor(where: str, workers: int = 1) -> Iterator[Executor]:
    """Yield an executor of dask's workers.

    Parameters
    ----------
    where
        The address of a scheduler (``tcp://host:8786``), or the name of a queue that dask-jobqueue asks for workers
        (``slurm``, ``pbs``, ``sge``, ``lsf``, ``htcondor``, ``oar``, ``moab``; its configuration says of what kind).
    workers
        How many jobs a queue is asked for.

    Raises
    ------
    MmcellError
        The packages are not installed, there is no such queue, or nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MmcellError("--dask: needs distributed; pip install mmcell[dask]") from error
    with _address(where, workers) as address:
        try:
            client: Any = Client(address, timeout="20s")  # type: ignore[no-untyped-call]
        except (OSError, ValueError, TypeError) as error:
            raise MmcellError(f"--dask {where}: nobody answers there ({error}); start dask scheduler first") from error
        with client:
            # A job that was lost with its worker is given to another one.
            yield client.get_executor(pure=False)
            from mmcell.engine.job import forget

            # Workers outlive the run; who is lost by now holds nothing.
            with suppress(OSError):
                client.run(forget)


@contextmanager
def _address(where: str, workers: int) -> Iterator[Any]:
    if "://" in where or ":" in where:
        yield where
        return
    if where not in QUEUES:
        raise MmcellError(f"--dask {where}: is neither an address such as tcp://host:8786 nor a queue; "
                          f"{did_you_mean(where, QUEUES)}")  # fmt: skip
    module, _, name = QUEUES[where].partition(".")
    try:
        queue = getattr(import_module(f"dask_jobqueue.{module}"), name)
    except ImportError as error:
        raise MmcellError(f"--dask {where}: needs dask-jobqueue; pip install mmcell[dask]") from error
    try:
        cluster = queue()
    except (ValueError, TypeError, OSError) as error:
        text = " ".join(str(error).split())
        raise MmcellError(f"--dask {where}: {text}; say so in ~/.config/dask/jobqueue.yaml") from error
    with cluster:
        cluster.scale(jobs=workers)
        yield cluster


@contextmanager
def executor_of(workers: int, dask: str | None = None) -> Iterator[Executor | None]:
    """Yield what the command line asks for; None for this process."""
    if dask is not None:
        with dask_executor(dask, workers) as found:
            yield found
    elif workers == 1:
        yield None
    else:
        with processes(workers) as found:
            yield found
