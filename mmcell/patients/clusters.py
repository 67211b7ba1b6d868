"""`Clusters`: kinds of cells that are learnt from an embedding, where nobody has labelled them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from threadpoolctl import threadpool_limits

from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MissingExtraError, MmcellError
from mmcell.patients.pooling import blocks

#: Training cells that clusters are learnt from, drawn at random where there are more.
_SAMPLE = 20_000
#: Of a cell in the graph that Leiden divides; as in scanpy.
_NEIGHBOURS = 15


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of training cells, each known by its centroid.

    Every cell, of a training patient or not, belongs to the nearest centroid. For k-means this is what it means. Leiden
    clusters need not be convex, and a cell on a border may get another cluster than the graph gave it; but one rule
    for all cells keeps patients of training and of test comparable, which graph labels here and votes there do not.

    Attributes
    ----------
    centres
        (k, d), the largest cluster first.
    agreement
        Share of the sampled cells that the rule gives back to the cluster they were in.
    """

    centres: np.ndarray
    agreement: float

    @classmethod
    def fit(
        cls, cells: Embedding, kind: Literal["kmeans", "leiden"], *, n_clusters: int, resolution: float, seed: int
    ) -> Self:
        """Learn clusters from a sample of training cells, in the embedding as it is.

        Parameters
        ----------
        cells
            Of training patients.
        kind
            ``kmeans``, from one start by greedy k-means++; or ``leiden``, a graph of 15 nearest neighbours weighted as
            in UMAP, divided by modularity.
        n_clusters
            Of k-means.
        resolution
            Of Leiden.
        seed
            Of the sample and the clustering.

        Raises
        ------
        MissingExtraError
            Leiden, and igraph is not installed.
        MmcellError
            Too few cells, or too few that differ.
        """
        fewest = n_clusters if kind == "kmeans" else _NEIGHBOURS + 1
        if len(cells) < fewest:
            raise MmcellError(
                f"embedding {cells.name!r}: {len(cells)} training cells are too few for "
                + (f"{n_clusters} clusters; lower n_clusters" if kind == "kmeans" else f"Leiden, which needs {fewest}")
            )
        # By id: the order of cells in a file decides nothing.
        rows = np.argsort(cells.ids.to_numpy(str), kind="stable")
        if len(rows) > _SAMPLE:
            rows = stream(seed, "clusters", "sample").choice(rows, _SAMPLE, replace=False)
        x = cells.values[rows].astype(np.float64)
        with threadpool_limits(1):
            label = _kmeans(x, n_clusters, seed, cells.name) if kind == "kmeans" else _leiden(x, resolution, seed)
        found, label, counts = np.unique(label, return_inverse=True, return_counts=True)
        rank = np.empty(len(found), dtype=int)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(found))
        label = rank[label]
        centres = np.stack([x[label == k].mean(axis=0) for k in range(len(found))])
        return cls(centres, float((_nearest(x, centres) == label).mean()))

    def assign(self, values: np.ndarray) -> np.ndarray:
        """Return (rows,) the nearest centroid of each row of (rows, d), which may be a memmap."""
        found = np.empty(len(values), dtype=np.int64)
        for where, block in blocks(values, len(self.centres)):
            found[where] = _nearest(block, self.centres)
        return found


def _nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    # About their own middle: far from the origin the squares would drown the differences.
    middle = centres.mean(axis=0)
    own = centres - middle
    scores = (x.astype(np.float64) - middle) @ (-2 * own.T)
    scores += (own**2).sum(axis=1)
    return np.argmin(scores, axis=1)


def _kmeans(x: np.ndarray, n_clusters: int, seed: int, name: str) -> np.ndarray:
    from sklearn.cluster import KMeans

    distinct = len(np.unique(x, axis=0))
    if distinct < n_clusters:
        raise MmcellError(
            f"embedding {name!r}: its sampled training cells have only {distinct} different values, too few for "
            f"{n_clusters} clusters; lower n_clusters"
        )
    return np.asarray(KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(x))


def _leiden(x: np.ndarray, resolution: float, seed: int) -> np.ndarray:
    try:
        import igraph  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("clusters='leiden'", "igraph", "leiden") from error
    import scanpy as sc
    from anndata import AnnData

    data = AnnData(x.astype(np.float32))
    sc.pp.neighbors(data, _NEIGHBOURS, use_rep="X", transformer="sklearn", random_state=seed)
    sc.tl.leiden(data, resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False)
    return data.obs["leiden"].cat.codes.to_numpy()
