"""Runs of ``mmcell run`` in processes of their own that are killed at random moments, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mmcell import Results

CONFIG = """
name: killed
n_boot: 100
null: 19
tasks:
  - {task: rna-to-protein, dataset: "sim-cohort:n_patients=12,cells_per_patient=10,images=false", encoders: [pca, hvg]}
"""


def contents(folder: Path) -> list[str]:
    """Return what the records of a run say."""
    return [str(record.content()) for record in Results.read(folder).records]


def begin(config: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``mmcell run`` in a session of its own."""
    command = [sys.executable, "-m", "mmcell", "run", str(config), "--out", str(out), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def parts(out: Path) -> dict[str, tuple[int, int]]:
    """Return the finished parts: name -> file and time of writing."""
    found = {}
    for path in (out / "parts").glob("[!.]*"):
        state = path.stat()
        found[path.name] = (state.st_ino, state.st_mtime_ns)
    return found


def kill_often(config: Path, out: Path, times: int, seconds: float, rng: np.random.Generator) -> int:
    """Kill so many runs, each somewhere in a whole run's time, and let one finish; return how many were cut short.

    Raises
    ------
    AssertionError
        A finished job was done again, or the last run failed.
    """
    cut = 0
    before: dict[str, tuple[int, int]] = {}
    for _ in range(times):
        run = begin(config, out, "--workers", str(rng.integers(1, 3)))
        try:
            run.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            run.kill()
            cut += 1
        run.communicate()
        now = parts(out)
        again = [name for name in before if name in now and now[name] != before[name]]
        assert not again, f"done twice: {again}"
        before = now
    last = begin(config, out, "--workers", "1")
    _, said = last.communicate()
    assert last.returncode == 0, said
    return cut


def undisturbed(config: Path, out: Path) -> float:
    """Let a run finish and return the seconds that it took."""
    begun = time.monotonic()
    run = begin(config, out, "--workers", "1")
    _, said = run.communicate()
    assert run.returncode == 0, said
    return time.monotonic() - begun
