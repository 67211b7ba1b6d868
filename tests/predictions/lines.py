"""Screens in several cell lines: each has its own level, its own controls, and effects that are partly its own."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from tests.predictions.worlds import GENES, expected, of


def lines(n_lines=3, n=12, cells=30, controls=120, own=0.2, shared=0.3, seed=0):
    """Return a dataset of `n` perturbations in lines A, B, …, and its true profiles with a column ``line``.

    `shared` is the size of a perturbation's effect in all lines, `own` of what it does in one alone.
    """
    rng = np.random.default_rng(seed)
    base = rng.gamma(0.7, 6.0, GENES) + 0.1
    everywhere = np.zeros((n, GENES))
    for p in range(n):
        everywhere[p, rng.choice(GENES, 20, replace=False)] = shared * rng.normal(size=20)
    names = [f"drug{p:02d}" for p in range(n)]
    counts, labels, tables = [], [], []
    for k in range(n_lines):
        line = chr(65 + k)
        level = base * np.exp(0.4 * rng.normal(size=GENES))
        rate = np.vstack([level, level * np.exp(everywhere + own * rng.normal(size=(n, GENES)))])
        size = [controls, *[cells] * n]
        counts.append(rng.poisson(np.repeat(rate, size, axis=0)))
        labels += [(name, line) for name, m in zip(["ctrl", *names], size, strict=True) for _ in range(m)]
        genes = [f"g{i}" for i in range(GENES)]
        tables.append(expected(rate, ["ctrl", *names], genes, seed + k).drop("ctrl").assign(line=line))
    data = ad.AnnData(csr_matrix(np.vstack(counts).astype(np.float32)))
    data.obs_names = [f"c{i:05d}" for i in np.random.default_rng(seed).permutation(len(labels))]
    data.var_names = [f"g{i}" for i in range(GENES)]
    data.obs["drug"], data.obs["line"] = zip(*labels, strict=True)
    return of(data), pd.concat(tables)
