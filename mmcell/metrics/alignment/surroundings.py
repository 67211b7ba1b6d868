"""What stands around every cell: one neighbour graph, and a number a cell of all that is scored on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmcell.metrics.alignment.acceptance import kbet_of_cells
from mmcell.metrics.alignment.batch_silhouette import bras_of_cells
from mmcell.metrics.alignment.clusters import Clustering, kmeans_clusters
from mmcell.metrics.alignment.connections import joined_of_cells
from mmcell.metrics.alignment.graph import Neighbors, neighbors
from mmcell.metrics.alignment.isolated import isolated_labels
from mmcell.metrics.alignment.labels import shared
from mmcell.metrics.alignment.samples import sample_retrieval
from mmcell.metrics.alignment.silhouette import silhouette_of_cells
from mmcell.metrics.alignment.simpson import clisi_of_cells, ilisi_of_cells

#: Neighbours of each cell, as in scib-metrics (which counts the cell itself), and at most this part of all cells.
LISI, KBET, PIECES, PART = 89, 49, 14, 5
#: With fewer cells nothing is said of their surroundings.
FEWEST = 50


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
    """

    x: np.ndarray
    near: Neighbors
    clusters: Clustering

    @classmethod
    def of(cls, x: np.ndarray, ids: np.ndarray, seed: int = 0) -> Ground:
        """Find neighbours and clusters of (n, d) cells; `ids` (n,) break ties, `seed` is that of approximations."""
        k = max(min(LISI, len(x) // PART), PIECES)
        return cls(x, neighbors(x, k, ids=ids, seed=seed), kmeans_clusters(x, ids=ids, seed=seed))

    @property
    def facts(self) -> dict[str, Any]:
        """How many cells, neighbours and clusters there are, and whether neighbours are exact."""
        near = self.near
        return {
            "cells": len(near), "neighbours": near.k, "exact": near.exact, "recall": near.recall,
            "clusters": int(self.clusters.codes.max()) + 1,
        }  # fmt: skip


def surroundings(ground: Ground, batch: np.ndarray, label: np.ndarray, *, samples: bool = False) -> pd.DataFrame:
    """Return a row per cell with all that metrics of alignment read.

    Parameters
    ----------
    ground
        Of n cells.
    batch
        (n,) at least two of them, none missing.
    label
        (n,) biology; missing where unknown.
    samples
        Whether a row is a sample or a patient: then also whether its nearest of other batches shares its label.

    Returns
    -------
    pandas.DataFrame
        ``batch label cluster``; ``shared`` (the label lies in several batches) and ``isolated`` (in as few as any
        does); ``ilisi clisi accepted joined silhouette bras`` as the functions of these names give them; ``spread`` and
        ``batch_offset``, squared distances of the cell and of its batch's mean from the mean of all; of samples
        ``found`` and ``found_by_chance``. NaN where a cell has no such number.
    """
    x, near = ground.x, ground.near
    perplexity = (near.k + 1) / 3
    frame = pd.DataFrame({"batch": batch.astype(str), "label": pd.Series(label, dtype=object).to_numpy()})
    frame["cluster"] = ground.clusters.codes
    frame["ilisi"] = ilisi_of_cells(near, batch, perplexity=perplexity)
    frame["spread"], frame["batch_offset"] = _squares(x, batch)
    known = frame["label"].notna().to_numpy()
    of_samples = ["found", "found_by_chance"] if samples else []
    frame[["clisi", "accepted", "joined", "silhouette", "bras", *of_samples]] = np.nan
    frame["shared"] = frame["isolated"] = False
    if known.any():
        frame["shared"] = shared(label, batch)
        frame["isolated"] = frame["label"].isin(isolated_labels(label, batch))
        frame["accepted"] = kbet_of_cells(near.first(min(KBET, near.k)), batch, label)
        frame["joined"] = joined_of_cells(near.first(PIECES), label)
        # Who is alone of its batch in its label has no distance to the others of it.
        several = frame.groupby(["label", "batch"])["batch"].transform("size").to_numpy() > 1
        frame["bras"] = _whole(bras_of_cells(x, label, batch), frame["shared"].to_numpy() & several)
    if len(frame["label"].dropna().unique()) > 1:
        frame["clisi"] = np.where(known, clisi_of_cells(near, label, perplexity=perplexity), np.nan)
        frame["silhouette"] = _whole(silhouette_of_cells(x, label), known)
        if samples:
            retrieved = sample_retrieval(x, label, batch)
            frame["found"], frame["found_by_chance"] = retrieved.hit, retrieved.chance
    return frame


def _whole(values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return values where they are asked for; none where one of those is not known, as where points are equal."""
    if np.isnan(values[asked]).any():
        return np.full(len(values), np.nan)
    return np.where(asked, values, np.nan)


def _squares(x: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances (n,) of each cell, and of the mean of its batch, from the mean of all."""
    values = np.asarray(x, dtype=np.float64)
    code, _ = pd.factorize(batch)
    sizes = np.bincount(code)
    if (values == values[0]).all():
        # Their mean may be another number, by rounding.
        return np.zeros(len(values)), np.zeros(len(values))
    centred = values - values.mean(axis=0)
    offsets = np.stack([np.bincount(code, column) / sizes for column in centred.T], axis=1)
    return (centred**2).sum(axis=1), (offsets**2).sum(axis=1)[code]
