"""Many comparisons at once: p-values adjusted over a family, and letters for those that cannot be told apart."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmcell.errors import MmcellError
from mmcell.stats.bootstrap import ALPHA

#: Permutations behind each p at least, and at most where nobody says how many.
_FEWEST_DRAWS, _MOST_DRAWS = 1000, 10_000
Adjust = Literal["holm", "bh"]


def checked(how: Adjust) -> Adjust:
    """Return the name of an adjustment.

    Raises
    ------
    MmcellError
        It is neither ``holm`` nor ``bh``.
    """
    if how not in ("holm", "bh"):
        raise MmcellError(f"adjust is {how!r}; use 'holm' or 'bh'")
    return how


def letters(order: list[str], apart: set[tuple[str, str]]) -> dict[str, str]:
    """Return the compact letter display: names share a letter exactly when no pair under that letter is told apart.

    Parameters
    ----------
    order
        All names, best first: letters are handed out in this order.
    apart
        Pairs that differ, in either order.

    References
    ----------
    Piepho: An algorithm for a letter-based representation of all-pairwise comparisons.
    J Comput Graph Stat 13, 456–466 (2004): insert and absorb.
    """
    groups: list[set[str]] = [set(order)]
    for a, b in sorted(apart):
        split = []
        for group in groups:
            split += [group - {a}, group - {b}] if {a, b} <= group else [group]
        unique = [g for i, g in enumerate(split) if g not in split[:i]]
        groups = [g for g in unique if not any(g < other for other in unique)]
    groups.sort(key=lambda g: sorted(order.index(n) for n in g))
    return {name: "".join(_letter(i) for i, g in enumerate(groups) if name in g) for name in order}


def _letter(i: int) -> str:
    return chr(ord("a") + i % 26) + ("'" * (i // 26))


def adjusted(p: np.ndarray, how: Adjust) -> np.ndarray:
    """Return p-values adjusted over the family by Holm or Benjamini–Hochberg; an undefined p stays undefined.

    Parameters
    ----------
    p
        (m,) p-values of the family.
    how
        ``holm`` or ``bh``.

    Raises
    ------
    MmcellError
        `how` is neither.
    """
    p = np.asarray(p, dtype=float)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    m = len(order)
    if checked(how) == "holm":
        out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (m - np.arange(m))))
    else:
        steps = p[order] * m / (np.arange(m) + 1)
        out[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    return out


def draws_for(pairs: int) -> int:
    """Return how many permutations let the p of one of so many pairs reach 5 % after adjustment, with as many again.

    The smallest p is one over the draws and one more, and Holm multiplies it by the pairs at first. At least 1,000, and
    at most 10,000, for time grows with the pairs and with the draws of each; see `out_of_reach`.

    Parameters
    ----------
    pairs
        Of the family over which p-values are adjusted.
    """
    return min(max(_FEWEST_DRAWS, round(2 / ALPHA) * pairs), _MOST_DRAWS)


def out_of_reach(pairs: int, n_permutations: int) -> bool:
    """Whether no p of so many pairs can reach 5 % after Holm's adjustment, whatever the data.

    Parameters
    ----------
    pairs
        With a p.
    n_permutations
        Draws behind each.
    """
    return pairs > ALPHA * (n_permutations + 1)
