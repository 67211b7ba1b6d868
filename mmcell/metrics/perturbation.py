"""Perturbation effects: predicted against observed, one score per perturbation, ties in expectation.

Effects are signed differences from a reference, (perturbations, genes). The mean over perturbations is the score, and
the perturbation the unit of its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from mmcell.errors import MmcellError, first

Distance = Literal["l1", "l2", "cosine"]
DISTANCES: tuple[Distance, ...] = ("l1", "l2", "cosine")
#: Distances that differ by less than this share of the largest are ties, and what is smaller than it is nothing.
TOLERANCE = 1e-12
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
_BLOCK = 1 << 20
#: From so many genes on a matrix product is faster than distances one by one.
_WIDE = 64


def pearson_delta(
    predicted: np.ndarray,
    observed: np.ndarray,
    reference: np.ndarray,
    *,
    predicted_reference: np.ndarray | None = None,
) -> np.ndarray:
    """Return Pearson's r over genes of predicted and observed change, per perturbation.

    With the mean of controls as the reference, whatever all perturbations share is rewarded, and predicting the mean
    scores high; with the mean of the *perturbed* profiles as the reference it does not.

    Parameters
    ----------
    predicted, observed
        (perturbations, genes) mean profiles.
    reference
        (genes,) or (perturbations, genes): what both are differences from.
    predicted_reference
        What the prediction is a difference from, where it is another: the other half of the controls (see
        `control_halves`). One pool on both sides is noise that both share, and alone gives r = 0.5.

    Returns
    -------
    numpy.ndarray
        (perturbations,) in [−1, 1]; NaN where a change has no variance over genes.

    References
    ----------
    Viñas Torné et al.: Systema: a framework for evaluating genetic perturbation response prediction beyond
    systematic variation. Nat. Biotechnol. (2025).
    """
    a, b = _pair(predicted, observed)
    found, change = np.full(len(a), np.nan), []
    for profile, base in ((a, reference if predicted_reference is None else predicted_reference), (b, reference)):
        delta = profile - base
        delta = delta - delta.mean(axis=1, keepdims=True)
        length = np.linalg.norm(delta, axis=1)
        # What is left of two equal profiles is rounding, and its correlation means nothing.
        flat = length <= TOLERANCE * np.sqrt(delta.shape[1]) * np.abs(profile).max(axis=1)
        change.append((delta, length, flat))
    (one, length_one, flat_one), (other, length_other, flat_other) = change
    product = np.einsum("ij,ij->i", one, other)
    return np.divide(product, length_one * length_other, out=found, where=~(flat_one | flat_other))


def centroid_accuracy(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return, per perturbation, the share of the others whose observed profile is farther from its prediction.

    Euclidean distance, ties one half.

    Parameters
    ----------
    predicted, observed
        (perturbations, genes) profiles or effects.

    Returns
    -------
    numpy.ndarray
        (perturbations,) in [0, 1], chance 0.5; NaN with one perturbation.

    References
    ----------
    Viñas Torné et al.: Systema. Nat. Biotechnol. (2025).
    """
    a, b = _pair(predicted, observed)
    if len(a) < 2:
        return np.full(len(a), np.nan)
    return 1.0 - _closer(a, b, "l2", np.full(len(a), -1)) / (len(a) - 1)


def discrimination_score(
    predicted: np.ndarray, observed: np.ndarray, metric: Distance = "l1", target_index: np.ndarray | None = None
) -> np.ndarray:
    """Return the perturbation discrimination score of each perturbation: 1 − (observed effects closer) / P.

    How many of the P observed effects are closer to a prediction than its own, ties one half. Under ℓ1 and ℓ2 it
    changes when predictions are multiplied by a number (`rescaling_curve`); under cosine it does not.

    Parameters
    ----------
    predicted, observed
        (P, genes) signed effects.
    metric
        ``l1``, ``l2`` or ``cosine``; an effect of length zero has no direction and ties with every other.
    target_index
        (P,) the column of the perturbed gene; −1 for none. Whenever two observed effects are compared, the target
        genes of both are left out. (Without its own alone, every *other* effect still carries the mark of its target,
        and predicting no change at all finds the right one.)

    Returns
    -------
    numpy.ndarray
        (P,) in [1/P, 1]; chance (P + 1) / 2P, which is also what one prediction for all gives on average.

    Raises
    ------
    MmcellError
        An unknown metric; effects of different shapes; `target_index` is not one column of the genes, or −1, per
        perturbation.

    References
    ----------
    Wu et al.: PerturBench. arXiv:2408.10609 (2024).
    """
    a, b = _pair(predicted, observed)
    if metric not in DISTANCES:
        raise MmcellError(f"discrimination_score: metric {metric!r} is not one of {', '.join(DISTANCES)}")
    target = np.full(len(a), -1) if target_index is None else np.asarray(target_index)
    if target.shape != (len(a),) or target.min() < -1 or target.max() >= a.shape[1]:
        raise MmcellError(
            f"discrimination_score: target_index needs one column of the {a.shape[1]} genes, or -1, per perturbation"
        )
    return 1.0 - _closer(a, b, metric, target) / len(a)


def _closer(predicted: np.ndarray, observed: np.ndarray, metric: Distance, target: np.ndarray) -> np.ndarray:
    """Return how many observed rows are closer to each prediction than its own, ties one half."""
    found = np.empty(len(predicted))
    step = max(1, _BLOCK // len(predicted))
    for start in range(0, len(predicted), step):
        rows = np.arange(start, min(len(predicted), start + step))
        other, own, size = _distances(predicted, observed, metric, rows, target)
        # What has no direction cannot be compared, and ties.
        gap = np.nan_to_num(other - own, nan=0.0)
        # Every row ties with itself, which is no other perturbation.
        found[rows] = (gap < -size).sum(axis=1) + 0.5 * ((np.abs(gap) <= size).sum(axis=1) - 1)
    return found


def _distances(
    predicted: np.ndarray, observed: np.ndarray, metric: Distance, rows: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Return distances to the other and to the own effect, without the target genes of both, and what is rounding.

    All three broadcast to (rows, P). Sums over all genes are taken first, and the two genes' shares taken off.
    """
    one = predicted[rows]

    def taken(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Sum over both target genes of a term of prediction and observed: with the other's effect, with the own."""
        mine, theirs = target[rows], target
        there, also = mine >= 0, (theirs >= 0) & (theirs != mine[:, None])
        own_at_mine, own_at_theirs = one[np.arange(len(rows)), mine][:, None], one[:, theirs]
        seen_at_mine, seen_at_theirs = observed[:, mine].T, observed[np.arange(len(observed)), theirs][None]
        right_at_mine, right_at_theirs = observed[rows, mine][:, None], observed[rows][:, theirs]
        other = there[:, None] * of(own_at_mine, seen_at_mine) + also * of(own_at_theirs, seen_at_theirs)
        own = there[:, None] * of(own_at_mine, right_at_mine) + also * of(own_at_theirs, right_at_theirs)
        return other, own

    if metric != "cosine":
        full = cdist(one, observed, "cityblock" if metric == "l1" else "sqeuclidean")
        other, own = taken(lambda x, y: np.abs(x - y) if metric == "l1" else (x - y) ** 2)
        return full - other, full[np.arange(len(rows)), rows][:, None] - own, TOLERANCE * full.max(axis=1)[:, None]
    product = one @ observed.T
    square, squares = np.einsum("ij,ij->i", one, one)[:, None], np.einsum("ij,ij->i", observed, observed)
    dot, dot_own = taken(lambda x, y: x * y)
    length = _left(square, taken(lambda x, y: x**2 + 0 * y)[0])
    theirs, mine = taken(lambda x, y: y**2 + 0 * x)
    other = -(product - dot) / (length * _left(squares, theirs))
    own = -(product[np.arange(len(rows)), rows][:, None] - dot_own) / (length * _left(squares[rows][:, None], mine))
    return other, own, TOLERANCE


def _left(square: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the length of what is left of a vector, NaN where it is nothing."""
    rest = square - taken
    return np.sqrt(np.where(rest > TOLERANCE * square, rest, np.nan))


@dataclass(frozen=True, eq=False)
class RescalingCurve:
    """A score of the same prediction times each factor.

    Attributes
    ----------
    factors, values
        (k,) the factors, and the mean score under each.
    moves
        Whether the values differ: the score can then be had by scaling, and may not headline.
    """

    factors: np.ndarray
    values: np.ndarray
    moves: bool


def rescaling_curve(
    predicted: np.ndarray,
    observed: np.ndarray,
    metric_fn: Callable[[np.ndarray, np.ndarray], np.ndarray | float],
    factors: Sequence[float] = FACTORS,
) -> RescalingCurve:
    """Return what a score does when nothing but the scale of a prediction changes.

    Parameters
    ----------
    predicted, observed
        (perturbations, genes) signed effects.
    metric_fn
        (predicted, observed) -> a score, or one per perturbation.
    factors
        Positive numbers.

    Raises
    ------
    MmcellError
        A factor is not positive.
    """
    scale = np.asarray(factors, dtype=float)
    if not len(scale) or not (scale > 0).all():
        raise MmcellError("rescaling_curve: factors must be positive numbers; the usual ones go from 0.1 to 10")
    values = np.array([np.mean(metric_fn(predicted * factor, observed)) for factor in scale])
    known = np.isfinite(values)
    moves = bool(known.any() and (not known.all() or np.ptp(values) > 1e-9 * max(1.0, float(np.abs(values).max()))))
    return RescalingCurve(scale, values, moves)


def control_halves(ids: Sequence[object] | pd.Index, rng: np.random.Generator) -> tuple[pd.Index, pd.Index]:
    """Return two disjoint random halves of the controls: one for the truth, the other for what is compared with it.

    Perturbations that share a pool of controls still share its noise, in both halves; an interval is right only when
    the things that are resampled (plates, donors) have their own controls.

    Parameters
    ----------
    ids
        Unique ids of control cells; with an odd number the second half has one more.
    rng
        Of the draw.

    Raises
    ------
    MmcellError
        Fewer than two ids, or one that occurs twice.
    """
    index = pd.Index(ids)
    if index.has_duplicates:
        raise MmcellError(
            f"control_halves: {first(index[index.duplicated()].unique())} occurs twice and could be in both halves; "
            "give each control once"
        )
    if len(index) < 2:
        raise MmcellError(f"control_halves: {len(index)} controls cannot be halved; give at least two")
    order = rng.permutation(len(index))
    half = len(index) // 2
    return index[np.sort(order[:half])], index[np.sort(order[half:])]


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return 2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ with Euclidean distances (not squared ones).

    Squared distances would leave no more than the difference of the means. Unbiased: a cell is not compared with
    itself, so that two samples of one population give 0 on average, and sometimes less.

    Parameters
    ----------
    x, y
        (n, d) and (m, d) cells.

    Returns
    -------
    float
        NaN with fewer than two cells on a side.

    Raises
    ------
    MmcellError
        The cells are not in one space.

    References
    ----------
    Székely, Rizzo: Energy statistics. J. Stat. Plan. Inference 143, 1249–1272 (2013).
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise MmcellError(f"energy_distance: the shapes {a.shape} and {b.shape} do not fit; give cells in one space")
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        return float("nan")
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    return 2 * _summed(a, b) / (n * m) - _summed(a, a) / (n * (n - 1)) - _summed(b, b) / (m * (m - 1))


def _summed(x: np.ndarray, y: np.ndarray) -> float:
    step = max(1, _BLOCK // len(y))
    parts = (x[start : start + step] for start in range(0, len(x), step))
    if x.shape[1] < _WIDE:
        return float(sum(cdist(part, y).sum() for part in parts))
    # Of many genes by one matrix product, centred so that little is lost in the difference.
    squares, total = np.einsum("ij,ij->i", y, y), 0.0
    for part in parts:
        square = np.einsum("ij,ij->i", part, part)[:, None] + squares - 2 * part @ y.T
        size = TOLERANCE * (1.0 + squares.max())
        total += float(np.sqrt(np.where(square > size, square, 0.0)).sum())
    return total


def de_overlap(predicted: np.ndarray, observed: np.ndarray, n: int) -> np.ndarray:
    """Return the share of the `n` genes with the largest observed effects that are among the `n` largest predicted.

    Largest by absolute value; tied genes share the places in random order, in expectation.

    Parameters
    ----------
    predicted, observed
        (perturbations, genes) signed effects.
    n
        From 1 to the number of genes.

    Returns
    -------
    numpy.ndarray
        (perturbations,) in [0, 1]; chance n / genes.

    Raises
    ------
    MmcellError
        `n` is not between 1 and the number of genes.
    """
    a, b = _pair(predicted, observed)
    if not 1 <= n <= a.shape[1]:
        raise MmcellError(f"de_overlap: n is {n}; it must lie between 1 and the {a.shape[1]} genes")
    return np.asarray((_among(a, n) * _among(b, n)).sum(axis=1) / n)


def de_direction(predicted: np.ndarray, observed: np.ndarray, significant: np.ndarray) -> np.ndarray:
    """Return the share of the significant genes that are predicted to change in the right direction.

    A predicted effect of 0 points nowhere and counts one half. (cell-eval's ``de_direction_match`` counts it as wrong,
    and reads directions off fold changes of its own; for predictions without zeros and equal signs the two are equal.)

    Parameters
    ----------
    predicted, observed
        (perturbations, genes) signed effects.
    significant
        (perturbations, genes) which genes count.

    Returns
    -------
    numpy.ndarray
        (perturbations,) in [0, 1], chance 0.5; NaN where no gene is significant.

    Raises
    ------
    MmcellError
        `significant` does not have the shape of the effects.
    """
    a, b = _pair(predicted, observed)
    counts = np.asarray(significant, dtype=bool)
    if counts.shape != a.shape:
        raise MmcellError(f"de_direction: significant {counts.shape} needs the shape of the effects, {a.shape}")
    right = (1.0 + np.sign(a) * np.sign(b)) / 2
    n = counts.sum(axis=1)
    return np.divide((right * counts).sum(axis=1), n, out=np.full(len(a), np.nan), where=n > 0)


def _among(effects: np.ndarray, n: int) -> np.ndarray:
    """Return the probability that each gene is among the `n` largest of its row, ties in random order."""
    size = np.abs(effects)
    least = np.partition(size, size.shape[1] - n, axis=1)[:, size.shape[1] - n][:, None]
    above, tied = size > least, size == least
    left = n - above.sum(axis=1, keepdims=True)
    return np.asarray(above + tied * (left / tied.sum(axis=1, keepdims=True)))


def _pair(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise MmcellError(f"predicted {a.shape} and observed {b.shape}: give (perturbations, genes) of one shape")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise MmcellError("predicted or observed: NaN or infinite values; leave such perturbations or genes out")
    return a, b
