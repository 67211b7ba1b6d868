"""Retrieval: recall@k and its enrichment, MRR, average precision, percentile and FOSCTTM, from the ranks of queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric, checked, mean_of, plain, ratio, weighted_mean
from mmcell.metrics.matching import foscttm
from mmcell.metrics.ranks import Ranks, chance_recall, ranks, ranks_within, recall_at, reciprocal_rank
from mmcell.metrics.similarity import TOLERANCE, Similarity

__all__ = [
    "ENRICHMENT_1", "ENRICHMENT_5", "ENRICHMENT_10", "FOSCTTM", "MEDIAN_RANK", "MRR", "PERCENTILE", "RECALL_1",
    "RECALL_5", "RECALL_10", "TOLERANCE", "Ranks", "average_precision", "chance_recall", "enrichment_resampled",
    "foscttm", "median_rank_resampled", "mrr_resampled", "percentile_resampled", "ranks", "ranks_within", "recall_at",
    "recall_resampled", "reciprocal_rank",
]  # fmt: skip

#: Draws whose cumulated weights are held at once.
_DRAWS = 64


def average_precision(
    query: np.ndarray,
    gallery: np.ndarray,
    correct: np.ndarray | Sequence[np.ndarray],
    *,
    similarity: Similarity = "cosine",
) -> np.ndarray:
    """Return the average precision (n,) of every query, (1/P)·Σ i/(place of the i-th correct item).

    Tied items count in expectation over their orders. What a random order would give is
    `mmcell.metrics.precision.chance_precision`.

    Parameters
    ----------
    query, gallery, correct, similarity
        As in `ranks`.

    Raises
    ------
    MmcellError
        As in `ranks`.
    """
    return ranks(query, gallery, correct, similarity=similarity).precision


def recall_resampled(
    k: int, above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return recall@k (draws,) under each row of weights (draws, n queries); the counts are those of `Ranks`."""
    return weighted_mean(recall_at(k, above, tied, tied_correct), weights)


def mrr_resampled(above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean reciprocal rank (draws,) under each row of weights (draws, n queries)."""
    return weighted_mean(reciprocal_rank(above, tied, tied_correct), weights)


def percentile_resampled(percentile: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean percentile (draws,) of `Ranks` under each row of weights (draws, n queries).

    Raises
    ------
    MmcellError
        A query has no percentile, for every item of its gallery is correct.
    """
    return weighted_mean(checked("percentile", percentile=percentile)[0], weights)


def median_rank_resampled(percentile: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the median normalised rank (draws,) under each row of whole weights (draws, n queries).

    The normalised rank is 1 − percentile: 0 = first, 1 = last, ties at their middle; of an even number of queries the
    median is the mean of the two in the middle.

    Raises
    ------
    MmcellError
        A query has no percentile, for every item of its gallery is correct.
    """
    rank = 1.0 - checked("median_rank", percentile=percentile)[0]
    order = np.argsort(rank)
    rank, found = rank[order], np.full(len(weights), np.nan)
    for start in range(0, len(weights), _DRAWS):
        upto = np.cumsum(np.asarray(weights[start : start + _DRAWS], dtype=np.float64)[:, order], axis=1)
        drawn = upto[:, -1] > 0 if upto.shape[1] else np.zeros(len(upto), dtype=bool)
        upto, half = upto[drawn], upto[drawn][:, -1:] / 2
        low, high = (upto >= half).argmax(axis=1), (upto > half).argmax(axis=1)
        found[start : start + _DRAWS][drawn] = (rank[low] + rank[high]) / 2
    return found


_RANKS = ("above", "tied", "tied_correct")


def _recall(k: int) -> Metric:
    fn, fast = mean_of(lambda items: recall_at(k, *(items.column(c) for c in _RANKS)))
    return Metric(
        f"recall@{k}", fn, True, lambda i: float(chance_recall(k, i.column("n_correct"), i.column("n_gallery")).mean()),
        (0, 1), fast, ("retrieval",),
        about=f"share of the partners of a query that are among the first {k}; depends on the size of the gallery",
    )  # fmt: skip


def _mrr_chance(items: Items) -> float:
    pairs = items.frame.groupby(["n_correct", "n_gallery"]).size()
    p, m = (pairs.index.get_level_values(i).to_numpy() for i in range(2))
    return float(np.average(reciprocal_rank(np.zeros_like(p), m - p, p), weights=pairs.to_numpy()))


def _mean(column: str) -> Callable[[Items], np.ndarray]:
    return lambda items: items.column(column).astype(float)


def enrichment_resampled(
    k: int, above: np.ndarray, tied: np.ndarray, tied_correct: np.ndarray, n_correct: np.ndarray,
    n_gallery: np.ndarray, weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return recall@k over that of a random order (draws,), both means under each row of weights (draws, n queries)."""
    chance = weighted_mean(chance_recall(k, n_correct, n_gallery), weights)
    return ratio(recall_resampled(k, above, tied, tied_correct, weights), chance)


def _enrichment(k: int) -> Metric:
    def fast(items: Items, weights: np.ndarray) -> np.ndarray:
        # Sums by unit: the queries of a unit are drawn together.
        found = recall_at(k, *(items.column(c) for c in _RANKS))
        chance = chance_recall(k, items.column("n_correct"), items.column("n_gallery"))
        top, bottom = (np.bincount(items.codes, v, len(items.units)) for v in (found, chance))
        return ratio(weights @ top, weights @ bottom)

    about = f"recall@{k} over its chance; compare within one gallery only"
    return Metric(f"enrichment@{k}", plain(fast), True, 1.0, resampled=fast, kinds=("retrieval",), about=about)


RECALL_1, RECALL_5, RECALL_10 = _recall(1), _recall(5), _recall(10)
ENRICHMENT_1, ENRICHMENT_5, ENRICHMENT_10 = _enrichment(1), _enrichment(5), _enrichment(10)
_mrr_fn, _mrr_fast = mean_of(lambda items: reciprocal_rank(*(items.column(c) for c in _RANKS)))
MRR = Metric(
    "mrr", _mrr_fn, True, _mrr_chance, (0, 1), _mrr_fast, ("retrieval",),
    about="mean of 1 over the rank of the first partner",
)  # fmt: skip
_percentile_fn, _percentile_fast = mean_of(_mean("percentile"))


def _median_rank(items: Items, weights: np.ndarray) -> np.ndarray:
    return median_rank_resampled(items.column("percentile").astype(float), np.asarray(weights)[:, items.codes])


MEDIAN_RANK = Metric(
    "median_rank", plain(_median_rank), False, 0.5, (0, 1), _median_rank, ("retrieval",),
    about="median over queries of the share of the gallery that is ranked before the partner",
)  # fmt: skip


def _farther(items: Items, weights: np.ndarray) -> np.ndarray:
    several = np.bincount(items.codes, items.column("n_correct") != 1, len(items.units))
    one_to_one = np.asarray(weights) @ several == 0  # Of correct sets it is not defined.
    return np.where(one_to_one, 1.0 - _percentile_fast(items, weights), np.nan)


#: Of one direction, by the similarity that ranks; `mmcell.metrics.matching.foscttm` takes both, by distance. For tasks
#: whose partners are equal ids: of a group on one side with one member on the other, items do not show that it is one.
FOSCTTM = Metric(
    "foscttm", plain(_farther), False, 0.5, (0, 1), _farther, ("retrieval",),
    about="fraction of samples closer than the true match, one direction",
    source="Liu et al., WABI 2019",
)  # fmt: skip
PERCENTILE = Metric(
    "percentile", _percentile_fn, True, 0.5, (0, 1), _percentile_fast, ("retrieval",),
    about="share of the wrong items of the gallery that are ranked after the partner, ties half",
)  # fmt: skip
