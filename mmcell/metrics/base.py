"""`Metric`: a function of items with its facts, and the two shapes that fast resampling takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np

from mmcell.errors import MmcellError, number_of
from mmcell.items import Items
from mmcell.registry import Registry

#: name -> where its `Metric` stands; a plug-in adds to it through the entry-point group ``mmcell.metrics``.
METRICS = Registry(
    "metric",
    "mmcell.metrics",
    {
        "auroc": "mmcell.metrics.classification:AUROC",
        "auprc": "mmcell.metrics.classification:AUPRC",
        "balanced_accuracy": "mmcell.metrics.classification:BALANCED_ACCURACY",
        "macro_f1": "mmcell.metrics.classification:MACRO_F1",
        "batch_predictability": "mmcell.metrics.classification:BATCH_PREDICTABILITY",
        "batch_auroc": "mmcell.metrics.classification:BATCH_AUROC",
        "knn_balanced_accuracy": "mmcell.metrics.classification:KNN_BALANCED_ACCURACY",
        "knn_macro_f1": "mmcell.metrics.classification:KNN_MACRO_F1",
        "known_balanced_accuracy": "mmcell.metrics.classification:KNOWN_BALANCED_ACCURACY",
        "unknown_auroc": "mmcell.metrics.classification:UNKNOWN_AUROC",
        "sample_retrieval": "mmcell.metrics.mixing:SAMPLE_RETRIEVAL",
        "ilisi": "mmcell.metrics.mixing:ILISI",
        "kbet": "mmcell.metrics.mixing:KBET",
        "bras": "mmcell.metrics.mixing:BRAS",
        "batch_variance": "mmcell.metrics.mixing:BATCH_VARIANCE",
        "clisi": "mmcell.metrics.mixing:CLISI",
        "unshared_clisi": "mmcell.metrics.mixing:UNSHARED_CLISI",
        "graph_connectivity": "mmcell.metrics.mixing:GRAPH_CONNECTIVITY",
        "isolated_asw": "mmcell.metrics.mixing:ISOLATED_ASW",
        "isolated_f1": "mmcell.metrics.mixing:ISOLATED_F1",
        "nmi": "mmcell.metrics.mixing:NMI",
        "ari": "mmcell.metrics.mixing:ARI",
        "label_asw": "mmcell.metrics.mixing:LABEL_ASW",
        "feature_pearson": "mmcell.metrics.features:FEATURE_PEARSON",
        "feature_r2": "mmcell.metrics.features:FEATURE_R2",
        "features_beyond": "mmcell.metrics.features:FEATURES_BEYOND",
        "spearman": "mmcell.metrics.regression:SPEARMAN",
        "recall@1": "mmcell.metrics.retrieval:RECALL_1",
        "recall@5": "mmcell.metrics.retrieval:RECALL_5",
        "recall@10": "mmcell.metrics.retrieval:RECALL_10",
        "enrichment@1": "mmcell.metrics.retrieval:ENRICHMENT_1",
        "enrichment@5": "mmcell.metrics.retrieval:ENRICHMENT_5",
        "enrichment@10": "mmcell.metrics.retrieval:ENRICHMENT_10",
        "foscttm": "mmcell.metrics.retrieval:FOSCTTM",
        "mrr": "mmcell.metrics.retrieval:MRR",
        "normalised_ap": "mmcell.metrics.precision:NORMALISED_AP",
        "layout_ap": "mmcell.metrics.precision:LAYOUT_AP",
        "retrieved_share": "mmcell.metrics.precision:RETRIEVED_SHARE",
        "median_rank": "mmcell.metrics.retrieval:MEDIAN_RANK",
        "percentile": "mmcell.metrics.retrieval:PERCENTILE",
        "harrell_c": "mmcell.metrics.survival:HARRELL_C",
        "uno_c": "mmcell.metrics.survival:UNO_C",
        "cause_specific_c": "mmcell.metrics.survival:CAUSE_SPECIFIC_C",
        "td_auc": "mmcell.metrics.survival:TD_AUC",
        "ibs": "mmcell.metrics.survival:IBS",
        "brier@horizon": "mmcell.metrics.survival:BRIER_HORIZON",
        "rmst_difference": "mmcell.metrics.survival:RMST_DIFFERENCE",
        "brier": "mmcell.metrics.probability:BRIER",
        "calibration_intercept_error": "mmcell.metrics.probability:CALIBRATION_INTERCEPT_ERROR",
        "calibration_slope_error": "mmcell.metrics.probability:CALIBRATION_SLOPE_ERROR",
        "ici": "mmcell.metrics.probability:ICI",
        "d_calibration": "mmcell.metrics.probability:D_CALIBRATION",
        "net_benefit": "mmcell.metrics.probability:NET_BENEFIT",
        "pearson_delta": "mmcell.metrics.effects:PEARSON_DELTA",
        "pearson_delta_perturbed": "mmcell.metrics.effects:PEARSON_DELTA_PERTURBED",
        "centroid_accuracy": "mmcell.metrics.effects:CENTROID_ACCURACY",
        "discrimination_l1": "mmcell.metrics.effects:DISCRIMINATION_L1",
        "discrimination_l2": "mmcell.metrics.effects:DISCRIMINATION_L2",
        "discrimination_cosine": "mmcell.metrics.effects:DISCRIMINATION_COSINE",
        "discrimination_specific": "mmcell.metrics.effects:DISCRIMINATION_SPECIFIC",
        "de_overlap": "mmcell.metrics.effects:DE_OVERLAP",
        "de_overlap@50": "mmcell.metrics.effects:DE_OVERLAP_50",
        "de_direction": "mmcell.metrics.effects:DE_DIRECTION",
        "energy_distance": "mmcell.metrics.effects:ENERGY_DISTANCE",
        "strong_auroc": "mmcell.metrics.effects:STRONG_AUROC",
        "strong_enrichment": "mmcell.metrics.effects:STRONG_ENRICHMENT",
        "severity_spearman": "mmcell.metrics.chain:SEVERITY_SPEARMAN",
        "severity_p": "mmcell.metrics.chain:SEVERITY_P",
        "disease_auroc": "mmcell.metrics.chain:DISEASE_AUROC",
        "disease_p": "mmcell.metrics.chain:DISEASE_P",
        "connectivity": "mmcell.metrics.chain:CONNECTIVITY",
        "connectivity_p": "mmcell.metrics.chain:CONNECTIVITY_P",
        "reversal_rank": "mmcell.metrics.chain:REVERSAL_RANK",
        "reversal_p": "mmcell.metrics.chain:REVERSAL_P",
        "reversal@1": "mmcell.metrics.chain:REVERSAL_FIRST",
        "combined_c": "mmcell.metrics.chain:COMBINED_C",
        "added_c": "mmcell.metrics.chain:ADDED_C",
    },
)

#: Roles that no task asks for, but that are predicted to see whether an embedding shows them.
LEAKS = ("batch", "position")

Resampled = Callable[[Items, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A function of items with the facts that make its value readable.

    Attributes
    ----------
    name
        What tables call it.
    fn
        Items -> value; NaN where it is undefined.
    higher_is_better
        Its direction. A leak (`target` is not what the task asks) is better low.
    chance
        The value without skill: a number, or a function of the items; None where there is no such number.
    bounds
        Lowest and highest value.
    resampled
        Fast path: items and weights (draws, units) of whole multiplicities -> (draws,). Without it the items are
        repeated and `fn` is called for every draw.
    kinds
        The kinds of items it reads.
    target
        Which target's items it reads, by its role; "" stands for whatever the task asks, which leaves out the leaks
        (``batch``, ``position``) that are watched beside it.
    within_fold
        Whether it ranks, so that only pairs of one fold are compared.
    size
        Items -> number of independent units that carry the estimate (the smaller class, the events): what a
        one-sided interval at a bound rests on. Default: the number of units.
    needs
        Columns that it reads and that items of its kinds may lack (``ipcw``); without them it is left out.
    interval
        Whether resampled units tell how far it may be off. Not so for a count of tests: drawing with replacement makes
        every test more certain than it is.
    comparable
        Items -> the same with predictions on a scale that all predictors share, where the scale does not matter to the
        metric: two predictors are brought to it before their predictions are swapped.
    is_test
        Whether its value is the p of a test: that of another predictor is no less or more of anything, so that there
        are no differences, and permuted labels say nothing of it.
    undefined
        Why it may have no value, in words; "" where the items tell.
    parts
        Of a mean over parts (classes): items -> the part of each item, (n,) numbered from 0 without a gap, -1 for an
        item of none. Draws that lack one of them are no draws of this mean, see `mmcell.stats.parts`.
    deviation
        Of an error that is how far something is from its ideal, on either side: the metric of that distance with its
        sign. The interval is that of the deviation, folded at 0: draws of an error itself all lie above a true 0.
    about, source
        What it says, in one line without its direction, chance and bounds; and who defined it, "" for a formula that
        needs no source.
    axis
        Of alignment: ``mixing`` of batches or ``biology`` kept, never added up. Where batches are permuted nothing but
        chance keeps them apart, so that for mixing the far side of that null is the bad one.
    """

    name: str
    fn: Callable[[Items], float]
    higher_is_better: bool = True
    chance: float | Callable[[Items], float] | None = None
    bounds: tuple[float, float] = (-np.inf, np.inf)
    resampled: Resampled | None = None
    kinds: tuple[str, ...] = ("binary", "multiclass", "regression", "survival", "retrieval")
    target: str = ""
    within_fold: bool = False
    size: Callable[[Items], int] | None = None
    needs: tuple[str, ...] = ()
    interval: bool = True
    comparable: Callable[[Items], Items] | None = None
    is_test: bool = False
    undefined: str = ""
    parts: Callable[[Items], np.ndarray] | None = None
    deviation: Metric | None = None
    axis: str = ""
    about: str = ""
    source: str = ""

    def facts(self) -> dict[str, object]:
        """Return all fields but functions, other metrics and words, which decide no value; ``chance`` as a number."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("deviation", "about", "source")}
        return {name: value for name, value in kept.items() if not callable(value)}

    def reads(self, kind: str, target: str, columns: Iterable[str] | None = None) -> bool:
        """Whether it is defined on items of this kind and target, and, where they are given, with these columns.

        Parameters
        ----------
        kind, target
            Of the items.
        columns
            What the items have; None where that is not known.
        """
        role = target.partition("=")[0]
        there = columns is None or set(self.needs) <= set(columns)
        return there and kind in self.kinds and (role == self.target if self.target else role not in LEAKS)

    def scores(self, panel: Items, target: str) -> bool:
        """Whether it is computed on a panel of `Items.panels`: within subgroups only what compares pairs differs.

        Parameters
        ----------
        panel
            A part of the items, of one target.
        target
            What is predicted.
        """
        # A column of another split of the same task is there, and empty.
        there = [c for c in panel.frame if c not in self.needs or panel.frame[c].notna().any()]
        return self.reads(panel.kind, target, there) and (self.within_fold or not panel.is_within)

    def chance_of(self, items: Items) -> float:
        """Return the value without skill on these items, NaN where there is none.

        Parameters
        ----------
        items
            On which it is computed.
        """
        if self.chance is None:
            return float("nan")
        return float(self.chance(items)) if callable(self.chance) else float(self.chance)

    def draws(self, items: Items, weights: np.ndarray) -> np.ndarray:
        """Return the value under each row of `weights` (draws, units); NaN where a draw leaves it undefined.

        Parameters
        ----------
        items
            On which it is computed.
        weights
            (draws, units) how often each unit is drawn.
        """
        if self.resampled is not None:
            return self.resampled(items, weights)
        return np.array([self.fn(items.resample(row)) if row.any() else np.nan for row in weights])


def get_metric(name: str | Metric) -> Metric:
    """Return a metric by name; a `Metric` is returned as it is.

    Parameters
    ----------
    name
        As in `mmcell list metrics`, or a `Metric`.

    Raises
    ------
    MmcellError
        No such metric; the nearest names are given.
    """
    if isinstance(name, Metric):
        return name
    found: Metric = METRICS.get(name)
    return found


def list_metrics() -> list[str]:
    """Return the names of all metrics."""
    return METRICS.names()


def mean_of(per_item: Callable[[Items], np.ndarray]) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path for a metric that is the mean of one number per item.

    Parameters
    ----------
    per_item
        Items -> (n,) finite numbers.
    """

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        n_units = len(items.units)
        total = np.bincount(items.codes, per_item(items), n_units)
        count = np.bincount(items.codes, minlength=n_units)
        return ratio(weights @ total, weights @ count)

    return plain(resampled), resampled


def within_folds(
    kernel: Callable[[Items, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], block: int = 64
) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path for a metric of pairs.

    Pairs are formed inside a fold only; numerators and denominators add up over the folds of a repeat, and the
    ratio is averaged over repeats.

    Parameters
    ----------
    kernel
        Items, rows of one fold, weights (draws, rows) -> numerator and denominator, (draws,) each.
    block
        Draws per block: bounds the memory for the weights.
    """

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        repeats = sorted({repeat for repeat, _ in items.folds})
        out = np.empty(len(weights))
        for start in range(0, len(weights), block):
            part = np.asarray(weights[start : start + block], dtype=float)
            top, bottom, count = np.zeros((3, len(repeats), len(part)))
            for repeat, rows in items.folds:
                of_rows = np.ascontiguousarray(part[:, items.codes[rows]])
                a, b = kernel(items, rows, of_rows)
                top[repeats.index(repeat)] += a
                bottom[repeats.index(repeat)] += b
                count[repeats.index(repeat)] += of_rows.sum(axis=1)
            out[start : start + block] = over_repeats(ratio(top, bottom), count)
        return out

    return plain(resampled), resampled


def within_repeats(
    kernel: Callable[[Items, np.ndarray, np.ndarray], np.ndarray], block: int = 64
) -> tuple[Callable[[Items], float], Resampled]:
    """Return `fn` and its fast path for a metric of a whole repeat, whose folds are on one scale: probabilities, times.

    Parameters
    ----------
    kernel
        Items, rows of one repeat, weights (draws, rows) -> the value (draws,).
    block
        Draws per block: bounds the memory for the weights.
    """

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        repeat = items.column("repeat")
        of_repeats = [np.flatnonzero(repeat == r) for r in np.unique(repeat)]
        out = np.empty(len(weights))
        for start in range(0, len(weights), block):
            part = np.asarray(weights[start : start + block], dtype=float)
            drawn = [np.ascontiguousarray(part[:, items.codes[rows]]) for rows in of_repeats]
            values = [kernel(items, rows, w) for rows, w in zip(of_repeats, drawn, strict=True)]
            count = [w.sum(axis=1) for w in drawn]
            shape = (len(of_repeats), len(part))
            out[start : start + block] = over_repeats(np.reshape(values, shape), np.reshape(count, shape))
        return out

    return plain(resampled), resampled


def over_repeats(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the mean (draws,) over the repeats in which a draw has items; undefined where one of them is.

    Parameters
    ----------
    values, count
        (repeats, draws) the value, and how many items there are.
    """
    drawn = count > 0
    return ratio(np.where(drawn, values, 0.0).sum(axis=0), drawn.sum(axis=0))


def plain(resampled: Resampled) -> Callable[[Items], float]:
    """Return the estimate as the draw in which every unit occurs once."""

    def fn(items: Items) -> float:
        return float(resampled(items, np.ones((1, len(items.units))))[0])

    return fn


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top / bottom, NaN where there is nothing below."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def n_units(items: Items) -> int:
    """Return the number of independent units."""
    return items.units.independent


def checked(what: str, **arrays: np.ndarray) -> list[np.ndarray]:
    """Return arrays of numbers as float64, after a look at what would pass through a sort unseen.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.
    """
    found = [np.asarray(a, dtype=np.float64) for a in arrays.values()]
    for name, array in zip(arrays, found, strict=True):
        if len(array) != len(found[0]):
            raise MmcellError(f"{what}: {name} has length {len(array)} and {next(iter(arrays))} {len(found[0])}")
        missing = np.isnan(array).sum()
        if missing:
            raise MmcellError(f"{what}: {name} is NaN for {missing} of {len(array)} items; leave such items out")
    return found


def checked_probability(what: str, **arrays: np.ndarray) -> list[np.ndarray]:
    """Return arrays as `checked` does, the last of which holds probabilities.

    Raises
    ------
    MmcellError
        As in `checked`, or the last array leaves [0, 1].
    """
    found = checked(what, **arrays)
    outside = (found[-1] < 0) | (found[-1] > 1)
    if outside.any():
        raise MmcellError(
            f"{what}: {list(arrays)[-1]} is no probability for {number_of(int(outside.sum()), 'item')} "
            f"(first: {found[-1][outside][0]:g}); give numbers from 0 to 1"
        )
    return found


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of values (n, …) under each row of weights (draws, n), as (draws, …); NaN for a row of zeros."""
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1).reshape(-1, *(1,) * (np.ndim(values) - 1))
    return ratio(weights @ values, np.broadcast_to(total, (len(weights), *np.shape(values)[1:])))
