"""What one neighbour graph says of batches and labels, with all cells and without those of each donor in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mmcell.metrics.alignment.acceptance import accepted, neighbourhoods
from mmcell.metrics.alignment.batch_silhouette import bras_of_cells
from mmcell.metrics.alignment.clusters import Clustering, kmeans_clusters
from mmcell.metrics.alignment.connections import components, within_labels
from mmcell.metrics.alignment.graph import Neighbors, neighbors
from mmcell.metrics.alignment.isolated import isolated_f1_of_table
from mmcell.metrics.alignment.labels import Values, batches, coded
from mmcell.metrics.alignment.samples import sample_retrieval
from mmcell.metrics.alignment.silhouette import distance_sums, silhouettes
from mmcell.metrics.alignment.simpson import effective_kinds, sharpness
from mmcell.metrics.alignment.tables import ari_of_table, nmi_of_table
from mmcell.metrics.alignment.variance import batch_variance

#: Neighbours of each cell, as in scib-metrics (which counts the cell itself), and at most this part of all cells.
LISI, KBET, PIECES, PART = 89, 49, 14, 5
#: With fewer cells nothing is said of their surroundings.
FEWEST = 50
#: What is nothing to be asked of these cells, and what is asked and has no value.
ABSENT, UNDEFINED = float("nan"), float("inf")

Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Ground:
    """What labels and batches do not change: cells, who is near whom, and clusters.

    Attributes
    ----------
    x
        (n, d) embedding.
    near
        Its neighbour graph, which all metrics share.
    clusters
        By k-means, their number chosen without labels.
    beta
        (n,) how fast weights of neighbours fall in LISI.
    """

    x: np.ndarray
    near: Neighbors
    clusters: Clustering
    beta: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, ids: np.ndarray, seed: int = 0) -> Self:
        """Find neighbours and clusters of (n, d) cells; `ids` (n,) break ties, `seed` is that of approximations."""
        k = max(min(LISI, len(x) // PART), PIECES)
        near = neighbors(x, k, ids=ids, seed=seed)
        return cls(x, near, kmeans_clusters(x, ids=ids, seed=seed), sharpness(near, (k + 1) / 3))

    def kinds(self, code: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Return the LISI (n,) of codes among the cells that are kept."""
        return effective_kinds(self.near, self.beta, code, keep, (self.near.k + 1) / 3)

    @property
    def facts(self) -> dict[str, Any]:
        """How many cells, neighbours and clusters there are, and whether neighbours are exact."""
        near = self.near
        return {
            "cells": len(near), "neighbours": near.k, "exact": near.exact, "recall": near.recall,
            "clusters": int(self.clusters.codes.max()) + 1,
        }  # fmt: skip


class Surroundings:
    """All numbers of alignment of some cells, with all of them and without the cells of each group of donors.

    Neighbours, neighbourhoods of kBET and clusters are those of all cells; without a group its cells are no neighbours
    and do not count, and weights, distances, means and shares are those of the others.

    Parameters
    ----------
    ground
        Of n cells.
    batch
        (n,) at least two of them, none missing.
    label
        (n,) biology; missing where unknown.
    group
        (n,) codes of donors, or of groups of donors.
    mixable
        (n,) whether the cell's label lives in several batches, as far as the data go: others must not be mixed.
    isolated
        (n,) whether its label lives in as few batches as any, where labels differ in that.
    samples
        Whether a row is a sample or a patient: then also whether its nearest of other batches shares its label.
    """

    def __init__(
        self, ground: Ground, batch: Values, label: Values, group: np.ndarray, *,
        mixable: np.ndarray, isolated: np.ndarray, samples: bool = False,
    ) -> None:  # fmt: skip
        n = len(ground.x)
        self._ground, self._group, self._mixable, self._isolated = ground, group, mixable, isolated
        self._samples = samples
        self._batch, self._batches = batches(batch, n)
        known = np.array([value is not None and value == value for value in np.asarray(label, dtype=object)])
        self._label = np.full(n, -1, dtype=np.int64)
        if known.any():
            self._label = coded(label, n, "label")[0]
        self._labels = int(self._label.max()) + 1
        near, code = ground.near, self._label
        self._tested = neighbourhoods(near.first(min(KBET, near.k)), self._batch, label) if known.any() else []
        # Cells with a label, sorted by label and group: sums of distances to each such block.
        self._groups = int(group.max()) + 1
        block = code * self._groups + group
        self._order = np.argsort(block, kind="stable")[int((code < 0).sum()) :]
        size = np.bincount(block[self._order], minlength=self._labels * self._groups)
        self._size = size.reshape(self._labels, self._groups)
        if self._labels > 1:
            sums = distance_sums(np.asarray(ground.x, dtype=np.float64)[self._order], size)
            self._away = sums.reshape(len(self._order), self._labels, self._groups)
            self._all_away = self._away.sum(axis=2)

    def values(self, without: int = -1) -> Numbers:
        """Return name -> value, with all cells or without one group; `ABSENT` and `UNDEFINED` say why there is none."""
        keep = self._group != without
        return {
            **self._lisi(keep),
            "kbet": self._kbet(keep),
            "graph_connectivity": self._connectivity(keep),
            **self._silhouettes(keep, without),
            "bras": self._bras(keep),
            "batch_variance": self._batch_variance(keep),
            **self._clusters(keep),
            **(self._retrieved(keep) if self._samples else {}),
        }

    def _lisi(self, keep: np.ndarray) -> Numbers:
        known = keep & (self._label >= 0)
        mixed = (self._ground.kinds(self._batch, keep) - 1) / (len(self._batches) - 1)
        found = {"ilisi": _median(mixed[known & self._mixable]), "clisi": ABSENT, "unshared_clisi": ABSENT}
        if self._labels > 1:
            pure = (self._labels - self._ground.kinds(self._label, keep)) / (self._labels - 1)
            found |= {"clisi": _median(pure[known]), "unshared_clisi": _median(pure[known & ~self._mixable])}
        return found

    def _kbet(self, keep: np.ndarray) -> float:
        shares = []
        for rows, tested, indices in self._tested:
            if len(np.unique(self._batch[rows[keep[rows]]])) < 2:
                continue
            here = keep[tested]
            shares.append(accepted(self._batch, tested[here], indices[here], keep).mean() if here.any() else 0.0)
        return float(np.mean(shares)) if shares else ABSENT

    def _connectivity(self, keep: np.ndarray) -> float:
        rows = np.flatnonzero(keep & (self._label >= 0))
        if not len(rows):
            return ABSENT
        graph = within_labels(self._ground.near, self._label, keep, PIECES)
        piece, label = components(graph[rows][:, rows]), self._label[rows]
        sizes = np.unique(np.column_stack([label, piece]), axis=0, return_counts=True)
        largest, total = np.zeros(self._labels), np.bincount(label, minlength=self._labels)
        np.maximum.at(largest, sizes[0][:, 0], sizes[1])
        several = total > 1
        return float((largest[several] / total[several]).mean()) if several.any() else ABSENT

    def _silhouettes(self, keep: np.ndarray, without: int) -> Numbers:
        found = {"label_asw": ABSENT, "isolated_asw": ABSENT}
        if self._labels < 2:
            return found
        here = keep[self._order]
        size, away = self._size.sum(axis=1), self._all_away
        if without >= 0:
            size, away = size - self._size[:, without], away - self._away[:, :, without]
        if (size > 0).sum() < 2:
            return found
        own = self._label[self._order][here]
        of_cells = silhouettes(away[here], own, size)
        found["label_asw"] = _defined((of_cells.mean() + 1) / 2)
        apart = self._isolated[self._order][here]
        if apart.any():
            of_labels = [of_cells[own == name].mean() for name in np.unique(own[apart])]
            found["isolated_asw"] = _defined((np.mean(of_labels) + 1) / 2)
        return found

    def _bras(self, keep: np.ndarray) -> float:
        # Who is alone of its batch in its label has no distance to the others of it.
        rows = np.flatnonzero(keep & (self._label >= 0))
        label, batch = self._label[rows], self._batch[rows]
        counts = np.zeros((self._labels, len(self._batches)), dtype=np.int64)
        np.add.at(counts, (label, batch), 1)
        several = (counts > 0).sum(axis=1) > 1
        asked = several[label] & (counts[label, batch] > 1) if len(rows) else np.zeros(0, dtype=bool)
        if not asked.any():
            return ABSENT
        of_cells = bras_of_cells(self._ground.x[rows], label, batch)[asked]
        return _defined(float(np.mean([of_cells[label[asked] == name].mean() for name in np.unique(label[asked])])))

    def _batch_variance(self, keep: np.ndarray) -> float:
        if np.ptp(self._batch[keep]) == 0:
            return ABSENT
        return _defined(batch_variance(self._ground.x[keep], self._batch[keep]))

    def _clusters(self, keep: np.ndarray) -> Numbers:
        codes = self._ground.clusters.codes
        n, known = int(codes.max()) + 1, keep & (self._label >= 0)
        table = np.zeros((self._labels, n))
        np.add.at(table, (self._label[known], codes[known]), 1)
        found = {"nmi": ABSENT, "ari": ABSENT, "isolated_f1": ABSENT, "isolated_f1_by_chance": ABSENT}
        if (table.sum(axis=1) > 0).sum() > 1:
            found |= {"nmi": _defined(nmi_of_table(table)), "ari": _defined(ari_of_table(table))}
        apart = np.unique(self._label[known & self._isolated])
        if len(apart):
            size = np.bincount(codes[keep], minlength=n)
            one = isolated_f1_of_table(table[apart].sum(axis=1, keepdims=True), size.sum(keepdims=True))
            found["isolated_f1_by_chance"] = float(one.mean())
            # One cluster tells nothing apart.
            several = (size > 0).sum() > 1
            found["isolated_f1"] = float(isolated_f1_of_table(table[apart], size).mean()) if several else UNDEFINED
        return found

    def _retrieved(self, keep: np.ndarray) -> Numbers:
        rows = np.flatnonzero(keep & (self._label >= 0))
        if not len(rows) or np.ptp(self._batch[rows]) == 0 or np.ptp(self._label[rows]) == 0:
            return {"sample_retrieval": ABSENT, "sample_retrieval_by_chance": ABSENT}
        found = sample_retrieval(self._ground.x[rows], self._label[rows], self._batch[rows])
        return {"sample_retrieval": found.value, "sample_retrieval_by_chance": found.expected}


def _median(values: np.ndarray) -> float:
    return _defined(float(np.median(values))) if len(values) else ABSENT


def _defined(value: float) -> float:
    return float(value) if np.isfinite(value) else UNDEFINED
