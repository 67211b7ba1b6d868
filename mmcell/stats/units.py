"""`Units`: the independent things that are split, resampled and permuted. Whatever asks for a unit asks here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from mmcell.digest import digest_ids, stream
from mmcell.errors import MmcellError, first
from mmcell.stats.permutation import permuted_within

#: Fewer units than this: no interval. Fewer than `FEW`: flagged.
MINIMUM, FEW = 10, 20
#: More units than this are left out in groups for the jackknife, which then estimates the same acceleration.
_JACKKNIFE = 500


@dataclass(frozen=True, eq=False)
class Units:
    """The statistical units behind a table of items.

    Crossed units (donor × perturbation) have two factors: a column of the weight matrices is then one pair that
    occurs, and its weight is the product of its two levels' multiplicities. Whatever takes (draws, units) weights works
    for both.

    Attributes
    ----------
    ids
        Sorted unit ids, or the sorted (unit, crossed) pairs that occur: the columns of every weight matrix.
    codes
        (n,) column of each item.
    levels
        The sorted ids of each factor: one, or two when crossed.
    members
        For each factor the level of each column, (columns,) each.

    References
    ----------
    Owen: The pigeonhole bootstrap. Ann Appl Stat 1, 386–411 (2007): both factors drawn with replacement, which errs on
    the wide side where most of the variance belongs to the single pair.
    """

    ids: pd.Index
    codes: np.ndarray
    levels: tuple[pd.Index, ...]
    members: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls, unit: Iterable[Any], crossed: Iterable[Any] | None = None, *, item: Iterable[Any] | None = None
    ) -> Self:
        """Make the units of a table of items.

        Parameters
        ----------
        unit, crossed
            (n,) unit of each item, and the second factor where units are crossed.
        item
            (n,) item ids, to name those without a unit; default: their positions.

        Raises
        ------
        MmcellError
            A unit is missing; the count and the first items are named.
        """
        columns = {"unit": unit} if crossed is None else {"unit": unit, "crossed": crossed}
        values = {name: pd.Series(column).reset_index(drop=True) for name, column in columns.items()}
        for name, column in values.items():
            missing = column.isna().to_numpy()
            if missing.any():
                named = np.flatnonzero(missing) if item is None else pd.Series(item).to_numpy()[missing]
                what = "unit" if name == "unit" else f"{name!r} unit"
                raise MmcellError(
                    f"items: {int(missing.sum())} of them have no {what} ({first(named)}); "
                    "fill the unit in, or leave these items out"
                )
        levels = tuple(pd.Index(sorted(column.unique()), name=name) for name, column in values.items())
        at = [level.get_indexer(column) for level, column in zip(levels, values.values(), strict=True)]
        if crossed is None:
            return cls(levels[0], at[0], levels, (np.arange(len(levels[0])),))
        pairs, codes = np.unique(at[0] * len(levels[1]) + at[1], return_inverse=True)
        members = np.divmod(pairs, max(len(levels[1]), 1))
        ids = pd.MultiIndex.from_arrays([level[m] for level, m in zip(levels, members, strict=True)])
        return cls(ids, codes, levels, members)

    def of_rows(self, rows: np.ndarray) -> Self:
        """Return the units of some of the items, given by position; units without an item are left out."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        members = [np.unique(member[kept], return_inverse=True) for member in self.members]
        levels = tuple(level[used] for level, (used, _) in zip(self.levels, members, strict=True))
        return type(self)(self.ids[kept], codes, levels, tuple(at for _, at in members))

    def __len__(self) -> int:
        """Return the number of columns of a weight matrix."""
        return len(self.ids)

    @property
    def crossed(self) -> bool:
        """Whether there are two factors."""
        return len(self.levels) > 1

    @property
    def independent(self) -> int:
        """How many independent units there are: with crossed factors the smaller number of levels."""
        return min(len(level) for level in self.levels)

    def equals(self, other: Units) -> bool:
        """Whether the units are the same, so that their draws are paired."""
        return self.ids.equals(other.ids)

    def bootstrap(self, n_boot: int, seed: int, *space: str) -> np.ndarray:
        """Return (n_boot, columns) multiplicities of drawing all units with replacement.

        The draws depend on the seed and on the set of units alone, so that whatever is scored on the same units
        (another metric, another encoder) is paired draw by draw.

        Parameters
        ----------
        n_boot
            Number of draws.
        seed
            Of the run.
        *space
            What else the draws depend on, where equal ids need not be the same unit (the dataset).
        """
        weights = _multiplicities(self.levels[0], n_boot, seed, *space)
        if not self.crossed:
            return weights
        other = _multiplicities(self.levels[1], n_boot, seed, *space, "crossed")
        return weights[:, self.members[0]] * other[:, self.members[1]]

    def jackknife(self) -> np.ndarray:
        """Return rows of weights that leave out each level of each factor once, or each of 500 groups of them."""
        return np.concatenate([_left_out(len(at))[:, m] for at, m in zip(self.levels, self.members, strict=True)])

    def permutation(self, rng: np.random.Generator, within: Iterable[Any] | None = None) -> np.ndarray:
        """Return whose values each unit receives when values move between units, as positions in ``levels[0]``.

        Parameters
        ----------
        rng
            Of the permutation.
        within
            (n,) stratum of each item; units receive values from their own stratum only.

        Raises
        ------
        MmcellError
            A unit lies in two strata.
        """
        if within is None:
            return rng.permutation(len(self.levels[0]))
        of_item = self.members[0][self.codes]
        stratum = pd.factorize(pd.Series(within), use_na_sentinel=False)[0]
        groups = np.empty(len(self.levels[0]), dtype=np.int64)
        groups[of_item] = stratum
        split = groups[of_item] != stratum
        if split.any():
            raise MmcellError(
                f"permutation: {first(self.levels[0][np.unique(of_item[split])])} lie in several strata; "
                "a unit's values move as a whole"
            )
        return permuted_within(groups, rng)


def _multiplicities(ids: pd.Index, n_boot: int, seed: int, *names: str) -> np.ndarray:
    n = len(ids)
    rng = stream(seed, "bootstrap", digest_ids(ids), *names)
    picks = rng.integers(n, size=(n_boot, n)) + np.arange(n_boot)[:, None] * n
    return np.bincount(picks.ravel(), minlength=n_boot * n).reshape(n_boot, n)


def _left_out(n: int) -> np.ndarray:
    groups = min(n, _JACKKNIFE)
    member = np.arange(n) % max(groups, 1)
    return (member[None, :] != np.arange(groups)[:, None]).astype(np.int64)
