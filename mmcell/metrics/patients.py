"""Scores of a distance between samples: replicate robustness and ANOSIM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from mmcell.errors import MmcellError


def replicate_robustness(distance: np.ndarray, patient: np.ndarray, group: np.ndarray | None = None) -> float:
    """Return how rarely another patient's sample is closer to a sample than a replicate of the same patient is.

    For samples i and j of one patient, RS = 1 − (#{k: d(i, k) < d(i, j)} + ½ ties) / N, where k runs over the samples
    of other patients in the group of i. Averaged over the pairs of a patient, then over patients. Samples of one
    patient at different times are no replicates.

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
    float
        In [0, 1], chance 0.5; NaN where no patient has two samples and others to be told from.

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
    return float(np.mean([np.mean(found) for found in scores.values()])) if scores else float("nan")


@dataclass(frozen=True)
class Anosim:
    """R in [−1, 1] (0 = no grouping) and its permutation p; both NaN where R is undefined."""

    r: float
    p_value: float


def anosim(distance: np.ndarray, labels: np.ndarray, n_permutations: int, rng: np.random.Generator) -> Anosim:
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
    one, other = np.triu_indices(n, 1)
    rank = rankdata(d[one, other])
    _, code = np.unique(classes, return_inverse=True)

    def statistic(labelling: np.ndarray) -> float:
        within = labelling[one] == labelling[other]
        return float((rank[~within].mean() - rank[within].mean()) / (n * (n - 1) / 4))

    inside = int((code[one] == code[other]).sum())
    if inside in (0, len(one)):
        return Anosim(float("nan"), float("nan"))
    observed = statistic(code)
    # Sums of one set of ranks in another order differ by rounding, which must not decide a tie.
    reached = sum(statistic(rng.permutation(code)) >= observed - 1e-12 for _ in range(n_permutations))
    return Anosim(observed, (reached + 1) / (n_permutations + 1))


def _checked(distance: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    d, names = np.asarray(distance, dtype=np.float64), np.asarray(labels)
    if d.ndim != 2 or d.shape[0] != d.shape[1]:
        raise MmcellError(f"distance: the shape {d.shape} is not square; give one row and one column per sample")
    if names.shape != (len(d),):
        raise MmcellError(f"{what}: {len(names)} values for {len(d)} samples; give one per row of the distances")
    if not np.isfinite(d).all():
        raise MmcellError("distance: it holds NaN or infinite values; leave such samples out")
    return d, names
