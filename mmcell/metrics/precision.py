"""Average precision of lists with several correct items: ties in expectation, chance in closed form, p and FDR."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import digamma

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of, plain, ratio

__all__ = ["FDR", "LAYOUT_AP", "NORMALISED_AP", "RETRIEVED_SHARE", "chance_precision", "normalised", "precision_p"]

#: Expected share of false ones among what `RETRIEVED_SHARE` counts.
FDR = 0.05
#: Random lists behind a p, those drawn at once, and by how much two precisions differ at least.
_LISTS, _AT_ONCE, _EQUAL = 10_000, 1000, 1e-12


def chance_precision(n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return the expected average precision of a random order of each gallery, exactly.

    (1/M)·[H_M + (P − 1)(M − H_M)/(M − 1)], where P of M items are correct and H_M = 1 + 1/2 + … + 1/M.

    Raises
    ------
    MmcellError
        A gallery without a correct item.
    """
    p, m = (np.atleast_1d(np.asarray(a)).astype(np.int64) for a in (n_correct, n_gallery))
    if (p < 1).any() or (p > m).any():
        raise MmcellError("chance_precision: every gallery needs at least one correct item, and no more than it has")
    harmonic = digamma(m + 1.0) + np.euler_gamma
    return (harmonic + (p - 1) * (m - harmonic) / np.maximum(m - 1, 1)) / m


def normalised(precision: np.ndarray, n_correct: np.ndarray, n_gallery: np.ndarray) -> np.ndarray:
    """Return (AP − chance)/(1 − chance): 1 where all correct items stand first, 0 for a random order in expectation."""
    chance = chance_precision(n_correct, n_gallery)
    return (np.asarray(precision, dtype=np.float64) - chance) / (1.0 - chance)


def precision_p(precision: np.ndarray, n_correct: np.ndarray, n_gallery: np.ndarray, group: np.ndarray) -> pd.DataFrame:
    """Return how often random lists are as good as those of a group of queries (replicates of one perturbation).

    The statistic of a group is its mean average precision, its null the same of random lists of the same sizes,
    p = (#null ≥ observed + 1)/(10,000 + 1). Lists of one group do not vary on their own: where one replicate finds the
    other first, the other mostly finds it, too. So the null lets them be good together, list by list in order of their
    precision: independent lists would make the p of two profiles that find each other the square of what it is.

    Parameters
    ----------
    precision, n_correct, n_gallery
        (n,) of every query.
    group
        (n,) which queries belong together.

    Returns
    -------
    pandas.DataFrame
        One row a group, by its name: ``n_queries``, ``precision`` (mean), ``normalised_ap`` (mean) and ``p``.

    Raises
    ------
    MmcellError
        A gallery without a correct item.

    References
    ----------
    Kalinin et al.: A versatile information retrieval framework for evaluating profile strength and similarity.
    Nat Commun 16, 5181 (2025).
    """
    p, m = (np.asarray(a).astype(np.int64) for a in (n_correct, n_gallery))
    of, names = pd.factorize(np.asarray(group), sort=True)
    sizes, code = np.unique(np.stack([p, m], axis=1), axis=0, return_inverse=True)
    made = np.zeros((len(names), len(sizes)), dtype=np.int64)
    np.add.at(made, (of, code.ravel()), 1)
    n_queries = made.sum(axis=1)
    found, beyond = (np.bincount(of, v, len(names)) / n_queries for v in (precision, normalised(precision, p, m)))
    # Groups of the same make-up share their null.
    parts, back = np.unique(made, axis=0, return_inverse=True)
    chance = np.empty(len(names))
    for i, counts in enumerate(parts):
        there, rows = np.flatnonzero(counts), back.ravel() == i
        null = np.average([_random_lists(*map(int, sizes[s])) for s in there], axis=0, weights=counts[there])
        above = len(null) - np.searchsorted(null, found[rows] - _EQUAL)
        chance[rows] = (above + 1) / (len(null) + 1)
    columns = {"n_queries": n_queries, "precision": found, "normalised_ap": beyond, "p": chance}
    return pd.DataFrame(columns, index=pd.Index(names))


@lru_cache(maxsize=512)
def _random_lists(n_correct: int, n_gallery: int) -> np.ndarray:
    """Return the average precision of random orders, rising; always the same ones for the same sizes."""
    rng, found = np.random.default_rng([n_correct, n_gallery]), []
    for _ in range(_LISTS // _AT_ONCE):
        if n_correct == 1:
            place = rng.integers(n_gallery, size=(_AT_ONCE, 1))
        else:
            place = np.argpartition(rng.random((_AT_ONCE, n_gallery)), n_correct - 1, axis=1)[:, :n_correct]
        found.append((np.arange(1, n_correct + 1) / (np.sort(place, axis=1) + 1)).mean(axis=1))
    return np.sort(np.concatenate(found))


def _per_item(items: Items) -> np.ndarray:
    return normalised(*(items.column(c) for c in ("precision", "n_correct", "n_gallery")))


_fn, _fast = mean_of(_per_item)
_KALININ = "Kalinin et al., Nat Commun 16, 5181 (2025)"
NORMALISED_AP = Metric(
    "normalised_ap", _fn, True, 0.0, (-1, 1), _fast, ("retrieval",), needs=("precision",),
    about="average precision over all partners, rescaled so that a random order is 0 and a perfect one 1",
    source=_KALININ,
)  # fmt: skip
#: The same of control wells that seek those of their own position on other plates: what of replicates is the layout.
LAYOUT_AP = replace(
    NORMALISED_AP, name="layout_ap", higher_is_better=False, target="position",
    undefined="no control has a unit of its own, such as its position, on two plates",
    about="a leak: average precision of control wells that seek their own position on other plates",
)  # fmt: skip


def _retrieved(items: Items, weights: np.ndarray) -> np.ndarray:
    # Each group counts once, whatever the number of its queries.
    one = 1.0 / items.column("n_queries")
    hit = one * (items.column("q") <= FDR)
    top, bottom = (np.bincount(items.codes, v, len(items.units)) for v in (hit, one))
    return ratio(weights @ top, weights @ bottom)


#: Of the groups of a task (perturbations, targets), tested fold by fold. A perturbation that does nothing is no fault
#: of an embedding, so that 1 is no aim.
RETRIEVED_SHARE = Metric(
    "retrieved_share", plain(_retrieved), bounds=(0, 1), resampled=_retrieved, kinds=("retrieval",),
    needs=("q", "n_queries"),
    about="share of perturbations or targets that are retrieved at a false discovery rate of 5 %", source=_KALININ,
)  # fmt: skip
