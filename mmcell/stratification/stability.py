"""`stability`: whether patients fall into groups at all, more than one cluster of like shape would, and how many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from mmcell.stratification.consensus import subsets
from mmcell.stratification.kmeans import assign, kmeans

_STARTS, _BEST = 2, 8
#: A group is no group with fewer patients than this, or a smaller share of them.
LEAST, LEAST_SHARE = 5, 0.05
ALPHA = 0.05
#: What the test has missed in simulations; see the notes of `stability`.
MISSED = (
    "with 100 patients two halves 3 standard deviations apart were found in 3 of 10 simulated cohorts, and a group of "
    "15 % of the patients 5 apart in 6 of 10"
)
COLUMNS = (
    "k", "stability", "null_stability", "null_low", "null_high", "within", "null_within", "smallest", "z",
    "z_within", "p", "reason",
)  # fmt: skip
#: A share of the variance that is rounding.
_NOTHING = 1e-12
#: Bounds of skewness, log tail weight (never lighter than a Gaussian's), place and log scale.
_BOUNDS = ((-3.0, 3.0), (-1.5, 0.0), (-4.0, 4.0), (-3.0, 2.0))


@dataclass(frozen=True, eq=False)
class Stability:
    """What each number of groups is worth beside one cluster.

    Attributes
    ----------
    table
        A row per k: ``stability`` (mean ARI of two resampled rules on all patients), its mean and 95 % range in one
        cluster, ``within`` (share of the variance that is left within groups) and its mean in one cluster, patients of
        the ``smallest`` group, ``z`` and ``z_within`` (both in standard deviations of one cluster), ``p`` adjusted
        over all k, and the ``reason`` where a k does not count.
    p
        The smallest one.
    k
        Of those with p ≤ 0.05 the one whose rules agree best beside one cluster (largest ``z``); 1 where there is none.
    """

    table: pd.DataFrame
    p: float
    k: int


def stability(
    x: np.ndarray, ks: tuple[int, ...], *, runs: int = 20, n_null: int = 99, rng: np.random.Generator
) -> Stability:
    """Compare patients with one cluster of the same covariance, skewness and tails.

    Two things are asked of every k: whether rules that are learnt on different patients agree (mean adjusted Rand index
    over pairs of k-means rules, each fitted on 80 % of the rows and applied to all, taken as −log(1 − ARI)), and
    whether the groups are compact (−log of the share of the variance within the groups of k-means on all rows). Both
    are standardised over the data and `n_null` draws of one cluster and added; p is the share of draws whose largest
    sum over k is as large. (The larger of the two instead finds half as many pairs of groups that are near: one
    elongated cluster is cut stably, too, so that the tail of agreement alone is long.) A k whose smallest group has
    fewer than 5 rows or 5 % of them does not count, in the data as in the draws.

    One cluster is drawn axis by axis from sinh-arcsinh distributions, which are unimodal, fitted by likelihood with
    tails at least as heavy as a Gaussian's, and brought to the variance of that axis. The Gaussian null of M3C knows
    neither skewness nor tails.

    Parameters
    ----------
    x
        (n, d) rows on their principal axes.
    ks
        Numbers of groups.
    runs, n_null, rng
        Rules of each k, draws of one cluster, and their generator.

    Notes
    -----
    Groups found in 40 data sets of 100 patients on 10 axes (39 draws, so that one in 20 is the rate). One cluster:
    isotropic Gaussian and multivariate t with 3 degrees of freedom, none; correlated Gaussian, 5 %; log-ratios of
    Dirichlet compositions with a floor, 10 %: rare types at a limit make two kinds of patients to any such test. Two
    halves 3 and 4 standard deviations apart in one direction: 28 and 95 %; 15 % of the patients 5 apart: 60 %; three
    thirds 4 apart: 100 %. So a small or a close group may well be missed, and a bent continuum may be taken for groups.

    References
    ----------
    John et al.: M3C: Monte Carlo reference-based consensus clustering. Sci Rep 10, 1816 (2020).
    Liu et al.: Statistical significance of clustering for high-dimension, low-sample size data. JASA 103 (2008).
    Jones, Pewsey: Sinh-arcsinh distributions. Biometrika 96, 761–780 (2009).
    """
    least = max(LEAST, int(np.ceil(LEAST_SHARE * len(x))))
    shapes = [_fitted(column) for column in x.T]
    every = [[_measured(x, k, runs, rng) for k in ks]]
    for _ in range(n_null):
        one = np.stack([_drawn(shape, len(x), rng) for shape in shapes], axis=1)
        one = (one - one.mean(axis=0)) / one.std(axis=0) * x.std(axis=0)
        every.append([_measured(one, k, runs, rng) for k in ks])
    found = np.array(every)
    agree, within, smallest = found[:, :, 0], found[:, :, 1], found[:, :, 2]
    resolution = 0.2 / len(x)
    # Where rows have few different values nothing may be left within groups.
    agreement, compactness = -np.log(1.0 - agree + resolution), -np.log(within + _NOTHING)
    counts = smallest >= least
    # Data and draws alike are measured by the spread of all of them, so that p is exact; the data alone, to choose
    # among k, by that of the draws, where nothing keeps the largest distance small.
    both = _standardised(agreement, agreement) + _standardised(compactness, compactness)
    every_z = np.where(counts, both, -np.inf)
    p = np.where(counts[0], (every_z.max(axis=1)[:, None] >= every_z[0]).mean(axis=0), np.nan)
    z, z_within = (_standardised(values, values[1:])[0] for values in (agreement, compactness))
    low, high = np.quantile(agree[1:], [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "k": ks, "stability": agree[0], "null_stability": agree[1:].mean(axis=0), "null_low": low,
            "null_high": high, "within": within[0], "null_within": within[1:].mean(axis=0),
            "smallest": smallest[0].astype(int), "z": z, "z_within": z_within, "p": p,
            "reason": np.where(counts[0], "", f"its smallest group has fewer than {least} patients"),
        }
    )  # fmt: skip
    table = table[list(COLUMNS)]
    if not counts[0].any():
        return Stability(table, 1.0, 1)
    least_p, good = float(np.nanmin(p)), np.nan_to_num(p, nan=1.0) <= ALPHA
    return Stability(table, least_p, ks[int(np.where(good, z, -np.inf).argmax())] if good.any() else 1)


def pairwise_ari(label: np.ndarray, k: int) -> np.ndarray:
    """Return the adjusted Rand index of every two of (runs, n) labellings with groups 0 … k − 1."""
    runs, n = label.shape
    member = (label[:, None, :] == np.arange(k)[None, :, None]).reshape(runs * k, n).astype(np.float32)
    table = (member @ member.T).astype(np.float64).reshape(runs, k, runs, k)
    both = (table * (table - 1) / 2).sum(axis=(1, 3))
    sizes = np.einsum("iaia->ia", table)
    own = (sizes * (sizes - 1) / 2).sum(axis=1)
    expected = own[:, None] * own[None, :] / (n * (n - 1) / 2)
    room = (own[:, None] + own[None, :]) / 2 - expected
    i, j = np.triu_indices(runs, 1)
    gain, room = (both - expected)[i, j], room[i, j]
    # Two labellings with one group each agree.
    return np.divide(gain, room, out=np.ones(len(room)), where=room > 0)


def _measured(x: np.ndarray, k: int, runs: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return mean ARI, share of the variance within groups, and size of the smallest group."""
    label = assign(x, kmeans(x, subsets(len(x), runs, rng), k, _STARTS, rng))
    centres = kmeans(x, np.arange(len(x))[None], k, _BEST, rng)
    own = assign(x, centres)[0]
    within = ((x - centres[0][own]) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    return float(pairwise_ari(label, k).mean()), float(within), float(np.bincount(own, minlength=k).min())


def _standardised(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return (draws, k) values in mean and standard deviation of others over draws; 0 where these do not vary."""
    mean, spread = by.mean(axis=0, keepdims=True), by.std(axis=0, keepdims=True)
    found: np.ndarray = np.divide(values - mean, spread, out=np.zeros_like(values), where=spread > 0)
    return found


def _fitted(column: np.ndarray) -> np.ndarray:
    """Return (skewness, log tail weight, place, log scale) of the likeliest sinh-arcsinh distribution."""
    y = (column - column.mean()) / column.std()

    def loss(shape: np.ndarray) -> float:
        z = (y - shape[2]) / np.exp(shape[3])
        t = np.exp(shape[1]) * np.arcsinh(z) - shape[0]
        # Of the standard normal sinh(t), by dz.
        return float(-(shape[1] - shape[3] + np.logaddexp(t, -t) - np.log1p(z**2) / 2 - np.sinh(t) ** 2 / 2).sum())

    found: np.ndarray = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=_BOUNDS).x
    return found


def _drawn(shape: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) draws, up to place and scale."""
    drawn: np.ndarray = np.sinh((np.arcsinh(rng.standard_normal(n)) + shape[0]) / np.exp(shape[1]))
    return drawn
