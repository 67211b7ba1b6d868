"""Nearest neighbours: probes that fit nothing but how many of them are asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from mmcell.metrics.alignment.label_transfer import vote
from mmcell.metrics.alignment.nearest import nearest
from mmcell.probes.linear import INNER_FOLDS, Classifier
from mmcell.probes.scale import Scale

#: Neighbours that vote on a cell's label.
VOTES = 15
#: One fixed budget for every embedding.
COUNTS = (1, 3, 5, 9, 15, 25)


def fit_neighbours(x: np.ndarray, y: np.ndarray) -> Classifier:
    """Fit nearest neighbours (Euclidean, on standardised inputs) whose number is chosen on inner folds.

    The share of neighbours that are of a class is its probability. The number is the one of six under which held-out
    rows of three stratified inner folds are ranked best (mean AUROC), the smallest of equals; with fewer than three
    rows of a class it is five, or all rows where there are fewer.

    Parameters
    ----------
    x
        (n, d) training rows only, one a unit.
    y
        (n,) two classes.
    """
    scale, classes = Scale.fit(x), np.unique(y)
    if not scale.keep.any():
        return Classifier(scale, classes, None)
    z = scale.transform(x)
    return Classifier(scale, classes, KNeighborsClassifier(_chosen(z, y == classes[-1])).fit(z, y))


def carried_over(x: np.ndarray, y: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry labels over to held-out rows: each gets that of most of its 15 nearest training rows (Euclidean).

    Of equally many votes the label of the nearest voter counts. For many rows and classes, in the embedding as it is.

    Parameters
    ----------
    x
        (n, d) training rows only.
    y
        (n,) classes as text.
    held
        (m, d) rows to be named.

    Returns
    -------
    label : numpy.ndarray
        (m,); "" where all voters lie at distance 0, which tells nothing.
    distance : numpy.ndarray
        (m,) mean distance to the voters: far from all training rows lies what they have no name for.
    """
    codes, names = pd.factorize(y, sort=True)
    rows = np.asarray(x, dtype=np.float64), np.asarray(held, dtype=np.float64)
    near, distance = nearest(rows[1], rows[0], np.full(len(held), -1), min(VOTES, len(x)))
    voters = np.where((distance[:, -1] == 0)[:, None], -1, codes[near])
    best, votes = vote(voters, len(names))
    return np.where(votes > 0, np.asarray(names)[best], ""), distance.mean(axis=1)


def _chosen(z: np.ndarray, y: np.ndarray) -> int:
    if min(y.sum(), (~y).sum()) < INNER_FOLDS:
        return min(5, len(y))
    folds = list(StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0).split(z, y))
    counts = [k for k in COUNTS if k <= min(len(train) for train, _ in folds)]
    found = [
        np.mean([_ranked(KNeighborsClassifier(k).fit(z[train], y[train]), z[held], y[held]) for train, held in folds])
        for k in counts
    ]
    return counts[int(np.argmax(np.round(found, 12)))]


def _ranked(model: KNeighborsClassifier, z: np.ndarray, y: np.ndarray) -> float:
    return float(roc_auc_score(y, model.predict_proba(z)[:, 1]))
