"""The truth beside items of the chain from perturbations to patients: who is how ill, and what is known to reverse."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.items import Items
from mmcell.metrics.chain import CHOSEN

#: Columns of a unit's connectivities that its rank is made of.
_OF_UNIT = ("unit", "split", "repeat", "fold")


def with_truth(items: Items, frame: pd.DataFrame, dataset: Dataset) -> Items:
    """Return the items whose truth is known, with it: every row stands for a unit.

    Rows of the target ``reversal`` have no truth of their own; of the perturbations that roles.reversing names, ranks
    among all perturbations of the unit are added in the stratum ``all``, as measured and under random directions.

    Parameters
    ----------
    items
        As the task returned them.
    frame
        Their table with unit, split, repeat and fold.
    dataset
        With the truth.
    """
    found, random = [], items.arrays["random"]
    for target, part in frame.groupby("target", sort=False):
        if target == "reversal":
            ranks, drawn = _ranks(part, random, dataset)
            found += [part, ranks]
            random = np.concatenate([random, drawn])
            continue
        truth = dataset.truth(str(target), "patient")
        known = part[part["unit"].isin(truth.index)]
        found.append(known.assign(**{c: truth.loc[known["unit"], c].to_numpy() for c in truth}))
    return Items(pd.concat(found, ignore_index=True), items.kind, {"random": random}, items.details)


def units_asked(dataset: Dataset, frame: pd.DataFrame) -> pd.Index:
    """Return the units of which the rows of one panel speak: those whose truth is known, or who were treated."""
    target, stratum = (str(frame[c].iloc[0]) for c in ("target", "stratum"))
    if target != "reversal":
        return pd.Index(dataset.truth(target, "patient").index)
    named = dataset.obs[dataset.roles.columns["perturbation"]].astype(str)
    wanted = named.isin(dataset.reversing if stratum == "all" else (stratum,))
    return pd.Index(dataset.unit[wanted.to_numpy()].unique())


def _ranks(part: pd.DataFrame, random: np.ndarray, dataset: Dataset) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one row per unit that was treated with a reversing perturbation and with another, and its random ranks."""
    own = part["perturbation"].isin(dataset.reversing)
    rows, drawn = [part.iloc[:0]], [random[:0]]
    for _, of_unit in part[part["unit"].isin(part.loc[own, "unit"])].groupby(list(_OF_UNIT), sort=False):
        is_known = own[of_unit.index].to_numpy()
        if is_known.all():
            continue
        values = of_unit["connectivity"].to_numpy(float)
        # One of several equal ones is the first as often as any other.
        lowest = values == values.min()
        first = (lowest & is_known).sum() / lowest.sum()
        columns = {"stratum": CHOSEN, "perturbation": "", "connectivity": np.nan, "row": len(random) + len(rows) - 1}
        of_all = {"reversal_rank": _rank(values[:, None], is_known)[0], "reversal_first": first}
        sizes = {"n_gallery": float(len(values)), "n_reversing": float(is_known.sum())}
        rows.append(of_unit.iloc[[0]].assign(**columns, **of_all, **sizes))
        drawn.append(_rank(random[of_unit["row"].to_numpy(int)], is_known)[None])
    return pd.concat(rows), np.concatenate(drawn)


def _rank(values: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Return (k,) the share of the other perturbations whose connectivity (n, k) is higher, ties counting half."""
    known, other = values[is_known][:, None], values[~is_known][None]
    return np.asarray(((other > known) + 0.5 * (other == known)).mean(axis=(0, 1)))
