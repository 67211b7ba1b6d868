"""kBET: in how many neighbourhoods are batches as frequent as overall?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.special import chdtrc
from threadpoolctl import threadpool_limits

from mmcell.errors import MmcellError
from mmcell.metrics.alignment.connections import components, connections
from mmcell.metrics.alignment.diffusion import diffusion
from mmcell.metrics.alignment.graph import Neighbors
from mmcell.metrics.alignment.labels import Values, batches, coded
from mmcell.metrics.alignment.nearest import nearest

#: Labels of fewer cells are not tested.
_FEWEST = 10
#: Diffusion coordinates.
_COORDINATES = 100


def kbet_of_cells(
    neighbors: Neighbors, batch: Values, label: Values | None = None, *, alpha: float = 0.05
) -> np.ndarray:
    """Return, for every cell, 1 where the batches of its neighbourhood pass a χ² test against their shares, else 0.

    Parameters
    ----------
    neighbors
        Of all cells; scib-metrics takes 50, the cell itself included: ``neighbors.first(49)``.
    batch
        (n,) batches.
    label
        (n,) within which cells are tested, each label against its own shares: among its 10 to 70 nearest (a quarter of
        its cells a batch) by diffusion distance on its part of the graph, so that labels are compared alike. None:
        among the given neighbours. The cell itself counts.
    alpha
        Level of the test.

    Returns
    -------
    numpy.ndarray
        (n,); 0 for cells whose neighbours all lie at distance 0. NaN for cells without a label; of labels that lie in
        one batch or have fewer than 10 cells; and in small parts of a label that holds together otherwise. All cells of
        a label of which more than a quarter lies in small parts are 0.

    Raises
    ------
    MmcellError
        One batch only, a cell without a batch, no level between 0 and 1, or not one value a cell.

    References
    ----------
    Büttner et al.: A test metric for assessing single-cell RNA-seq batch correction. Nat Methods 16, 43–49 (2019).
    """
    if not 0 < alpha < 1:
        raise MmcellError(f"alpha: {alpha:g} is no level of a test; give one between 0 and 1")
    n = len(neighbors)
    of_batch, _ = batches(batch, n)
    if label is None:
        every = np.ones(n, dtype=bool)
        return np.where(neighbors.collapsed, 0.0, accepted(of_batch, np.arange(n), neighbors.indices, every, alpha))
    found = np.full(n, np.nan)
    for rows, tested, indices in neighbourhoods(neighbors, of_batch, label):
        found[rows] = 0.0
        if len(tested):
            found[rows] = np.nan
            found[tested] = accepted(of_batch, tested, indices, np.ones(n, dtype=bool), alpha)
    return found


def neighbourhoods(
    neighbors: Neighbors, batch: np.ndarray, label: Values
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return, for every label that can be tested, its cells, those that are tested, and their neighbours.

    Parameters
    ----------
    neighbors, label
        As in `kbet_of_cells`.
    batch
        (n,) codes.

    Returns
    -------
    list of (rows, tested, indices)
        Rows of the cells; (m,) rows; (m, k) rows of the nearest tested cells by diffusion distance. None are tested of
        a label of which more than a quarter lies in small parts.
    """
    code, names = coded(label, len(neighbors), "label")
    graph = connections(neighbors)
    found = []
    # Many small products, which threads only slow down.
    with threadpool_limits(1, user_api="blas"):
        for i in range(len(names)):
            rows = np.flatnonzero(code == i)
            if len(rows) >= _FEWEST and np.ptp(batch[rows]) > 0:
                tested, indices = _within(graph[rows][:, rows], len(np.unique(batch[rows])))
                found.append((rows, rows[tested], rows[tested[indices]]))
    return found


def kbet_of_labels(neighbors: Neighbors, batch: Values, label: Values, *, alpha: float = 0.05) -> pd.Series:
    """Return label -> the share of its tested cells that are accepted; NaN where it has none, as in `kbet_of_cells`.

    Parameters
    ----------
    neighbors
        Of `neighbors`.
    batch, label
        (n,) batch and label of each cell.
    alpha
        Level of the test of a neighbourhood.

    Raises
    ------
    MmcellError
        As in `kbet_of_cells`.
    """
    code, names = coded(label, len(neighbors), "label")
    of_cells = kbet_of_cells(neighbors, batch, label, alpha=alpha)
    return pd.Series(of_cells).groupby(code).mean().reindex(range(len(names))).set_axis(names)


def kbet(neighbors: Neighbors, batch: Values, label: Values | None = None, *, alpha: float = 0.05) -> float:
    """Return kBET's acceptance rate, the mean over labels (or cells, without labels), in [0, 1], higher = better mixed.

    Without labels as `kbet` of scib-metrics on the same neighbours. With labels its `kbet_per_label`, with two
    differences: neighbours in diffusion space are exact, where scib-metrics takes pynndescent (so that numbers differ
    by the tests which those few neighbours turn over, about 0.01); and every label has the same number of coordinates,
    where scib-metrics goes on with those of the smallest label that came before in alphabetical order.

    Parameters
    ----------
    neighbors, batch, label, alpha
        As in `kbet_of_cells`.

    Returns
    -------
    float
        NaN where no label can be tested.

    Raises
    ------
    MmcellError
        As in `kbet_of_cells`.
    """
    if label is None:
        return float(kbet_of_cells(neighbors, batch, alpha=alpha).mean())
    return float(kbet_of_labels(neighbors, batch, label, alpha=alpha).mean())


def _within(graph: csr_matrix, n_batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells of one label are tested, and (tested, k) positions of their neighbours among these."""
    n = graph.shape[0]
    k = min(70, max(10, n // n_batches // 4))
    part = components(graph)
    size = np.bincount(part)
    # Of one part all are tested; of several those that are large enough for neighbourhoods of their own.
    tested = np.flatnonzero((size[part] >= 3 * k) | (size[part] == n))
    if len(tested) < 0.75 * n or len(tested) <= k:
        return np.empty(0, dtype=np.int64), np.empty((0, k), dtype=np.int64)
    coordinates = diffusion(graph[tested][:, tested], part[tested], min(_COORDINATES, len(tested) - 1))
    indices, _ = nearest(coordinates, coordinates, np.arange(len(tested)), k)
    return tested, indices


def accepted(
    batch: np.ndarray, rows: np.ndarray, indices: np.ndarray, keep: np.ndarray, alpha: float = 0.05
) -> np.ndarray:
    """Return (m,) whether the batches of a cell and its neighbours pass the test against those of all m cells, 0 or 1.

    Parameters
    ----------
    batch
        (n,) codes.
    rows, indices
        (m,) cells that are tested, and (m, k) their neighbours, as rows of all n cells.
    keep
        (n,) which neighbours there are.
    alpha
        Level of the test.
    """
    kinds, code = np.unique(batch[rows], return_inverse=True)
    if len(kinds) == 1:
        # Of a label in several batches what holds together is of one: that is no mixing.
        return np.zeros(len(rows))
    share = np.bincount(code) / len(code)
    there = keep[indices]
    size = there.sum(axis=1) + 1
    of_neighbours = batch[indices]
    statistic = np.zeros(len(rows))
    for i, kind in enumerate(kinds):
        expected = share[i] * size
        seen = ((of_neighbours == kind) & there).sum(axis=1) + (code == i)
        statistic += (seen - expected) ** 2 / expected
    found: np.ndarray = (chdtrc(len(kinds) - 1, statistic) >= alpha).astype(float)
    return found
