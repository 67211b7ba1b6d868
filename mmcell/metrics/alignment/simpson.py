"""LISI: how many batches or labels a neighbourhood effectively holds, by the inverse Simpson index."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.errors import MmcellError
from mmcell.metrics.alignment.blocks import in_blocks
from mmcell.metrics.alignment.graph import Neighbors
from mmcell.metrics.alignment.labels import Values, batches, chosen, coded, several

#: Cells of one task of a thread.
_STEP = 1024


def lisi(neighbors: Neighbors, values: Values, *, perplexity: float = 30) -> np.ndarray:
    """Return the local inverse Simpson index of every cell: 1 / Σ_v (Σ_{j of v} w_j)².

    Neighbours weigh w_j ∝ exp(−β d_j), with β such that the entropy of the weights is log perplexity. Where more
    neighbours than that are tied at the least distance no β does so, and they share the weight evenly.

    Parameters
    ----------
    neighbors
        Of all cells; three times as many as the perplexity are usual.
    values
        (n,) batch or label. Neighbours without one are left out of the sum.
    perplexity
        Effective number of neighbours.

    Returns
    -------
    numpy.ndarray
        (n,) from 1 to the number of kinds; NaN where all neighbours lie at distance 0, or have no value.

    Raises
    ------
    MmcellError
        Not more neighbours than the perplexity, or not one value a cell.

    References
    ----------
    Korsunsky et al.: Fast, sensitive and accurate integration of single-cell data with Harmony. Nat Methods 16 (2019).
    """
    if not 1 < perplexity < neighbors.k:
        raise MmcellError(
            f"perplexity: {perplexity:g} needs more neighbours than the {neighbors.k} there are; compute three times "
            "as many, or lower it (above 1)"
        )
    code, names = coded(values, len(neighbors), "values")
    found = np.empty(len(neighbors))

    def index(part: slice) -> None:
        _index(neighbors.indices[part], neighbors.distances[part], code, len(names), perplexity, found[part])

    in_blocks(index, len(found), _STEP)
    return found


def ilisi_of_cells(neighbors: Neighbors, batch: Values, *, perplexity: float = 30) -> np.ndarray:
    """Return (n,) the LISI of batches scaled to (LISI − 1) / (batches − 1): 1 = all batches alike; NaN as in `lisi`.

    Parameters
    ----------
    neighbors
        Of `neighbors`.
    batch
        (n,) batch of each cell.
    perplexity
        Effective number of neighbours; see `lisi`.

    Raises
    ------
    MmcellError
        As in `lisi`, one batch only, or a cell without a batch.
    """
    _, names = batches(batch, len(neighbors))
    scaled: np.ndarray = (lisi(neighbors, batch, perplexity=perplexity) - 1) / (len(names) - 1)
    return scaled


def ilisi(
    neighbors: Neighbors, batch: Values, *, perplexity: float = 30, cells: np.ndarray | None = None
) -> float:  # fmt: skip
    """Return iLISI, the median over cells of how well batches are mixed, in [0, 1], higher is better.

    As in scib-metrics on the same neighbours (where the perplexity is a third of the neighbours, the cell included, and
    where a cell with all neighbours at distance 0 counts as if they were a fair sample).

    Parameters
    ----------
    neighbors, batch, perplexity
        As in `lisi`.
    cells
        (n,) mask of those that are scored, such as `shared`; their neighbours are all cells.

    Returns
    -------
    float
        NaN where a scored cell has all neighbours at distance 0.

    Raises
    ------
    MmcellError
        As in `ilisi_of_cells`, or a mask that does not fit.
    """
    return _median(ilisi_of_cells(neighbors, batch, perplexity=perplexity), cells)


def ilisi_mixed(batch: Values) -> float:
    """Return the scaled LISI of a neighbourhood in which batches are as frequent as among all cells.

    Batches of different size cannot reach 1; this is what an embedding that knows no batch comes near to.

    Parameters
    ----------
    batch
        (n,) batch of each cell.
    """
    code, names = batches(batch, len(batch))
    share = np.bincount(code) / len(code)
    return float((1 / (share**2).sum() - 1) / (len(names) - 1))


def clisi_of_cells(neighbors: Neighbors, label: Values, *, perplexity: float = 30) -> np.ndarray:
    """Return (n,) the LISI of labels scaled to (labels − LISI) / (labels − 1): 1 = one label only; NaN as in `lisi`.

    Parameters
    ----------
    neighbors
        Of `neighbors`.
    label
        (n,) label of each cell.
    perplexity
        Effective number of neighbours; see `lisi`.

    Raises
    ------
    MmcellError
        As in `lisi`, or one label only.
    """
    _, names = several(label, len(neighbors), "label")
    scaled: np.ndarray = (len(names) - lisi(neighbors, label, perplexity=perplexity)) / (len(names) - 1)
    return scaled


def clisi(
    neighbors: Neighbors, label: Values, *, perplexity: float = 30, cells: np.ndarray | None = None
) -> float:  # fmt: skip
    """Return cLISI, the median over cells of how pure neighbourhoods are, in [0, 1], higher is better.

    As in scib-metrics on the same neighbours, except as told in `ilisi`. With many labels all values are near 1.

    Parameters
    ----------
    neighbors, label, perplexity
        As in `lisi`.
    cells
        (n,) mask of those that are scored.

    Returns
    -------
    float
        NaN where a scored cell has all neighbours at distance 0, or none with a label.

    Raises
    ------
    MmcellError
        As in `clisi_of_cells`, or a mask that does not fit.
    """
    return _median(clisi_of_cells(neighbors, label, perplexity=perplexity), cells)


def _median(values: np.ndarray, cells: np.ndarray | None) -> float:
    return float(np.median(values[chosen(cells, len(values))]))


def sharpness(neighbors: Neighbors, perplexity: float) -> np.ndarray:
    """Return the β (n,) of each cell's weights in LISI; NaN where all neighbours lie at distance 0."""
    found = np.full(len(neighbors), np.nan)

    def solve(part: slice) -> None:
        _solve_rows(neighbors.distances[part], perplexity, found[part])

    in_blocks(solve, len(found), _STEP)
    return found


def effective_kinds(
    neighbors: Neighbors, beta: np.ndarray, code: np.ndarray, keep: np.ndarray, perplexity: float
) -> np.ndarray:
    """Return the LISI of kept cells (n,) over their kept neighbours; NaN for others, and where `lisi` is.

    Parameters
    ----------
    neighbors
        Of all cells.
    beta
        (n,) of all neighbours (`sharpness`), from which that of fewer is found in a few steps of Newton's.
    code
        (n,) values; −1 where missing.
    keep
        (n,) which cells there are.
    perplexity
        As in `lisi`.
    """
    found = np.full(len(code), np.nan)

    def index(part: slice) -> None:
        _effective(
            neighbors.indices[part], neighbors.distances[part], beta[part], code, keep, part.start,
            int(code.max()) + 1, perplexity, found[part],
        )  # fmt: skip

    in_blocks(index, len(found), _STEP)
    return found


@njit(cache=True, nogil=True)
def _solve_rows(distances: np.ndarray, perplexity: float, out: np.ndarray) -> None:
    weight = np.empty(distances.shape[1])
    for i in range(len(distances)):
        if distances[i, -1] > 0:
            out[i] = _weigh(distances[i], np.log(perplexity), weight)


@njit(cache=True, nogil=True)
def _effective(
    indices: np.ndarray, distances: np.ndarray, beta: np.ndarray, code: np.ndarray, keep: np.ndarray, first: int,
    n_kinds: int, perplexity: float, out: np.ndarray,
) -> None:  # fmt: skip
    k = indices.shape[1]
    share, weight, away, kind = np.empty(n_kinds), np.empty(k), np.empty(k), np.empty(k, np.int64)
    for i in range(len(indices)):
        if not keep[first + i] or np.isnan(beta[i]):
            continue
        n = 0
        for j in range(k):
            if keep[indices[i, j]]:
                away[n], kind[n] = distances[i, j], code[indices[i, j]]
                n += 1
        if n == 0:
            continue
        _sharpen(away[:n], beta[i], np.log(perplexity), n < k, weight)
        share[:] = 0.0
        for j in range(n):
            if kind[j] >= 0:
                share[kind[j]] += weight[j]
        total = share.sum()
        if total > 0:
            out[i] = total**2 / (share**2).sum()


@njit(cache=True, nogil=True)
def _sharpen(away: np.ndarray, beta: float, wanted: float, anew: bool, weight: np.ndarray) -> None:
    """Write weights ∝ exp(−β d); where neighbours were taken away β is moved until the entropy is the wanted one."""
    for _ in range(12):
        total, one, two = 0.0, 0.0, 0.0
        for j in range(len(away)):
            apart = (away[j] - away[0]) * beta
            weight[j] = np.exp(-apart)
            total += weight[j]
            one += weight[j] * apart
            two += weight[j] * apart**2
        gap = np.log(total) + one / total - wanted
        spread = two / total - (one / total) ** 2
        if not anew or abs(gap) < 1e-4 or spread < 1e-9:
            break
        # Newton's step in log β, no further than threefold.
        beta *= np.exp(min(max(gap / spread, -1.1), 1.1))


@njit(cache=True, nogil=True)
def _index(
    indices: np.ndarray, distances: np.ndarray, code: np.ndarray, n_kinds: int, perplexity: float, out: np.ndarray
) -> None:
    k = indices.shape[1]
    weight, share = np.empty(k), np.empty(n_kinds)
    for i in range(len(indices)):
        out[i] = np.nan
        if distances[i, k - 1] == 0:
            continue
        _weigh(distances[i], np.log(perplexity), weight)
        share[:] = 0.0
        for j in range(k):
            if code[indices[i, j]] >= 0:
                share[code[indices[i, j]]] += weight[j]
        total = share.sum()
        if total > 0:
            out[i] = total**2 / (share**2).sum()


@njit(cache=True, nogil=True)
def _weigh(distance: np.ndarray, wanted: float, weight: np.ndarray) -> float:
    """Write weights ∝ exp(−β d) of the wanted entropy, and return β, found by bisection."""
    nearest, spread = distance[0], distance.mean() - distance[0]
    beta, low, high = 1.0 / spread if spread > 0 else 1.0, 0.0, np.inf
    for _ in range(64):
        total, moment = 0.0, 0.0
        for j in range(len(distance)):
            away = (distance[j] - nearest) * beta
            weight[j] = np.exp(-away)
            total += weight[j]
            moment += weight[j] * away
        entropy = np.log(total) + moment / total
        if abs(entropy - wanted) < 1e-6:
            break
        if entropy > wanted:
            low = beta
            beta = beta * 2 if high == np.inf else (low + high) / 2
        else:
            high = beta
            beta = (low + high) / 2
    weight /= total
    return beta
