"""Average precision of lists with several correct items: ties in expectation, chance in closed form."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of

__all__ = ["NORMALISED_AP", "chance_precision", "normalised"]


def chance_precision(n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return the expected average precision of a random order of each gallery, exactly.

    (1/M)·[H_M + (P − 1)(M − H_M)/(M − 1)], where P of M items are correct and H_M = 1 + 1/2 + … + 1/M.

    Raises
    ------
    MmcellError
        A gallery without a correct item.
    """
    p, m = (np.atleast_1d(np.asarray(a)).astype(np.int64) for a in (n_correct, n_gallery))
    if (p < 1).any() or (p > m).any():
        raise MmcellError("chance_precision: every gallery needs at least one correct item, and no more than it has")
    harmonic = digamma(m + 1.0) + np.euler_gamma
    return (harmonic + (p - 1) * (m - harmonic) / np.maximum(m - 1, 1)) / m


def normalised(precision: np.ndarray, n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return (AP − chance)/(1 − chance): 1 where all correct items stand first, 0 for a random order in expectation."""
    chance = chance_precision(n_correct, n_gallery)
    return (np.asarray(precision, dtype=np.float64) - chance) / (1.0 - chance)


def _per_item(items: Items) -> np.ndarray:
    return normalised(*(items.column(c) for c in ("precision", "n_correct", "n_gallery")))


_fn, _fast = mean_of(_per_item)
NORMALISED_AP = Metric("normalised_ap", _fn, True, 0.0, (-1, 1), _fast, ("retrieval",), needs=("precision",))
