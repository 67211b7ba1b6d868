"""Classification: AUROC and average precision within folds, balanced accuracy and macro-F1 from confusion tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numba import njit

from mmcell.items import Items
from mmcell.metrics.base import Metric, Resampled, checked, over_repeats, plain, ratio, within_folds
from mmcell.metrics.benefit import net_benefit, net_benefit_resampled
from mmcell.metrics.brier import brier, brier_resampled
from mmcell.metrics.calibration_line import CalibrationLine, calibration_line, calibration_line_resampled
from mmcell.metrics.lanes import lanes

__all__ = [
    "AUPRC", "AUROC", "BALANCED_ACCURACY", "BATCH_AUROC", "BATCH_PREDICTABILITY", "MACRO_F1", "CalibrationLine",
    "auprc", "auprc_resampled", "auroc", "auroc_resampled", "balanced_accuracy", "balanced_accuracy_resampled",
    "brier", "brier_resampled", "calibration_line", "calibration_line_resampled", "confusion", "macro_f1",
    "macro_f1_resampled", "net_benefit", "net_benefit_resampled", "prevalence", "smaller_class",
]  # fmt: skip

THRESHOLD = 0.5


@njit(cache=True, nogil=True)
def _pairs(positive: np.ndarray, tie: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted (concordant, all) pairs of a positive and a negative; rows sorted by score, `tie` numbers equal ones."""
    n, n_lanes = weights.shape
    top = np.zeros(n_lanes)
    below = np.zeros(n_lanes)
    seen = np.zeros(n_lanes)
    equal = np.zeros(n_lanes)
    start = 0
    while start < n:
        stop = start
        equal[:] = 0.0
        while stop < n and tie[stop] == tie[start]:
            if not positive[stop]:
                own = weights[stop]
                for b in range(n_lanes):
                    equal[b] += own[b]
            stop += 1
        for i in range(start, stop):
            if positive[i]:
                own = weights[i]
                for b in range(n_lanes):
                    top[b] += own[b] * (below[b] + 0.5 * equal[b])
                    seen[b] += own[b]
        for b in range(n_lanes):
            below[b] += equal[b]
        start = stop
    return top, seen * below


@njit(cache=True, nogil=True)
def _precision(positive: np.ndarray, tie: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over positives of the precision at their score, and their weight; rows sorted by falling score.

    (0, 0) where a class is missing: there is nothing to tell apart.
    """
    n, n_lanes = weights.shape
    top = np.zeros(n_lanes)
    all_seen = np.zeros(n_lanes)
    seen = np.zeros(n_lanes)
    own = np.zeros(n_lanes)
    start = 0
    while start < n:
        stop = start
        own[:] = 0.0
        while stop < n and tie[stop] == tie[start]:
            w = weights[stop]
            for b in range(n_lanes):
                all_seen[b] += w[b]
            if positive[stop]:
                for b in range(n_lanes):
                    own[b] += w[b]
            stop += 1
        for b in range(n_lanes):
            seen[b] += own[b]
            if own[b] > 0:
                top[b] += own[b] * (seen[b] / all_seen[b])
        start = stop
    for b in range(n_lanes):
        if seen[b] == all_seen[b]:
            top[b] = 0.0
            seen[b] = 0.0
    return top, seen


def _by_score(
    kernel: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    y: np.ndarray, score: np.ndarray, weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return numerator and denominator (draws,) of a kernel that goes through rows of rising score."""
    order = np.argsort(score)
    ranked, positive = score[order], y[order] > 0
    tie = np.cumsum(np.concatenate([[False], ranked[1:] != ranked[:-1]])) if len(ranked) else order
    top, bottom = np.empty((2, len(weights)))
    for block, side_by_side in lanes(weights, order):
        top[block], bottom[block] = kernel(positive, tie, side_by_side)
    return top, bottom


def auroc_resampled(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC under each row of weights.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    score
        (n,) any scale; ties count one half.
    weights
        (draws, n) multiplicities.

    Returns
    -------
    numpy.ndarray
        (draws,) in [0, 1]; NaN where a draw has one class only.
    """
    y, score = checked("auroc", y=y, score=score)
    return ratio(*_by_score(_pairs, y, score, weights))


def auroc(y: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve: P(score of a positive > score of a negative), ties one half.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    score
        (n,) any scale.

    Returns
    -------
    float
        In [0, 1]; NaN with one class only. Equals ``sklearn.metrics.roc_auc_score``.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.
    """
    return float(auroc_resampled(y, score, np.ones((1, len(y))))[0])


def auprc_resampled(y: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision (draws,) under each row of weights (draws, n); see `auprc`."""
    y, score = checked("auprc", y=y, score=score)
    return ratio(*_by_score(_precision, y, -score, weights))


def auprc(y: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the precision-recall curve as average precision: the mean precision at the positives.

    Items of one score enter together, so the precision at a positive counts all that share its score.

    Parameters
    ----------
    y
        (n,) 0 or 1.
    score
        (n,) any scale.

    Returns
    -------
    float
        In [0, 1]; the prevalence for a score that is the same for all. Equals
        ``sklearn.metrics.average_precision_score``, except that it is NaN with one class only.

    Raises
    ------
    MmcellError
        An entry is NaN, or the lengths differ.
    """
    return float(auprc_resampled(y, score, np.ones((1, len(y))))[0])


def confusion(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes (k,) that occur in either, and codes (n, 2) of truth and prediction among them."""
    classes, codes = np.unique(np.concatenate([y_true, y_pred]).astype(str), return_inverse=True)
    return classes, codes.reshape(2, -1).T


def _recall_mean(tables: np.ndarray) -> np.ndarray:
    """Mean recall over the classes present in the truth; tables (…, k, k) with truth in the rows."""
    support = tables.sum(-1)
    hit = np.diagonal(tables, axis1=-2, axis2=-1)
    recall = np.divide(hit, support, out=np.zeros_like(hit, dtype=float), where=support > 0)
    present = (support > 0).sum(-1)
    return np.divide(recall.sum(-1), present, out=np.full(present.shape, np.nan), where=present > 0)


def _f1_mean(tables: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes present in truth or prediction; tables (…, k, k)."""
    either = tables.sum(-1) + tables.sum(-2)
    hit = 2.0 * np.diagonal(tables, axis1=-2, axis2=-1)
    f1 = np.divide(hit, either, out=np.zeros_like(hit, dtype=float), where=either > 0)
    present = (either > 0).sum(-1)
    return np.divide(f1.sum(-1), present, out=np.full(present.shape, np.nan), where=present > 0)


def balanced_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return the mean recall over the classes present in the truth (as scikit-learn's ``balanced_accuracy_score``)."""
    return float(_recall_mean(_table(y_true, y_pred)))


def macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Return the mean F1 over the classes in truth or prediction (as scikit-learn's ``f1_score(average="macro")``)."""
    return float(_f1_mean(_table(y_true, y_pred)))


def balanced_accuracy_resampled(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the balanced accuracy (draws,) under each row of weights (draws, n)."""
    return _recall_mean(_tables(y_true, y_pred, weights))


def macro_f1_resampled(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the macro-F1 (draws,) under each row of weights (draws, n)."""
    return _f1_mean(_tables(y_true, y_pred, weights))


def _tables(y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray) -> np.ndarray:
    classes, codes = confusion(np.asarray(y_true), np.asarray(y_pred))
    k = len(classes)
    cell = np.eye(k * k)[codes[:, 0] * k + codes[:, 1]]
    return (np.asarray(weights, dtype=float) @ cell).reshape(-1, k, k)


def _table(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    classes, codes = confusion(np.asarray(y_true), np.asarray(y_pred))
    table = np.zeros((len(classes), len(classes)))
    np.add.at(table, (codes[:, 0], codes[:, 1]), 1.0)
    return table


def _labels(items: Items, column: str = "y_pred") -> tuple[np.ndarray, np.ndarray]:
    y_true, y_pred = items.column("y_true"), items.column(column)
    if items.kind == "binary":
        return y_true.astype(int), (y_pred.astype(float) >= THRESHOLD).astype(int)
    return y_true, y_pred


def _from_tables(
    summary: Callable[[np.ndarray], np.ndarray], column: str = "y_pred"
) -> tuple[Callable[[Items], float], Resampled]:
    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        classes, codes = confusion(*_labels(items, column))
        k, u = len(classes), len(items.units)
        repeat = items.column("repeat")
        values, count = [], []
        for r in np.unique(repeat):
            rows = repeat == r
            flat = (items.codes[rows] * k + codes[rows, 0]) * k + codes[rows, 1]
            of_units = np.bincount(flat, minlength=u * k * k).reshape(u, k * k)
            tables = (np.asarray(weights, dtype=float) @ of_units).reshape(-1, k, k)
            values.append(summary(tables))
            count.append(tables.sum(axis=(1, 2)))
        return over_repeats(np.array(values), np.array(count))

    return plain(resampled), resampled


def _auroc_kernel(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, score = (items.column(c)[rows].astype(float) for c in ("y_true", "y_pred"))
    return _by_score(_pairs, y, score, weights)


def _auprc_kernel(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, score = (items.column(c)[rows].astype(float) for c in ("y_true", "y_pred"))
    return _by_score(_precision, y, -score, weights)


def prevalence(items: Items) -> float:
    """Return the average precision when all scores are equal: the prevalence within folds, averaged over positives.

    Folds with one class only do not count, as they do not for the metric.
    """
    flat = items.having({"y_pred": np.zeros(len(items.frame))})
    return _auprc_fn(flat)


def smaller_class(items: Items) -> int:
    """Return the number of units in the rarest class of the truth."""
    truth = items.frame.drop_duplicates(["unit", "y_true"])["y_true"]
    return int(truth.value_counts().min())


def _classes(items: Items) -> np.ndarray:
    """Return the class of the truth of each item, apart in each repeat; not those that predictions alone hold."""
    return items.frame.groupby(["repeat", "y_true"]).ngroup().to_numpy()


def _shuffled(summary: Callable[[np.ndarray], np.ndarray], column: str = "y_pred") -> Callable[[Items], float]:
    """Return the chance level: the summary of what is expected when predictions are shuffled within their fold."""

    def chance(items: Items) -> float:
        classes, codes = confusion(*_labels(items, column))
        expected: dict[object, np.ndarray] = {}
        for repeat, rows in items.folds:
            truth, predicted = (np.bincount(codes[rows, side], minlength=len(classes)) for side in (0, 1))
            expected[repeat] = expected.get(repeat, 0) + np.outer(truth, predicted) / len(rows)
        return float(np.mean([summary(table) for table in expected.values()]))

    return chance


def _unknown_kernel(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unknown = ~items.column("in_reference")[rows].astype(bool)
    distance = items.column("distance")[rows].astype(float)
    won, pairs = _by_score(_pairs, unknown.astype(float), distance, weights)
    drawn = np.asarray(weights) > 0
    least, most = (f(np.where(drawn, distance, end), axis=1) for f, end in ((np.min, np.inf), (np.max, -np.inf)))
    # Where all points are equal nothing lies far away, and half is more than some get that see types.
    return np.where(least < most, won, 0.0), np.where(least < most, pairs, 0.0)


def _unread(items: Items) -> bool:
    """Whether a fold predicts nothing (""), for want of anything to read."""
    return bool((items.column("y_pred") == "").any())


def _told_fast(items: Items, weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan) if _unread(items) else _balanced_fast(items, weights)


def _told_by_chance(items: Items) -> float:
    return float("nan") if _unread(items) else _shuffled(_recall_mean)(items)


def _findable(items: Items) -> Items:
    return items.where(items.column("in_reference").astype(bool))


_auroc_fn, _auroc_fast = within_folds(_auroc_kernel)
_unknown_fn, _unknown_fast = within_folds(_unknown_kernel)
_auprc_fn, _auprc_fast = within_folds(_auprc_kernel)
_balanced_fn, _balanced_fast = _from_tables(_recall_mean)


def _known_fast(items: Items, weights: np.ndarray) -> np.ndarray:
    known = items.column("in_reference").astype(bool)
    if not known.any():
        return np.full(len(weights), np.nan)
    # Units without such an item are no columns of what is left.
    return _balanced_fast(_findable(items), np.asarray(weights)[:, np.unique(items.codes[known])])


def _known_classes(items: Items) -> np.ndarray:
    known = items.frame[items.column("in_reference").astype(bool)]
    return known.groupby(["repeat", "y_true"]).ngroup().reindex(items.frame.index, fill_value=-1).to_numpy()


_f1_fn, _f1_fast = _from_tables(_f1_mean)

AUROC = Metric(
    "auroc", _auroc_fn, True, 0.5, (0, 1), _auroc_fast, ("binary",), "", True, smaller_class,
    about="how often a positive is ranked above a negative, ties half",
    source="Hanley, McNeil, Radiology 143, 29 (1982)",
)  # fmt: skip
AUPRC = Metric(
    "auprc", _auprc_fn, True, prevalence, (0, 1), _auprc_fast, ("binary",), "", True, smaller_class,
    about="average precision of the positive class; its chance is the prevalence",
)  # fmt: skip
BALANCED_ACCURACY = Metric(
    "balanced_accuracy", _balanced_fn, True, _shuffled(_recall_mean), (0, 1), _balanced_fast, ("binary", "multiclass"),
    size=smaller_class, parts=_classes, about="mean over classes of the share that is recognised",
)  # fmt: skip
MACRO_F1 = Metric(
    "macro_f1", _f1_fn, True, _shuffled(_f1_mean), (0, 1), _f1_fast, ("binary", "multiclass"), size=smaller_class,
    parts=_classes, about="mean over classes of F1, the harmonic mean of precision and recall",
)  # fmt: skip
#: The same of labels that nearest neighbours carry over, beside those of a linear probe.
KNN_BALANCED_ACCURACY, KNN_MACRO_F1 = (
    Metric(
        f"knn_{like.name}", *_from_tables(summary, "y_knn")[:1], True, _shuffled(summary, "y_knn"), (0, 1),
        _from_tables(summary, "y_knn")[1], ("multiclass",), size=smaller_class, needs=("y_knn",), parts=_classes,
        about=f"{like.about}; labels by nearest neighbours",
    )
    for like, summary in ((BALANCED_ACCURACY, _recall_mean), (MACRO_F1, _f1_mean))
)  # fmt: skip
#: The same of labels that training units hold: what they lack cannot be predicted, and counts as missed above.
KNOWN_BALANCED_ACCURACY = replace(
    BALANCED_ACCURACY, name="known_balanced_accuracy", fn=plain(_known_fast), resampled=_known_fast,
    chance=lambda items: _shuffled(_recall_mean)(_findable(items)),
    size=lambda items: smaller_class(_findable(items)), kinds=("multiclass",), needs=("in_reference",),
    undefined="training units hold no label of these items", parts=_known_classes,
    about=f"{BALANCED_ACCURACY.about}; classes that training units hold alone",
)  # fmt: skip
#: Whether items of labels that training units lack lie further from these than others.
UNKNOWN_AUROC = Metric(
    "unknown_auroc", _unknown_fn, True, 0.5, (0, 1), _unknown_fast, ("multiclass",), within_fold=True,
    size=lambda items: int(items.frame.groupby(~items.frame["in_reference"].astype(bool))["unit"].nunique().min()),
    needs=("in_reference", "distance"),
    undefined="training units hold every label of these items, or none, or all items lie equally far from them",
    about="how often an item of a label that training units lack lies further from them than one of a known label",
)  # fmt: skip
#: Leaks: how well a probe of the same embedding tells the batch of held-out donors. Better low.
BATCH_PREDICTABILITY = Metric(
    "batch_predictability", plain(_told_fast), False, _told_by_chance, (0, 1), _told_fast, ("multiclass",),
    "batch", size=smaller_class, undefined="the embedding does not vary", parts=_classes,
    about="a leak: mean over batches of the share of items whose batch a probe tells",
)  # fmt: skip
BATCH_AUROC = Metric(
    "batch_auroc", _auroc_fn, False, 0.5, (0, 1), _auroc_fast, ("binary",), "batch", True, smaller_class,
    about="a leak: AUROC of a probe that tells one batch from the others; of two batches one is asked",
)  # fmt: skip
