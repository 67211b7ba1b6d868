"""Alignment of batches: how mixed they are, and what biology is kept. Two axes, never one total.

A number belongs to the graph of all held-out items of a fold (see `mmcell.standing`), whose items carry pseudo-values
of it: the metric is their mean, averaged over folds. Under a draw it is the number plus what the drawn donors add to
it, to first order, as the jackknife says; an interval may therefore reach a little beyond a bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric, Resampled, over_repeats, plain, ratio

#: Column that is 1 where a fold has a graph.
GRAPH = "graph"
#: Metric -> column of what it would be by chance.
BY_CHANCE = {"isolated_f1": "isolated_f1_by_chance", "sample_retrieval": "sample_retrieval_by_chance"}


def _of_graph(column: str) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path: the mean over folds of the mean pseudo-value.

    A fold of which nothing is asked (NaN) does not count; one that is asked and has no value (infinite) leaves none.
    """

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        drawn, n = np.asarray(weights, dtype=float), len(items.units)
        value, found, count = items.column(column).astype(float), [], []
        for _, rows in items.folds:
            own, codes = value[rows], items.codes[rows]
            if np.isnan(own).all():
                continue
            size = drawn @ np.bincount(codes, minlength=n)
            total = np.bincount(codes, np.where(np.isfinite(own), own, 0.0), n)
            unknown = drawn @ np.bincount(codes, ~np.isfinite(own), n) > 0
            found.append(np.where(unknown, np.nan, ratio(drawn @ total, size)))
            count.append(size)
        if not found:
            return np.full(len(drawn), np.nan)
        return over_repeats(np.array(found), np.array(count))

    return plain(resampled), resampled


def _metric(
    name: str, undefined: str, *, axis: str = "biology", higher: bool = True, bounds: tuple[float, float] = (0, 1),
    chance: float | Callable[[Items], float] | None = None,
) -> Metric:  # fmt: skip
    fn, fast = _of_graph(name)
    chance = _of_graph(BY_CHANCE[name])[0] if name in BY_CHANCE else chance
    return Metric(
        name, fn, higher, chance, bounds, fast, ("multiclass",), needs=(GRAPH, name), undefined=undefined, axis=axis
    )  # fmt: skip


_SAME = "all neighbours of a cell lie at distance 0, which says nothing of it"
_ONE = "held-out items know one label only"

ILISI = _metric("ilisi", f"no label lives in two batches, or {_SAME}", axis="mixing")
KBET = _metric("kbet", "no label of 10 cells or more is in two batches of held-out items", axis="mixing")
BRAS = _metric("bras", "points are equal, or no label is in two batches of held-out items", axis="mixing")
BATCH_VARIANCE = _metric("batch_variance", "the embedding does not vary", axis="mixing", higher=False)
CLISI = _metric("clisi", f"{_ONE}, or {_SAME}")
UNSHARED_CLISI = _metric("unshared_clisi", f"every label lives in two batches, or {_SAME}")
GRAPH_CONNECTIVITY = _metric("graph_connectivity", "every label has one cell")
LABEL_ASW = _metric("label_asw", f"{_ONE}, or points are equal")
ISOLATED_ASW = _metric("isolated_asw", "all labels live in equally many batches, or points are equal")
ISOLATED_F1 = _metric("isolated_f1", "all labels live in equally many batches, or there is one cluster only")
NMI = _metric("nmi", _ONE)
ARI = _metric("ari", _ONE, bounds=(-1, 1), chance=0.0)
#: Whether a patient's nearest neighbour in another batch shares the label.
SAMPLE_RETRIEVAL = _metric("sample_retrieval", f"{_ONE}, or they are of one batch")

#: All of them, and those that are asked of batches.
NAMES = (
    "ilisi", "kbet", "bras", "batch_variance", "clisi", "unshared_clisi", "graph_connectivity", "label_asw",
    "isolated_asw", "isolated_f1", "nmi", "ari", "sample_retrieval",
)  # fmt: skip
MIXED = NAMES[:4]
