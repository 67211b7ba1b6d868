"""What stands around every cell: one neighbour graph, and a number a cell of all that is scored on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmcell.metrics.alignment.acceptance import kbet_of_cells
from mmcell.metrics.alignment.batch_silhouette import bras_of_cells
from mmcell.metrics.alignment.clusters import kmeans_clusters
from mmcell.metrics.alignment.connections import joined_of_cells
from mmcell.metrics.alignment.graph import Neighbors, neighbors
from mmcell.metrics.alignment.isolated import isolated_labels
from mmcell.metrics.alignment.labels import shared
from mmcell.metrics.alignment.silhouette import silhouette_of_cells
from mmcell.metrics.alignment.simpson import clisi_of_cells, ilisi_of_cells

#: Neighbours of each cell, as in scib-metrics (which counts the cell itself), and at most this part of all cells.
LISI, KBET, PIECES, PART = 89, 49, 14, 5
#: With fewer cells nothing is said of their surroundings.
FEWEST = 50


def surroundings(
    x: np.ndarray, batch: np.ndarray, label: np.ndarray, ids: np.ndarray, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a row per cell with all that metrics of alignment read, and facts about the graph.

    Parameters
    ----------
    x
        (n, d) embedding of held-out cells.
    batch
        (n,) at least two of them, none missing.
    label
        (n,) biology; missing where unknown.
    ids
        (n,) names, which break ties.
    seed
        Of an approximate search.

    Returns
    -------
    frame : pandas.DataFrame
        ``batch label cluster``; ``shared`` (the label lies in several batches) and ``isolated`` (in as few as any
        does); ``ilisi clisi accepted joined silhouette bras``
        as the functions of these names give them; ``spread`` and ``batch_spread``, squared distances from the mean of
        all cells and from that of the batch. NaN where a cell has no such number.
    facts : dict
        How many neighbours, and whether they are exact.
    """
    n = len(x)
    k = max(min(LISI, n // PART), PIECES)
    graph = neighbors(x, k, ids=ids, seed=seed)
    frame = pd.DataFrame({"batch": batch.astype(str), "label": pd.Series(label, dtype=object).to_numpy()})
    clusters = kmeans_clusters(x, ids=ids, seed=seed)
    frame["cluster"] = clusters.codes
    frame["ilisi"] = ilisi_of_cells(graph, batch, perplexity=(k + 1) / 3)
    frame["spread"], frame["batch_spread"] = _squares(x, batch)
    known = frame["label"].notna().to_numpy()
    for column in ("clisi", "accepted", "joined", "silhouette", "bras"):
        frame[column] = np.nan
    frame["shared"] = frame["isolated"] = False
    if known.any():
        frame["shared"] = shared(label, batch)
        frame["isolated"] = frame["label"].isin(isolated_labels(label, batch))
        frame["accepted"] = kbet_of_cells(graph.first(min(KBET, k)), batch, label)
        frame["joined"] = joined_of_cells(graph.first(PIECES), label)
        # Who is alone of its batch in its label has no distance to the others of it.
        several = frame.groupby(["label", "batch"])["batch"].transform("size").to_numpy() > 1
        frame["bras"] = _whole(bras_of_cells(x, label, batch), frame["shared"].to_numpy() & several)
    if len(frame["label"].dropna().unique()) > 1:
        frame["clisi"] = np.where(known, clisi_of_cells(graph, label, perplexity=(k + 1) / 3), np.nan)
        frame["silhouette"] = _whole(silhouette_of_cells(x, label), known)
    return frame, _facts(graph, n) | {"clusters": int(clusters.codes.max()) + 1}


def _whole(values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return values where they are asked for; none where one of those is not known, as where points are equal."""
    if np.isnan(values[asked]).any():
        return np.full(len(values), np.nan)
    return np.where(asked, values, np.nan)


def _squares(x: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances (n,) from the mean, and from the mean of the own batch."""
    values = np.asarray(x, dtype=np.float64)
    code, _ = pd.factorize(batch)
    sizes = np.bincount(code)
    means = np.stack([np.bincount(code, column) / sizes for column in values.T], axis=1)
    centred, inside = values - values.mean(axis=0), values - means[code]
    return (centred**2).sum(axis=1), (inside**2).sum(axis=1)


def _facts(graph: Neighbors, n: int) -> dict[str, Any]:
    return {"cells": n, "neighbours": graph.k, "exact": graph.exact, "recall": graph.recall}
