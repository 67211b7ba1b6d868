"""The graph of neighbours: its weights as in UMAP, its strong components, and graph connectivity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import njit
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from mmcell.metrics.alignment.blocks import in_blocks
from mmcell.metrics.alignment.graph import Neighbors
from mmcell.metrics.alignment.labels import Values, coded

#: Cells of one task of a thread.
_STEP = 4096
#: The least bandwidth as a share of the mean distance, as in umap-learn.
_LEAST = 1e-3


def connections(neighbors: Neighbors) -> csr_matrix:
    """Return (n, n) symmetric weights between neighbours, as UMAP and scanpy make them.

    A neighbour at distance d weighs exp(−(d − ρ)/σ), with ρ the least distance above 0 and σ such that the weights of a
    cell sum to log2(k + 1); of the two directions a and b the edge is a + b − ab. Cells whose neighbours all lie at
    distance 0 choose none.

    Parameters
    ----------
    neighbors
        Of `neighbors`.

    References
    ----------
    McInnes, Healy, Melville: UMAP: Uniform Manifold Approximation and Projection. arXiv:1802.03426 (2018).
    """
    weight = np.empty(neighbors.distances.shape)
    # The cell itself counts, as in umap-learn.
    everywhere = neighbors.distances.sum() / (len(neighbors) * (neighbors.k + 1))

    def weigh(part: slice) -> None:
        _weigh(neighbors.distances[part], everywhere, weight[part])

    in_blocks(weigh, len(neighbors), _STEP)
    directed = _graph(neighbors, weight)
    directed.eliminate_zeros()
    other = directed.T.tocsr()
    both: csr_matrix = (directed + other - directed.multiply(other)).tocsr()
    both.sort_indices()
    return both


def _graph(neighbors: Neighbors, weight: np.ndarray) -> csr_matrix:
    """Return (n, n) weights from each cell to its neighbours, without those of collapsed cells."""
    n, k = neighbors.indices.shape
    chooses = ~neighbors.collapsed
    start = np.concatenate([[0], np.cumsum(np.where(chooses, k, 0))])
    return csr_matrix((weight[chooses].ravel(), neighbors.indices[chooses].ravel(), start), shape=(n, n))


def components(graph: csr_matrix) -> np.ndarray:
    """Return (n,) the strong component of every cell: there is a way to all others of it, and back."""
    found: np.ndarray = connected_components(graph, connection="strong")[1]
    return found


def graph_connectivity_of_labels(neighbors: Neighbors, label: Values) -> pd.Series:
    """Return, for every label, the share of its cells in the largest strong component of its part of the graph.

    A cell whose neighbours all lie at distance 0 is joined to nothing, so that where all points are equal every label
    has the least value, 1/cells.

    Parameters
    ----------
    neighbors
        Of all cells; scib-metrics takes 15, the cell itself included: ``neighbors.first(14)``.
    label
        (n,); cells without one are left out.

    Returns
    -------
    pandas.Series
        Label -> share; NaN for a label of one cell, which has nothing to be joined to.

    Raises
    ------
    MmcellError
        Not one label a cell.
    """
    code, names = coded(label, len(neighbors), "label")
    graph = _graph(neighbors, np.ones(neighbors.indices.shape))
    found = pd.Series(np.nan, index=names)
    for i in range(len(names)):
        rows = np.flatnonzero(code == i)
        if len(rows) > 1:
            found.iloc[i] = np.bincount(components(graph[rows][:, rows])).max() / len(rows)
    return found


def graph_connectivity(neighbors: Neighbors, label: Values) -> float:
    """Return graph connectivity: the mean over labels of the share of cells in one piece, in (0, 1], higher is better.

    As in scib-metrics on the same neighbours, except that labels of one cell do not count (scib-metrics gives them 1).

    Parameters
    ----------
    neighbors, label
        As in `graph_connectivity_of_labels`.

    Returns
    -------
    float
        NaN where every label has one cell.

    Raises
    ------
    MmcellError
        Not one label a cell.

    References
    ----------
    Luecken et al.: Benchmarking atlas-level data integration in single-cell genomics. Nat Methods 19, 41–50 (2022).
    """
    return float(graph_connectivity_of_labels(neighbors, label).mean())


@njit(cache=True, nogil=True)
def _weigh(distances: np.ndarray, everywhere: float, weight: np.ndarray) -> None:
    """Write the weights of each cell's neighbours; `everywhere` is the mean distance of all cells."""
    k = distances.shape[1]
    wanted = np.log2(k + 1)
    for i in range(len(distances)):
        row = distances[i]
        nearest, mean = 0.0, row.sum() / (k + 1)
        for j in range(k):
            if row[j] > 0:
                nearest = row[j]
                break
        low, high, width = 0.0, np.inf, 1.0
        for _ in range(64):
            total = 0.0
            for j in range(k):
                total += np.exp(-max(row[j] - nearest, 0.0) / width)
            if abs(total - wanted) < 1e-5:
                break
            if total > wanted:
                high = width
            else:
                low = width
            width = width * 2 if high == np.inf else (low + high) / 2
        width = max(width, _LEAST * (mean if nearest > 0 else everywhere))
        for j in range(k):
            weight[i, j] = np.exp(-max(row[j] - nearest, 0.0) / width) if row[j] > nearest else 1.0


def within_labels(neighbors: Neighbors, code: np.ndarray, keep: np.ndarray, k: int) -> csr_matrix:
    """Return the (n, n) graph of neighbours of one label; its strong components are the pieces of labels.

    Parameters
    ----------
    neighbors
        Of all cells.
    code
        (n,) labels; −1 where missing.
    keep
        (n,) which cells there are.
    k
        Each has the nearest so many of those that are left.
    """
    n = len(neighbors)
    # Cells whose neighbours all lie at distance 0 are joined to nothing.
    left, right = _nearest_kept(neighbors.indices, keep & ~neighbors.collapsed, keep, k)
    inside = (code[left] == code[right]) & (code[left] >= 0)
    return csr_matrix((np.ones(inside.sum()), (left[inside], right[inside])), shape=(n, n))


@njit(cache=True, nogil=True)
def _nearest_kept(indices: np.ndarray, chooses: np.ndarray, keep: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges from cells that choose to the first k of their neighbours that are kept."""
    left, right = np.empty(len(indices) * k, np.int64), np.empty(len(indices) * k, np.int64)
    n = 0
    for i in range(len(indices)):
        found = 0
        for j in range(indices.shape[1]):
            if found == k or not chooses[i]:
                break
            if keep[indices[i, j]]:
                left[n], right[n] = i, indices[i, j]
                n += 1
                found += 1
    return left[:n], right[:n]
