"""What a permuted world is: labels moved between units, partners between items, and all else as it was."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.stats.permutation import permuted_within
from mmcell.task import MethodView
from mmcell.variants import relabelled


def permuted_labels(
    dataset: Dataset, targets: Collection[str], within: Sequence[str], rng: np.random.Generator
) -> Dataset:
    """Return the dataset with every target's values moved at random.

    What is constant within units (a label, an outcome, a batch) moves between units that have a value, as a whole;
    what varies within them (a cell type) moves between the items of one unit, so that each unit keeps its own mixture.

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

    Raises
    ------
    MmcellError
        A role of `within` is not set, or not constant within units.
    """
    moved: dict[str, pd.Series] = {}
    for role in sorted({target.partition("=")[0] for target in targets} - {"pairs"}):
        columns = [c for r, c in dataset.roles.columns.items() if r.partition(".")[0] == role]
        strata = [r for r in within if r != role]
        if columns and all(c in dataset.patients for c in columns):
            moved |= _between_units(dataset, columns, strata, rng)
        else:
            for column in columns:
                order = permuted_within(dataset.unit.to_numpy(), rng)
                moved[column] = pd.Series(dataset.obs[column].to_numpy()[order], index=dataset.obs.index)
    return relabelled(dataset, moved)


def _between_units(
    dataset: Dataset, columns: list[str], within: Sequence[str], rng: np.random.Generator
) -> dict[str, pd.Series]:
    values = pd.DataFrame({c: dataset.per_unit(c) for c in columns}).dropna()
    groups = np.zeros(len(values), dtype=np.int64)
    for role in within:
        column = dataset.roles.columns.get(role)
        if column is None or column not in dataset.patients:
            raise MmcellError(
                f"dataset {dataset.name!r}: labels cannot be permuted within {role!r}, which is not a role that is "
                "constant within units; set it, or take it out of null_within"
            )
        member = pd.factorize(dataset.patients.loc[values.index, column].astype(str))[0]
        groups = pd.factorize(groups * (member.max() + 1) + member)[0]
    order = permuted_within(groups, rng)
    unit = dataset.unit.reindex(dataset.obs.index)
    found = {}
    for column in columns:
        by_unit = pd.Series(values[column].to_numpy()[order], index=values.index)
        found[column] = pd.Series(by_unit.reindex(unit).to_numpy(), index=dataset.obs.index)
    return found


def permuted_partners(
    embedding: Embedding, view: MethodView, within: Sequence[str], rng: np.random.Generator
) -> Embedding:
    """Return the gallery's embedding with its rows moved between items of one stratum.

    Parameters
    ----------
    embedding
        Of the gallery.
    view
        Which ids are on which side, their units and roles.
    within
        Roles within whose groups rows stay. With ``unit`` among them one permutation serves every split, for a unit
        lies on one side of each; without it rows stay on their side of this split.
    rng
        Of the permutation.
    """
    ids = pd.Index(view.unit.index[view.unit.index.isin(embedding.ids)])
    keys = pd.DataFrame({"side": ids.isin(view.test) if "unit" not in within else False}, index=ids)
    for role in within:
        if role == "unit":
            keys[role] = view.unit[ids]
        elif role in view.columns:
            keys[role] = view.role(role)[ids].astype(str)
    return _reordered(
        embedding.align(ids), permuted_within(keys.groupby(list(keys), sort=False).ngroup().to_numpy(), rng)
    )


def permuted_groups(
    embedding: Embedding, view: MethodView, group: str, within: Sequence[str], rng: np.random.Generator
) -> Embedding:
    """Return the gallery's embedding with the rows of whole groups (replicates of one perturbation) exchanged.

    A group receives the rows of another one, again and again where it has more of its own, so that replicates stay
    alike. Items without a group keep their rows.

    Parameters
    ----------
    embedding
        Of the gallery.
    view
        Which ids are on which side, and their roles.
    group
        The role whose values are the groups.
    within
        Roles within whose groups they are exchanged, as far as a group has one value of each; sides of the split are
        kept where groups lie on one.
    rng
        Of the permutation.
    """
    ids = pd.Index(view.unit.index[view.unit.index.isin(embedding.ids)])
    moved = embedding.align(ids)
    keys = pd.DataFrame({"side": ids.isin(view.test)}, index=ids)
    keys = keys.assign(**{role: view.role(role)[ids].astype(str) for role in within if role in view.columns})
    member = view.role(group)[ids]
    rows = {g: np.flatnonzero((member == g).to_numpy()) for g in pd.unique(member.dropna())}
    constant = [c for c in keys if all(len(keys[c].iloc[r].unique()) == 1 for r in rows.values())]
    firsts = keys[constant].iloc[[r[0] for r in rows.values()]] if rows else keys[constant]
    strata = firsts.groupby(constant, sort=False).ngroup().to_numpy() if constant else np.zeros(len(rows), dtype=int)
    values, names = np.array(moved.values), list(rows)
    for own, other in enumerate(permuted_within(strata, rng)):
        values[rows[names[own]]] = moved.values[np.resize(rows[names[other]], len(rows[names[own]]))]
    return Embedding(moved.name, moved.level, moved.modality, moved.ids, values, moved.card, moved.columns)


def permuted_rows(embedding: Embedding, dataset: Dataset, within: Sequence[str], rng: np.random.Generator) -> Embedding:
    """Return patients' vectors moved between patients, so that they say nothing of outcome and clinical covariates.

    For what an embedding adds to covariates: moving the labels would destroy what the covariates know, too.

    Parameters
    ----------
    embedding
        Of patients.
    dataset
        Whose roles `within` are constant within units.
    within, rng
        Roles within whose groups vectors stay, and the permutation's source.
    """
    ids = pd.Index(sorted(dataset.unit.unique()), name="id")
    table = pd.DataFrame({r: dataset.per_unit(dataset.roles.columns[r]).astype(str) for r in within}, index=ids)
    groups = table.groupby(list(table)).ngroup().to_numpy() if within else np.zeros(len(ids), dtype=np.int64)
    return _reordered(embedding.align(ids), permuted_within(groups, rng))


def _reordered(embedding: Embedding, order: np.ndarray) -> Embedding:
    return Embedding(
        embedding.name, embedding.level, embedding.modality, embedding.ids, embedding.values[order], embedding.card,
        embedding.columns,
    )  # fmt: skip
