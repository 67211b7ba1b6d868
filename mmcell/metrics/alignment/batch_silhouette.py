"""BRAS, the batch-removal-adapted silhouette: how far the batches of one label are from being told apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.metrics.alignment.labels import Values, batches, coded, points
from mmcell.metrics.similarity import TOLERANCE

#: Mean cosine distances below this are rounding.
_SAME = TOLERANCE[np.dtype(np.float64)]


def bras_of_cells(x: np.ndarray, label: Values, batch: Values) -> np.ndarray:
    """Return 1 − |s| of every cell, with s the silhouette of batches among the cells of its label.

    Distances are cosine distances; a is the mean distance to the other cells of the own batch, b that to all cells of
    other batches. Means of cosine distances are products with mean unit vectors, so that no pairs are needed.

    Parameters
    ----------
    x
        (n, d) embedding.
    label, batch
        (n,); cells without a label are left out.

    Returns
    -------
    numpy.ndarray
        (n,) in [0, 1], 1 = mixed. NaN for cells of labels that lie in one batch only; for the only cell of a batch in
        its label, which has no a; where a = b = 0; and for rows of length zero, which have no direction and are left
        out.

    Raises
    ------
    MmcellError
        One batch only, a cell without a batch, values that are not finite, or not one value a cell.

    References
    ----------
    Rautenstrauch, Ohler: Shortcomings of silhouette in single-cell integration benchmarking. Nat Biotechnol (2025).
    """
    values = points(x)
    of_label, names = coded(label, len(values), "label")
    of_batch, _ = batches(batch, len(values))
    peak = np.abs(values).max(axis=1)
    some = peak > 0
    unit = values / np.where(some, peak, 1.0)[:, None]
    unit /= np.where(some, np.linalg.norm(unit, axis=1), 1.0)[:, None]
    found = np.full(len(values), np.nan)
    for name in range(len(names)):
        rows = np.flatnonzero((of_label == name) & some)
        kinds, own = np.unique(of_batch[rows], return_inverse=True)
        if len(kinds) < 2:
            continue
        member = (own[:, None] == np.arange(len(kinds))).astype(float)
        size = member.sum(axis=0)
        # Σ of cosine distances to each batch; to itself a cell has none.
        away = size - unit[rows] @ (unit[rows].T @ member)
        at = np.arange(len(rows))
        lone = size[own] == 1
        inside = away[at, own] / np.where(lone, 1, size[own] - 1)
        outside = (away.sum(axis=1) - away[at, own]) / (len(rows) - size[own])
        greatest = np.maximum(inside, outside)
        defined = ~lone & (greatest > _SAME)
        found[rows[defined]] = 1 - np.abs(outside - inside)[defined] / greatest[defined]
    return found


def bras_of_labels(x: np.ndarray, label: Values, batch: Values) -> pd.Series:
    """Return BRAS of every label: the mean over its cells, without those that are alone of their batch in it.

    Parameters
    ----------
    x
        (n, d) embedding.
    label, batch
        (n,) label and batch of each cell.

    Returns
    -------
    pandas.Series
        Label -> BRAS; NaN where it lies in one batch only, where every batch holds one cell of it, and where a cell has
        no value for another reason (equal points, rows of length zero).

    Raises
    ------
    MmcellError
        As in `bras_of_cells`.
    """
    of_cells = bras_of_cells(x, label, batch)
    frame = pd.DataFrame({"label": np.asarray(label), "batch": np.asarray(batch), "bras": of_cells})
    size = frame.groupby(["label", "batch"])["bras"].transform("size")
    asked = frame[size > 1]
    found = asked.groupby("label")["bras"].agg(lambda values: values.mean(skipna=False))
    return found.reindex(coded(label, len(of_cells), "label")[1])


def bras(x: np.ndarray, label: Values, batch: Values) -> float:
    """Return BRAS: the mean over labels that lie in several batches, in [0, 1], higher = batches better mixed.

    As in scib-metrics (cosine distance, mean over all other batches), except for a cell that is alone of its batch in
    its label, which scib-metrics counts as perfectly mixed and which has no value here, and for points that are all
    equal, which scib-metrics counts as perfectly mixed too.

    Parameters
    ----------
    x, label, batch
        As in `bras_of_cells`.

    Returns
    -------
    float
        NaN where no label lies in several batches, or one that does has no value.

    Raises
    ------
    MmcellError
        As in `bras_of_cells`.
    """
    found = bras_of_labels(x, label, batch)
    counts = pd.DataFrame({"label": np.asarray(label), "batch": np.asarray(batch)}).groupby(["label", "batch"]).size()
    # Of two batches or more, one of which holds two cells or more: what has a silhouette at all.
    asked = (counts.groupby("label").size() > 1) & (counts.groupby("label").max() > 1)
    return float(found[asked.reindex(found.index)].mean(skipna=False)) if asked.any() else float("nan")
