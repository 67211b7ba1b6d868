"""Isolated labels, which lie in the fewest batches: does the embedding keep them apart from the rest?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.metrics.alignment.labels import Values, batches, batches_of_labels, coded


def isolated_labels(label: Values, batch: Values, *, most: int | None = None) -> pd.Index:
    """Return the labels that lie in at most `most` batches, by default in as few as any label does.

    Where all labels lie in all batches those are all labels, as in scib-metrics.

    Parameters
    ----------
    label, batch
        (n,) label and batch of each cell.
    most
        In how many batches a label is isolated at most; default: the fewest of any label.

    Raises
    ------
    MmcellError
        One batch only, a cell without a batch, no label in so few batches, or not one value a cell.
    """
    code, names = coded(label, len(label), "label")
    counts = batches_of_labels(code, batches(batch, len(label))[0])
    few = counts <= (counts.min() if most is None else most)
    if not few.any():
        raise MmcellError(f"most: no label lies in at most {most} batches; the fewest are {counts.min()}")
    return names[few]


def isolated_asw_of_labels(
    silhouette: np.ndarray, label: Values, batch: Values, *, most: int | None = None
) -> pd.Series:  # fmt: skip
    """Return the mean silhouette of every isolated label, scaled to (s + 1)/2.

    Parameters
    ----------
    silhouette
        (n,) of `silhouette_of_cells` for these labels.
    label, batch
        (n,) of all cells.
    most
        As in `isolated_labels`.

    Returns
    -------
    pandas.Series
        Label -> score; NaN where a cell of it has none.

    Raises
    ------
    MmcellError
        As in `isolated_labels`, or not one silhouette a cell.
    """
    names = isolated_labels(label, batch, most=most)
    if len(silhouette) != len(label):
        raise MmcellError(f"silhouette: {len(silhouette)} values for {len(label)} cells; give one a cell")
    own = np.asarray(label, dtype=object)
    return pd.Series([(silhouette[own == name].mean() + 1) / 2 for name in names], index=names, dtype=float)


def isolated_asw(silhouette: np.ndarray, label: Values, batch: Values, *, most: int | None = None) -> float:
    """Return the mean over isolated labels of `isolated_asw_of_labels`, as in scib-metrics; higher is better.

    Parameters
    ----------
    silhouette
        (n,) of `silhouettes`.
    label, batch
        (n,) label and batch of each cell.
    most
        See `isolated_labels`.

    Raises
    ------
    MmcellError
        As in `isolated_asw_of_labels`.
    """
    return float(isolated_asw_of_labels(silhouette, label, batch, most=most).mean(skipna=False))


def isolated_f1_of_labels(
    cluster: Values, label: Values, batch: Values, *, most: int | None = None
) -> pd.Series:  # fmt: skip
    """Return, for every isolated label, the F1 score of the cluster that fits it best.

    Parameters
    ----------
    cluster
        (n,) clusters that know no label, such as the codes of a `Clustering`. scib chooses the resolution that fits the
        labels best.
    label, batch
        (n,); of cells without a label clusters keep their size.
    most
        As in `isolated_labels`.

    Returns
    -------
    pandas.Series
        Label -> F1 in (0, 1]; NaN where all cells are in one cluster, which tells nothing apart.

    Raises
    ------
    MmcellError
        As in `isolated_labels`, or not one cluster a cell.

    References
    ----------
    Luecken et al.: Benchmarking atlas-level data integration in single-cell genomics. Nat Methods 19, 41–50 (2022).
    """
    names = isolated_labels(label, batch, most=most)
    code, _ = coded(cluster, len(label), "cluster")
    found = pd.Series(np.nan, index=names)
    if np.ptp(code) == 0:
        return found
    size = np.bincount(code[code >= 0])
    own = np.asarray(label, dtype=object)
    for name in names:
        inside = code[(own == name) & (code >= 0)]
        both = np.bincount(inside, minlength=len(size))
        found[name] = (2 * both / (size + (own == name).sum())).max()
    return found


def isolated_f1_of_table(table: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the same (labels,) of counts per label and cluster (labels, clusters), and per cluster, of all cells."""
    own = table.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(2 * table, size + own, out=np.zeros(table.shape), where=size + own > 0).max(axis=1))


def isolated_f1(cluster: Values, label: Values, batch: Values, *, most: int | None = None) -> float:
    """Return the mean over isolated labels of `isolated_f1_of_labels`; higher is better.

    Parameters
    ----------
    cluster, label, batch
        (n,) of each cell.
    most
        See `isolated_labels`.

    Raises
    ------
    MmcellError
        As in `isolated_f1_of_labels`.
    """
    return float(isolated_f1_of_labels(cluster, label, batch, most=most).mean(skipna=False))
