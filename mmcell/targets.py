"""Perturbations by their names: what stands for those that nothing describes, and what the genes they name do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.digest import digest_ids, stream
from mmcell.effects import control_of, parts_of, pooled
from mmcell.embedding import Embedding, ModelCard
from mmcell.errors import MmcellError, first, number_of
from mmcell.modalities import join
from mmcell.roles import ModalityCard
from mmcell.splits import Split

if TYPE_CHECKING:
    from anndata import AnnData

#: The modality that has one row per perturbation, by its name.
DESCRIPTION = "description"
#: Components of the cells in which a gene is placed, and cells that they are found in at most.
COMPONENTS, FIT_CELLS = 10, 50_000


def named(dataset: Dataset) -> Dataset:
    """Return the dataset with a modality ``description`` that holds the names of its perturbations and no values.

    Embeddings of perturbations then have rows to belong to.

    Raises
    ------
    MmcellError
        A cell is called as a perturbation.
    """
    import anndata as ad

    control, column = control_of(dataset), dataset.roles.unit
    names = pd.Index(sorted(set(dataset.unit) - {control}), name="id")
    twice = names[names.isin(dataset.ids)]
    if len(twice):
        raise MmcellError(
            f"dataset {dataset.name!r}: {number_of(len(twice), 'cell is', 'cells are')} called as a perturbation "
            f"({first(twice)}); rename the cells (obs_names)"
        )
    card = ModalityCard(preprocessing="values", identifiers="other", description="names of perturbations, no values")
    modalities = {**dataset.card.modalities, DESCRIPTION: card}
    obs = pd.concat([dataset.obs, pd.DataFrame({column: names}, index=names)])
    part = ad.AnnData(np.zeros((len(names), 0), dtype=np.float32), obs=pd.DataFrame(index=names))
    return _with(dataset, part, obs, {"modalities": modalities})


def last(dataset: Dataset) -> Dataset:
    """Return the dataset with its modality ``description`` behind those that measured cells; the same where it is."""
    order = sorted(dataset.card.modalities, key=lambda name: name == DESCRIPTION)
    if order == list(dataset.card.modalities):
        return dataset
    modalities = {name: dataset.card.modalities[name] for name in order}
    return replace(dataset, card=dataset.card.model_copy(update={"modalities": modalities}))


def known_to(dataset: Dataset, sources: Mapping[str, Any]) -> Dataset:
    """Return the dataset without the descriptions of perturbations that one of several embeddings lacks.

    All are then asked the same, and their scores are of the same perturbations. A caveat names what is left out.

    Parameters
    ----------
    dataset
        With a modality ``description``.
    sources
        Name -> embedding, or encoder that may have ``knows``.

    Raises
    ------
    MmcellError
        One lacks most of them: its rows are then rather called otherwise.
    """
    wanted = dataset.rows(DESCRIPTION)
    # That controls are described is no question of any embedding.
    wanted = wanted[wanted != dataset.roles.control]
    kept, said = np.ones(len(wanted), dtype=bool), []
    for name, source in sources.items():
        if isinstance(source, Embedding):
            known = np.asarray(wanted.isin(source.ids))
        elif callable(getattr(source, "knows", None)):
            known = np.asarray(source.knows(wanted), dtype=bool)
        else:
            continue
        gone = wanted[~known]
        if 2 * len(gone) > len(wanted):
            looks = f"; its own are {first(source.ids)}" if isinstance(source, Embedding) else ""
            raise MmcellError(
                f"embedding {name!r}: has {len(wanted) - len(gone)} of the {len(wanted)} perturbations (lacks "
                f"{first(gone)}{looks}); call its rows as {dataset.name!r} calls perturbations"
            )
        kept &= known
        if len(gone):
            said.append(
                f"{number_of(len(gone), 'perturbation')} of {len(wanted)} left out, which {name} lacks: {first(gone)}"
            )
    if kept.all():
        return dataset
    gone = wanted[~kept]
    part = dataset.anndata(DESCRIPTION)
    part = part[~part.obs_names.isin(gone)].copy()
    return _with(dataset, part, dataset.obs.drop(index=gone), {"caveats": (*dataset.card.caveats, *said)})


def _with(dataset: Dataset, part: AnnData, obs: pd.DataFrame, facts: dict[str, Any]) -> Dataset:
    """Return the dataset with another description, other rows and other facts on its card."""
    data = join({name: dataset.anndata(name) for name in dataset.card.modalities} | {DESCRIPTION: part}, obs)
    data.uns.update(dataset.data.uns)
    return replace(dataset, data=data, card=dataset.card.model_copy(update=facts), fingerprint="", origin="")


def measured_in(dataset: Dataset) -> str:
    """Return the first modality in which controls were measured; "" where there is none."""
    control = dataset.unit.index[dataset.unit == dataset.roles.control]
    return next((name for name in dataset.card.modalities if dataset.rows(name).isin(control).any()), "")


def unnamed(dataset: Dataset) -> str:
    """Return why perturbations cannot be placed by the genes that they are named after, "" when they can."""
    if not pooled(dataset) or dataset.roles.control is None:
        return "units are no perturbations"
    modality = measured_in(dataset)
    if not modality:
        return "no modality has measured controls"
    genes = dataset.anndata(modality).var_names.astype(str)
    return "" if genes.isin(dataset.units).any() else "no perturbation is called as a gene that was measured"


def target_pca(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return the loadings, on principal components of cells, of the gene that each perturbation is named after.

    Genes that vary together may do so because they act together. Components are those of the cells of training
    perturbations, and of the half of the controls that effects in training are differences from. With ridge it is a
    baseline that predictors of unseen perturbations were found not to beat. Perturbations that are not called as a
    gene have no row.

    Raises
    ------
    MmcellError
        No perturbation is called as a gene.

    References
    ----------
    Ahlmann-Eltze, Huber and Anders: Deep-learning-based gene perturbation effect prediction does not yet outperform
    simple linear baselines. Nat. Methods (2025).
    """
    from mmcell.encoders.baselines import PCA

    if why := unnamed(dataset):
        raise MmcellError(f"dataset {dataset.name!r}: {why}; leave out target-pca")
    cells = measured_in(dataset)

    def loadings() -> pd.DataFrame:
        rows = dataset.reader(cells)
        half = parts_of(dataset, cells, by_type=False, repeat=split.repeat).half
        unit = dataset.unit.reindex(rows.ids)
        is_control = (unit == dataset.roles.control).to_numpy()
        seen = np.where(is_control, half.reindex(rows.ids).to_numpy() == 1, unit.isin(split.train).to_numpy())
        chosen = np.flatnonzero(seen)
        if len(chosen) > FIT_CELLS:
            rng = stream(0, "target-pca", digest_ids(sorted(split.train)))
            chosen = np.sort(rng.choice(chosen, FIT_CELLS, replace=False))
        model = PCA(COMPONENTS).fit(rows[chosen])
        return pd.DataFrame(model.components.T, index=rows.var_names.astype(str))

    # Training perturbations and halves decide it, whatever else is asked of the split.
    found = dataset.once(("target-pca", cells, split.repeat, digest_ids(sorted(split.train))), loadings)
    names = pd.Index(sorted(set(dataset.unit) & set(found.index)), name="id")
    card = ModelCard(name="target-pca", description="loadings of the target gene", parameters={"n": COMPONENTS})
    return Embedding("target-pca", level, modality, names, found.loc[names].to_numpy(dtype=float), card)
