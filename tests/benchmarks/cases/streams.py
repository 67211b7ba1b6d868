"""Cells that stay on disk: embedding and pooling beside one plain pass over the file, and memory that does not grow."""

from itertools import pairwise

import h5py
import numpy as np
import pandas as pd

from tests.benchmarks.case import Case

DIM, DONORS, TYPES = 128, 200, 20
GENES, STORED = 2_000, 100
#: Rows of a block of the plain pass.
BLOCK = 4096


def memmap(n, folder):
    path = folder / f"cells{n}.npy"
    if not path.exists():
        values = np.lib.format.open_memmap(path, "w+", np.float32, (n, DIM))
        block = np.random.default_rng(0).normal(size=(100_000, DIM)).astype(np.float32)
        for start in range(0, n, len(block)):
            values[start : start + len(block)] = block[: n - start]
        values.flush()
    code = np.arange(n) * DONORS // n
    ids = pd.Index(np.arange(n).astype("U8").astype(object), name="id")
    owner = pd.Series(pd.Categorical.from_codes(code, [f"D{i:03d}" for i in range(DONORS)]), index=ids)
    kind = pd.Series(pd.Categorical.from_codes(np.arange(n) % TYPES, [f"t{i:02d}" for i in range(TYPES)]), index=ids)
    return path, code, owner, kind


def pooled(data):
    from mmcell import Embedding
    from mmcell.patients import Composition, Pseudobulk

    path, _, owner, kind = data
    cells = Embedding.from_array("cells", owner.index, np.load(path, mmap_mode="r"))
    owner, kind = owner.set_axis(cells.ids), kind.set_axis(cells.ids)
    made = [
        e.fit(cells, owner, cell_type=kind).transform(cells, owner, cell_type=kind)
        for e in (Pseudobulk(), Composition())
    ]
    return {"means": made[0].align(pd.Index(owner.cat.categories)).values}


def plain_means(data):
    """What np.add.reduceat does, by slices, which is the faster way to do it."""
    path, code, *_ = data
    mapped = np.load(path, mmap_mode="r")
    ends = np.searchsorted(code, np.arange(DONORS + 1))
    return {"means": np.stack([mapped[a:b].mean(axis=0) for a, b in pairwise(ends)])}


def h5ad(n, folder, columns=None):
    """Write cells × 2,000 genes, 100 stored counts a cell, block by block."""
    import anndata as ad

    path = folder / f"cells{n}.h5ad"
    if path.exists():
        return path
    obs = pd.DataFrame(columns, index=pd.Index([f"cell{i:07d}" for i in range(n)]))
    ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)])).write_h5ad(path)
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n, GENES]})
        options = {"chunks": (1 << 20,)}
        data = group.create_dataset("data", (n * STORED,), "f4", **options)
        indices = group.create_dataset("indices", (n * STORED,), "i4", **options)
        group.create_dataset("indptr", data=np.arange(n + 1, dtype=np.int64) * STORED)
        step = 50_000
        place = np.sort(rng.permuted(np.tile(np.arange(GENES, dtype=np.int32), (500, 1)), axis=1)[:, :STORED], axis=1)
        place = np.tile(place, (step // len(place), 1)).ravel()
        for start in range(0, n, step):
            end = min(n, start + step)
            data[start * STORED : end * STORED] = rng.integers(1, 20, (end - start) * STORED).astype("f4")
            indices[start * STORED : end * STORED] = place[: (end - start) * STORED]
    return path


def embedded(path):
    from mmcell.data.backed import Backed
    from mmcell.roles import ModalityCard
    from mmcell.streaming import embed

    embed(
        "random-projection",
        Backed(path, ModalityCard(preprocessing="counts")),
        path.parent / "out.h5ad",
        overwrite=True,
    )


def plain_pass(path):
    """Read every block, scale and take the logarithm as an encoder asks, multiply, and keep the product."""
    import anndata as ad

    with h5py.File(path) as file:
        x = ad.io.sparse_dataset(file["X"])
        axes = np.random.default_rng(0).normal(size=(GENES, 64)).astype(np.float32)
        out = np.lib.format.open_memmap(path.parent / "plain.npy", "w+", np.float32, (x.shape[0], 64))
        for start in range(0, x.shape[0], BLOCK):
            block = x[start : start + BLOCK]
            block = block.multiply(1e4 / block.sum(axis=1)).tocsr()
            out[start : start + BLOCK] = np.log1p(block) @ axes
        out.flush()


def cohort(n, folder):
    """Cells of 40 donors, half of them ill, and a card that leaves them on disk."""
    donor = np.arange(n) * 40 // n
    columns = {
        "donor": pd.Categorical([f"D{d}" for d in donor]),
        "state": pd.Categorical(np.where(donor % 4 < 2, "ill", "well")),
        "batch": pd.Categorical(np.where(donor % 2, "a", "b")),
        "kind": pd.Categorical(np.arange(n) % 5).astype(str),
    }
    folder = folder / f"cohort{n}"
    folder.mkdir(exist_ok=True)
    path = h5ad(n, folder, columns)
    roles = "{unit: donor, label: state, batch: batch, cell_type: kind}"
    (folder / "card.yaml").write_text(f"data: {path.name}\nbacked: true\nroles: {roles}\n")
    return folder / "card.yaml"


def evaluated(card):
    """Evaluate patients by PCA of their cells; the fit sees at most 10,000 cells, so that every size draws."""
    import mmcell
    from mmcell.encoders import encode
    from tests.toys import PATIENT

    encode.FIT_ROWS = 10_000
    found = mmcell.evaluate(
        "pca", PATIENT, dataset=card, controls=["random", "technical-only", "composition"], n_boot=100
    )
    assert not found.table()["status"].eq("failed").any()


MILLION = 1_000_000
CASES = (
    Case(
        "pooling", "pseudobulk and composition of {n} cells × 128 on disk", memmap, pooled, 4 * MILLION,
        (MILLION // 2, MILLION, 2 * MILLION, 4 * MILLION), {"plain means": plain_means}, {"plain means": 1 / 3},
        {"plain means": 1e-3},
    ),
    Case(
        "embedding", "random projection of {n} cells × 2,000 genes on disk", h5ad, embedded, MILLION,
        (MILLION // 8, MILLION // 4, MILLION // 2, MILLION), {"plain pass": plain_pass}, {}, {}, 1_500,
    ),
    Case(
        "backed", "patients by PCA of {n} cells × 2,000 genes on disk", cohort, evaluated, 200_000,
        (25_000, 50_000, 100_000, 200_000), most_mb=1_500,
    ),
)  # fmt: skip
