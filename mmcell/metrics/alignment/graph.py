"""`Neighbors`: who is near whom, computed once and shared by all metrics of alignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from mmcell.errors import MmcellError, did_you_mean
from mmcell.metrics.alignment.labels import Values, batches, points
from mmcell.metrics.alignment.nearest import nearest

Method = Literal["auto", "exact", "pynndescent", "faiss"]
#: Pairs up to which all are looked at: about a minute of two cores at 50 dimensions.
_CHEAP = 25_000_000_000
#: Cells whose neighbours are looked up exactly to measure the recall of approximate ones.
_SAMPLE = 1000


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest other cells of every cell.

    Attributes
    ----------
    indices, distances
        (n, k) rows of the neighbours, nearest first; Euclidean distances. A cell is never its own neighbour; its
        duplicates, at distance 0, are. Of equally distant cells the earlier row is nearer.
    exact
        Whether all pairs were looked at.
    recall
        Of approximate neighbours: the share that is as near as the exact ones, on a sample of cells.
    """

    indices: np.ndarray
    distances: np.ndarray
    exact: bool = True
    recall: float | None = None

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape or not self.indices.shape[1]:
            raise MmcellError(
                f"neighbors: indices {self.indices.shape} and distances {self.distances.shape}; give one row a cell "
                "and one column a neighbour in both"
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def k(self) -> int:
        """Neighbours of each cell."""
        return int(self.indices.shape[1])

    @property
    def collapsed(self) -> np.ndarray:
        """(n,) whether all neighbours lie at distance 0.

        Which of the duplicates are its neighbours is then an accident of their order, so that such a cell says nothing:
        no metric takes its neighbours for mixing or for biology.
        """
        same: np.ndarray = self.distances[:, -1] == 0
        return same

    def first(self, k: int) -> Self:
        """Return the `k` nearest only.

        Raises
        ------
        MmcellError
            There are fewer.
        """
        if not 1 <= k <= self.k:
            raise MmcellError(
                f"neighbors: {k} of {self.k} were asked for; compute as many as the greediest metric needs"
            )
        return type(self)(self.indices[:, :k], self.distances[:, :k], self.exact, self.recall)


def neighbors(
    x: np.ndarray,
    k: int = 90,
    *,
    apart: Values | None = None,
    ids: np.ndarray | None = None,
    method: Method = "auto",
    seed: int = 0,
) -> Neighbors:
    """Find the nearest other cells of every cell, by Euclidean distance.

    Parameters
    ----------
    x
        (n, d) embedding.
    k
        Neighbours of each cell. scib-metrics counts the cell itself as one: its 90 are 89 here.
    apart
        (n,) batch of each cell: neighbours then come from other batches only.
    ids
        (n,) distinct names. Ties go to the first in their order instead of the earlier row, so that the order of rows
        decides nothing.
    method
        ``exact``: all pairs in blocks of bounded memory; single precision finds candidates, double precision decides.
        ``pynndescent`` or ``faiss`` (where faiss-cpu is installed): approximate, distances exact, recall measured.
        ``auto``: exact up to 2.5e10 pairs, pynndescent beyond.
    seed
        Of the approximate search and of the sample for its recall.

    Returns
    -------
    Neighbors
        Of every cell the `k` nearest, nearest first, and how far they are.

    Raises
    ------
    MmcellError
        Fewer than `k` other cells (of other batches), values that are not finite, ids that repeat, no such method.
    MissingExtraError
        faiss is asked for and not installed.
    """
    values = points(x)
    n = len(values)
    if method not in get_args(Method):
        raise MmcellError(f"unknown method {method!r}; {did_you_mean(method, get_args(Method))}")
    order = np.arange(n)
    if ids is not None:
        if len(np.unique(ids)) != n:
            raise MmcellError(f"ids: {len(np.unique(ids))} different ones for {n} cells; give each cell its own")
        order = np.argsort(np.asarray(ids), kind="stable")
        values = values[order]
    code = None if apart is None else batches(apart, n)[0][order]
    parts = list(_searches(n, code))
    fewest = min((len(gallery) - (code is None) for _, gallery in parts), default=0)
    if not 1 <= k <= fewest:
        raise MmcellError(
            f"k: {k} neighbours of {fewest} other cells{' of other batches' * (code is not None)}; lower k"
        )
    exact = method == "exact" or (method == "auto" and sum(len(q) * len(g) for q, g in parts) <= _CHEAP)
    indices, distances = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for rows, gallery in parts:
        own = np.full(n, -1) if code is not None else np.arange(n)
        if exact:
            found, away = nearest(values[rows], values[gallery], own[rows], k)
        else:
            from mmcell.metrics.alignment.approximate import approximate

            found, away = approximate(values[rows], values[gallery], own[rows], k, method == "faiss", seed)
        indices[rows], distances[rows] = gallery[found], away
    recall = None if exact else _recall(values, parts, code is None, distances, seed)
    back = np.empty((n, k), dtype=np.int64)
    back[order] = order[indices]
    away = np.empty((n, k))
    away[order] = distances
    return Neighbors(back, away, exact, recall)


def _searches(n: int, code: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and the rows among which their neighbours are looked for."""
    if code is None:
        yield np.arange(n), np.arange(n)
    else:
        for batch in range(code.max() + 1):
            yield np.flatnonzero(code == batch), np.flatnonzero(code != batch)


def _recall(
    values: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]], within: bool, distances: np.ndarray, seed: int
) -> float:
    rng = np.random.default_rng(seed)
    sample = np.zeros(len(values), dtype=bool)
    sample[rng.choice(len(values), min(len(values), _SAMPLE), replace=False)] = True
    hits = []
    for rows, gallery in parts:
        asked = rows[sample[rows]]
        own = asked if within else np.full(len(asked), -1)
        true = nearest(values[asked], values[gallery], own, distances.shape[1])[1]
        hits.append((distances[asked] <= true[:, -1:]).ravel())
    return float(np.concatenate(hits).mean())
