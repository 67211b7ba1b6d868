"""Processes that die, and what becomes of their jobs."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mmcell.engine import dask_executor, executor_of, processes
from mmcell.errors import MmcellError


def double(x):
    return 2 * x


def dies(x):
    os._exit(x)


def dies_once(path):
    """End the process where nobody has been before."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_one_worker_is_no_executor():
    with executor_of(1) as found:
        assert found is None


def test_a_process_that_ends_takes_its_one_job_with_it():
    with processes(2) as pool:
        jobs = [pool.submit(dies if i == 3 else double, i) for i in range(8)]
        with pytest.raises(MmcellError, match="ended twice in the middle of this job"):
            jobs[3].result()
        assert [job.result() for i, job in enumerate(jobs) if i != 3] == [0, 2, 4, 8, 10, 12, 14]


def test_a_job_is_tried_once_more(tmp_path):
    with processes(1) as pool:
        assert pool.submit(dies_once, tmp_path / "been").result() != os.getpid()


SCRIPT = """
import time
from mmcell.engine import processes
with processes(2) as pool:
    jobs = [pool.submit(time.sleep, 600) for _ in range(2)]
    while sum(p.is_alive() for own in pool._all for p in (own._processes or {}).values()) < 2:
        time.sleep(0.05)
    print(*(p.pid for own in pool._all for p in own._processes.values()), flush=True)
    jobs[0].result()
"""


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"  # noqa: PTH123
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")  # noqa: PTH112
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_behind(how):
    script = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = [int(pid) for pid in script.stdout.readline().split()]
    assert len(children) == 2
    script.send_signal(how)
    script.wait(60)
    until = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, children))


def test_where_nobody_answers_it_says_so(refused):
    pytest.importorskip("distributed")
    with refused("--dask tcp://127.0.0.1:9: nobody answers there"), dask_executor("tcp://127.0.0.1:9"):
        pass


def test_an_unknown_queue_is_refused(refused):
    pytest.importorskip("distributed")
    with refused("--dask slrum", "did you mean slurm?"), dask_executor("slrum"):
        pass
    pytest.importorskip("dask_jobqueue")
    with refused("--dask slurm", "jobqueue.yaml"), dask_executor("slurm"):
        pass
