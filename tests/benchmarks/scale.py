"""What the benchmarks of memory run in processes of their own: ``python -m tests.benchmarks.scale WHAT FOLDER``."""

import json
import resource
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

N_CELLS, DIM, DONORS, TYPES = 5_000_000, 128, 200, 20
ROWS, GENES, STORED = 1_000_000, 2_000, 100


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Peak:
    """The most memory in use while a block runs, sampled; pages of mapped files count."""

    def __enter__(self):
        self.start = self.most = resident()
        self.going = True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while self.going:
            self.most = max(self.most, resident())
            time.sleep(0.005)

    def __exit__(self, *_):
        self.going = False
        self.thread.join()

    @property
    def added(self):
        return self.most - self.start


def make_memmap(folder):
    path = folder / "cells.npy"
    values = np.lib.format.open_memmap(path, "w+", np.float32, (N_CELLS, DIM))
    rng = np.random.default_rng(0)
    block = rng.normal(size=(100_000, DIM)).astype(np.float32)
    for start in range(0, N_CELLS, len(block)):
        values[start : start + len(block)] = block
    values.flush()


def make_cohort(folder, rows):
    """Write so many cells of 40 donors, half of them ill, and a card that leaves them on disk."""
    donor = np.arange(rows) * 40 // rows
    obs = {
        "donor": pd.Categorical([f"D{d}" for d in donor]),
        "state": pd.Categorical(np.where(donor % 4 < 2, "ill", "well")),
        "batch": pd.Categorical(np.where(donor % 2, "a", "b")), "kind": pd.Categorical(np.arange(rows) % 5).astype(str),
    }  # fmt: skip
    make_h5ad(folder, rows, obs)
    roles = "{unit: donor, label: state, batch: batch, cell_type: kind}"
    (folder / "card.yaml").write_text(f"data: cells.h5ad\nbacked: true\nroles: {roles}\n")


def make_h5ad(folder, rows=ROWS, columns=None):
    """Write cells × 2,000 genes, 100 stored counts a cell, block by block; a million where nothing else is said."""
    import anndata as ad

    path = folder / "cells.h5ad"
    obs = pd.DataFrame(columns, index=pd.Index([f"cell{i:07d}" for i in range(rows)]))
    ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)])).write_h5ad(path)
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [rows, GENES]})
        options = {"chunks": (1 << 20,)}
        data = group.create_dataset("data", (rows * STORED,), "f4", **options)
        indices = group.create_dataset("indices", (rows * STORED,), "i4", **options)
        group.create_dataset("indptr", data=np.arange(rows + 1, dtype=np.int64) * STORED)
        step = 50_000
        place = np.sort(rng.permuted(np.tile(np.arange(GENES, dtype=np.int32), (500, 1)), axis=1)[:, :STORED], axis=1)
        place = np.tile(place, (step // len(place), 1)).ravel()
        for start in range(0, rows, step):
            data[start * STORED : (start + step) * STORED] = rng.integers(1, 20, step * STORED).astype("f4")
            indices[start * STORED : (start + step) * STORED] = place


def pool(folder):
    from mmcell import Embedding
    from mmcell.patients import Composition, Pseudobulk

    values = np.load(folder / "cells.npy", mmap_mode="r")
    code = np.arange(N_CELLS) * DONORS // N_CELLS
    ids = pd.Index(np.arange(N_CELLS).astype("U8").astype(object), name="id")
    owner = pd.Series(pd.Categorical.from_codes(code, [f"D{i}" for i in range(DONORS)]), index=ids)
    kind = pd.Series(pd.Categorical.from_codes(np.arange(N_CELLS) % TYPES, [f"t{i}" for i in range(TYPES)]), index=ids)
    cells = Embedding.from_array("cells", ids, values)
    owner.index = kind.index = cells.ids
    small = cells.align(cells.ids[:1000])
    for encoder in (Pseudobulk(), Composition()):
        encoder.fit(small, owner, cell_type=kind).transform(small, owner, cell_type=kind)

    starts = np.searchsorted(code, np.arange(DONORS))
    plain, ours, added = [], [], []
    for _ in range(3):
        begun = time.perf_counter()
        # What np.add.reduceat does, by slices, which is the faster way to do it.
        mapped = np.load(folder / "cells.npy", mmap_mode="r")
        sums = np.stack([mapped[a:b].sum(axis=0) for a, b in zip(starts, [*starts[1:], N_CELLS], strict=True)])
        plain.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with Peak() as peak:
            made = [
                e.fit(cells, owner, cell_type=kind).transform(cells, owner, cell_type=kind)
                for e in (Pseudobulk(), Composition())
            ]
        ours.append(time.perf_counter() - begun)
        added.append(peak.added)
    means = made[0].align(pd.Index([f"D{i}" for i in range(DONORS)])).values
    error = float(np.abs(means - sums / np.diff([*starts, N_CELLS])[:, None]).max())
    return {"plain": min(plain), "ours": min(ours), "added_mb": max(added), "error": error}


def embed(folder):
    from mmcell.data.backed import Backed
    from mmcell.roles import ModalityCard
    from mmcell.streaming import embed as embed_

    begun = time.perf_counter()
    source = Backed(folder / "cells.h5ad", ModalityCard(preprocessing="counts"))
    with Peak() as peak:
        embed_("random-projection", source, folder / "out.h5ad")
    seconds = time.perf_counter() - begun
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "cells_per_second": ROWS / seconds, "peak_mb": highest, "added_mb": peak.added}


def patients(folder):
    """Evaluate patients by PCA of their cells; the fit sees at most 10,000 cells, so that both sizes draw."""
    import mmcell
    from mmcell.encoders import encode
    from tests.toys import PATIENT

    encode.FIT_ROWS = 10_000
    begun = time.perf_counter()
    controls = ["random", "technical-only", "composition"]
    found = mmcell.evaluate(
        "pca", PATIENT, dataset=folder / "card.yaml", controls=controls, n_boot=100, out=folder / "run"
    )
    assert not found.table()["status"].eq("failed").any()
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": time.perf_counter() - begun, "peak_mb": highest}


if __name__ == "__main__":
    what, where, numbers = sys.argv[1], Path(sys.argv[2]), map(int, sys.argv[3:])
    known = {f.__name__: f for f in (make_memmap, make_h5ad, make_cohort, pool, embed, patients)}
    print(json.dumps(known[what](where, *numbers)))
