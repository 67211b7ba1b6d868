"""Permutation nulls: values that move between exchangeable things, and the p-value that counts the observed one in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmcell.errors import MmcellError

#: Values that differ by less are equal: rounding must not decide what is as extreme.
_EQUAL = 1e-12


@dataclass(frozen=True, eq=False)
class Null:
    """What a statistic is worth under permutation.

    Attributes
    ----------
    observed
        The statistic without permutation.
    values
        (n,) under each permutation; NaN where undefined.
    p
        One-sided, see `p_value`.
    n_undefined
        Permutations without a value: they count neither for nor against.
    """

    observed: float
    values: np.ndarray
    p: float
    n_undefined: int


def permutation_null(
    statistic: Callable[[np.ndarray], float],
    n_units: int,
    *,
    n: int = 1000,
    rng: np.random.Generator,
    within: np.ndarray | None = None,
    higher_is_better: bool = True,
) -> Null:
    """Return the null of a statistic when the units' values are moved between units.

    Parameters
    ----------
    statistic
        Takes an order, (n_units,) positions, and returns the value when unit i carries what unit ``order[i]`` has:
        ``lambda order: auroc(y[order], score)``, or a whole pipeline fitted to ``y[order]``.
    n_units
        Number of units.
    n, rng
        Number of permutations, and their generator.
    within
        (n_units,) strata; values stay inside their own.
    higher_is_better
        Which side is extreme.

    Raises
    ------
    MmcellError
        No permutation is asked for, or `within` does not have one stratum per unit.
    """
    if n < 1:
        raise MmcellError(f"n is {n}; a null needs at least one permutation")
    groups = np.zeros(n_units, dtype=np.int64) if within is None else np.asarray(within)
    if len(groups) != n_units:
        raise MmcellError(f"within has {len(groups)} strata for {n_units} units; give one per unit")
    observed = float(statistic(np.arange(n_units)))
    values = np.array([statistic(permuted_within(groups, rng)) for _ in range(n)], dtype=float)
    return Null(observed, values, p_value(values, observed, higher_is_better), int(np.isnan(values).sum()))


def permuted_within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order (n,) in which everything stays inside its own group (n,) of any sortable labels.

    Parameters
    ----------
    groups
        (n,) group of each place.
    rng
        Of the order.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.empty(len(codes), dtype=np.int64)
    order[np.argsort(codes, kind="stable")] = np.lexsort((rng.random(len(codes)), codes))
    return order


def p_value(null: np.ndarray, observed: float, higher_is_better: bool = True) -> float:
    """Return (#null as good as observed + 1)/(#null + 1): the observed value is one of the permutations.

    Parameters
    ----------
    null
        (n,) values under permutation; undefined ones are left out.
    observed
        The value itself.
    higher_is_better
        Whether a null value is as good when it is at least, or at most, the observed one.

    Returns
    -------
    float
        In (0, 1]; NaN where the observed value or the whole null is undefined.

    References
    ----------
    Phipson, Smyth: Permutation p-values should never be zero. Stat Appl Genet Mol Biol 9, 39 (2010).
    """
    sign = 1.0 if higher_is_better else -1.0
    known = np.asarray(null, dtype=float)
    known = known[np.isfinite(known)]
    if not np.isfinite(observed) or not len(known):
        return float("nan")
    return float((np.sum(sign * known >= sign * observed - _EQUAL) + 1) / (len(known) + 1))
