"""Metrics of predicted perturbation effects: the mean over perturbations of a value that each of them has.

The values come from the array functions of `mmcell.metrics.perturbation`, one column each; where one is undefined (no
gene changes, one cell) the perturbation does not count for that metric, and is counted as excluded.

Beside cell-eval, on the same input and with one pool of controls on both sides: ``pearson_delta`` and, where no
perturbation is the name of a gene, ``discrimination_l1``, ``_l2`` and ``_cosine`` are equal to its ``pearson_delta``
and ``discrimination_score_*`` (ties aside, which it breaks by order). What differs, on purpose:

- a target gene is left out of both effects that are compared (cell-eval leaves it out of one, so that the marks of the
  other targets stay, and predicting no change finds the right one);
- ``de_overlap`` takes the genes with the largest effects (cell-eval: those that are significant in cells of the
  prediction, which a table of means does not have, by fold change);
- ``energy_distance`` is between predicted and observed cells of one perturbation, without bias (cell-eval: the
  correlation over perturbations of distances from the controls, in which each cell is compared with itself, too);
- by default the two sides have disjoint halves of the controls (cell-eval: the same).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric, Resampled, plain, ratio
from mmcell.metrics.classification import auroc_resampled

#: The share of candidates that is tried first.
_FIRST = 0.1


def mean_known(column: str) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path for the mean of a column over the items that have a value in it."""

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        if column not in items.frame:
            return np.full(len(weights), np.nan)
        value = items.column(column).astype(float)
        known = np.isfinite(value)
        n = len(items.units)
        total = np.bincount(items.codes[known], value[known], n)
        return ratio(weights @ total, weights @ np.bincount(items.codes[known], minlength=n))

    return plain(resampled), resampled


def of_effects(
    name: str,
    chance: float | Callable[[Items], float] | None,
    bounds: tuple[float, float],
    undefined: str,
    higher: bool = True,
    *,
    about: str,
    source: str = "",
) -> Metric:
    """Return the metric that is the mean of the column of its name."""
    fn, fast = mean_known(name)
    return Metric(
        name,
        fn,
        higher,
        chance,
        bounds,
        fast,
        ("effects",),
        needs=(name,),
        undefined=undefined,
        about=about,
        source=source,
    )


def _discrimination_chance(items: Items) -> float:
    n = items.column("n_gallery").astype(float)
    n = n[np.isfinite(n)]
    return float(((n + 1) / (2 * n)).mean()) if len(n) else np.nan


def _strong_auroc(items: Items, weights: np.ndarray) -> np.ndarray:
    return _by_context(items, weights, lambda size, strong, w: np.asarray(auroc_resampled(strong, size, w)))


def _strong_enrichment(items: Items, weights: np.ndarray) -> np.ndarray:
    return _by_context(items, weights, _enrichment)


def _enrichment(size: np.ndarray, strong: np.ndarray, of_item: np.ndarray) -> np.ndarray:
    """Share of strong perturbations among the first tenth, over their share in all; ties in random order."""
    _, block = np.unique(-size, return_inverse=True)
    n = int(block.max()) + 1 if len(block) else 0
    member = (block[:, None] == np.arange(n)).astype(float)
    there, found = of_item @ member, (of_item * strong) @ member
    total = there.sum(axis=1)
    before = np.cumsum(there, axis=1) - there
    places = _FIRST * total
    taken = np.maximum(np.minimum(places[:, None] - before, there), 0.0)
    share = ratio((ratio(found, there) * taken).sum(axis=1, where=there > 0), places)
    return ratio(share, ratio(found.sum(axis=1), total))


def _by_context(
    items: Items, weights: np.ndarray, of_one: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return what puts perturbations in order, within each context: the mean over contexts that have a value.

    Sizes of different contexts are not compared. A context counts by its perturbations, as in the mean over all items.
    """
    size, strong, of_item, context = _prioritised(items, weights)
    if not len(size):
        return np.full(len(weights), np.nan)
    codes = np.unique(context, return_inverse=True)[1]
    if not codes.any():
        return of_one(size, strong, of_item)
    total, n = np.zeros(len(weights)), np.zeros(len(weights))
    for rows in (np.flatnonzero(codes == code) for code in range(codes.max() + 1)):
        value, own = of_one(size[rows], strong[rows], of_item[:, rows]), of_item[:, rows].sum(axis=1)
        known = np.isfinite(value)
        total[known] += value[known] * own[known]
        n[known] += own[known]
    return ratio(total, n)


def _prioritised(items: Items, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted sizes, whether effects are strong, weights (draws, items) and contexts, of what has both."""
    if not {"effect_size", "strong"} <= set(items.frame):
        return np.empty(0), np.empty(0), np.empty((len(weights), 0)), np.empty(0)
    size, strong = items.column("effect_size").astype(float), items.column("strong").astype(float)
    known = np.isfinite(size) & np.isfinite(strong)
    context = items.column("context").astype(str)[known] if "context" in items.frame else np.zeros(int(known.sum()))
    of_item = np.asarray(weights, dtype=float)[:, items.codes[known]]
    return size[known], strong[known].astype(int), of_item, context


_FLAT = "no perturbation whose predicted and measured change vary over genes"
_ALONE = "one perturbation; there is no other to tell it from"
_NO_GENE = "no perturbation with a significant gene"
_SAME = "all perturbations are strong, or none is"
_SIZED = ("effect_size", "strong")

_SYSTEMA = "Viñas Torné et al., Systema, Nat Biotechnol (2025)"
_PERTURBENCH = "Wu et al., PerturBench, arXiv:2408.10609 (2024)"
_CLOSER = "share of the measured effects that are no closer to the prediction than its own, by"
# fmt: off
# Without a chance level: predicting the mean of all perturbations scores here; what it scores stands beside.
PEARSON_DELTA = of_effects(
    "pearson_delta", None, (-1, 1), _FLAT,
    about="Pearson's r over genes of predicted and measured change from controls; the mean effect scores high",
)
PEARSON_DELTA_PERTURBED = of_effects(
    "pearson_delta_perturbed", None, (-1, 1), _FLAT,
    about="Pearson's r over genes of predicted and measured change from the mean of perturbed profiles",
    source=_SYSTEMA,
)
DE_OVERLAP = of_effects(
    "de_overlap", None, (0, 1), _NO_GENE,
    about="share of the significant genes that are among as many with the largest predicted effects",
)
DE_OVERLAP_50 = of_effects(
    "de_overlap@50", None, (0, 1), _FLAT,
    about="share of the 50 genes with the largest measured effects among the 50 with the largest predicted ones",
)
DE_DIRECTION = of_effects(
    "de_direction", None, (0, 1), _NO_GENE, about="share of the significant genes whose sign is predicted",
)
CENTROID_ACCURACY = of_effects(
    "centroid_accuracy", 0.5, (0, 1), _ALONE,
    about="share of the other measured profiles that are further from the prediction than its own, Euclidean",
    source=_SYSTEMA,
)
DISCRIMINATION_L1 = of_effects(
    "discrimination_l1", _discrimination_chance, (0, 1), _ALONE, about=f"{_CLOSER} ℓ1; moves when effects are scaled",
    source=_PERTURBENCH,
)
DISCRIMINATION_L2 = of_effects(
    "discrimination_l2", _discrimination_chance, (0, 1), _ALONE, about=f"{_CLOSER} ℓ2; moves when effects are scaled",
    source=_PERTURBENCH,
)
DISCRIMINATION_COSINE = of_effects(
    "discrimination_cosine", _discrimination_chance, (0, 1), _ALONE, about=f"{_CLOSER} cosine", source=_PERTURBENCH,
)
DISCRIMINATION_SPECIFIC = of_effects(
    "discrimination_specific", _discrimination_chance, (0, 1), _ALONE,
    about=f"{_CLOSER} cosine, each less the mean of those compared: what all share is at chance", source=_PERTURBENCH,
)
ENERGY_DISTANCE = of_effects(
    "energy_distance", None, (-np.inf, np.inf), "no predicted cells, two a perturbation at least", higher=False,
    about="distance of predicted and measured cells of one perturbation, Euclidean, without bias",
    source="Székely, Rizzo, J Stat Plan Inference 143, 1249 (2013)",
)
# fmt: on
#: Would trying the largest predicted effects first have found the strong perturbations sooner than chance?
STRONG_AUROC = Metric(
    "strong_auroc",
    plain(_strong_auroc),
    True,
    0.5,
    (0, 1),
    _strong_auroc,
    ("effects",),
    needs=_SIZED,
    undefined=_SAME,
    about="how often a strong perturbation has a larger predicted effect than one that is not",
)  # fmt: skip
STRONG_ENRICHMENT = Metric(
    "strong_enrichment", plain(_strong_enrichment), True, 1.0, (0, np.inf), _strong_enrichment, ("effects",),
    needs=_SIZED, undefined=_SAME,
    about="share of strong perturbations in the tenth with the largest predicted effects, over their share in all",
)  # fmt: skip
