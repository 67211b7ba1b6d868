"""What the measurement alone says of the truth: cells, depth, features, mitochondrial share, alone and jointly."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.audit.evidence import beyond, is_leak, mirrored, stated
from mmcell.audit.probe import beyond_permutations, metric_of, probed
from mmcell.audit.retention import repeated, technical_table
from mmcell.audit.units import label_of
from mmcell.dataset import Dataset
from mmcell.errors import first
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.metrics.classification import AUROC
from mmcell.metrics.survival import HARRELL_C
from mmcell.records import Finding
from mmcell.stats.bootstrap import ALPHA, Estimate, bootstrap

_WORDS = {
    "n_items": "the number of cells", "depth": "the mean depth of its cells",
    "n_features": "the mean number of detected features", "share_mito": "the mean mitochondrial share",
}  # fmt: skip


def measured(dataset: Dataset, modality: str) -> pd.DataFrame:
    """Return the numeric technical covariates of each unit, computed once."""
    table: pd.DataFrame = dataset.once(("technical-table", modality), lambda: technical_table(dataset, modality))
    numbers = table.select_dtypes("number")
    return numbers.loc[:, numbers.max() > numbers.min()]


def covariate_leaks(
    dataset: Dataset, modality: str, targets: set[str], *, n_boot: int = 1000, seed: int = 0, all_values: bool = False
) -> list[Finding]:
    """Return the covariates of the measurement that alone rank the label or the outcome, each with its interval.

    Parameters
    ----------
    dataset, modality
        What is measured.
    targets
        Of ``label`` (two classes, by AUROC) and ``outcome`` (by Harrell's C).
    n_boot, seed
        Of the intervals.
    all_values
        Whether to list the values of all covariates where they are no leak, too.
    """
    table, found = measured(dataset, modality), []
    for target, truth, metric, name in _questions(dataset, targets):
        values = {}
        for column in table:
            frame = truth.assign(y_pred=table[column].reindex(truth.index)).dropna()
            if frame["y_pred"].max() > frame["y_pred"].min():
                items = Items(_facts(frame), "survival" if target == "outcome" else "binary")
                values[str(column)] = bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]
        for column, estimate in values.items():
            found += _leak(dataset, target, name, column, estimate)
        if all_values and values:
            said = "; ".join(stated(f"{column}: {name}", e) for column, e in values.items())
            text = f"what each covariate of the measurement alone says of the {target}"
            found.append(Finding(severity="info", code="technical-alone", message=text, evidence=said))
    return found


def counted_anyway(dataset: Dataset, modality: str) -> list[Finding]:
    """Return that declared covariates of the measurement are what is counted anyway, and so looked at once."""
    found = repeated(dataset, modality)
    if not found:
        return []
    said = "; ".join(f"{column} is {name}, {_WORDS[name]}" for column, name in found.items())
    text = f"of roles.technical, {first(found)} is counted anyway, and named and looked at once"
    return [Finding(severity="info", code="technical-repeated", message=text, evidence=said)]


def _leak(dataset: Dataset, target: str, name: str, column: str, estimate: Estimate) -> list[Finding]:
    """Say it for either direction: few cells may tell an illness as well as many."""
    turned = max(estimate.value, 1 - estimate.value)
    low = estimate.low if estimate.value > 0.5 else 1 - estimate.high
    if not is_leak(turned, low, 0.5):
        return []
    more = estimate.value > 0.5
    less = "fewer" if column.startswith("n_") else "less"
    if target == "outcome":
        way = f"{'more' if more else less} means a shorter survival"
    else:
        way = f"{dataset.positive} have {'more' if more else less}"
    return [
        Finding(
            severity="leak",
            code="cell-count-leak" if column == "n_items" else "technical-covariate-leak",
            message=f"{_WORDS.get(column, column)} alone tells the {target} with {name} {turned:.2f} ({way})",
            evidence=f"{stated(f'{name} of {column}', estimate)}, {estimate.n_units} units",
            cure="patient encoders see equally many cells of everybody by default; compare with technical-only"
            if column == "n_items" else "it may be biology, but needs no model: an embedding must beat technical-only",
        )
    ]  # fmt: skip


def jointly(dataset: Dataset, modality: str, *, n_boot: int = 1000, seed: int = 0) -> list[Finding]:
    """Return how well all covariates of the measurement together predict the label of held-out units."""
    truth, table = label_of(dataset), measured(dataset, modality).dropna()
    if truth is None or not table.shape[1]:
        return []
    positive = (table > 0).all()
    table = table.assign(**{str(c): np.log(table[c]) for c in table.columns[positive]})
    items = probed(table, truth[truth.index.isin(table.index)], seed=seed)
    if items is None:
        return []
    name, metric = metric_of(items)
    found = bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]
    chance = metric.chance_of(items)
    leak = is_leak(found.value, found.low, chance) and beyond_permutations(
        table, truth[truth.index.isin(table.index)], alpha=ALPHA, seed=seed
    )
    verb = "predict" if beyond(found, chance) else "do not predict"
    return [
        Finding(
            severity="leak" if leak else "info",
            code="technical-jointly",
            message=f"the covariates of the measurement together {verb} the label of held-out units: "
            f"{stated(name, found)}, chance {chance:.2f}",
            evidence=f"logistic probe on {', '.join(map(str, table.columns))}; {found.n_units} units"
            + mirrored([found], chance),
            cure="an embedding must beat this control (technical-only), not chance" if leak else "",
        )
    ]


def _questions(dataset: Dataset, targets: set[str]) -> list[tuple[str, pd.DataFrame, Metric, str]]:
    found: list[tuple[str, pd.DataFrame, Metric, str]] = []
    truth = label_of(dataset) if "label" in targets else None
    if truth is not None and truth.dtype.kind in "iu":
        found.append(("label", truth.to_frame(), AUROC, "AUROC"))
    if "outcome" in targets and dataset.roles.outcome is not None:
        found.append(("outcome", dataset.truth("outcome", "patient"), HARRELL_C, "C"))
    return found


def _facts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(item=frame.index, unit=frame.index).reset_index(drop=True)
