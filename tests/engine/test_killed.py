"""``kill -9``, Ctrl-C, a full disk, and data that are gone: a clear end each, and nothing lost."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.engine import killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed: its config, its records, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole")
    config = folder / "killed.yaml"
    config.write_text(killed.CONFIG)
    seconds = killed.undisturbed(config, folder / "out")
    return config, killed.contents(folder / "out"), seconds


@pytest.mark.parametrize(("times", "seed"), [(3, 0), pytest.param(20, 1, marks=pytest.mark.full)])
def test_a_killed_run_goes_on_where_it_was(whole, times, seed, tmp_path):
    config, expected, seconds = whole
    cut = killed.kill_often(config, tmp_path, times, seconds, np.random.default_rng(seed))
    assert cut
    assert killed.contents(tmp_path) == expected
    left = [p.name for p in tmp_path.rglob("*") if p.name.endswith(".part") or p.name in {"parts", "parcels"}]
    assert not left


def test_ctrl_c_leaves_a_run_that_goes_on_and_says_so(whole, tmp_path):
    config, expected, _ = whole
    run = killed.begin(config, tmp_path, "--workers", "2")
    until = time.monotonic() + 120
    while not killed.parts(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.strip().splitlines()[-1] == "mmcell: stopped; the same command goes on from what is finished"
    assert "Traceback" not in said
    again = killed.begin(config, tmp_path)
    assert "a run was stopped here: " in again.communicate()[1]
    assert again.returncode == 0
    assert killed.contents(tmp_path) == expected


def test_a_second_run_in_the_same_folder_is_refused(whole, tmp_path):
    config, _, _ = whole
    first = killed.begin(config, tmp_path, "--workers", "1")
    while not (tmp_path / ".lock").exists():
        time.sleep(0.05)
    second = killed.begin(config, tmp_path)
    _, said = second.communicate()
    assert second.returncode == 2
    assert said.strip().endswith("another run is writing here; wait for its end, or choose another --out")
    first.kill()
    first.communicate()


def _little_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))


def test_a_full_disk_is_one_line_and_loses_nothing(whole, tmp_path):
    config, expected, _ = whole
    command = [sys.executable, "-m", "mmcell", "run", str(config), "--out", str(tmp_path), "--workers", "1"]
    run = subprocess.run(command, capture_output=True, text=True, preexec_fn=_little_room, check=False)
    assert run.returncode == 2, run.stderr
    assert "cannot be written" in run.stderr
    assert "free space or choose" in run.stderr
    assert "Traceback" not in run.stderr
    assert killed.begin(config, tmp_path, "--workers", "1").wait() == 0
    assert killed.contents(tmp_path) == expected
