"""Agreement of labels and clusters by how many cells are in both."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy


def nmi_of_table(table: np.ndarray) -> float:
    """Return normalised mutual information of a table (labels, clusters) of counts; see `alignment.nmi`."""
    share = table / table.sum()
    of_label, of_cluster, joint = (-xlogy(p, p).sum() for p in (share.sum(axis=1), share.sum(axis=0), share))
    mutual = of_label + of_cluster - joint
    if of_label + of_cluster == 0:
        return float("nan")
    # What is nothing comes out as a rounding error.
    return float(mutual / ((of_label + of_cluster) / 2)) if mutual > 1e-12 else 0.0


def ari_of_table(table: np.ndarray) -> float:
    """Return the adjusted Rand index of a table (labels, clusters) of counts; see `alignment.ari`."""
    both, labels, clusters, pairs = (
        float((t * (t - 1) / 2).sum()) for t in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    if pairs == 0:
        return float("nan")
    expected = labels * clusters / pairs
    most = (labels + clusters) / 2
    return (both - expected) / (most - expected) if most > expected else float("nan")
