"""Workers of dask, as processes of their own on this machine."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mmcell.engine import dask_executor
from tests.engine import killed

pytest.importorskip("distributed", reason="needs distributed: pip install -e '.[dask]'")


@contextmanager
def cluster(folder, workers=2):
    """Yield the address of a scheduler and its workers' processes."""
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    scheduler = [
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file),
    ]  # fmt: skip
    worker = [
        sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1",
        "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(folder),
    ]  # fmt: skip
    started = [subprocess.Popen(scheduler, env=env, **quiet)]
    try:
        started += [subprocess.Popen(worker, env=env, **quiet) for _ in range(workers)]
        until = time.monotonic() + 120
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.1)
        from distributed import Client

        with Client(scheduler_file=str(file), timeout="60s") as client:
            client.wait_for_workers(workers, timeout=120)
            address = client.scheduler.address
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def with_a_loss(config, out, folder):
    """Run a config on two workers and kill one when the first parts are there; return what was printed at the end."""
    with cluster(folder) as (address, workers):
        run = killed.begin(config, out, "--dask", address)
        while not killed.parts(out) and run.poll() is None:
            time.sleep(0.05)
        assert run.poll() is None
        workers[0].kill()
        _, said = run.communicate()
        assert workers[1].poll() is None
    assert run.returncode == 0, said


def test_a_lost_worker_changes_nothing(tmp_path):
    config = tmp_path / "killed.yaml"
    config.write_text(killed.CONFIG)
    killed.undisturbed(config, tmp_path / "here")
    with_a_loss(config, tmp_path / "there", tmp_path)
    assert killed.contents(tmp_path / "there") == killed.contents(tmp_path / "here")


@pytest.mark.full
def test_the_quickstart_on_workers_one_of_which_is_lost(tmp_path):
    pytest.importorskip("m3sc", reason="needs the data of the extra demo")
    config = "configs/quickstart.yaml"
    killed.undisturbed(config, tmp_path / "here")
    with_a_loss(config, tmp_path / "there", tmp_path)
    assert killed.contents(tmp_path / "there") == killed.contents(tmp_path / "here")


def test_a_queue_is_asked_for_workers(tmp_path, monkeypatch):
    """dask-jobqueue's own stand-in for a queue: scripts that are run by bash."""
    jobqueue = pytest.importorskip("dask_jobqueue.local")
    import dask

    monkeypatch.chdir(tmp_path)
    asked = {"cores": 1, "memory": "1GB", "processes": 1, "interface": "lo"}
    with dask.config.set({f"jobqueue.local.{k}": v for k, v in asked.items()}), dask_executor("local") as executor:
        assert jobqueue.LocalCluster
        assert executor.submit(sum, [1, 2]).result() == 3
