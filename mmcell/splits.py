"""`Split`: training and test *units*. A unit is never on both sides, and no way of asking makes it so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold

from mmcell.dataset import Dataset
from mmcell.digest import digest, stream
from mmcell.errors import MmcellError, first, number_of
from mmcell.stats.units import Units

Kind = Literal["group-kfold", "stratified-group-kfold", "leave-one-group-out"]
KINDS: tuple[Kind, ...] = ("group-kfold", "stratified-group-kfold", "leave-one-group-out")


@dataclass(frozen=True)
class SplitSpec:
    """How a task splits its units.

    Attributes
    ----------
    name
        What the column ``split`` of the results says.
    kind
        See `make_splits`.
    by
        A role (``batch``, ``label``, …) whose groups are stratified over folds, or left out one at a time.
    n_splits, repeats
        Number of folds, and how often the folds are drawn anew.
    targets
        What is predicted under this split (see `Dataset.truth`): hidden from the method's view of test units.
    """

    name: str
    kind: Kind
    by: str | None = None
    n_splits: int = 5
    repeats: int = 1
    targets: tuple[str, ...] = ("label",)

    @property
    def shift(self) -> str:
        """What is unseen at test time, where whole groups are left out."""
        return (self.by or "") if self.kind == "leave-one-group-out" else ""

    def in_words(self) -> str:
        """Return how units are held out, and what is predicted of them."""
        if self.kind == "leave-one-group-out":
            how = f"every {self.by} is held out once"
        else:
            by = f", {self.by} spread evenly" if self.kind == "stratified-group-kfold" else ""
            times = f"{self.repeats} × " if self.repeats > 1 else ""
            how = f"{times}{self.n_splits} folds of units{by}"
        return f"{self.name}: {how}; predicted: {', '.join(self.targets)}"


@dataclass(frozen=True, eq=False)
class Split:
    """One partition of units into training and test.

    Attributes
    ----------
    train, test
        Ids of the units on either side.
    repeat, fold
        Which one of the draws, and of its folds.
    group
        The group that is left out, where groups are; otherwise "".
    spec
        What it was made by.

    Raises
    ------
    MmcellError
        A unit is on both sides, or a side is empty.
    """

    train: pd.Index
    test: pd.Index
    repeat: int = 0
    fold: int = 0
    group: str = ""
    spec: SplitSpec = field(default=SplitSpec("units", "group-kfold"))

    def __post_init__(self) -> None:
        both = self.train.intersection(self.test)
        if len(both):
            raise MmcellError(
                f"split {self.spec.name!r}: {number_of(len(both), 'unit is', 'units are')} in training and in test "
                f"({first(both)}); "
                "a unit's items must stay on one side"
            )
        for side in ("train", "test"):
            if not len(getattr(self, side)):
                raise MmcellError(f"split {self.spec.name!r}: fold {self.fold} has no {side} units; use fewer folds")

    @property
    def key(self) -> str:
        """The sha256 of what is where."""
        return digest(self.repeat, self.fold, self.group, sorted(self.train), sorted(self.test))


def make_splits(
    dataset: Dataset,
    kind: Kind = "group-kfold",
    by: str | None = None,
    *,
    n_splits: int = 5,
    repeats: int = 1,
    seed: int = 0,
    name: str | None = None,
    targets: tuple[str, ...] = ("label",),
) -> list[Split]:
    """Split the units of a dataset.

    Parameters
    ----------
    dataset
        Whose `Roles.unit` is split.
    kind
        ``group-kfold``: folds of units; ``stratified-group-kfold``: the same with the classes of `by` spread evenly;
        ``leave-one-group-out``: each group of `by` is the test set once.
    by
        A role such as ``label`` or ``batch``, or a column of ``obs``. It must be constant within a unit.
    n_splits, repeats, seed
        Folds, independent repeats of them, and the seed of the shuffle (unused when groups are left out).
    name
        What results call the split.
    targets
        Hidden from the method's view of test units.

    Returns
    -------
    list of Split
        In the order of repeats and folds; ids of units on either side.

    Raises
    ------
    MmcellError
        A unit would cross (it lies in two groups), there are fewer units than folds, fewer members of a class than
        folds, only one group, or `by` is missing or unknown.
    """
    if kind not in KINDS:
        raise MmcellError(f"split kind {kind!r} is not one of {', '.join(KINDS)}")
    if n_splits < 2 or repeats < 1:
        raise MmcellError(f"split {name or kind!r}: {n_splits} folds × {repeats} repeats; give at least 2 × 1")
    spec = SplitSpec(name or kind, kind, by, n_splits, repeats, targets)
    units = Units.of(dataset.unit, item=dataset.ids).ids
    if kind == "group-kfold":
        _enough(dataset, len(units), n_splits)
        return _folds(spec, units, pd.Series(0, index=units), seed)
    groups = _groups(dataset, spec, units)
    if kind == "stratified-group-kfold":
        counts = groups.value_counts()
        if counts.empty:
            raise MmcellError(f"dataset {dataset.name!r}: no unit has a value of {by} to stratify by; fill it in")
        _enough(dataset, int(counts.min()), n_splits, f" of {by} {counts.idxmin()!r}")
        return _folds(spec, units, groups, seed)
    missing = groups.isna()
    if missing.any():
        raise MmcellError(
            f"dataset {dataset.name!r}: {number_of(int(missing.sum()), 'unit has', 'units have')} no {by} "
            f"({first(units[missing])}); fill it in "
            "or remove them"
        )
    names = sorted(groups.unique())
    if len(names) < 2:
        raise MmcellError(
            f"dataset {dataset.name!r}: {by} has one group only ({first(names)}); leaving one out needs at least two"
        )
    return [
        Split(units[(groups != g).to_numpy()], units[(groups == g).to_numpy()], 0, i, g, spec)
        for i, g in enumerate(names)
    ]


def most_folds(dataset: Dataset, spec: SplitSpec) -> int:
    """Return over how many folds the units, or the rarest class of what they are stratified by, can be spread."""
    units = Units.of(dataset.unit, item=dataset.ids).ids
    if spec.kind == "stratified-group-kfold":
        counts = _groups(dataset, spec, units).value_counts()
        return int(counts.min()) if len(counts) else 0
    return len(units) if spec.kind == "group-kfold" else spec.n_splits


def splits_of(dataset: Dataset, spec: SplitSpec, seed: int = 0) -> list[Split]:
    """Return the splits that a `SplitSpec` describes; arguments and errors as in `make_splits`."""
    return make_splits(
        dataset, spec.kind, spec.by, n_splits=spec.n_splits, repeats=spec.repeats, seed=seed, name=spec.name,
        targets=spec.targets,
    )  # fmt: skip


def _groups(dataset: Dataset, spec: SplitSpec, units: pd.Index) -> pd.Series:
    if spec.by is None:
        raise MmcellError(f"split kind {spec.kind!r} needs 'by': the role or column whose groups it works on")
    outcome = dataset.roles.outcome
    if spec.by == "outcome" and outcome is not None and outcome.competing is not None:
        # A competing event is rare at times, and folds are drawn for the event in question.
        groups = dataset.truth("outcome", "patient")["event"].reindex(units)
        return groups.astype(str).where(groups.notna())
    role = "outcome.event" if spec.by == "outcome" else spec.by
    own = spec.by if spec.by in dataset.obs and spec.by not in type(dataset.roles).__dataclass_fields__ else None
    column = dataset.roles.columns.get(role, own)
    if column is None:
        raise MmcellError(f"dataset {dataset.name!r}: no role or column {spec.by!r} to split by; set roles.{spec.by}")
    groups = dataset.per_unit(column).reindex(units)
    return groups.astype(str).where(groups.notna())


def _enough(dataset: Dataset, have: int, n_splits: int, of: str = "") -> None:
    if have < n_splits:
        raise MmcellError(
            f"dataset {dataset.name!r}: {number_of(have, 'unit')}{of} cannot be spread over {n_splits} folds; "
            + (f"use n_splits={have} or fewer, or add units" if have > 1 else "no fold can do without one: add units")
        )


def _folds(spec: SplitSpec, units: pd.Index, classes: pd.Series, seed: int) -> list[Split]:
    """Return folds of the units; those without a class take turns in being held out, where they count as excluded."""
    known = classes.notna().to_numpy()
    turn = np.cumsum(~known) - 1
    found = []
    for repeat in range(spec.repeats):
        state = int(stream(seed, "split", spec.kind, repeat).integers(2**31 - 1))
        maker = KFold if spec.kind == "group-kfold" else StratifiedKFold
        folds = maker(spec.n_splits, shuffle=True, random_state=state)
        for fold, (_, held) in enumerate(folds.split(np.zeros((known.sum(), 1)), classes[known])):
            test = ~known & (turn % spec.n_splits == fold)
            test[np.flatnonzero(known)[held]] = True
            found.append(Split(units[~test], units[test], repeat, fold, "", spec))
    return found
