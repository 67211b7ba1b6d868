"""A small screen whose effects are known: cells of controls and perturbations, and what a perfect model would say."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from mmcell.dataset import Dataset
from mmcell.roles import DatasetCard, ModalityCard, Roles

GENES = 80


def screen(n=20, cells=40, controls=300, size=0.35, common=0.3, seed=0, strong=None):
    """Return a dataset of `n` perturbations and their true mean profiles, log1p of 10,000 counts, controls included.

    `size` is of own effects on 20 genes each, `common` of what all do; `strong` says which have any.
    """
    rng = np.random.default_rng(seed)
    base = rng.gamma(0.7, 6.0, GENES) + 0.1
    effect = np.zeros((n, GENES))
    shared = common * rng.normal(size=GENES)
    for p in range(n):
        effect[p, rng.choice(GENES, 20, replace=False)] = size * rng.normal(size=20)
    effect = (effect + shared) * (np.ones(n) if strong is None else strong)[:, None]
    names = [f"drug{p:02d}" for p in range(n)]
    rate = np.vstack([base, base * np.exp(effect)])
    labels = np.repeat(["ctrl", *names], [controls, *[cells] * n])
    data = ad.AnnData(csr_matrix(rng.poisson(np.repeat(rate, [controls, *[cells] * n], axis=0)).astype(np.float32)))
    data.obs_names = [f"c{i:05d}" for i in range(len(labels))]
    data.var_names = [f"g{i}" for i in range(GENES)]
    data.obs["drug"] = labels
    return of(data), expected(rate, ["ctrl", *names], data.var_names, seed)


def of(data, preprocessing="counts", **roles):
    card = DatasetCard(
        name="screen", modalities={"rna": ModalityCard(preprocessing=preprocessing, identifiers="other")}
    )
    return Dataset("screen", data, Roles(**{"unit": "drug", "perturbation": "drug", "control": "ctrl"} | roles), card)


def expected(rate, names, genes, seed):
    """Mean profiles of many further cells, which a mean of logarithms needs."""
    drawn = np.random.default_rng(seed + 1000).poisson(rate[:, None], (len(rate), 1000, GENES))
    logs = np.log1p(drawn / drawn.sum(axis=2, keepdims=True) * 1e4)
    return pd.DataFrame(logs.mean(axis=1), names, genes)


def cells_like(dataset, seed=1):
    """Cells that a generative model might write: log-normalised, controls included."""
    source = dataset.anndata("rna")
    rng = np.random.default_rng(seed)
    cells = source.X.toarray()
    x = rng.poisson(0.2 * cells + 0.8 * cells.mean(axis=0)).astype(np.float32)
    made = ad.AnnData(np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4).astype(np.float32), obs=source.obs.copy())
    made.var_names = source.var_names
    return made


def value(results, encoder, metric, stratum="all", column="value"):
    table = results.table().set_index(["encoder", "metric", "stratum"])
    return table.loc[(encoder, metric, stratum), column]
