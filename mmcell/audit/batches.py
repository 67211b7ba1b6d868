"""Batch and label: confounded by design, and how well a batch can be told from the same vectors as the label."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from mmcell.audit.evidence import beyond, family_low, is_leak, mirrored, silent, stated
from mmcell.audit.probe import beyond_permutations, metric_of, probed
from mmcell.audit.units import label_of
from mmcell.audit.values import finite_features
from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.items import Items
from mmcell.matrix import slices
from mmcell.metrics.base import Metric, plain
from mmcell.metrics.classification import AUROC, confusion
from mmcell.records import Finding
from mmcell.stats.bootstrap import ALPHA, Estimate, bootstrap, interval

#: A batch with fewer units on either side is not asked for: no fold could hold out enough of them.
_SIDE = 4
_COMPONENTS = 20
_PERMUTATIONS = 1000


def cramers_v(tables: np.ndarray) -> np.ndarray:
    """Return Cramér's V of contingency tables.

    Parameters
    ----------
    tables
        (…, r, c) counts. Empty rows and columns of a table do not count as categories.

    Returns
    -------
    numpy.ndarray
        (…) in [0, 1]; NaN where fewer than two categories are left on a side.

    References
    ----------
    Cramér: Mathematical methods of statistics, 282 (1946).
    """
    phi2, smaller, *_ = _association(tables)
    return np.sqrt(np.divide(phi2, smaller, out=np.full_like(phi2, np.nan), where=smaller > 0))


def corrected_v(tables: np.ndarray) -> np.ndarray:
    """Return Cramér's V with the bias that independence alone produces taken off; arguments as `cramers_v`.

    ``√(max(0, φ² − e) / (min(r, c) − 1 − e))``, where ``e = (r − 1)(c − 1) / (n − 1)`` is the mean of φ² over all
    permutations: independence is 0 and perfect association 1 in tables of every shape. Of a square table this is
    Bergsma's V; of another one Bergsma's stays below 1 however perfect the association.

    References
    ----------
    Bergsma: A bias-correction for Cramér's V and Tschuprow's T. J Korean Stat Soc 42, 323–328 (2013). Its estimate of
    φ² is floored at 0 by definition.
    """
    phi2, smaller, n, rows, columns = _association(tables)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = (rows - 1) * (columns - 1) / (n - 1)
        free, limit = np.maximum(phi2 - expected, 0.0), smaller - expected
        return np.where((smaller > 0) & (limit > 1e-12), np.sqrt(free / limit), np.nan)


def _association(tables: np.ndarray) -> tuple[np.ndarray, ...]:
    tables = np.asarray(tables, dtype=float)
    row, column, n = tables.sum(-1), tables.sum(-2), tables.sum((-1, -2))
    product = row[..., :, None] * column[..., None, :]
    phi2 = np.divide(tables**2, product, out=np.zeros_like(tables), where=product > 0).sum((-1, -2)) - 1
    rows, columns = (row > 0).sum(-1), (column > 0).sum(-1)
    # Rounding leaves −1e-16 where there is none.
    return np.where(np.abs(phi2) < 1e-12, 0.0, phi2), np.minimum(rows, columns) - 1, n, rows, columns


def _v_of_units(items: Items, weights: np.ndarray) -> np.ndarray:
    classes, codes = confusion(items.column("y_true"), items.column("y_pred"))
    k = len(classes)
    cells = np.bincount(items.codes * k * k + codes[:, 0] * k + codes[:, 1], minlength=len(items.units) * k * k)
    tables = np.asarray(weights, dtype=float) @ cells.reshape(len(items.units), k * k)
    return corrected_v(tables.reshape(-1, k, k))


V = Metric("cramers_v", plain(_v_of_units), False, None, (0, 1), _v_of_units, ("multiclass",))


def confounded(dataset: Dataset, *, n_boot: int = 1000, seed: int = 0) -> list[Finding]:
    """Return the association of label and batch over units.

    It is a leak where the bias-corrected Cramér's V is large and its bootstrap interval over units lies above 0.
    """
    both = _both(dataset)
    if both is None or "label" not in both:
        return []
    table = pd.crosstab(both["label"], both["batch"])
    if min(table.shape) < 2:
        return []
    # One set of names, so that label "1" and batch "1" are told apart.
    frame = {"item": both.index, "unit": both.index, "y_true": "l " + both["label"], "y_pred": "b " + both["batch"]}
    items = Items(pd.DataFrame(frame), "multiclass")
    # The percentile interval: where independence is near, BCa takes the bias of the draws off once more.
    found = bootstrap(items, [V], n_boot=n_boot, seed=seed, method="percentile")[V.name]
    plain_v = float(cramers_v(table.to_numpy()))
    label, batch = (pd.factorize(both[c], sort=True)[0] for c in ("label", "batch"))
    rng, (r, c) = stream(seed, "batch-label"), table.shape
    drawn = [np.bincount(label * c + rng.permutation(batch), minlength=r * c) for _ in range(_PERMUTATIONS)]
    null = cramers_v(np.reshape(drawn, (-1, r, c)))
    p = (np.sum(null >= plain_v - 1e-12) + 1) / (_PERMUTATIONS + 1)
    leak, said = is_leak(found.value, found.low, 0.0), stated("Cramér's V", found)
    counts = "; ".join(
        f"{name}: {', '.join(f'{n} {value}' for value, n in table[name].items())}" for name in table.columns
    )
    return [
        Finding(
            severity="leak" if leak else "info",
            code="batch-label",
            message=f"label and batch over {len(both)} units: {said} after correction for bias, so that independence "
            "is 0 and perfect association 1",
            evidence=f"{plain_v:.2f} before correction, permutation p {p:.3f}; units of each batch: {counts}",
            cure="hold out whole batches; what predicts the label may be the batch" if leak else "",
        )
    ]


def label_from_batch(dataset: Dataset, *, n_boot: int = 1000, seed: int = 0) -> list[Finding]:
    """Return how well the batch alone predicts the label of held-out units."""
    both = _both(dataset)
    truth = label_of(dataset)
    if both is None or truth is None or both["batch"].nunique() < 2:
        return []
    x = pd.get_dummies(both["batch"], dtype=float)
    items = probed(x, truth.reindex(both.index), seed=seed)
    if items is None:
        return []
    name, metric = metric_of(items)
    found = bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]
    chance = metric.chance_of(items)
    leak = is_leak(found.value, found.low, chance) and beyond_permutations(
        x, truth.reindex(both.index), alpha=ALPHA, seed=seed
    )
    said = f"the batch alone predicts the label of held-out units with {stated(name, found)}"
    if silent(found):
        said = f"too few units to say whether the batch alone predicts the label: {stated(name, found)}"
    elif not beyond(found, chance):
        said = f"the batch alone does not predict the label of held-out units: {stated(name, found)}"
    return [
        Finding(
            severity="leak" if leak else "info",
            code="label-from-batch",
            message=f"{said}, chance {chance:.2f}",
            evidence=f"logistic probe, {len(both)} units, {both['batch'].nunique()} batches"
            + mirrored([found], chance),
            cure="an embedding must beat this, not chance; read the scores under leave-one-batch-out" if leak else "",
        )
    ]


def batch_predictability(
    dataset: Dataset, vectors: pd.DataFrame, of: str, *, n_boot: int = 1000, seed: int = 0
) -> list[Finding]:
    """Return which batches can be told from the vectors of held-out units, compared with the label.

    Parameters
    ----------
    dataset
        Whose batches and labels.
    vectors
        Units × dimensions; reduced to 20 principal components of the training units.
    of
        What the vectors are, in words.
    n_boot, seed
        Of the intervals, the folds.
    """
    both = _both(dataset)
    if both is None:
        return []
    both = both.loc[both.index.isin(vectors.index)]
    if both.empty:
        return []
    # Turned, so that there are no more columns than units; the components of every fold stay what they are.
    axes = np.linalg.svd(vectors - vectors.mean(), full_matrices=False)[2]
    vectors = pd.DataFrame(vectors.to_numpy() @ axes.T, index=vectors.index)
    counts = both["batch"].value_counts()
    asked = sorted(counts.index[(counts >= _SIDE) & (len(both) - counts >= _SIDE)])
    if not asked:
        return []
    if both["batch"].nunique() == 2:
        asked = asked[-1:]

    def auroc(y: pd.Series) -> Estimate | None:
        items = probed(vectors, y, seed=seed, n_components=_COMPONENTS)
        return None if items is None else bootstrap(items, [AUROC], n_boot=n_boot, seed=seed)[AUROC.name]

    truth = label_of(dataset)
    truth = None if truth is None else truth.reindex(both.index)
    binary = truth is not None and set(truth.unique()) <= {0, 1}
    label = auroc(truth) if binary and truth is not None else None
    found = {b: e for b in asked if (e := auroc((both["batch"] == b).astype(int))) is not None}
    level = ALPHA / max(1, len(found) * len(dataset.card.modalities))
    known = {
        b: e
        for b, e in found.items()
        if is_leak(e.value, family_low(e, len(found)), 0.5)
        and beyond_permutations(
            vectors, (both["batch"] == b).astype(int), alpha=level, seed=seed, n_components=_COMPONENTS
        )
    }
    listed = "; ".join([*([stated("label: AUROC", label)] if label else []),
                        *(stated(f"batch {b}: AUROC", e) for b, e in found.items())])  # fmt: skip
    evidence = f"{of}, logistic probe on {_COMPONENTS} components, {len(both)} units: {listed}"
    evidence += mirrored(found.values(), 0.5)
    if not known:
        text = f"no batch can be told from {of} of held-out units"
        if not found or any(map(silent, found.values())):
            text = f"too few units to say whether a batch can be told from {of}"
        return [Finding(severity="info", code="batch-predictable", message=text, evidence=evidence)]
    severity: Literal["leak", "warning"] = "leak"
    names = ", ".join(f"{b} (AUROC {e.value:.2f})" for b, e in known.items())
    if label is None or np.isnan(label.value):
        compared = ""
    else:
        equal = [b for b, e in known.items() if not _less(e, label)]
        severity = "leak" if equal else "warning"
        beside = f"the label (AUROC {label.value:.2f})"
        compared = (
            f": {', '.join(equal)} at least as predictable as {beside}, as far as {len(both)} units can tell"
            if equal else f", but less well than {beside}"
        )  # fmt: skip
    return [
        Finding(
            severity=severity,
            code="batch-predictable",
            message=f"{of} of held-out units tell the batch {names}{compared}",
            evidence=evidence,
            cure="read the scores under leave-one-batch-out, and the batch beside the label",
        )
    ]


def _less(batch: Estimate, label: Estimate) -> bool:
    """Whether the batch is told less well than the label, by the paired interval of the difference."""
    gap = batch.draws - label.draws
    gap = gap[np.isfinite(gap)]
    if not len(gap):
        return False
    return interval(batch.value - label.value, gap, batch.jackknife - label.jackknife)[1] < 0


def _both(dataset: Dataset) -> pd.DataFrame | None:
    """Return the batch of each unit, and its label where there is one; None unless each unit lies in one batch."""
    column = dataset.roles.batch
    if column is None or column not in dataset.patients:
        return None
    batch = dataset.patients[column]
    both = pd.DataFrame({"batch": batch.astype(str).where(batch.notna())})
    truth = label_of(dataset)
    if truth is None:
        return both.dropna()
    names = dataset.per_unit(str(dataset.roles.label))
    return both.assign(label=names.astype(str).where(names.notna())).dropna()


def unit_means(dataset: Dataset, modality: str) -> pd.DataFrame:
    """Return the mean profile (units × features) of each unit's items, logarithms for counts; a pass over the data.

    Items without finite values are left out, and units without other items.
    """
    x, ids = finite_features(dataset, modality)
    units, code = np.unique(dataset.unit.reindex(ids).to_numpy(dtype=str), return_inverse=True)
    total = np.zeros((len(units), x.shape[1]))
    for where in slices(x):
        some = _sums(x[where], code[where], len(units))
        total[some.row, some.col] += some.data
    return pd.DataFrame(total / np.bincount(code, minlength=len(units))[:, None], index=units)


def embedding_means(dataset: Dataset, embedding: Embedding) -> pd.DataFrame:
    """Return the mean vector (units × dimensions) of each unit's items; a patient embedding as it is."""
    if embedding.level == "patient":
        return pd.DataFrame(embedding.values, index=embedding.ids)
    rows = embedding.align(dataset.ids[dataset.ids.isin(embedding.ids)])
    units, code = np.unique(dataset.unit.reindex(rows.ids).to_numpy(dtype=str), return_inverse=True)
    total = _sums(rows.values, code, len(units)).toarray()
    return pd.DataFrame(total / np.bincount(code, minlength=len(units))[:, None], index=units)


def _sums(x: Any, code: np.ndarray, n: int) -> Any:
    """Return the sums of rows by group (n, d), sparse: a block of rows has few groups."""
    from scipy.sparse import coo_array, csr_array

    member = csr_array((np.ones(len(code)), (code, np.arange(len(code)))), shape=(n, len(code)))
    return coo_array(member @ x)
