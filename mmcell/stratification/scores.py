"""`score_permutation`: whether scores of patients differ between groups, by permutation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.stats.permutation import permuted_within


def score_permutation(
    score: np.ndarray, group: np.ndarray, stratum: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> float:
    """Return p of Σ_g (Σ_{i in g} score_i)²/n_g when scores move between patients of one stratum.

    With one column of 0 and 1 for each class this is the χ² test, with ranks that of Kruskal and Wallis.

    Parameters
    ----------
    score
        (n,) of each patient, or (n, m): then summed over the m.
    group, stratum
        (n,) labels.
    n_permutations, rng
        Draws.

    Returns
    -------
    float
        NaN where nothing can be permuted: one group, or in every stratum one group or one score only.
    """
    codes, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    values = np.asarray(score, dtype=float).reshape(len(codes), -1)
    table = pd.DataFrame(values).assign(stratum=np.asarray(stratum), code=codes).groupby("stratum")
    kinds = table.nunique()
    moves = (kinds["code"] > 1) & (kinds.drop(columns="code").max(axis=1) > 1)
    if not moves.any():
        return float("nan")
    member = (codes[:, None] == np.arange(len(sizes))).astype(float)
    # Centred within strata, so that what differs between these counts for nothing.
    centre = values - table[list(range(values.shape[1]))].transform("mean").to_numpy()

    def statistic(own: np.ndarray) -> float:
        return float(((member.T @ own) ** 2 / sizes[:, None]).sum())

    seen = statistic(centre)
    extreme = sum(statistic(centre[permuted_within(stratum, rng)]) >= seen * (1 - 1e-12) for _ in range(n_permutations))
    return (extreme + 1) / (n_permutations + 1)
