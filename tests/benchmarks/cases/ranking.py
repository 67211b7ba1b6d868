"""Ranks of a large gallery against the matrix product that they cannot do without, and against faiss; precision."""

import numpy as np

from tests.benchmarks.case import Case

#: Queries a block of the plain product: the quickest of several tried.
BLOCK = 1000


def vectors(n, folder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 256)).astype(np.float32)
    return x, (x + rng.normal(size=x.shape).astype(np.float32)).astype(np.float32)


def ranks(data):
    from mmcell.metrics.retrieval import ranks

    x, y = data
    return {"hit": ranks(x, y, np.arange(len(x))).expected < 10}


def product(data):
    """The similarities of all pairs, which are thrown away."""
    left, right = data
    for start in range(0, len(left), BLOCK):
        left[start : start + BLOCK] @ right.T


def flat(data):
    """The ten nearest of every query, and whether its partner is among them."""
    import faiss

    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in data)
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(y)
    found = index.search(x, 10)[1]
    return {"hit": (found == np.arange(len(x))[:, None]).any(axis=1)}


def replicates(n, folder):
    """Profiles of `n` wells, four of each perturbation: group and features."""
    rng = np.random.default_rng(0)
    group = np.arange(n) // 4
    return group, rng.normal(size=(n, 256)) + 0.5 * rng.normal(size=(n // 4 + 1, 256))[group]


def precision(data):
    from mmcell.metrics.retrieval import ranks_within

    group, x = data
    own = np.arange(len(group))
    others = [np.setdiff1d(np.arange(4 * g, min(4 * g + 4, len(group))), [i]) for i, g in enumerate(group)]
    everything = np.zeros(len(group))
    (found,) = ranks_within(x, x, others, [(everything, everything)], apart=(own, own))
    return {"precision": found.precision}


def copairs(data):
    import pandas as pd
    from copairs.map import average_precision

    group, x = data
    table = pd.DataFrame({"group": group})
    found = average_precision(table, x, ["group"], [], [], ["group"], progress_bar=False)
    return {"precision": found["average_precision"].to_numpy()}


CASES = (
    Case(
        "ranks", "ranks of all partners, {n} × {n} × 256", vectors, ranks, 50_000, (6250, 12_500, 25_000, 50_000),
        {"product": product, "faiss-cpu": flat}, {"product": 1 / 1.3}, {"faiss-cpu": 0}, 1_500,
    ),
    Case(
        "precision", "average precision of {n} profiles × 256, 4 replicates each", replicates, precision, 8000,
        (1000, 2000, 4000, 8000), {"copairs": copairs}, {}, {"copairs": 1e-5},
    ),
)  # fmt: skip
