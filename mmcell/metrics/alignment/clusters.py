"""Clusters of an embedding, how many of them chosen without labels, and how they agree with labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mmcell.errors import MissingExtraError, MmcellError
from mmcell.metrics.alignment.connections import connections
from mmcell.metrics.alignment.graph import Neighbors
from mmcell.metrics.alignment.labels import Values, coded, points
from mmcell.metrics.alignment.silhouette import silhouette_of_cells

#: Numbers of clusters that are tried.
COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
#: Resolutions that are tried, as in scib-metrics.
RESOLUTIONS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
#: Cells on which k-means is fitted and on which silhouettes are taken, drawn at random where there are more.
_FITTED, _JUDGED = 5_000, 2_500


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of cells.

    Attributes
    ----------
    codes
        (n,) cluster of every cell, 0 the largest.
    kind
        How they were made.
    parameter
        The number of clusters of k-means or the resolution of Leiden.
    silhouettes
        Parameter tried -> mean silhouette of its clusters, by which it was chosen; none where it was given.
    """

    codes: np.ndarray
    kind: Literal["kmeans", "leiden"]
    parameter: float
    silhouettes: pd.Series


def kmeans_clusters(
    x: np.ndarray, *, n_clusters: int | Sequence[int] = COUNTS, ids: np.ndarray | None = None, seed: int = 0
) -> Clustering:
    """Cluster cells by k-means, of several numbers of clusters the one whose clusters have the greatest silhouette.

    No label takes part: each number is fitted on at most 5,000 cells, and the mean silhouette of at most 2,500 of them
    decides (of equal ones the smaller number). All cells then go to the nearest centre. scib-metrics takes as many
    clusters as there are labels: give that number for its rule.

    Parameters
    ----------
    x
        (n, d) embedding.
    n_clusters
        One number, or those to be tried; numbers above the different points of the sample are left out.
    ids
        (n,) distinct names, by which the sample is drawn, so that the order of rows decides nothing.
    seed
        Of the sample and of the starts (greedy k-means++, the best of two).

    Returns
    -------
    Clustering
        Of one cluster where all points are equal.

    Raises
    ------
    MmcellError
        Values that are not finite, a number below 2, or too few different points for all of them.
    """
    from sklearn.cluster import KMeans

    values = points(x)
    counts = sorted(n_clusters) if isinstance(n_clusters, Iterable) else [int(n_clusters)]
    if not counts or counts[0] < 2:
        raise MmcellError(f"n_clusters: {counts} asks for fewer than 2 clusters; give 2 or more")
    if (values == values[0]).all():
        return Clustering(np.zeros(len(values), dtype=np.int64), "kmeans", 1, pd.Series(dtype=float))
    rng = np.random.default_rng(seed)
    sample = _sample(
        np.arange(len(values)) if ids is None else np.argsort(np.asarray(ids), kind="stable"), _FITTED, rng
    )
    own = values[sample]
    different = len(np.unique(own, axis=0))
    possible = [k for k in counts if k <= different and k < len(own)]
    if not possible:
        raise MmcellError(f"n_clusters: {counts[0]} or more clusters of {different} different points; lower it")
    with threadpool_limits(1):
        models = [KMeans(k, n_init=2, random_state=seed).fit(own) for k in possible]
    judged = _sample(np.arange(len(own)), _JUDGED, rng)
    scores = _silhouettes(own[judged], [m.labels_[judged] for m in models], possible)
    best = _best(scores) if len(counts) > 1 else 0
    codes = models[best].predict(values)
    return Clustering(_by_size(codes), "kmeans", possible[best], scores if len(counts) > 1 else scores.iloc[:0])


def leiden_clusters(
    neighbors: Neighbors, x: np.ndarray, *, resolution: float | Sequence[float] = RESOLUTIONS, seed: int = 0
) -> Clustering:
    """Cluster cells by Leiden (modularity), of several resolutions the one whose clusters have the greatest silhouette.

    As `kmeans_clusters` chooses; scib-metrics takes the resolution whose clusters agree best with the labels.

    Parameters
    ----------
    neighbors
        Whose `connections` are divided; scib-metrics takes 15, the cell itself included: ``neighbors.first(14)``.
    x
        (n, d) embedding, for the silhouettes.
    resolution
        One, or those to be tried.
    seed
        Of Leiden and of the sample.

    Returns
    -------
    Clustering
        Of one cluster where all cells have all their neighbours at distance 0.

    Raises
    ------
    MissingExtraError
        igraph is not installed.
    MmcellError
        No resolution above 0, or not one row a cell.
    """
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError("leiden_clusters", "igraph", "leiden") from error
    import random

    values = points(x)
    tried = sorted(map(float, resolution)) if isinstance(resolution, Iterable) else [float(resolution)]
    if not tried or tried[0] <= 0:
        raise MmcellError(f"resolution: {tried} holds none above 0; give at least one")
    if len(values) != len(neighbors):
        raise MmcellError(f"x: {len(values)} rows for the neighbours of {len(neighbors)} cells; give both of the same")
    if neighbors.collapsed.all():
        return Clustering(np.zeros(len(values), dtype=np.int64), "leiden", tried[0], pd.Series(dtype=float))
    upper = connections(neighbors).tocoo()
    once = upper.row < upper.col
    graph = igraph.Graph(n=len(values), edges=np.column_stack([upper.row[once], upper.col[once]]))
    found = []
    for value in tried:
        igraph.set_random_number_generator(random.Random(seed))
        parts = graph.community_leiden("modularity", weights=upper.data[once], resolution=value, n_iterations=2)
        found.append(np.asarray(parts.membership))
    igraph.set_random_number_generator(random)
    judged = _sample(np.arange(len(values)), _JUDGED, np.random.default_rng(seed))
    scores = _silhouettes(values[judged], [codes[judged] for codes in found], tried)
    best = _best(scores) if len(tried) > 1 else 0
    return Clustering(_by_size(found[best]), "leiden", tried[best], scores if len(tried) > 1 else scores.iloc[:0])


def nmi(label: Values, cluster: Values) -> float:
    """Return normalised mutual information (arithmetic mean of entropies) of labels and clusters, in [0, 1].

    Cells without a label or a cluster are left out. 0 where all cells are in one cluster; NaN where all are of one
    label too. As in scib-metrics on the same clusters.

    Parameters
    ----------
    label, cluster
        (n,) label and cluster of each cell.

    Raises
    ------
    MmcellError
        Not one label a cluster.
    """
    from sklearn.metrics import normalized_mutual_info_score

    one, other = _known(label, cluster)
    return float(normalized_mutual_info_score(one, other)) if np.ptp(one) or np.ptp(other) else float("nan")


def ari(label: Values, cluster: Values) -> float:
    """Return the adjusted Rand index of labels and clusters, 0 = as by chance, 1 = the same.

    Cells without a label or a cluster are left out. 0 where all cells are in one cluster; NaN where all are of one
    label too. As in scib-metrics on the same clusters.

    Parameters
    ----------
    label, cluster
        (n,) label and cluster of each cell.

    Raises
    ------
    MmcellError
        Not one label a cluster.
    """
    from sklearn.metrics import adjusted_rand_score

    one, other = _known(label, cluster)
    return float(adjusted_rand_score(one, other)) if np.ptp(one) or np.ptp(other) else float("nan")


def _known(label: Values, cluster: Values) -> tuple[np.ndarray, np.ndarray]:
    one, other = coded(label, len(label), "label")[0], coded(cluster, len(label), "cluster")[0]
    both = (one >= 0) & (other >= 0)
    if not both.any():
        raise MmcellError("label: no cell has a label and a cluster; give both for some cells")
    return one[both], other[both]


def _sample(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else rng.choice(rows, most, replace=False)


def _silhouettes(x: np.ndarray, codes: list[np.ndarray], tried: Sequence[float]) -> pd.Series:
    """Return parameter -> mean silhouette; NaN where all are in one cluster."""
    scores = [silhouette_of_cells(x, c).mean() if np.ptp(c) else np.nan for c in codes]
    return pd.Series(scores, index=pd.Index(tried, name="parameter"), dtype=float)


def _best(scores: pd.Series) -> int:
    """Return the position of the greatest, the first of equal ones; the first where none is defined."""
    return 0 if scores.isna().all() else int(np.nanargmax(scores.to_numpy()))


def _by_size(codes: np.ndarray) -> np.ndarray:
    _, first, code, size = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    ranked: np.ndarray = rank[code]
    return ranked
