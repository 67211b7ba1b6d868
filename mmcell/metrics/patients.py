"""Scores of a distance between samples: replicate robustness and ANOSIM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mmcell.errors import MmcellError
from mmcell.stats.permutation import permuted_within


def replicate_robustness(distance: np.ndarray, patient: np.ndarray, group: np.ndarray | None = None) -> float:
    """Return how rarely another patient's sample is closer to a sample than a replicate of the same patient is.

    The mean of `robustness_of_patients`.

    Returns
    -------
    float
        In [0, 1], chance 0.5; NaN where no patient has two samples and others to be told from.
    """
    found = robustness_of_patients(distance, patient, group)
    return float(found.mean()) if len(found) else float("nan")


def robustness_of_patients(distance: np.ndarray, patient: np.ndarray, group: np.ndarray | None = None) -> pd.Series:
    """Return, for every patient, how rarely another patient's sample is closer than a sample of their own.

    For samples i and j of one patient, RS = 1 − (#{k: d(i, k) < d(i, j)} + ½ ties) / N, where k runs over the samples
    of other patients in the group of i; averaged over the pairs of a patient. Samples of one patient at different
    times are no replicates, and the number then says how steady the patient is.

    Parameters
    ----------
    distance
        (n, n) distances between samples.
    patient
        (n,) whose sample it is.
    group
        (n,) class and batch, so that a patient is told from those that are like them; none: all samples are compared.

    Returns
    -------
    pandas.Series
        Patient -> RS in [0, 1], chance 0.5; only patients with two samples and others to be told from.

    Raises
    ------
    MmcellError
        The distances are not square, or do not fit the samples.
    """
    d, owner = _checked(distance, patient, "patient")
    groups = np.zeros(len(d)) if group is None else _checked(distance, group, "group")[1]
    scores: dict[object, list[float]] = {}
    for i in range(len(d)):
        others = d[i, (owner != owner[i]) & (groups == groups[i])]
        own = d[i, (owner == owner[i]) & (np.arange(len(d)) != i)]
        if len(others) and len(own):
            closer = (others < own[:, None]).mean(axis=1) + 0.5 * (others == own[:, None]).mean(axis=1)
            scores.setdefault(owner[i], []).extend(1.0 - closer)
    return pd.Series({name: float(np.mean(found)) for name, found in scores.items()}, dtype=float)


@dataclass(frozen=True)
class Anosim:
    """R in [−1, 1] (0 = no grouping) and its permutation p; both NaN where R is undefined, p where nothing can move."""

    r: float
    p_value: float


def anosim(
    distance: np.ndarray, labels: np.ndarray, n_permutations: int, rng: np.random.Generator,
    strata: np.ndarray | None = None,
) -> Anosim:  # fmt: skip
    """Return ANOSIM's R = (mean rank between − mean rank within) / (n (n − 1) / 4), and its p.

    Tied distances share their mean rank, so that a collapsed embedding has R = 0.

    Parameters
    ----------
    distance
        (n, n) symmetric distances; one row per independent unit, for the labels of rows are what is permuted.
    labels
        (n,) classes.
    n_permutations
        Draws of the null; p = (#{null ≥ R} + 1) / (draws + 1).
    rng
        Of the permutations.
    strata
        (n,) within which labels are exchangeable (a batch); none: among all.

    Raises
    ------
    MmcellError
        The distances are not square, or do not fit the labels.

    References
    ----------
    Clarke: Non-parametric multivariate analyses of changes in community structure. Aust. J. Ecol. 18, 117–143 (1993).
    """
    d, classes = _checked(distance, labels, "labels")
    n = len(d)
    groups = np.zeros(n, dtype=np.int64)
    if strata is not None:
        groups = pd.factorize(_checked(distance, strata, "strata")[1].astype(str))[0]
    one, other = np.triu_indices(n, 1)
    rank = np.zeros((n, n))
    # Twice the midrank: whole numbers, so that sums are exact and ties are ties.
    rank[one, other] = rank[other, one] = 2.0 * rankdata(d[one, other])
    _, code = np.unique(classes, return_inverse=True)
    size = np.bincount(code)
    n_within = int((size * (size - 1) // 2).sum())
    n_between = len(one) - n_within
    if not n_within or not n_between:
        return Anosim(float("nan"), float("nan"))
    # Where every stratum is of one class there is nothing to permute: R stands, and has no p.
    still = len(np.unique(np.column_stack([groups, code]), axis=0)) == len(np.unique(groups))
    drawn = np.column_stack([code, *(code[permuted_within(groups, rng)] for _ in range(n_permutations))])
    # Of every draw the sum of ranks within classes, each pair twice.
    within = sum(((rank @ (member := (drawn == c).astype(float))) * member).sum(axis=0) for c in range(len(size)))
    within = np.asarray(within) / 4.0
    total = rank.sum() / 4.0
    r = ((total - within) / n_between - within / n_within) / (n * (n - 1) / 4)
    reached = int((within[1:] <= within[0]).sum())
    return Anosim(float(r[0]), float("nan") if still else (reached + 1) / (n_permutations + 1))


def _checked(distance: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    d, names = np.asarray(distance, dtype=np.float64), np.asarray(labels)
    if d.ndim != 2 or d.shape[0] != d.shape[1]:
        raise MmcellError(f"distance: the shape {d.shape} is not square; give one row and one column per sample")
    if names.shape != (len(d),):
        raise MmcellError(f"{what}: {len(names)} values for {len(d)} samples; give one per row of the distances")
    if not np.isfinite(d).all():
        raise MmcellError("distance: it holds NaN or infinite values; leave such samples out")
    return d, names
