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
    chance: float | Callable[[Items], float] | None = None, about: str, source: str = "",
) -> Metric:  # fmt: skip
    fn, fast = _of_graph(name)
    chance = _of_graph(BY_CHANCE[name])[0] if name in BY_CHANCE else chance
    return Metric(
        name, fn, higher, chance, bounds, fast, ("multiclass",), needs=(GRAPH, name), undefined=undefined, axis=axis,
        about=about, source=source,
    )  # fmt: skip


_SAME = "all neighbours of a cell lie at distance 0, which says nothing of it"
_ONE = "held-out items know one label only"

_KORSUNSKY = "Korsunsky et al., Nat Methods 16, 1289 (2019)"
_LUECKEN = "Luecken et al., Nat Methods 19, 41 (2022)"
_BUTTNER = "Büttner et al., Nat Methods 16, 43 (2019)"
# fmt: off
ILISI = _metric(
    "ilisi", f"no label lives in two batches, or {_SAME}", axis="mixing",
    about="how many batches a neighbourhood holds, 0 for one and 1 for all in equal shares", source=_KORSUNSKY,
)
KBET = _metric(
    "kbet", "no label of 10 cells or more is in two batches of held-out items", axis="mixing",
    about="share of neighbourhoods whose batches are those of the label, by a χ² test", source=_BUTTNER,
)
BRAS = _metric(
    "bras", "points are equal, or no label is in two batches of held-out items", axis="mixing",
    about="batch-removal-adapted silhouette: how little batches lie apart within a label",
    source="Rautenstrauch, Ohler, Nat Biotechnol (2025)",
)
BATCH_VARIANCE = _metric(
    "batch_variance", "the embedding does not vary", axis="mixing", higher=False,
    about="share of the variance that is between batches: principal-component regression", source=_BUTTNER,
)
CLISI = _metric(
    "clisi", f"{_ONE}, or {_SAME}", about="how pure of label a neighbourhood is, 1 for one label", source=_KORSUNSKY,
)
UNSHARED_CLISI = _metric(
    "unshared_clisi", f"every label lives in two batches, or {_SAME}",
    about="`clisi` of labels that live in one batch only: low where they are mixed away", source=_KORSUNSKY,
)
GRAPH_CONNECTIVITY = _metric(
    "graph_connectivity", "every label has one cell",
    about="mean over labels of the share of cells in its largest connected part of the neighbour graph",
    source=_LUECKEN,
)
LABEL_ASW = _metric(
    "label_asw", f"{_ONE}, or points are equal", about="silhouette of labels, scaled to 0 to 1",
    source="Rousseeuw, J Comput Appl Math 20, 53 (1987)",
)
ISOLATED_ASW = _metric(
    "isolated_asw", "all labels live in equally many batches, or points are equal",
    about="silhouette of the labels in the fewest batches, against all others", source=_LUECKEN,
)
ISOLATED_F1 = _metric(
    "isolated_f1", "all labels live in equally many batches, or there is one cluster only",
    about="F1 of the labels in the fewest batches by their best cluster", source=_LUECKEN,
)
NMI = _metric("nmi", _ONE, about="normalised mutual information of labels and k-means clusters", source=_LUECKEN)
ARI = _metric(
    "ari", _ONE, bounds=(-1, 1), chance=0.0, about="adjusted Rand index of labels and k-means clusters",
    source="Hubert, Arabie, J Classif 2, 193 (1985)",
)
SAMPLE_RETRIEVAL = _metric(
    "sample_retrieval", f"{_ONE}, or they are of one batch",
    about="share of patients whose nearest neighbour in another batch has the same label",
)
# fmt: on

#: All of them, and those that are asked of batches.
NAMES = (
    "ilisi", "kbet", "bras", "batch_variance", "clisi", "unshared_clisi", "graph_connectivity", "label_asw",
    "isolated_asw", "isolated_f1", "nmi", "ari", "sample_retrieval",
)  # fmt: skip
MIXED = NAMES[:4]
