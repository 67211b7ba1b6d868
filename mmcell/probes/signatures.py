"""Directions in an embedding, within types of cells: what a perturbation does, what a disease does, and how they lie.

Arrays in, arrays out. A *bag* is the cells of one unit under one condition; it is described by the mean of each type,
so that a bag with more cells of one type is not another bag for that alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from mmcell.probes.scale import Scale

#: Fewer cells of a type have no mean worth the name.
FEWEST = 3
#: Of fewer treated units no test of a signature can reach 0.05 (their signs alone give 2 in 2⁵): there is no p.
FEWEST_UNITS = 6


def bag_means(values: np.ndarray, bag: np.ndarray, kind: np.ndarray, n_bags: int, n_types: int) -> np.ndarray:
    """Return (bags, types, d) means of the cells (n, d); NaN where a bag has fewer than three of a type.

    Parameters
    ----------
    values
        (n, d) embedding of cells.
    bag, kind
        (n,) codes; a cell with a code below 0 belongs nowhere.
    n_bags, n_types
        How many there are.
    """
    from scipy.sparse import csr_matrix

    inside = np.flatnonzero((bag >= 0) & (kind >= 0))
    place = bag[inside] * n_types + kind[inside]
    size = n_bags * n_types
    count = np.bincount(place, minlength=size)
    member = csr_matrix((np.ones(len(inside)), (place, inside)), (size, len(values)))
    total = np.asarray(member @ np.asarray(values, dtype=np.float64))
    means = np.full(total.shape, np.nan)
    enough = count >= FEWEST
    means[enough] = total[enough] / count[enough, None]
    return means.reshape(n_bags, n_types, -1)


@dataclass(frozen=True, eq=False)
class Space:
    """The embedding of each type, standardised over training patients; a type that two of them lack has no place.

    Attributes
    ----------
    mean, scale
        (types, d) moments of training patients' means; the scale is ∞ where nothing varies, so that it counts nothing.
    known
        (types,) which types have a place.
    """

    mean: np.ndarray
    scale: np.ndarray
    known: np.ndarray

    @classmethod
    def fit(cls, patients: np.ndarray) -> Self:
        """Learn from training patients (n, types, d)."""
        _, n_types, d = patients.shape
        there = has_types(patients)
        mean, scale, known = np.zeros((n_types, d)), np.full((n_types, d), np.inf), np.zeros(n_types, dtype=bool)
        for t in range(n_types):
            rows = patients[there[:, t], t]
            if len(rows) < 2:
                continue
            found = Scale.fit(rows)
            known[t] = True
            mean[t, found.keep], scale[t, found.keep] = found.mean, found.scale
        return cls(mean, scale, known)

    def points(self, bags: np.ndarray) -> np.ndarray:
        """Return bags (n, types, d) as points, NaN for types that have no place."""
        return np.where(self.known[:, None], (bags - self.mean) / self.scale, np.nan)

    def effects(self, differences: np.ndarray) -> np.ndarray:
        """Return differences of bags (n, types, d) in units of the space."""
        return np.where(self.known[:, None], differences / self.scale, np.nan)


def mean_direction(effects: np.ndarray) -> np.ndarray:
    """Return the mean (types, d) of effects (n, types, d) over those that have the type; 0 for a type nobody has."""
    there = has_types(effects)
    total = np.where(there[..., None], effects, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(there.sum(axis=0), 1)[:, None])


def disease_direction(points: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (types, d): mean of the ill (y = 1) less that of the well (y = 0); 0 for types that either side lacks."""
    there = has_types(points)
    both = np.any(there[y == 1], axis=0) & np.any(there[y == 0], axis=0)
    found = mean_direction(points[y == 1]) - mean_direction(points[y == 0])
    return np.where(both[:, None], found, 0.0)


def along(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return how many times points (n, types, d) have moved along directions (…, types, d), from the mean patient.

    By least squares over the types that a point has, Σ⟨z, u⟩ / Σ⟨u, u⟩, so that lacking a type moves nobody.

    Returns
    -------
    numpy.ndarray
        (n, …); 0 where the direction is 0, NaN for points without any type.
    """
    top, _, below = _products(points, direction)
    found = np.divide(top, below, out=np.zeros_like(top), where=below > 0)
    found[~has_types(points).any(axis=1)] = np.nan
    return found


def cosine(effects: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the cosine of effects (n, types, d) with directions (…, types, d), over the types that an effect has.

    Returns
    -------
    numpy.ndarray
        (n, …); 0 where either is 0: nothing is known of how they lie. NaN for effects without any type.
    """
    top, own, below = _products(effects, direction)
    size = np.sqrt(own.reshape(-1, *(1,) * (below.ndim - 1)) * below)
    found = np.divide(top, size, out=np.zeros_like(top), where=size > 0)
    found[~has_types(effects).any(axis=1)] = np.nan
    return found


def spread_directions(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (…, types, d) directions that a mean of these units takes by chance: Σ w (z − mean) / n, per type.

    Parameters
    ----------
    points
        (n, types, d) of units; only those that have a type count for it.
    weights
        (…, n) standard normal numbers.

    Notes
    -----
    They have the covariance of what differs between units: a signature of nothing is such a direction. Directions that
    are uniform over the sphere would be an easier null: they mostly lie where no unit differs from another. Of n units
    they span n − 1 dimensions, and a mean of few units lies outside of these (see `FEWEST_UNITS`).
    """
    there = has_types(points)
    rest = np.where(there[..., None], points - mean_direction(points), 0.0)
    rest /= np.maximum(there.sum(axis=0), 1)[:, None]
    n, n_types, d = points.shape
    return np.asarray((weights @ rest.reshape(n, n_types * d)).reshape(*weights.shape[:-1], n_types, d))


def permuted_directions(points: np.ndarray, y: np.ndarray, order: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return (k, types, d) directions of a disease whose labels are exchanged within groups.

    Each group keeps its number of ill ones. What the design itself makes of differences between groups (a batch with
    more ill patients) is thus a part of every direction, as it is of the disease's own.

    Parameters
    ----------
    points, y
        As in `disease_direction`.
    order
        (k, n) distinct numbers: the lowest of each group become its ill ones.
    group
        (n,) codes.
    """
    ill = np.zeros(order.shape, dtype=bool)
    for value in np.unique(group):
        rows = np.flatnonzero(group == value)
        place = order[:, rows].argsort(axis=1).argsort(axis=1)
        ill[:, rows] = place < np.count_nonzero(y[rows] == 1)
    there = has_types(points)
    rest = np.where(there[..., None], points, 0.0)
    n_ill = ill.astype(float) @ there
    n_well = there.sum(axis=0) - n_ill
    top = (ill @ rest.reshape(len(points), -1)).reshape(len(order), *points.shape[1:])
    found = top / np.maximum(n_ill, 1)[..., None] - (rest.sum(axis=0) - top) / np.maximum(n_well, 1)[..., None]
    return np.where(((n_ill > 0) & (n_well > 0))[..., None], found, 0.0)


def has_types(bags: np.ndarray) -> np.ndarray:
    """Return (n, types) which types there are."""
    return np.asarray(np.isfinite(bags).all(axis=2))


def _products(a: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ⟨a, u⟩ (n, …), ⟨a, a⟩ (n,) and ⟨u, u⟩ (n, …), over the types that each row of a has."""
    there = has_types(a)
    rows = np.where(there[..., None], a, 0.0)
    n, n_types, d = rows.shape
    u = direction.reshape(-1, n_types * d)
    shape = (n, *direction.shape[:-2])
    top = rows.reshape(n, n_types * d) @ u.T
    squares = (u.reshape(-1, n_types, d) ** 2).sum(axis=2)
    below = there.astype(float) @ squares.T
    return top.reshape(shape), (rows**2).sum(axis=(1, 2)), below.reshape(shape)
