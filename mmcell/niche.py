"""Niche: what surrounds a spot, by the cell types or clusters of its spatial neighbours (squidpy)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding, ModelCard
from mmcell.errors import MissingExtraError, MmcellError, number_of
from mmcell.splits import Split

if TYPE_CHECKING:
    from anndata import AnnData

#: The nearest spots: one ring of a hexagonal array; in a square one the four beside a spot and two of its diagonals.
N_NEIGHBOURS = 6
#: Where the data have no cell types: clusters of training spots in so many principal components.
_CLUSTERS, _COMPONENTS, _GENES = 8, 20, 1000


def niche(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:  # noqa: ARG001
    """Return what share of each spot's neighbours is of each type; the spot itself does not count.

    Without cell types, clusters of expression stand for them (k-means on principal components, learnt on training
    spots); they are others in every fold, and named by it. A spot without a neighbour of known type has no row.

    Raises
    ------
    MmcellError
        The data hold no positions (``obsm["spatial"]``), or two spots of a section share one.
    """
    near = dataset.once("spatial-neighbours", lambda: neighbours(dataset))
    if dataset.roles.cell_type is not None:
        kind = dataset.obs[dataset.roles.cell_type].reindex(dataset.ids)
    else:
        kind = dataset.once(("niche-clusters", split.key), lambda: _clusters(dataset, split))
    code, names = pd.factorize(kind.astype(object), sort=True)
    known = np.flatnonzero(code >= 0)
    of_type = csr_array((np.ones(len(known)), (known, code[known])), shape=(len(code), len(names)))
    counts = (near @ of_type).toarray()
    total = counts.sum(axis=1)
    there = total > 0
    shares = (counts[there] / total[there][:, None]).astype(np.float32)
    card = ModelCard(name="niche", description=f"types of the {N_NEIGHBOURS} nearest spots of the section")
    return Embedding("niche", level, "spatial", dataset.ids[there], shares, card, tuple(map(str, names)))


def neighbours(dataset: Dataset) -> csr_array:
    """Return the (n, n) graph of each spot's nearest spots in its own section, in the order of the dataset's ids.

    A section is the batch and sample of one unit, so that no edge crosses units.

    Raises
    ------
    MmcellError
        The data hold no positions, or two spots of a section share one: sections lie on top of each other.
    MissingExtraError
        squidpy is not installed.
    """
    import anndata as ad

    places = positions(dataset)
    knn = _squidpys_neighbours()
    section = pd.DataFrame({"unit": dataset.unit.reindex(dataset.ids).to_numpy()})
    for column in filter(None, (dataset.roles.batch, dataset.roles.sample)):
        section[column] = dataset.obs[column].reindex(dataset.ids).astype(str).to_numpy()
    lie = section.assign(x=places[:, 0], y=places[:, 1]).dropna()
    twice = lie.duplicated()
    if twice.any():
        raise MmcellError(
            f"dataset {dataset.name!r}: {number_of(int(twice.sum()), 'spot lies', 'spots lie')} exactly on another "
            "of the same unit, batch and "
            "sample; name the column of sections in the role 'batch' or 'sample'"
        )
    left, right = [], []
    for rows in section.groupby(list(section)).indices.values():
        rows = rows[np.isfinite(places[rows]).all(axis=1)]
        if len(rows) < 2:
            continue
        data = ad.AnnData(obs=pd.DataFrame(index=rows.astype(str)), obsm={"spatial": places[rows]})
        knn(data, n_neighs=min(N_NEIGHBOURS, len(rows) - 1))
        edges = data.obsp["spatial_connectivities"].tocoo()
        left.append(rows[edges.row])
        right.append(rows[edges.col])
    n = len(dataset.ids)
    a, b = (np.concatenate([np.zeros(0, dtype=np.int64), *part]) for part in (left, right))
    return csr_array((np.ones(len(a)), (a, b)), shape=(n, n))


def _squidpys_neighbours() -> Callable[..., Any]:
    """Return squidpy's function; what its import warns of and what it logs is nothing that a user can act on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from squidpy.gr import spatial_neighbors_knn
    except ImportError as error:
        raise MissingExtraError("a spatial niche", "squidpy", "spatial") from error

    def quietly(data: AnnData, n_neighs: int) -> None:
        logger = logging.getLogger("spatialdata._logging")
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            spatial_neighbors_knn(data, n_neighs=n_neighs)
        finally:
            logger.setLevel(level)

    return quietly


def positions(dataset: Dataset) -> np.ndarray:
    """Return (n, 2) positions in the order of the dataset's ids, NaN where a spot has none.

    Raises
    ------
    MmcellError
        No modality holds them.
    """
    for modality in dataset.card.modalities:
        data = dataset.anndata(modality)
        if "spatial" in data.obsm:
            found = pd.DataFrame(np.asarray(data.obsm["spatial"], dtype=float)[:, :2], index=data.obs_names.astype(str))
            return found.reindex(dataset.ids).to_numpy()
    raise MmcellError(
        f"dataset {dataset.name!r}: no modality holds positions; put x and y of every spot into obsm['spatial']"
    )


def cell_type_only(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:  # noqa: ARG001
    """Return each item's own type as indicators: like lives beside like, and that is no knowledge of a niche.

    Raises
    ------
    MmcellError
        The dataset has no cell types.
    """
    if dataset.roles.cell_type is None:
        raise MmcellError(f"dataset {dataset.name!r}: roles.cell_type is not set; name the column of cell types")
    kind = dataset.obs[dataset.roles.cell_type].reindex(dataset.ids)
    table = pd.get_dummies(kind.astype(object), dtype=float)
    card = ModelCard(name="cell-type-only", description="each item's own type")
    names = tuple(map(str, table.columns))
    return Embedding("cell-type-only", level, "clinical", dataset.ids, table.to_numpy(), card, names)


def _clusters(dataset: Dataset, split: Split) -> pd.Series:
    """Return a cluster of expression per spot, learnt on the training units."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    modality = next((m for m in dataset.card.modalities if "image" not in dataset.anndata(m).uns), None)
    if modality is None:
        raise MmcellError(
            f"dataset {dataset.name!r}: neither cell types nor expression to cluster; set roles.cell_type"
        )
    data = dataset.features(modality)
    x = np.asarray(data.X.toarray() if hasattr(data.X, "toarray") else data.X, dtype=np.float32)
    ids = data.obs_names.astype(str)
    train = dataset.unit.reindex(ids).isin(split.train).to_numpy()
    x = x[:, np.sort(np.argsort(-x[train].var(axis=0, dtype=np.float64), kind="stable")[:_GENES])].astype(np.float64)
    n = min(_COMPONENTS, int(train.sum()) - 1, x.shape[1])
    # On one thread, for sums in floating point depend on their number.
    with threadpool_limits(1):
        pca = PCA(n, svd_solver="covariance_eigh").fit(x[train])
        model = KMeans(min(_CLUSTERS, int(train.sum())), n_init=4, random_state=0).fit(pca.transform(x[train]))
        found = model.predict(pca.transform(x))
    fold = f"fold {split.fold}" if split.repeat == 0 else f"repeat {split.repeat}, fold {split.fold}"
    names = np.array([f"cluster {k} of {fold}" for k in range(model.n_clusters)])
    return pd.Series(names[found], index=ids).reindex(dataset.ids)
