"""What is known of the data before anything is run: leaks, confounding, distortion, small numbers."""

from __future__ import annotations

import pandas as pd

from mmcell.dataset import Dataset
from mmcell.metrics.classification import auroc
from mmcell.records import Finding
from mmcell.splits import Split
from mmcell.stats.units import FEW
from mmcell.task import unasked

#: Fewer events than this: Cox models and concordances are unstable.
_FEW_EVENTS = 50
#: A single covariate of the measurement that ranks the label at least this well is reported as a leak.
_LEAK = 0.7


def audit_data(dataset: Dataset, splits: list[Split], level: str, modality: str) -> list[Finding]:
    """Return findings about a dataset as a task uses it.

    Parameters
    ----------
    dataset, splits
        What is used, and how it is split.
    level, modality
        Of the slot that takes the encoder.
    """
    targets = {t for s in splits for t in s.spec.targets}
    found = [*_small(dataset, targets), *_excluded(dataset, targets, level)]
    if dataset.card.level != "patient":
        found += [*_one_batch_types(dataset), *_samples(dataset)]
        if level == "patient":
            found += _below_limit(dataset, splits)
        if "label" in targets and dataset.roles.label:
            found += _count_leak(dataset)
    if "label" in targets and dataset.roles.label and dataset.roles.batch:
        found += _confounded(dataset)
    found += [Finding(severity="info", code="caveat", message=text) for text in dataset.card.caveats]
    preprocessing = dataset.modality(modality).preprocessing
    if preprocessing == "counts" and _fractional(dataset, modality):
        found.append(
            Finding(
                severity="warning",
                code="not-counts",
                message=f"the card calls {modality} counts, but values are not whole",
                cure="set 'preprocessing' on the card to what the values are",
            )
        )
    return found


def _small(dataset: Dataset, targets: set[str]) -> list[Finding]:
    found = []
    n = dataset.unit.nunique()
    if n < FEW:
        found.append(
            Finding(
                severity="warning",
                code="few-units",
                message=f"{n} units ({dataset.roles.unit}): intervals are rough",
                cure="add patients; cells do not replace them",
            )
        )
    if "outcome" in targets:
        events = int(dataset.truth("outcome", "patient")["event"].sum())
        if events < _FEW_EVENTS:
            found.append(
                Finding(
                    severity="warning",
                    code="few-events",
                    message=f"{events} events among {n} patients: intervals are wide",
                    evidence=f"{events} events",
                    cure="read the interval, not the value",
                )
            )
    return found


def _excluded(dataset: Dataset, targets: set[str], level: str) -> list[Finding]:
    found = []
    for target in sorted(targets - {"pairs"}):
        role = "outcome" if target == "outcome" else target
        if getattr(dataset.roles, role, None) is None:
            continue
        if unasked(dataset, target, level):
            continue
        known = dataset.truth(target, level).index
        missing = dataset.units_of(level).index.difference(known)
        if len(missing):
            found.append(
                Finding(
                    severity="warning",
                    code="no-truth",
                    message=f"{len(missing)} of {len(dataset.units_of(level))} have no {target} and are not scored",
                    evidence=", ".join(map(str, missing[:5])),
                    cure="fill in the column, or remove them",
                )
            )
    return found


def _one_batch_types(dataset: Dataset) -> list[Finding]:
    roles = dataset.roles
    if roles.batch is None or roles.cell_type is None:
        return []
    table = pd.crosstab(dataset.obs[roles.cell_type], dataset.obs[roles.batch])
    if table.shape[1] < 2:
        return []
    single = table[(table > 0).sum(axis=1) == 1]
    if single.empty:
        return []
    names = ", ".join(
        f"{t} ({single.columns[(row > 0).argmax()]})" for t, row in zip(single.index, single.to_numpy(), strict=True)
    )
    return [
        Finding(
            severity="warning",
            code="types-in-one-batch",
            message=f"{len(single)} of {len(table)} cell types live in one batch only: composition tells the batch, "
            "and no label can be carried over to them from other batches",
            evidence=names,
            cure="read composition scores under leave-one-batch-out",
        )
    ]


def _samples(dataset: Dataset) -> list[Finding]:
    if dataset.roles.sample is None:
        return []
    per_unit = dataset.obs[dataset.roles.sample].astype(str).groupby(dataset.unit).nunique()
    several = int((per_unit > 1).sum())
    if not several:
        return []
    text = f"{several} of {len(per_unit)} units have several samples; they are kept together in every split"
    return [Finding(severity="info", code="several-samples", message=text, evidence=f"up to {per_unit.max()} a unit")]


def _below_limit(dataset: Dataset, splits: list[Split]) -> list[Finding]:
    """Held-out units with fewer items than the training unit with the fewest: they stay below the shared limit."""
    n = dataset.patients["n_items"]
    below = sorted({u for s in splits for u in s.test[n[s.test].to_numpy() < n[s.train].min()]})
    if not below:
        return []
    return [
        Finding(
            severity="info",
            code="below-limit",
            message=f"{len(below)} of {len(n)} units have fewer cells than every training unit of their fold: their "
            "vectors are noisier than those of the others",
            evidence=", ".join(f"{u} ({n[u]})" for u in below[:5]),
            cure="compare the scores without them",
        )
    ]


def _count_leak(dataset: Dataset) -> list[Finding]:
    truth = dataset.truth("label", "patient")["y_true"]
    if truth.dtype.kind not in "iu":
        return []
    n = dataset.patients["n_items"].reindex(truth.index)
    value = auroc(truth.to_numpy(), n.to_numpy(dtype=float))
    if max(value, 1 - value) < _LEAK:
        return []
    way = "more" if value > 0.5 else "fewer"
    return [
        Finding(
            severity="leak",
            code="cell-count-leak",
            message=(
                f"the number of cells alone tells the label with AUROC {max(value, 1 - value):.2f} "
                f"({dataset.positive} have {way})"
            ),
            evidence=f"AUROC of n_items {value:.3f} over {len(truth)} units",
            cure="patient encoders see equally many cells of everybody by default; compare with technical-only",
        )
    ]


def _confounded(dataset: Dataset) -> list[Finding]:
    from scipy.stats.contingency import association

    column = str(dataset.roles.batch)
    if column not in dataset.patients:
        return []
    both = pd.DataFrame(
        {"batch": dataset.patients[column], "label": dataset.per_unit(str(dataset.roles.label))}
    ).dropna()
    table = pd.crosstab(both["batch"].astype(str), both["label"].astype(str))
    if min(table.shape) < 2:
        return []
    v = float(association(table.to_numpy(), method="cramer"))
    text = f"label and batch over units: Cramér's V {v:.2f}"
    return [
        Finding(severity="leak" if v > 0.5 else "info", code="batch-label", message=text, evidence=str(table.to_dict()))
    ]


def _fractional(dataset: Dataset, modality: str) -> bool:
    x = dataset.anndata(modality).X
    if x is None:
        return False
    x = x[:1000]
    values = x.data if hasattr(x, "indptr") else x
    return bool((values != values.round()).any() or (values < 0).any())
