"""`Variant`: one thing changed about an evaluation, and the axes along which things are changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from mmcell.candidates import Candidate, modality_of
from mmcell.digest import digest
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.plan import Plan
from mmcell.poolings import ALL_CELLS
from mmcell.spaces import SPACES
from mmcell.splits import Split
from mmcell.task import MethodView
from mmcell.variants import subset, thinned

#: What is changed, in the order of tables. ``metric`` and ``confounding`` are read in their own ways.
AXES = (
    "space", "similarity", "metric", "training", "patients", "cells", "equal-cells", "depth", "balance", "batch",
    "confounding",
)  # fmt: skip
#: Axes along which there is less and less to learn from: their curves begin with everything.
CURVES = ("training", "cells")
#: Shares that are kept: of the training units, of the units on both sides, of every unit's cells, of the counts.
TRAINING_SHARES, UNIT_SHARES = (0.75, 0.5, 0.25), (0.75, 0.5)
CELL_SHARES, DEPTH_SHARES = (0.5, 0.25, 0.1), (0.5, 0.2)
#: How often units and cells are drawn. It matters which: with 12 cells a patient the AUROC of compositions (covid-cite)
#: has a standard deviation of 0.1 over draws of the cells.
DRAWS = 3

Make = Callable[[Plan, np.random.Generator], Plan]


@dataclass(frozen=True)
class Variant:
    """One change of an evaluation.

    Attributes
    ----------
    axis, name
        What tables call it.
    make
        Plan and generator -> the changed plan; raises `MmcellError` when it cannot be asked. What it had to leave out
        stands in the notes of the plan that it returns.
    draws
        How often it is made anew.
    level
        The share that is left, where it is a matter of degree; NaN otherwise.
    spares
        Candidate -> why nothing changes for this one, "" when something does.
    refuses
        Candidate -> why it cannot be asked of this one, "" when it can.
    """

    axis: str
    name: str
    make: Make
    draws: int = 1
    level: float = float("nan")
    spares: Callable[[Candidate], str] | None = None
    refuses: Callable[[Candidate], str] | None = None

    def spared(self, candidate: Candidate) -> str:
        """Return why it can change nothing for a candidate, "" when it can."""
        return self.spares(candidate) if self.spares is not None else ""

    def refusal(self, candidate: Candidate) -> str:
        """Return why it cannot be asked of a candidate, "" when it can."""
        return self.refuses(candidate) if self.refuses is not None else ""


def check_axes(axes: Collection[str] | None) -> tuple[str, ...]:
    """Return the axes in the order of tables; None stands for all.

    Raises
    ------
    MmcellError
        An unknown one.
    """
    wanted = AXES if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    for axis in wanted:
        if axis not in AXES:
            raise MmcellError(f"axis {axis!r} is not known; {did_you_mean(axis, AXES)}")
    return tuple(a for a in AXES if a in wanted)


def variants_of(plan: Plan, axes: Collection[str]) -> tuple[list[Variant], list[str]]:
    """Return what can be changed about a plan along some axes, and in words which axes cannot be asked and why."""
    found: list[Variant] = []
    notes = []
    for axis in axes:
        if axis not in _BUILDERS:
            continue
        try:
            found += _BUILDERS[axis](plan)
        except MmcellError as error:
            notes.append(f"{plan.task.spec.name}: {axis} was not varied: {error}")
    return found, notes


def _spaces(plan: Plan) -> list[Variant]:  # noqa: ARG001
    return [Variant("space", name, partial(_in_space, name=name), spares=_no_embedding) for name in SPACES]


def _in_space(plan: Plan, rng: np.random.Generator, name: str) -> Plan:  # noqa: ARG001
    moved = [replace(c, space=name, key=digest(c.key, name) if c.key else "") for c in plan.candidates]
    return replace(plan, candidates=moved)


def _similarities(plan: Plan) -> list[Variant]:
    used = getattr(plan.task, "similarity", None)
    if used is None:
        raise MmcellError("the task compares nothing by similarity")
    others = [n for n in ("cosine", "l2", "l1") if n != used]
    return [Variant("similarity", name, partial(_similar, name=name)) for name in others]


def _similar(plan: Plan, rng: np.random.Generator, name: str) -> Plan:  # noqa: ARG001
    task = copy.copy(plan.task)
    task.similarity = name  # type: ignore[attr-defined]
    return replace(plan, task=task)


def _training(plan: Plan) -> list[Variant]:
    if all(len(s.train) < 2 for s in plan.splits):
        raise MmcellError("there is one training unit only")
    return [
        Variant("training", f"{share:.0%}", partial(_fewer_training, share=share), DRAWS, share)
        for share in TRAINING_SHARES
    ]


def _fewer_training(plan: Plan, rng: np.random.Generator, share: float) -> Plan:
    """Keep a share of each fold's training units; those that are held out stay, so that all shares are asked alike."""
    classes = classes_of(plan)

    def sides(split: Split) -> tuple[pd.Index, pd.Index]:
        drawn = _share_of(classes[classes.index.isin(split.train)], share, rng)
        return split.train[split.train.isin(drawn)], split.test

    return _narrowed(plan, sides)


def _patients(plan: Plan) -> list[Variant]:
    if len(plan.dataset.units) < 2:
        raise MmcellError("there is one unit only")
    return [
        Variant("patients", f"{share:.0%}", partial(_fewer_units, share=share), DRAWS, share) for share in UNIT_SHARES
    ]


def _fewer_units(plan: Plan, rng: np.random.Generator, share: float) -> Plan:
    return among(plan, _share_of(classes_of(plan), share, rng))


def _share_of(classes: pd.Series, share: float, rng: np.random.Generator) -> list[str]:
    """Return random units, a share of every class and at least one of each."""
    drawn: list[str] = []
    for _, members in classes.groupby(classes, sort=True):
        drawn += list(rng.choice(members.index, max(1, round(share * len(members))), replace=False))
    return drawn


def _cells(plan: Plan) -> list[Variant]:
    if plan.dataset.card.level == "patient":
        raise MmcellError("the data hold one row a patient, no cells")
    return [
        Variant("cells", f"{share:.0%}", partial(_fewer_cells, share=share), DRAWS, share, refuses=_of_patients)
        for share in CELL_SHARES
    ]


def _fewer_cells(plan: Plan, rng: np.random.Generator, share: float) -> Plan:
    unit = plan.dataset.unit
    order = pd.Series(rng.random(len(unit)), index=unit.index).groupby(unit).rank(method="first")
    size = unit.map(unit.value_counts())
    keep = order <= np.maximum(1, np.round(share * size))
    return replace(plan, dataset=subset(plan.dataset, pd.Index(unit.index[keep])))


def _numbers_of_cells(plan: Plan) -> list[Variant]:
    equal = {c.pooling.equal_cells for c in plan.candidates if c.pooling is not None}
    if not equal:
        raise MmcellError("no patient is made of cells here")
    # A run may mix both ways: each variant makes them one.
    return [
        Variant(
            "equal-cells", name, partial(_given_by, equal=wanted, name=name),
            spares=partial(_given_alike, equal=wanted), refuses=_of_patients,
        )
        for name, wanted in ((ALL_CELLS, False), ("equal-cells", True)) if (not wanted) in equal
    ]  # fmt: skip


def _given_by(plan: Plan, rng: np.random.Generator, equal: bool, name: str) -> Plan:  # noqa: ARG001
    moved = [
        replace(c, pooling=replace(c.pooling, equal_cells=equal), key=digest(c.key, name) if c.key else "")
        if c.pooling is not None and c.pooling.equal_cells != equal
        else c
        for c in plan.candidates
    ]
    return replace(plan, candidates=moved)


def _depth(plan: Plan) -> list[Variant]:
    modality = modality_of(plan.task.spec.slot[1], plan.dataset)
    if plan.dataset.modality(modality).preprocessing != "counts":
        raise MmcellError(f"{modality} holds no counts, and only counts can be thinned")
    return [
        Variant(
            "depth", f"{share:.0%}", partial(_thinner, modality=modality, share=share), level=share,
            spares=_no_embedding, refuses=_computed,
        )
        for share in DEPTH_SHARES
    ]  # fmt: skip


def _thinner(plan: Plan, rng: np.random.Generator, modality: str, share: float) -> Plan:
    return replace(plan, dataset=thinned(plan.dataset, modality, share, rng))


def _balances(plan: Plan) -> list[Variant]:
    classes = classes_of(plan)
    names = sorted(set(classes) - {""})
    if len(names) < 2:
        raise MmcellError("the task predicts no class of units")
    return [Variant("balance", f"half of {name}", partial(_halved, name=name)) for name in names]


def _halved(plan: Plan, rng: np.random.Generator, name: str) -> Plan:
    classes = classes_of(plan)
    members = classes.index[classes == name]
    lost = rng.choice(members, len(members) // 2, replace=False)
    return among(plan, classes.index.difference(lost))


def _batches(plan: Plan) -> list[Variant]:
    column = plan.dataset.roles.columns.get("batch")
    if column is None:
        raise MmcellError("roles.batch is not set")
    names = sorted(plan.dataset.obs[column].dropna().astype(str).unique())
    if len(names) < 2:
        raise MmcellError(f"all items are of batch {first(names)}")
    return [Variant("batch", f"without {name}", partial(_without, column=column, name=name)) for name in names]


def _without(plan: Plan, rng: np.random.Generator, column: str, name: str) -> Plan:  # noqa: ARG001
    dataset = plan.dataset
    if column in dataset.patients:
        of_unit = dataset.patients[column].astype(str)
        return among(plan, of_unit.index[of_unit != name])
    rest = subset(dataset, pd.Index(dataset.ids[(dataset.obs[column].astype(str) != name).to_numpy()]))
    return among(replace(plan, dataset=rest), rest.units)


_BUILDERS: dict[str, Callable[[Plan], list[Variant]]] = {
    "space": _spaces,
    "similarity": _similarities,
    "training": _training,
    "patients": _patients,
    "cells": _cells,
    "equal-cells": _numbers_of_cells,
    "depth": _depth,
    "balance": _balances,
    "batch": _batches,
}


def classes_of(plan: Plan) -> pd.Series:
    """Return unit -> the class that the task predicts, as text; "" where a unit has none, or the task predicts none.

    A label of units is taken as it is; of an outcome, whether the event was seen.
    """
    dataset = plan.dataset
    role = {"label": "label", "outcome": "outcome.event"}.get(plan.splits[0].spec.targets[0], "")
    column = dataset.roles.columns.get(role)
    units = dataset.units.rename("unit")
    if column is None or column not in dataset.patients:
        return pd.Series("", index=units)
    found = dataset.per_unit(column).reindex(units)
    prefix = "" if role == "label" else f"{column}="
    return (prefix + found.astype(str)).where(found.notna(), "")


def among(plan: Plan, keep: Collection[str]) -> Plan:
    """Return the same plan with some of the units only: every fold keeps those of its units.

    A fold that is left without a side, or in which the question cannot be put any more, is left out and named.

    Raises
    ------
    MmcellError
        No fold is left.
    """
    kept = pd.Index(list(keep))
    return _narrowed(plan, lambda split: (split.train[split.train.isin(kept)], split.test[split.test.isin(kept)]))


def _narrowed(plan: Plan, sides: Callable[[Split], tuple[pd.Index, pd.Index]]) -> Plan:
    """Return the same plan with other training and test units in every fold; what is left out as in `among`."""
    level = plan.task.spec.slot[2]
    splits, lost = [], {}
    for split in plan.splits:
        train, test = sides(split)
        where = " ".join(filter(None, (split.spec.name, split.group or f"repeat {split.repeat} fold {split.fold}")))
        if not len(train) or not len(test):
            lost[where] = "no units left on one side"
            continue
        smaller = replace(split, train=train, test=test)
        try:
            plan.task.check(MethodView.of(plan.dataset, smaller, level))
        except MmcellError as error:
            lost[where] = str(error)
            continue
        splits.append(smaller)
    if not splits:
        raise MmcellError(f"no fold is left: {first(dict.fromkeys(lost.values()), 1)}")
    notes = (f"left out: {first(lost)} ({first(dict.fromkeys(lost.values()), 1)})",) if lost else ()
    return replace(plan, splits=splits, notes=notes)


def _no_embedding(candidate: Candidate) -> str:
    pools_labels = candidate.pooling is not None and not candidate.pooling.reads_embedding
    return "reads no embedding" if isinstance(candidate.source, str) or pools_labels else ""


def _given_alike(candidate: Candidate, equal: bool) -> str:
    if candidate.pooling is not None:
        alike = "equally many cells" if equal else "every cell"
        return f"its patients are given by {alike} as it is" if candidate.pooling.equal_cells == equal else ""
    return "" if _of_patients(candidate) else "makes no patient of cells"


def _of_patients(candidate: Candidate) -> str:
    fixed = isinstance(candidate.source, Embedding) and candidate.source.level == "patient"
    from_file = candidate.pooling is not None and not getattr(candidate.pooling.encoder, "reads_cells", True)
    return "a precomputed embedding of patients cannot be made of other cells" if fixed or from_file else ""


def _computed(candidate: Candidate) -> str:
    fixed = isinstance(candidate.source, Embedding)
    return "a precomputed embedding cannot be computed again from thinner counts" if fixed else ""
