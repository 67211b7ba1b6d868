"""`Consensus`: groups that resampled patients agree on, and the rule that assigns new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmcell.stratification.kmeans import assign, kmeans

#: Of all rows a run sees this share, and no more than so many.
SHARE, MOST = 0.8, 500
_STARTS = 3


@dataclass(frozen=True, eq=False)
class Consensus:
    """Groups of the rows a rule was fitted on.

    Attributes
    ----------
    label
        (n,) group of each row, from 0 on.
    centres
        (k, d) means of the groups: a new row belongs to the nearest.
    votes
        (runs, n) what every run said, in the names of the groups.
    """

    label: np.ndarray
    centres: np.ndarray
    votes: np.ndarray

    @property
    def together(self) -> np.ndarray:
        """(n, n) share of the runs in which two rows were in one group."""
        k = len(self.centres)
        member = (self.votes[:, :, None] == np.arange(k)).transpose(1, 0, 2).reshape(self.votes.shape[1], -1)
        one = member.astype(np.float32)
        return (one @ one.T).astype(np.float64) / len(self.votes)

    def assign(self, x: np.ndarray) -> np.ndarray:
        """Return (n,) the nearest group of each row."""
        return assign(x, self.centres[None])[0]


def subsets(n: int, runs: int, rng: np.random.Generator) -> np.ndarray:
    """Return (runs, m) rows drawn without replacement: 80 % of them, at most 500."""
    size = min(round(SHARE * n), MOST)
    return np.argsort(rng.random((runs, n)), axis=1)[:, :size]


def consensus(x: np.ndarray, k: int, runs: int, rng: np.random.Generator) -> Consensus:
    """Return groups that k-means on resampled rows agree on.

    k-means (three starts) on each of `runs` draws of 80 % of the rows gives a rule, which assigns all rows. The groups
    of every rule are matched to those of k-means on all rows by the assignment with the largest overlap, and a row
    belongs where most rules put it (of equal votes, to the group that comes first).

    Parameters
    ----------
    x
        (n, d) rows.
    k
        Groups, 2 or more.
    runs, rng
        Number of draws, and their generator.

    References
    ----------
    Dudoit, Fridlyand: Bagging to improve the accuracy of a clustering procedure. Bioinformatics 19, 1090–1099 (2003).
    Monti et al.: Consensus clustering. Machine Learning 52, 91–118 (2003), for the matrix `Consensus.together`.
    """
    first = assign(x, kmeans(x, np.arange(len(x))[None], k, 10, rng))[0]
    votes = assign(x, kmeans(x, subsets(len(x), runs, rng), k, _STARTS, rng))
    votes = np.stack([matched(vote, first, k)[vote] for vote in votes])
    counts = (votes[:, :, None] == np.arange(k)).sum(axis=0)
    label = counts.argmax(axis=1)
    # A group that loses every vote keeps the rows it had.
    for lost in np.setdiff1d(np.arange(k), label):
        label[first == lost] = lost
    centres = np.stack([x[label == j].mean(axis=0) for j in range(k)])
    return Consensus(label, centres, votes)


def matched(label: np.ndarray, to: np.ndarray, k: int) -> np.ndarray:
    """Return (k,) for each group of `label` the group of `to` with which all together share the most rows."""
    table = np.zeros((k, k))
    np.add.at(table, (label, to), 1.0)
    rows, columns = linear_sum_assignment(-table)
    found = np.empty(k, dtype=np.int64)
    found[rows] = columns
    return found
