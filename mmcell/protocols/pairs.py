"""Pairs: which items of two modalities belong together, by id or by group, and in which strata they are compared."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, UnaskableError, first, noun, number_of
from mmcell.probes.head import Pairs
from mmcell.probes.linear import INNER_FOLDS
from mmcell.task import MethodView, Task, TaskSpec
from mmcell.variants import sampled, sampled_groups


class PairedTask(Task):
    """A task whose items meet in two modalities, by their id or, with `matched_by`, by the value of a role."""

    probe = "ridge"
    required: ClassVar[tuple[str, ...]] = ("random", "constant", "technical-only", "pca", "partner-permuted")
    ceilings: ClassVar[tuple[str, ...]] = ("oracle", "split-half")

    def __init__(self, spec: TaskSpec, *, matched_by: str = "") -> None:
        self.spec = spec
        self.matched_by = matched_by

    def drawn(self, dataset: Dataset, seed: int) -> Dataset:
        """See `Task.drawn`; partners are drawn together, and what has none is not drawn, but for controls."""
        wanted = [modality for modality, _ in self.spec.slots.values()]
        if not self.max_items or not set(wanted) <= set(dataset.card.modalities):
            # What is not there is refused by who reads it.
            return dataset
        measured = [dataset.rows(modality) for modality in wanted]
        column = dataset.roles.columns.get(self.matched_by)
        if column is None:
            paired = reduce(pd.Index.intersection, measured)
            return dataset if paired.empty else sampled(dataset, self.max_items, seed, paired)
        group = dataset.obs[column].astype(object)
        group = group.where(group.astype(str) != str(dataset.roles.control))
        both = reduce(pd.Index.intersection, [pd.Index(group[ids].dropna().unique()) for ids in measured])
        known = group[group.isna() | group.isin(both)]
        return dataset if both.empty else sampled_groups(dataset, self.max_items, known, seed)

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            A group of partners has units on both sides of the split.
        """
        if self.matched_by not in view.columns:
            return
        of = partners_of(view, self.matched_by)[0]
        both = pd.Index(of[view.train].dropna()).unique().intersection(of[view.test].dropna().unique())
        if len(both):
            raise MmcellError(
                f"task {self.spec.name!r}: {number_of(len(both), 'value')} of {self.matched_by} "
                f"{noun(len(both), 'is', 'are')} in training and in test "
                f"({first(both)}); their partners would be known: make what is held out the unit (roles.unit)"
            )


def partners_of(view: MethodView, matched_by: str) -> tuple[pd.Series, pd.Series]:
    """Return what makes partners, of both sides: the id of an item, or its group; controls have none."""
    ids = view.unit.index
    if matched_by not in view.columns:
        own = pd.Series(ids.to_numpy(), index=ids, dtype=object)
        return own, own
    named = view.role(matched_by)[ids].astype(object)
    partner = view.columns.get("partner", named)
    control = named.astype(str) == str(view.control) if view.control is not None else named.isna()
    return named.where(~control), partner.where(~control)


def paired(
    view: MethodView, ids: pd.Index, sides: list[Embedding], task: str, matched_by: str
) -> tuple[pd.Index, pd.Index, np.ndarray]:
    """Return all pairs among `ids` that belong together.

    Returns
    -------
    x, y : pandas.Index
        (n,) ids of either side; they repeat where one item has several partners.
    same : numpy.ndarray
        (n,) code of the group.

    Raises
    ------
    UnaskableError
        There is none.
    """
    measured = [ids[ids.isin(side.ids)] for side in sides]
    if matched_by in view.columns:
        left, right = (
            pd.DataFrame({"id": of, "group": group[of].to_numpy()}).dropna()
            for of, group in zip(measured, partners_of(view, matched_by), strict=True)
        )
        both = left.merge(right, on="group", suffixes=("_x", "_y"))
        x, y = (pd.Index(both[column]) for column in ("id_x", "id_y"))
        same = pd.factorize(both["group"])[0]
    else:
        x = y = measured[0][measured[0].isin(measured[1])]
        same = np.arange(len(x))
    if x.empty:
        side = "training" if ids.equals(view.train) else "held-out"
        raise UnaskableError(
            f"task {task!r}: none of {len(ids)} {side} items has a partner in the other modality; check that ids, or "
            "the column that pairs them, are the same in both"
        )
    return x, y, same


def mean_partners(x: pd.Index, y: pd.Index, partner: Embedding) -> tuple[pd.Index, np.ndarray]:
    """Return each first item of the pairs once, in their order, with the mean vector of its partners."""
    if not x.has_duplicates:
        return x, rows_of(partner, y)
    code, once = pd.factorize(x)
    member = csr_array((np.ones(len(code)), (code, np.arange(len(code)))))
    return pd.Index(once), (member @ rows_of(partner, y).astype(np.float64)) / np.bincount(code)[:, None]


def training_pairs(
    view: MethodView, sides: list[Embedding], task: str, matched_by: str, seed: int, *, each: bool = False
) -> Pairs:
    """Return the vectors of all training pairs, with their units as inner groups.

    With `each`, every item of the first side is there once, beside the mean of its partners. Without it every item of
    the larger side of a group (replicates of one perturbation) is there once, the items of the smaller side in turn:
    all 12 × 12 pairs of 12 replicates would let one perturbation weigh as much as 144 others.

    Units that share a group of partners stay together, so that no inner fold has seen the partner of what it holds
    out. Of too few units to choose a setting on, their batches (the sections of one patient) are the groups, where no
    batch holds two units.
    """
    x, y, same = paired(view, view.train, sides, task, matched_by)
    labels = None
    if "cell_type" in view.columns:
        kinds = view.role("cell_type").astype(str)
        labels = kinds[x].to_numpy(), kinds[y].to_numpy()
    groups = _together(view.unit[x].to_numpy(), view.unit[y].to_numpy(), same)
    if len(np.unique(groups)) < INNER_FOLDS and "batch" in view.columns:
        batch = view.role("batch")[x].astype(str).to_numpy()
        if pd.Series(groups).groupby(batch).nunique().max() == 1:
            groups = batch
    if each and x.has_duplicates:
        first = ~x.duplicated()
        ids, mean = mean_partners(x, y, sides[1])
        kinds = None if labels is None else (labels[0][first], labels[0][first])
        return Pairs(rows_of(sides[0], ids), mean, groups[first], same[first], kinds, seed)
    turn = _in_turn(x, y, same)
    if labels is not None:
        labels = labels[0][turn], labels[1][turn]
    return Pairs(rows_of(sides[0], x[turn]), rows_of(sides[1], y[turn]), groups[turn], same[turn], labels, seed)


def _in_turn(x: pd.Index, y: pd.Index, same: np.ndarray) -> np.ndarray:
    """Return which of all pairs are kept: of a group of a × b pairs max(a, b), in which each item of either side is."""
    if not (x.has_duplicates or y.has_duplicates):
        return np.arange(len(x))
    frame = pd.DataFrame({"x": x, "y": y, "same": same})
    place = {side: frame.groupby("same")[side].transform(lambda v: pd.factorize(v)[0]) for side in ("x", "y")}
    size = {side: frame.groupby("same")[side].transform("nunique") for side in ("x", "y")}
    fewer = np.minimum(size["x"], size["y"])
    return np.flatnonzero(place["x"] % fewer == place["y"] % fewer)


def _together(left: np.ndarray, right: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Return a unit per pair: the first of all that are linked to its own by a group of partners, itself if none is."""
    n_pairs = len(left)
    unit = pd.factorize(np.concatenate([left, right]))[0]
    # A bipartite graph: units on one side, groups of partners on the other.
    ends = unit.max(initial=-1) + 1 + np.concatenate([same, same])
    n = int(ends.max(initial=-1)) + 1
    linked = coo_array((np.ones(2 * n_pairs), (unit, ends)), shape=(n, n))
    component = connected_components(linked, directed=False)[1][unit[:n_pairs]]
    return pd.Series(left).groupby(component).transform("min").to_numpy()


def rows_of(embedding: Embedding, ids: pd.Index) -> np.ndarray:
    """Return the rows of ids that may repeat."""
    if not ids.has_duplicates:
        return embedding.align(ids).values
    unique, position = np.unique(ids, return_inverse=True)
    return embedding.align(pd.Index(unique)).values[position]


def strata(view: MethodView) -> dict[str, pd.Series]:
    """Return each stratum with the group of every held-out id: all, then batch, then batch × type, as far as known.

    A group below 0 is none: the item lacks its batch or its type.
    """
    found = {"all": pd.Series(0, index=view.test)}
    roles = [r for r in ("batch", "cell_type") if r in view.columns]
    for depth in range(1, len(roles) + 1):
        keys = pd.DataFrame({r: view.role(r)[view.test].astype(object) for r in roles[:depth]})
        codes = keys.groupby(list(keys)).ngroup().fillna(-1).to_numpy(np.int64)
        found["×".join(roles[:depth])] = pd.Series(codes, index=view.test)
    return found
