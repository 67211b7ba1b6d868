"""What a permuted world is: labels moved between units, partners between items, and all else as it was."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, UnaskableError
from mmcell.stats.permutation import permuted_within
from mmcell.task import MethodView, Task
from mmcell.variants import relabelled

#: What moves with the labels where what is known of a patient beside the embedding moves as one.
MOVED_ALONG = ("clinical", "strata", "batch")


def permuted_labels(
    dataset: Dataset, targets: Collection[str], within: Sequence[str], rng: np.random.Generator,
    beside: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    """Return the dataset with every target's values moved at random.

    What is constant within units (a label, an outcome, a batch) moves between units that have a value, as a whole;
    what varies within them (a cell type) moves between the items of one unit, so that each unit keeps its own mixture.
    Targets that the same units have move together: what an embedding knows of one by chance it knows of the other.

    Parameters
    ----------
    dataset
        Left as it is.
    targets
        As in `SplitSpec.targets`; ``pairs`` has no values and is skipped.
    within
        Roles within whose groups labels stay; the target's own role is passed over.
    rng
        Of the permutation.
    beside
        Roles that are constant within units and move with what moves between them, missing values included. With the
        covariates beside the labels all rows of the embedding have moved against both, while a patient's outcome and
        covariates still belong together; encoders that were fitted to training patients without labels are those of
        this world, too, for who is held out stays held out.

    Raises
    ------
    MmcellError
        A role of `within` is not set, or not constant within units.
    """
    moved: dict[str, pd.Series] = {}
    orders: dict[tuple[object, ...], np.ndarray] = {}
    for role in sorted({target.partition("=")[0] for target in targets} - {"pairs"}):
        columns = list(dataset.roles.columns_of(role))
        strata = [r for r in within if r != role]
        if columns and all(c in dataset.patients for c in columns):
            more = [c for r in beside for c in dataset.roles.columns_of(r) if c in dataset.patients]
            moved |= _between_units(dataset, columns, strata, rng, more, orders)
        else:
            for column in columns:
                order = permuted_within(dataset.unit.to_numpy(), rng)
                moved[column] = pd.Series(dataset.obs[column].to_numpy()[order], index=dataset.obs.index)
    return relabelled(dataset, moved)


def _between_units(
    dataset: Dataset, columns: list[str], within: Sequence[str], rng: np.random.Generator, beside: Sequence[str],
    orders: dict[tuple[object, ...], np.ndarray],
) -> dict[str, pd.Series]:  # fmt: skip
    """Return the columns of obs with the values of units that have all of `columns` exchanged.

    `orders` holds how other targets of these units were, and is added to.
    """
    values = pd.DataFrame({c: dataset.per_unit(c) for c in columns}).dropna()
    groups = np.zeros(len(values), dtype=np.int64)
    for role in within:
        named = dataset.roles.columns_of(role)
        if not named or not set(named) <= set(dataset.patients):
            raise MmcellError(
                f"dataset {dataset.name!r}: labels cannot be permuted within {role!r}, which is not a role that is "
                "constant within units; set it, or take it out of null_within"
            )
        member = (
            dataset.patients.loc[values.index].groupby(list(named), dropna=False, observed=True).ngroup().to_numpy()
        )
        groups = pd.factorize(groups * (member.max() + 1) + member)[0]
    key = (*within, *values.index)
    if key not in orders:
        orders[key] = permuted_within(groups, rng)
    order = orders[key]
    unit = dataset.unit.reindex(dataset.obs.index)
    found = {}
    for column in (*columns, *beside):
        now = dataset.per_unit(column).loc[values.index]
        by_unit = pd.Series(now.to_numpy()[order], index=values.index)
        found[column] = pd.Series(by_unit.reindex(unit).to_numpy(), index=dataset.obs.index)
    return found


def refuse_unaskable(task: Task, view: MethodView) -> None:
    """Raise `UnaskableError` where labels of a permuted world do not allow the question.

    Parameters
    ----------
    task
        As things are, it can be asked: that was looked at before anything ran.
    view
        Of the permuted world.
    """
    try:
        task.check(view)
    except MmcellError as error:
        raise UnaskableError(str(error)) from error


def permuted_partners(
    embedding: Embedding,
    view: MethodView,
    within: Sequence[str],
    rng: np.random.Generator,
    fold: pd.Series | None = None,
) -> Embedding:
    """Return the gallery's embedding with its rows moved between items of one stratum.

    Parameters
    ----------
    embedding
        Of the gallery.
    view
        Which ids are on which side, their units and roles.
    within
        Roles within whose groups rows stay. With ``unit`` among them rows stay within their unit, and those of units
        of one item move between such units.
    rng
        Of the permutation.
    fold
        Unit -> code: rows stay within it, so that one permutation serves every split. Without it they stay on their
        side of this split.
    """
    ids = pd.Index(view.unit.index[view.unit.index.isin(embedding.ids)])
    unit = view.unit[ids]
    keys = pd.DataFrame({"side": ids.isin(view.test) if fold is None else fold[unit].to_numpy()}, index=ids)
    for role in within:
        if role == "unit":
            keys[role] = unit.where(unit.duplicated(keep=False), "")
        elif role in view.columns:
            keys[role] = view.role(role)[ids].astype(str)
    return _reordered(
        embedding.align(ids), permuted_within(keys.groupby(list(keys), sort=False).ngroup().to_numpy(), rng)
    )


def permuted_groups(
    ids: pd.Index, view: MethodView, group: str, within: Sequence[str], fold: pd.Series, rng: np.random.Generator
) -> pd.Series:
    """Return whose partners the gallery's items are when whole groups (replicates of one perturbation) are exchanged.

    Vectors stay where they are and groups change their names, so that replicates stay alike, and as many.

    Parameters
    ----------
    ids
        Of the gallery.
    view
        Roles of the items.
    group
        The role, or ``unit``, whose values are the groups.
    within
        Roles within whose groups they are exchanged: a group with those that were measured in the same set of batches.
    fold
        Unit -> code; groups of other units are not exchanged.
    rng
        Of the permutation.

    Returns
    -------
    pandas.Series
        Gallery id -> group; missing for controls and items without a group.
    """
    member = view.role(group)[ids].astype(object)
    if view.control is not None and "perturbation" in view.columns:
        member = member.where(view.role("perturbation")[ids].astype(str) != view.control)
    known = member.dropna()
    table = pd.DataFrame({"group": known, "fold": fold[view.unit[known.index]].astype(str).to_numpy()})
    for role in within:
        if role in view.columns:
            table[role] = view.role(role)[known.index].astype(str)
    names = pd.unique(known)
    of_group = table.groupby("group", sort=False)
    strata = pd.DataFrame({c: of_group[c].agg(lambda v: "|".join(sorted(set(v)))) for c in table if c != "group"})
    code = strata.loc[names].groupby(list(strata), sort=False).ngroup().to_numpy()
    other = dict(zip(names, names[permuted_within(code, rng)], strict=True))
    return member.map(other).astype(object)


def _reordered(embedding: Embedding, order: np.ndarray) -> Embedding:
    return Embedding(
        embedding.name, embedding.level, embedding.modality, embedding.ids, embedding.values[order], embedding.card,
        embedding.columns,
    )  # fmt: skip
