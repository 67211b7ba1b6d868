"""A million cells: ``python -m tests.benchmarks.large FOLDER`` makes them, evaluates them and says what it took.

1,000 simulated patients in four batches, 1,000,000 cells with 32 proteins, and two frozen embeddings of 256 dimensions
that come as files. Asked are patients' states (all cells), alignment of batches and retrieval of proteins (cells drawn
by rule, see `mmcell.task.Task.max_items`). Exit code 1: something failed, or a promise was not kept.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

CELLS, PATIENTS, DIM, PROTEINS, TYPES, BATCHES = 1_000_000, 1_000, 256, 32, 12, 4
TASKS = ("patient-state", "batch-alignment", "rna-to-protein")
#: Promised for the whole: minutes, and GB of memory that the system cannot take back.
MINUTES, GIGABYTES = 15, 4
CARD = """\
name: million-cells
data: cells.h5mu
backed: true
source: simulated, tests/benchmarks/large.py
preprocessing: {rna: values, protein: counts}
identifiers: other
roles: {unit: donor, batch: batch, cell_type: kind, label: state, positive: ill, clinical: [age]}
"""
CONFIG = """\
name: million-cells
encoders:
  - {file: strong.h5ad, name: strong}
  - {file: weak.h5ad, name: weak}
tasks:
""" + "".join(f"  - {{task: {task}, dataset: card.yaml}}\n" for task in TASKS)


def make(folder, cells=CELLS, patients=PATIENTS):
    """Write the cohort: ill patients have more cells of type 0 and a shift within type 1; batches shift `weak` more."""
    import anndata as ad
    import mudata

    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 0.5, patients)
    donor = np.sort(rng.choice(patients, cells, p=share / share.sum()))
    ill, batch = np.arange(patients) % 2, np.arange(patients) // 2 % BATCHES
    mixture = rng.dirichlet(np.full(TYPES, 5.0), patients)
    mixture[:, 0] *= 1 + 0.3 * ill
    mixture /= mixture.sum(axis=1, keepdims=True)
    kind = (rng.random(cells)[:, None] > mixture.cumsum(axis=1)[donor, :-1]).sum(axis=1)
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical.from_codes(donor, [f"D{i:04d}" for i in range(patients)]),
            "batch": pd.Categorical.from_codes(batch[donor], [f"b{i}" for i in range(BATCHES)]),
            "kind": pd.Categorical.from_codes(kind, [f"type{i:02d}" for i in range(TYPES)]),
            "state": pd.Categorical.from_codes(ill[donor], ["well", "ill"]),
            "age": np.round(rng.normal(60, 10, patients), 1)[donor],
        },
        index=pd.Index([f"cell{i:07d}" for i in range(cells)]),
    )
    centre, response = rng.normal(size=(TYPES, DIM)), rng.normal(size=DIM)
    own, shift = rng.normal(size=(patients, DIM)), rng.normal(size=(BATCHES, DIM))
    responds = (ill[donor] * (kind == 1))[:, None].astype(np.float32)

    def embedding(noise, donors, batches, state):
        values = noise * rng.standard_normal((cells, DIM), dtype=np.float32)
        values += centre.astype(np.float32)[kind]
        values += (donors * own).astype(np.float32)[donor]
        values += (batches * shift).astype(np.float32)[batch[donor]]
        values += responds * (state * response).astype(np.float32)
        return values

    strong = embedding(1.0, 0.1, 0.1, 0.3)
    rate = 20 * np.exp(strong @ rng.normal(size=(DIM, PROTEINS)).astype(np.float32) / 32)
    protein = rng.poisson(rate).astype(np.float32)
    for name, values in (("strong", strong), ("weak", embedding(2.0, 0.2, 0.5, 0.1))):
        ad.AnnData(values, obs=pd.DataFrame(index=obs.index)).write_h5ad(folder / f"{name}.h5ad")
    parts = {
        "rna": ad.AnnData(strong + rng.standard_normal(strong.shape, dtype=np.float32)),
        "protein": ad.AnnData(protein),
    }
    for name, part in parts.items():
        part.obs_names = obs.index
        part.var_names = [f"{name}{i}" for i in range(part.n_vars)]
    with mudata.set_options(pull_on_update=False):
        data = mudata.MuData(parts)
    data.obs = obs
    data.write_h5mu(folder / "cells.h5mu")
    (folder / "card.yaml").write_text(CARD)
    (folder / "config.yaml").write_text(CONFIG)


def tree(pid):
    """Return the process and all that it started."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in task.read_text().split()]
    return [pid, *(p for child in children for p in tree(child))]


def memory(pid):
    """Return the memory of the process and all that it started, in MB: what is held, and pages of files.

    What processes share counts once. Pages of files that are mapped are given back where memory is short.
    """
    held = mapped = 0.0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:  # It has ended meanwhile.
            continue
        size = {name: int(rest.split()[0]) / 1e3 for name, _, rest in (line.partition(":") for line in lines)}
        held += size.get("Pss_Anon", 0) + size.get("Pss_Shmem", 0)
        mapped += size.get("Pss_File", 0)
    return held, mapped


def run(folder, out):
    """Evaluate the cohort and return a table: a stage is over when the last record of its task is there."""
    command = [sys.executable, "-m", "mmcell", "run", str(folder / "config.yaml"), "--out", str(out)]
    # What an earlier run has left would not be done again.
    shutil.rmtree(out, ignore_errors=True)
    begun, seen = time.time(), []
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            seen.append((time.time(), *memory(process.pid)))
            # Reading it holds a process up, the more pages the longer.
            time.sleep(5)
    ended = time.time()
    records = [(path.stat().st_mtime, path.name) for path in (out / "records").glob("*.json")]
    rows, start = [], begun
    for name in TASKS:
        stop = max(at for at, record in records if record.startswith(name))
        rows.append((name, start, stop))
        start = stop
    rows += [("table and report", start, ended), ("whole", begun, ended)]
    table = pd.DataFrame(
        {
            "stage": name,
            "minutes": (stop - start) / 60,
            "held, GB": max([held for at, held, _ in seen if start <= at <= stop], default=np.nan) / 1e3,
            "mapped, GB": max([mapped for at, _, mapped in seen if start <= at <= stop], default=np.nan) / 1e3,
        }
        for name, start, stop in rows
    )
    return process.returncode, table


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "config.yaml").exists():
        # In a process of its own, whose memory is not ours.
        if (pid := os.fork()) == 0:
            make(place, *map(int, sys.argv[2:4]))
            os._exit(0)
        os.waitpid(pid, 0)
    code, found = run(place, place / "run")
    print(found.round(1).to_string(index=False))
    whole = found.iloc[-1]
    kept = whole["minutes"] < MINUTES and whole["held, GB"] < GIGABYTES
    print(f"promised: less than {MINUTES} minutes and {GIGABYTES} GB held: {'kept' if kept else 'not kept'}")
    raise SystemExit(code or not kept)
