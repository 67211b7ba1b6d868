"""Units and their targets: too few, without a truth, with two of them, in several samples."""

from __future__ import annotations

import pandas as pd

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, first
from mmcell.probes.design import ClinicalDesign
from mmcell.records import Finding
from mmcell.splits import Split
from mmcell.stats.units import FEW, MINIMUM
from mmcell.task import unasked

#: Fewer events than this: Cox models and concordances are unstable.
FEW_EVENTS = 50
#: Units of the rarest class, or events, that each covariate of a model should have.
PER_VARIABLE = 10


def varying(dataset: Dataset, column: str) -> pd.Series:
    """Return unit -> number of values for the units in which a column takes several."""
    values = dataset.obs[column].groupby(dataset.unit).nunique()
    return values[values > 1].sort_index()


def label_of(dataset: Dataset) -> pd.Series | None:
    """Return the label of each unit (0/1 for two classes), None where there is none that can be used."""
    column = dataset.roles.label
    if column is None or len(varying(dataset, column)) or dataset.obs[column].nunique() < 2:
        return None
    return dataset.truth("label", "patient")["y_true"]


def positive_class(dataset: Dataset) -> list[Finding]:
    """Say which of two classes scores point to where the roles name none."""
    truth, column = label_of(dataset), dataset.roles.label
    if truth is None or dataset.roles.positive is not None or truth.dtype.kind not in "iub":
        return []
    return [
        Finding(
            severity="info",
            code="positive-class",
            message=f"scores point to {dataset.positive!r} of {column}, the last of its classes in sorted order, for "
            "none is named",
            cure="name it: roles.positive in the card, or --positive",
        )
    ]


def targets_of(dataset: Dataset) -> set[str]:
    """Return which of label and outcome the roles name and the data can answer."""
    found = {"label"} if label_of(dataset) is not None else set()
    outcome = dataset.roles.outcome
    if outcome is not None and not unusable(dataset):
        found.add("outcome")
    return found


def unusable(dataset: Dataset) -> list[Finding]:
    """Return targets that cannot be used as they stand: they vary within a unit, have one class only, or no event."""
    roles, found = dataset.roles, []
    columns = [("label", roles.label)] if roles.label else []
    if roles.outcome is not None:
        columns += [("outcome", roles.outcome.time), ("outcome", roles.outcome.event)]
    columns += [("clinical covariate", c) for c in roles.clinical]
    n = dataset.unit.nunique()
    clean = {"label": True, "outcome": True}
    for role, column in columns:
        twice = varying(dataset, column)
        if twice.empty:
            continue
        clean[role] = False
        values = dataset.obs[column].groupby(dataset.unit).unique()
        shown = "; ".join(f"{u}: {first(sorted(map(str, pd.Series(values[u]).dropna())))}" for u in twice.index[:3])
        found.append(
            Finding(
                severity="warning",
                code="varies-within-unit",
                message=f"the {role} {column!r} takes several values in {len(twice)} of {n} units: "
                "what is to be predicted of a unit must be one value",
                evidence=shown,
                cure="correct the column, or choose a finer unit",
            )
        )
    for target, asked in (("label", roles.label), ("outcome", roles.outcome)):
        if asked is None or not clean[target]:
            continue
        try:
            dataset.truth(target, "patient")
        except MmcellError as error:
            # What stops a run is what an audit reports.
            found.append(Finding(severity="warning", code=f"unusable-{target}", message=str(error)))
    return found


def small(dataset: Dataset, targets: set[str], *, clinical: bool = True) -> list[Finding]:
    """Return what is too small: the number of units, of units in a class, of events, and of either per covariate.

    Parameters
    ----------
    dataset
        Whose roles name them.
    targets
        Of ``label`` and ``outcome``, those that are asked.
    clinical
        Whether a model of clinical covariates is, or may be, fitted: otherwise how many there are is of no account.
    """
    n = dataset.unit.nunique()
    found = few_units(n, f" ({dataset.roles.unit})")
    columns = [c for c in dataset.roles.clinical if clinical and varying(dataset, c).empty]
    variables = len(ClinicalDesign.fit(dataset.patients[columns]).columns) if columns else 0
    if "outcome" in targets:
        events = int(dataset.truth("outcome", "patient")["event"].sum())
        # Below 10 units there is no interval that could be wide.
        said = f"{events} event{'s' * (events != 1)}"
        if events < FEW_EVENTS and n >= MINIMUM:
            found.append(
                Finding(
                    severity="warning",
                    code="few-events",
                    message=f"{said} among {n} patients: intervals are wide",
                    evidence=said,
                    cure="read the interval, not the value",
                )
            )
        found += _per_variable(said, events, variables)
    truth = label_of(dataset) if "label" in targets else None
    if truth is not None:
        names = dataset.per_unit(str(dataset.roles.label)).astype(str)[truth.index]
        counts = names.value_counts()
        least = int(counts.min())
        rarest = f"{least} unit{'s' * (least != 1)} of {dataset.roles.label} {counts.idxmin()!r}"
        if least < PER_VARIABLE:
            found.append(
                Finding(
                    severity="warning",
                    code="few-in-class",
                    message=f"{rarest}: each moves the scores",
                    evidence=", ".join(f"{k} {name}" for name, k in counts.items()),
                    cure="add patients of this class" + ("; read the interval, not the value" if n >= MINIMUM else ""),
                )
            )
        found += _per_variable(rarest, least, variables)
    return found


def few_units(n: int, of: str = "") -> list[Finding]:
    """Return what a number of units does to intervals: below 10 there are none, below 20 they are rough."""
    if n >= FEW:
        return []
    said = "intervals are rough" if n >= MINIMUM else f"no score will have an interval, which needs {MINIMUM}"
    text, cure = f"{n} units{of}: {said}", "add patients; cells do not replace them"
    return [Finding(severity="warning", code="few-units", message=text, cure=cure)]


def _per_variable(said: str, have: int, variables: int) -> list[Finding]:
    if not variables or have / variables >= PER_VARIABLE:
        return []
    return [
        Finding(
            severity="warning",
            code="few-per-variable",
            message=f"{said} for {variables} clinical variable{'s' * (variables != 1)}, {have / variables:.1f} each: a "
            "model of all of them overfits",
            evidence=f"fewer than {PER_VARIABLE} per variable",
            cure="use fewer covariates, or a penalised model",
        )
    ]


def excluded(dataset: Dataset, targets: set[str], level: str) -> list[Finding]:
    """Return how many items or units lack the truth of a target."""
    found = []
    for target in sorted(targets - {"pairs"}):
        role = "outcome" if target == "outcome" else target
        if getattr(dataset.roles, role, None) is None:
            continue
        if unasked(dataset, target, level):
            continue
        # An outcome is that of a unit, whatever the level.
        of = dataset.units_of("patient" if target == "outcome" else level).index
        missing = of.difference(dataset.truth(target, level).index)
        if len(missing):
            found.append(
                Finding(
                    severity="warning",
                    code="no-truth",
                    message=f"{len(missing)} of {len(of)} have no {target} and are not scored",
                    evidence=", ".join(map(str, missing[:5])),
                    cure="fill in the column, or remove them",
                )
            )
    return found


def empty(dataset: Dataset) -> list[Finding]:
    """Return the units that the column knows as categories and that have no item."""
    column = dataset.obs[dataset.roles.unit]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return []
    names = sorted(map(str, column.cat.categories.difference(column.unique())))
    if not names:
        return []
    return [
        Finding(
            severity="warning",
            code="units-without-items",
            message=f"{len(names)} categories of {dataset.roles.unit!r} have no item: these units are in no score",
            evidence=first(names),
            cure="find out where their items are, or remove the unused categories",
        )
    ]


def samples(dataset: Dataset) -> list[Finding]:
    """Return how many units have several samples."""
    if dataset.roles.sample is None:
        return []
    per_unit = dataset.obs[dataset.roles.sample].astype(str).groupby(dataset.unit).nunique()
    several = int((per_unit > 1).sum())
    if not several:
        return []
    counts = per_unit.value_counts().sort_index()
    return [
        Finding(
            severity="info",
            code="several-samples",
            message=f"{several} of {len(per_unit)} units have several samples; they are kept together in every split",
            evidence=f"up to {per_unit.max()} a unit: " + ", ".join(f"{k} with {n}" for n, k in counts.items()),
            cure="samples of one unit are no independent patients; they are taken for time points"
            if not dataset.roles.replicates
            else "samples of one unit are no independent patients, but replicates",
        )
    ]


def below_limit(dataset: Dataset, splits: list[Split]) -> list[Finding]:
    """Return held-out units with fewer items than the training unit with the fewest."""
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
