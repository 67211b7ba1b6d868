"""Perturbations in silico: cells whose genes are raised by hand, where nobody has treated any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mmcell.data.covid_cite import CARD, load
from mmcell.data.entry import catalogued, in_wheel
from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.errors import MmcellError
from mmcell.roles import DatasetCard

COLUMN, CONTROL = "in_silico", "control"


def raised(
    dataset: Dataset, sets: Mapping[str, Sequence[str]], units: Sequence[str], *, fold: float, cells: int, modality: str
) -> Dataset:
    """Return the dataset with copies of some units' cells in which the genes of a set are raised, a copy a set.

    Of each of the units up to `cells` cells are drawn. They become the controls, and of every set there is a copy of
    them with molecules added: Poisson with mean (fold − 1) · depth · share, the share that the gene has among all
    molecules of the cell's type in these cells. Whoever lacks a gene can thus gain it, and types that hardly express
    it gain little.

    Parameters
    ----------
    dataset
        With counts and cell types.
    sets
        Name -> genes; those that the data lack are left out.
    units
        Whose cells are used: such as healthy donors.
    fold
        By how much the expected count of a gene is multiplied, more than 1.
    cells
        At most so many a unit.
    modality
        That holds the genes; the new dataset has no other.

    Returns
    -------
    Dataset
        With the column ``in_silico`` as roles.perturbation, missing for all other cells; nothing is known to reverse.

    Raises
    ------
    MmcellError
        No counts, no cell types, no gene of a set, or a fold that raises nothing.
    """
    import anndata as ad

    if not fold > 1:
        raise MmcellError(f"in silico: genes are raised {fold}-fold; give a number above 1")
    part, kind = dataset.anndata(modality), dataset.roles.cell_type
    if dataset.modality(modality).preprocessing != "counts" or kind is None:
        raise MmcellError(f"dataset {dataset.name!r}: molecules are added to counts, type by type; it needs both")
    names = pd.Index(part.var_names.astype(str))
    order = stream(0, "cells in silico").permutation(len(dataset.ids))
    own = dataset.unit.loc[dataset.rows(modality)]
    place = pd.Series(order, dataset.ids)[own.index].groupby(own).rank()
    chosen = own.index[own.isin(units) & (place <= cells) & dataset.obs.loc[own.index, kind].notna()]
    counts = sp.csr_matrix(part[chosen].X).astype(np.float64)
    depth = np.asarray(counts.sum(axis=1)).ravel()
    code, _ = pd.factorize(dataset.obs.loc[chosen, kind].astype(str))
    member = sp.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))))
    share = (member @ counts).toarray() / np.maximum(member @ depth, 1.0)[:, None]
    parts, tables = [part], [dataset.obs.loc[own.index].assign(**{COLUMN: None})]
    tables[0].loc[chosen, COLUMN] = CONTROL
    for name, genes in sets.items():
        columns = names.get_indexer(pd.Index(genes))
        columns = columns[columns >= 0]
        if not len(columns):
            raise MmcellError(f"dataset {dataset.name!r}: it has no gene of {name!r}")
        mean = (fold - 1) * depth[:, None] * share[code][:, columns]
        more = counts.tolil()
        more[:, columns] = counts[:, columns].toarray() + stream(0, "in silico", name).poisson(mean)
        ids = pd.Index([f"{name}: {cell}" for cell in chosen])
        parts.append(ad.AnnData(sp.csr_matrix(more).astype(np.float32), pd.DataFrame(index=ids), part.var))
        tables.append(dataset.obs.loc[chosen].set_axis(ids, axis=0).assign(**{COLUMN: name}))
    data = ad.concat([ad.AnnData(p.X, pd.DataFrame(index=p.obs_names), part.var) for p in parts], merge="same")
    data.obs = pd.concat(tables).loc[data.obs_names]
    roles = replace(dataset.roles, perturbation=COLUMN, control=CONTROL)
    card = dataset.card.model_copy(update={"modalities": {modality: dataset.modality(modality)}})
    return Dataset(dataset.name, data, roles, card)


@catalogued(
    "`covid-cite` (RNA), and copies of healthy donors' cells with a programme's genes raised in silico",
    in_wheel("m3"),
    CARD.licence,
)
def load_covid() -> Dataset:
    """Return ``covid-in-silico``: `covid-cite` and copies of healthy donors' cells with a concept's genes raised."""
    whole = load()
    sets: dict[str, Any] = {name: of["rna"] for name, of in whole.card.concepts.items()}
    healthy = whole.patients.index[whole.patients["cond_group"] == "HC"]
    found = raised(whole, sets, list(healthy), fold=4.0, cells=250, modality="rna")
    card: DatasetCard = found.card.model_copy(
        update={
            "name": "covid-in-silico",
            "description": (
                "covid-cite (RNA), with 250 cells of each of its 13 healthy donors as controls and copies of them in "
                "which the genes of one concept are raised fourfold in silico: interferon response, inflammation, "
                "exhaustion, cytotoxicity, antigen presentation"
            ),
            "caveats": (
                "In silico: no cell was treated. Genes were chosen by hand and raised independently of one another; a "
                "real stimulus does more, and not the same in every type.",
                "Nobody is known to be helped by any of it, so that reversal has no truth; severity is two classes, "
                "and there is no outcome: two of the chain's three questions cannot be asked.",
                *whole.card.caveats,
            ),
        }
    )
    return replace(found, name="covid-in-silico", card=card, fingerprint="")
