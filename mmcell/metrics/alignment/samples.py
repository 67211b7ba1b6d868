"""Cross-dataset retrieval of samples: is a patient's nearest neighbour in another study of the same state?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mmcell.metrics.alignment.labels import Values, batches, coded, points


@dataclass(frozen=True, eq=False)
class SampleRetrieval:
    """For every sample what its nearest neighbour in another study shows.

    Attributes
    ----------
    hit
        (n,) whether it shares the state; of equally near ones the share that does. NaN without a state, and where no
        other study knows the state of a sample.
    chance
        (n,) share of the samples of other studies that do: what a random neighbour gives. 0 for a state that no other
        study holds, which is always missed.
    """

    hit: np.ndarray
    chance: np.ndarray

    @property
    def value(self) -> float:
        """Mean over samples; NaN where none is scored."""
        return float(np.nanmean(self.hit)) if not np.isnan(self.hit).all() else float("nan")

    @property
    def expected(self) -> float:
        """Mean chance over samples; NaN where none is scored."""
        return float(np.nanmean(self.chance)) if not np.isnan(self.chance).all() else float("nan")


def sample_retrieval(x: np.ndarray, state: Values, study: Values) -> SampleRetrieval:
    """Look up the nearest sample of other studies, by Euclidean distance.

    Where all samples lie on one point the hit of each is its chance.

    Parameters
    ----------
    x
        (n, d) one row a sample or a patient.
    state
        (n,) what should be shared; samples without one are neither scored nor found.
    study
        (n,) the study of each.

    Returns
    -------
    SampleRetrieval
        Of every sample whether its nearest one shares the state, ties in expectation, and the chance of that.

    Raises
    ------
    MmcellError
        One study only, a sample without one, values that are not finite, or not one value a sample.
    """
    values = points(x)
    of_state, _ = coded(state, len(values), "state")
    of_study, _ = batches(study, len(values))
    known = of_state >= 0
    hit, chance = np.full((2, len(values)), np.nan)
    for i in np.unique(of_study):
        rows, others = np.flatnonzero(known & (of_study == i)), np.flatnonzero(known & (of_study != i))
        if not len(rows) or not len(others):
            continue
        away = cdist(values[rows], values[others])
        nearest = away == away.min(axis=1, keepdims=True)
        same = of_state[rows][:, None] == of_state[others]
        hit[rows] = (nearest & same).sum(axis=1) / nearest.sum(axis=1)
        chance[rows] = same.mean(axis=1)
    return SampleRetrieval(hit, chance)
