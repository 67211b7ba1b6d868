"""Label transfer: is a cell of one dataset named rightly by its nearest cells of the others?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.metrics.alignment.graph import Neighbors
from mmcell.metrics.alignment.labels import Values, batches, coded
from mmcell.metrics.classification import balanced_accuracy, macro_f1


@dataclass(frozen=True, eq=False)
class Transfer:
    """What every cell is named by its neighbours in other datasets.

    Attributes
    ----------
    predicted
        (n,) label with most votes; of equally many the one with the nearest voter. "" where nobody votes, and where all
        neighbours lie at distance 0.
    share
        (n,) its share of the votes; NaN where nobody votes.
    correct
        (n,) 1 where the prediction is right, else 0; NaN for cells without a label.
    in_reference
        (n,) whether another dataset holds the cell's label. Where not it cannot be found: it is missed, and counted.
    by_dataset
        Dataset -> ``n`` cells with a label, ``n_unknown`` of them of labels that the reference lacks, and
        ``balanced_accuracy`` and ``macro_f1`` over all of them and, ``…_known``, over those that can be found.
    """

    predicted: np.ndarray
    share: np.ndarray
    correct: np.ndarray
    in_reference: np.ndarray
    by_dataset: pd.DataFrame


def transfer(neighbors: Neighbors, label: Values, batch: Values) -> Transfer:
    """Transfer labels to each dataset from all others, by vote of nearest neighbours.

    Parameters
    ----------
    neighbors
        Of other datasets only: ``neighbors(x, 15, apart=batch)``.
    label
        (n,); cells without one do not vote and are not scored.
    batch
        (n,) datasets.

    Returns
    -------
    Transfer
        Predicted labels, and how well each dataset's are recognised.

    Raises
    ------
    MmcellError
        A neighbour of the same dataset, one dataset only, a cell without one, or not one value a cell.
    """
    n = len(neighbors)
    of_label, names = coded(label, n, "label")
    of_batch, datasets = batches(batch, n)
    if (of_batch[neighbors.indices] == of_batch[:, None]).any():
        raise MmcellError(
            "neighbors: some are of the cell's own dataset; compute them with neighbors(x, k, apart=batch)"
        )
    near = np.where(neighbors.collapsed[:, None], -1, of_label[neighbors.indices])
    best, votes = vote(near, len(names))
    voted = votes > 0
    known = of_label >= 0
    holds = np.zeros((len(names), len(datasets)), dtype=bool)
    holds[of_label[known], of_batch[known]] = True
    in_reference = known & (holds[of_label].sum(axis=1) - holds[of_label, of_batch] > 0)
    text = names.astype(str).to_numpy()
    predicted, truth = np.where(voted, text[best], ""), np.where(known, text[of_label], "")
    share = np.full(n, np.nan)
    share[voted] = votes[voted] / (near >= 0).sum(axis=1)[voted]
    rows = []
    for i in range(len(datasets)):
        own = known & (of_batch == i)
        findable = own & in_reference
        rows.append(
            {
                "n": int(own.sum()),
                "n_unknown": int((own & ~in_reference).sum()),
                "balanced_accuracy": balanced_accuracy(truth[own], predicted[own]),
                "macro_f1": macro_f1(truth[own], predicted[own]),
                "balanced_accuracy_known": balanced_accuracy(truth[findable], predicted[findable]),
                "macro_f1_known": macro_f1(truth[findable], predicted[findable]),
            }
        )
    correct = np.where(known, (voted & (best == of_label)).astype(float), np.nan)
    return Transfer(predicted, share, correct, in_reference, pd.DataFrame(rows, index=datasets))


def vote(near: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for every row the label with most votes, and how many it has.

    Parameters
    ----------
    near
        (n, k) codes of the voters' labels, nearest first; −1 for who does not vote.
    n_labels
        Labels there are.

    Returns
    -------
    best, votes
        (n,) code; of equally many votes that of the nearest voter. 0 votes where nobody votes.
    """
    n, k = near.shape
    votes, rank = np.zeros((n, n_labels), dtype=np.int64), np.empty((n, n_labels), dtype=np.int64)
    for label in range(n_labels):
        own = near == label
        votes[:, label] = own.sum(axis=1)
        # More votes first, then the nearer first voter.
        rank[:, label] = votes[:, label] * (k + 1) - own.argmax(axis=1)
    best = rank.argmax(axis=1)
    return best, votes[np.arange(n), best]
