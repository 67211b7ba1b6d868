"""Confounded training sets: label and batch correlated more and more, all else equal; and what it costs a probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError

#: Cramér's V between label and batch among the training units, as far as whole units allow it.
GRID = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
#: With smaller training sets than this nothing is said: without confounding each cell of label × batch has three units.
MINIMUM_TRAINING = 12
#: So many units a cell must hold for the larger cells of such a set under the strongest confounding of the grid.
MINIMUM_CELL = 5


def sides(label: np.ndarray, batch: Iterable[Any]) -> tuple[str, ...]:
    """Return the batches of one of two groups: those two that leave most units in their rarest label.

    Parameters
    ----------
    label
        (n,) 0 or 1 of each unit.
    batch
        (n,) batch of each unit.

    Returns
    -------
    tuple of str
        Never all batches, never none; among equals the first in sorted order.

    Raises
    ------
    MmcellError
        There is one batch only.
    """
    counts = pd.crosstab(pd.Series(list(batch), dtype=object).astype(str), np.asarray(label)).reindex(columns=[0, 1])
    counts = counts.fillna(0).astype(int).sort_index()
    if len(counts) < 2:
        raise MmcellError(f"confounding: all units are of batch {counts.index[0]!r}; at least two are needed")
    rows = counts.to_numpy()
    total = rows.sum(axis=0)
    # reach[t][i, j]: some of the first t batches hold i units of label 0 and j of label 1.
    reach = [np.zeros(total + 1, dtype=bool)]
    reach[0][0, 0] = True
    for a, b in rows:
        step = reach[-1].copy()
        step[a:, b:] |= reach[-1][: total[0] + 1 - a, : total[1] + 1 - b]
        reach.append(step)
    i, j = np.indices(total + 1)
    rarest = np.minimum.reduce([i, total[0] - i, j, total[1] - j])
    here = np.unravel_index(np.argmax(np.where(reach[-1], rarest, -1)), rarest.shape)
    chosen = []
    at = [int(here[0]), int(here[1])]
    for t in range(len(rows), 0, -1):
        if not reach[t - 1][at[0], at[1]]:
            at = [at[0] - rows[t - 1][0], at[1] - rows[t - 1][1]]
            chosen.append(str(counts.index[t - 1]))
    found = tuple(sorted(chosen))
    # With no unit to spare on either side every division is as good: one batch against the rest.
    return found if 0 < len(found) < len(counts) else (str(counts.index[0]),)


@dataclass(frozen=True, eq=False)
class Cells:
    """The training units of one split in the four cells of label × group of batches.

    Attributes
    ----------
    units
        ``units[group][label]``: unit ids.
    """

    units: tuple[tuple[pd.Index, pd.Index], tuple[pd.Index, pd.Index]]

    @classmethod
    def of(cls, label: pd.Series, batch: pd.Series) -> Self:
        """Sort units into cells.

        Parameters
        ----------
        label, batch
            Unit id -> 0 or 1, and -> batch; the same units in the same order.

        Raises
        ------
        MmcellError
            There is one batch only.
        """
        y = label.to_numpy().astype(int)
        one = batch.astype(str).isin(sides(y, batch)).to_numpy()
        first, second = ((label.index[g & (y == 0)], label.index[g & (y == 1)]) for g in (one, ~one))
        return cls((first, second))

    @property
    def counts(self) -> np.ndarray:
        """(2, 2) units: group × label."""
        return np.array([[len(cell) for cell in group] for group in self.units])

    def draw(self, larger: int, total: int, towards: int, rng: np.random.Generator) -> pd.Index:
        """Return training units in which label and group are correlated.

        The units of a cell are put into a random order, of which the first ones are taken: with generators that start
        alike, a stronger confounding exchanges as few units as it can.

        Parameters
        ----------
        larger
            Units in each cell of the one diagonal; the other one gets ``total / 2 − larger``.
        total
            Units in all; a multiple of four.
        towards
            0: label 1 comes from the second group; 1: from the first.
        rng
            Of the order.
        """
        found: list[Any] = []
        for group in (0, 1):
            for label in (0, 1):
                order = rng.permutation(len(self.units[group][label]))
                take = larger if (group == label) == (towards == 0) else total // 2 - larger
                found += list(self.units[group][label][order[:take]])
        return pd.Index(sorted(found), name="unit")


@dataclass(frozen=True)
class Levels:
    """Sizes of the training sets.

    Attributes
    ----------
    total
        Units in each training set, whatever V; half of them in either group and of either label.
    larger
        Units in each cell of the larger diagonal, rising from ``total / 4``.
    """

    total: int
    larger: tuple[int, ...]

    @classmethod
    def of(cls, fewest: int, grid: Sequence[float] = GRID) -> Self:
        """Return the largest equal size for which no cell needs more than `fewest` units at any V of the grid.

        Whole units realise some values of V only: each of the grid becomes the largest one below it that they do, so
        that none is stronger than was asked.

        Raises
        ------
        MmcellError
            `fewest` leaves training sets of fewer than 12 units.
        """
        total = next((n for n in range(4 * fewest, 0, -4) if max(cls._sizes(n, grid)) <= fewest), 0)
        if total < MINIMUM_TRAINING:
            raise MmcellError(
                f"{fewest} units in a cell make training sets of {total}; at least {MINIMUM_TRAINING} are needed"
            )
        return cls(total, cls._sizes(total, grid))

    @staticmethod
    def _sizes(total: int, grid: Sequence[float]) -> tuple[int, ...]:
        # What is a whole number but for rounding stays one.
        return tuple(sorted({int(np.floor(total * (1 + v) / 4 + 1e-9)) for v in grid}))

    @property
    def v(self) -> np.ndarray:
        """Cramér's V of label × group at each level, from 0 on."""
        return 4 * np.array(self.larger) / self.total - 1


def integrated_loss(scores: np.ndarray, v: np.ndarray, chance: float, *, higher_is_better: bool = True) -> float:
    """Return the mean change of a score over V, as a share of the above-chance skill at V = 0.

    ``g(V) = (score(V) − score(0)) / (score(0) − chance)``, by the trapezoid rule over V, divided by the span of V: −0.5
    is a linear fall from the skill at V = 0 to chance at the last V, 0 no net change. Over a span of [0, 1] it is the
    nIPD.

    Parameters
    ----------
    scores
        (levels,) or (levels, replicates); replicates are averaged first.
    v
        (levels,) Cramér's V, rising from 0.
    chance
        The score without skill.
    higher_is_better
        The score's direction.

    Returns
    -------
    float
        NaN where the score at V = 0 is not better than chance, or any score is undefined.

    Raises
    ------
    MmcellError
        Shapes that do not fit, fewer than two levels, V that does not rise from 0.

    References
    ----------
    nIPD of the package croma: https://github.com/clemsgrs/croma
    """
    scores, v = _checked(scores, v)
    mean = scores.mean(axis=1)
    skill = mean[0] - chance
    if not (skill > 0 if higher_is_better else skill < 0):
        return float("nan")
    return float(np.trapezoid((mean - mean[0]) / skill, v) / (v[-1] - v[0]))


def average_drop(scores: np.ndarray) -> float:
    """Return the mean relative change of a score over all levels but the first (APD).

    ``mean over replicates of (mean over levels of score(level) / score(first level)) − 1``.

    Parameters
    ----------
    scores
        (levels,) or (levels, replicates), the first level without confounding.

    Returns
    -------
    float
        NaN where a first score is not positive, or any score is undefined.

    Raises
    ------
    MmcellError
        Fewer than two levels.

    References
    ----------
    Kömen et al.: Towards robust foundation models for digital pathology. arXiv:2507.17845 (2025), APD of PathoROB.
    """
    scores, _ = _checked(scores, np.arange(len(np.asarray(scores)), dtype=float))
    if not (scores[0] > 0).all():
        return float("nan")
    return float(np.mean((scores[1:] / scores[0]).mean(axis=0) - 1))


def _checked(scores: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, v = np.asarray(scores, dtype=float), np.asarray(v, dtype=float)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or len(scores) < 2 or scores.shape[1] == 0 or v.shape != (len(scores),):
        raise MmcellError(
            f"confounding: scores of shape {scores.shape} at {v.shape} values of V; give one row per V, at least two"
        )
    if not np.isfinite(v).all() or v[0] != 0 or (np.diff(v) <= 0).any():
        raise MmcellError("confounding: V must rise from 0; sort the levels and begin with the balanced one")
    return scores, v
