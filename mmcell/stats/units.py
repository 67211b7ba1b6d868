"""Weights over units: bootstrap draws that every metric and every encoder shares, and leave-some-out jackknife rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.digest import digest_ids, stream

#: Fewer units than this: no interval. Fewer than `FEW`: flagged.
MINIMUM, FEW = 10, 20
#: More units than this are left out in groups for the jackknife, which then estimates the same acceleration.
_JACKKNIFE = 500


def bootstrap_weights(units: pd.Index, n_boot: int, seed: int) -> np.ndarray:
    """Return (n_boot, units) multiplicities of drawing all units with replacement.

    The draws depend on the seed and on the set of units alone, so that whatever is scored on the same units (another
    metric, another encoder) is paired draw by draw.

    Parameters
    ----------
    units
        Sorted unit ids.
    n_boot
        Number of draws.
    seed
        Of the run.
    """
    n = len(units)
    rng = stream(seed, "bootstrap", digest_ids(units))
    picks = rng.integers(n, size=(n_boot, n)) + np.arange(n_boot)[:, None] * n
    return np.bincount(picks.ravel(), minlength=n_boot * n).reshape(n_boot, n)


def jackknife_weights(n_units: int) -> np.ndarray:
    """Return rows that leave out each unit once, or each of 500 groups of them when there are more units."""
    groups = min(n_units, _JACKKNIFE)
    member = np.arange(n_units) % groups
    return (member[None, :] != np.arange(groups)[:, None]).astype(np.int64)
