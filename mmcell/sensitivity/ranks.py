"""How much an order of encoders changes: Kendall's tau-b between two sets of scores, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmcell.errors import MmcellError
from mmcell.stats.bootstrap import ALPHA, MINIMUM_DRAWS

#: With a larger share of draws in which tau is undefined there is no interval.
_UNDEFINED_SHARE = 0.2


def kendall_tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b along the last axis.

    ``(concordant − discordant) / √(pairs not tied in a × pairs not tied in b)``: 1 for the same order, −1 for the
    reverse.

    Parameters
    ----------
    a, b
        (..., n) scores of the same n encoders.

    Returns
    -------
    numpy.ndarray
        (...,); NaN where a score is, where fewer than two encoders are, or where one side ties them all.

    References
    ----------
    Kendall: The treatment of ties in ranking problems. Biometrika 33, 239–251 (1945).
    """
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    left, right = np.triu_indices(a.shape[-1], k=1)
    one, two = (np.sign(x[..., left] - x[..., right]) for x in (a, b))
    untied = np.sqrt((one**2).sum(axis=-1) * (two**2).sum(axis=-1))
    return np.divide((one * two).sum(axis=-1), untied, out=np.full(untied.shape, np.nan), where=untied > 0)


def stability(
    base: np.ndarray, other: np.ndarray, base_draws: np.ndarray, other_draws: Sequence[np.ndarray]
) -> tuple[float, float, float, int]:
    """Return tau between two orders with its 95 % percentile interval, and the number of encoders.

    Encoders without a value on either side are left out. Where a variant was drawn several times, tau is the mean over
    these, and the interval is that of one of them: it holds how much the draws differ.

    Parameters
    ----------
    base
        (n,) scores as they are; higher is better.
    other
        (times, n) scores under a variant, one row a time that it was drawn.
    base_draws
        (n, draws) bootstrap draws of `base`.
    other_draws
        One (n, draws) per row of `other`. Draws of the same units are paired with those of `base`, others are
        independent of them: either way draw k meets draw k.

    Returns
    -------
    tau, low, high : float
        NaN with fewer than two encoders; no interval with fewer than 100 defined draws, or more than 20 % undefined.
    n : int
        Encoders that have a score everywhere.

    Raises
    ------
    MmcellError
        Shapes that do not fit.
    """
    base, other = np.asarray(base, dtype=float), np.asarray(other, dtype=float)
    drawn = np.stack([np.asarray(d, dtype=float) for d in other_draws])
    if other.shape != (len(drawn), len(base)) or drawn.shape[1:] != np.shape(base_draws):
        raise MmcellError(
            f"stability: {len(base)} scores with draws {np.shape(base_draws)} against {other.shape} with {drawn.shape}"
        )
    known = np.isfinite(base) & np.isfinite(other).all(axis=0)
    n = int(known.sum())
    nothing = float("nan")
    if n < 2:
        return nothing, nothing, nothing, n
    tau = kendall_tau(base[known], other[:, known])
    point = float(tau.mean())
    moved = np.swapaxes(drawn[:, known], 1, 2)
    still = np.asarray(base_draws, dtype=float)[known].T
    # A draw in which any encoder has no value orders fewer of them and is another question.
    taus = np.where(np.isfinite(moved).all(-1) & np.isfinite(still).all(-1), kendall_tau(still[None], moved), np.nan)
    defined = taus[np.isfinite(taus)]
    if len(defined) < max(MINIMUM_DRAWS, (1 - _UNDEFINED_SHARE) * taus.size) or not np.isfinite(point):
        return point, nothing, nothing, n
    low, high = np.quantile(defined, [ALPHA / 2, 1 - ALPHA / 2])
    return point, float(low), float(high), n
