"""Alignment of batches, of items whose surroundings are known: how mixed they are, and what biology is kept.

Every metric is a function of numbers that each cell has (see `mmcell.metrics.alignment.surroundings`), so that donors
can be drawn anew without another graph: the graph is that of all held-out cells of a fold, and a draw says how often
each donor's cells count. Folds are scored on their own and averaged. Mixing and biology are two axes, never one total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import xlogy

from mmcell.items import Items
from mmcell.metrics.base import Metric, Resampled, over_repeats, plain, ratio

#: Draws per block, where every cell is weighed.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Graph:
    """Rows of one fold: their columns, the position of each one's unit, and how often units count (draws, units)."""

    frame: pd.DataFrame
    code: np.ndarray
    weights: np.ndarray

    def where(self, rows: np.ndarray) -> Graph:
        """Return some of the rows (mask)."""
        return Graph(self.frame[rows], self.code[rows], self.weights)

    def numbers(self, column: str) -> np.ndarray:
        """Return a column as (n,) float, NaN where a cell has no such number."""
        return self.frame[column].to_numpy(dtype=float)

    def known(self, column: str) -> Graph:
        """Return the rows that have a value."""
        return self.where(self.frame[column].notna().to_numpy())

    def sums(self, groups: np.ndarray, n: int, values: np.ndarray | None = None) -> np.ndarray:
        """Return, under every draw, the sum of values (default: the count) over the cells of each of n groups."""
        flat, units = self.code * n + groups, self.weights.shape[1]
        of_units = np.bincount(flat, values, units * n).reshape(units, n)
        return np.asarray(self.weights @ of_units)


Kernel = Callable[[Graph], np.ndarray]


def _each_fold(kernel: Kernel) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path: the mean over folds of a number that belongs to one graph."""

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        drawn = np.asarray(weights, dtype=float)
        graphs = [Graph(items.frame.iloc[rows], items.codes[rows], drawn) for _, rows in items.folds]
        count = [g.sums(np.zeros(len(g.code), dtype=np.int64), 1)[:, 0] for g in graphs]
        return over_repeats(np.array([kernel(g) for g in graphs]), np.array(count))

    return plain(resampled), resampled


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the median (draws,) of values (n,) of which each occurs as often as weights (draws, n) say.

    Of an even number it is the mean of the two in the middle; NaN where nothing occurs, or one that does is NaN.
    """
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    up = np.cumsum(weights[:, order], axis=1, dtype=float)
    half = up[:, -1:] / 2
    low, high = np.argmax(up >= half, axis=1), np.argmax(up > half, axis=1)
    middle = (values[order[low]] + values[order[high]]) / 2
    unknown = (weights[:, np.isnan(values)] > 0).any(axis=1)
    return np.where((up[:, -1] > 0) & ~unknown, middle, np.nan)


def _median(column: str) -> Kernel:
    def kernel(graph: Graph) -> np.ndarray:
        values, w = graph.numbers(column), graph.weights
        blocks = [w[i : i + _BLOCK, graph.code] for i in range(0, len(w), _BLOCK)]
        return np.concatenate([weighted_median(values, block) for block in blocks])

    return kernel


def _mean_of_labels(column: str) -> Kernel:
    """Return the mean over labels of the mean over their cells that have a value."""

    def kernel(graph: Graph) -> np.ndarray:
        there = graph.known(column).known("label")
        label, names = pd.factorize(there.frame["label"])
        means = ratio(there.sums(label, len(names), there.numbers(column)), there.sums(label, len(names)))
        drawn = np.isfinite(means)
        return ratio(np.where(drawn, means, 0.0).sum(axis=1), drawn.sum(axis=1))

    return kernel


def _mean(column: str) -> Kernel:
    def kernel(graph: Graph) -> np.ndarray:
        there = graph.known(column)
        one = np.zeros(len(there.code), dtype=np.int64)
        return ratio(there.sums(one, 1, there.numbers(column)), there.sums(one, 1))[:, 0]

    return kernel


def _shared(kernel: Kernel) -> Kernel:
    """Of labels that lie in several batches: those of one batch cannot be mixed, and must not be."""
    return lambda graph: kernel(graph.where(graph.frame["shared"].to_numpy(dtype=bool)))


def _unshared(kernel: Kernel) -> Kernel:
    return lambda graph: kernel(graph.known("label").where(~graph.known("label").frame["shared"].to_numpy(dtype=bool)))


def _isolated(kernel: Kernel) -> Kernel:
    return lambda graph: kernel(graph.where(graph.frame["isolated"].to_numpy(dtype=bool)))


def _scaled(kernel: Kernel) -> Kernel:
    """Of silhouettes, from −1 … 1 to 0 … 1."""
    return lambda graph: (kernel(graph) + 1) / 2


def _between(graph: Graph) -> np.ndarray:
    one = np.zeros(len(graph.code), dtype=np.int64)
    total, between = (graph.sums(one, 1, graph.numbers(c))[:, 0] for c in ("spread", "batch_offset"))
    return ratio(between, total)


def _tables(graph: Graph) -> tuple[np.ndarray, pd.Index]:
    """Return how many cells of each label are in each cluster (draws, labels, clusters), and the labels' names."""
    there = graph.known("label")
    label, names = pd.factorize(there.frame["label"])
    cluster = there.numbers("cluster").astype(np.int64)
    n = int(graph.numbers("cluster").max()) + 1
    found = there.sums(label * n + cluster, len(names) * n)
    return found.reshape(len(found), len(names), n), pd.Index(names)


def nmi_of_tables(tables: np.ndarray) -> np.ndarray:
    """Return normalised mutual information (draws,) of tables (draws, labels, clusters); see `alignment.nmi`."""
    share = ratio(tables, np.broadcast_to(tables.sum(axis=(1, 2), keepdims=True), tables.shape))
    of_label, of_cluster, joint = (
        -xlogy(p, p).reshape(len(p), -1).sum(axis=1) for p in (share.sum(axis=2), share.sum(axis=1), share)
    )
    mutual = of_label + of_cluster - joint
    # What is nothing comes out as a rounding error.
    return ratio(np.where(mutual > 1e-12, mutual, 0.0), (of_label + of_cluster) / 2)


def ari_of_tables(tables: np.ndarray) -> np.ndarray:
    """Return the adjusted Rand index (draws,) of tables (draws, labels, clusters); see `alignment.ari`."""
    both, labels, clusters, pairs = (
        (t * (t - 1) / 2).reshape(len(tables), -1).sum(axis=1)
        for t in (tables, tables.sum(axis=2), tables.sum(axis=1), tables.sum(axis=(1, 2)))
    )
    expected = ratio(labels * clusters, pairs)
    return ratio(both - expected, (labels + clusters) / 2 - expected)


def _isolated_f1(graph: Graph) -> np.ndarray:
    tables, names = _tables(graph)
    few = names.isin(graph.frame.loc[graph.frame["isolated"].to_numpy(dtype=bool), "label"])
    own, n = tables[:, few], tables.shape[2]
    # Cells without a label count in the size of their cluster.
    size = graph.sums(graph.numbers("cluster").astype(np.int64), n)
    of_label = own.sum(axis=2)
    f1 = ratio(2 * own, of_label[:, :, None] + size[:, None, :])
    best = np.where(np.isnan(f1), 0.0, f1).max(axis=2, initial=0.0)
    # One cluster tells nothing apart.
    return np.where((size > 0).sum(axis=1) > 1, ratio(best.sum(axis=1), (of_label > 0).sum(axis=1)), np.nan)


def _of_one_cluster(graph: Graph) -> np.ndarray:
    """Return what `_isolated_f1` would be if all cells were one cluster: a frequent label fits that well."""
    there = graph.where(graph.frame["isolated"].to_numpy(dtype=bool))
    label, names = pd.factorize(there.frame["label"])
    own, all_cells = there.sums(label, len(names)), graph.sums(np.zeros(len(graph.code), dtype=np.int64), 1)
    f1 = np.where(own > 0, 2 * own / np.maximum(own + all_cells, 1), 0.0)
    return ratio(f1.sum(axis=1), (own > 0).sum(axis=1))


_SAME = "where all neighbours of a cell lie at distance 0 nothing can be said of it"
_EQUAL = "one label only, or points are equal"


def _metric(
    name: str, kernel: Kernel, undefined: str, *, axis: str = "biology", higher: bool = True, needs: str = "cluster",
    bounds: tuple[float, float] = (0, 1), chance: float | Callable[[Items], float] | None = None,
) -> Metric:  # fmt: skip
    fn, fast = _each_fold(kernel)
    return Metric(
        name, fn, higher, chance, bounds, fast, ("multiclass",), needs=(needs,), undefined=undefined, axis=axis
    )  # fmt: skip


ILISI = _metric("ilisi", _shared(_median("ilisi")), f"no label lies in two batches, or {_SAME}", axis="mixing")
KBET = _metric("kbet", _mean_of_labels("accepted"), "no label can be tested", axis="mixing")
BRAS = _metric("bras", _mean_of_labels("bras"), "points are equal, or no label lies in two batches", axis="mixing")
BATCH_VARIANCE = _metric("batch_variance", _between, "the embedding does not vary", axis="mixing", higher=False)
CLISI = _metric("clisi", lambda g: _median("clisi")(g.known("label")), f"one label only, or {_SAME}")
UNSHARED_CLISI = _metric("unshared_clisi", _unshared(_median("clisi")), f"every label lies in two batches, or {_SAME}")
GRAPH_CONNECTIVITY = _metric("graph_connectivity", _mean_of_labels("joined"), "every label has one cell")
LABEL_ASW = _metric("label_asw", _scaled(_mean("silhouette")), _EQUAL)
ISOLATED_ASW = _metric("isolated_asw", _scaled(_isolated(_mean_of_labels("silhouette"))), _EQUAL)
ISOLATED_F1 = _metric(
    "isolated_f1",
    _isolated_f1,
    "no label is known, or there is one cluster only",
    chance=_each_fold(_of_one_cluster)[0],
)
NMI = _metric("nmi", lambda g: nmi_of_tables(_tables(g)[0]), "one label only")
ARI = _metric("ari", lambda g: ari_of_tables(_tables(g)[0]), "one label only", bounds=(-1, 1), chance=0.0)
#: Whether a patient's nearest neighbour in another batch shares the label.
SAMPLE_RETRIEVAL = _metric(
    "sample_retrieval", _mean("found"), "one label only, or it is not known in two batches", needs="found",
    chance=_each_fold(_mean("found_by_chance"))[0],
)  # fmt: skip
