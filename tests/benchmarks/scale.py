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


def make_h5ad(folder):
    """Write a million cells × 2,000 genes, 100 stored counts a cell, block by block."""
    import anndata as ad

    path = folder / "cells.h5ad"
    obs = pd.DataFrame(index=pd.Index([f"cell{i:07d}" for i in range(ROWS)]))
    ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)])).write_h5ad(path)
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [ROWS, GENES]})
        options = {"chunks": (1 << 20,)}
        data = group.create_dataset("data", (ROWS * STORED,), "f4", **options)
        indices = group.create_dataset("indices", (ROWS * STORED,), "i4", **options)
        group.create_dataset("indptr", data=np.arange(ROWS + 1, dtype=np.int64) * STORED)
        step = 50_000
        place = np.sort(rng.permuted(np.tile(np.arange(GENES, dtype=np.int32), (500, 1)), axis=1)[:, :STORED], axis=1)
        place = np.tile(place, (step // len(place), 1)).ravel()
        for start in range(0, ROWS, step):
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


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({f.__name__: f for f in (make_memmap, make_h5ad, pool, embed)}[what](where)))
