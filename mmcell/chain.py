"""The truth beside items of the chain from perturbations to patients: who is how ill, and what is known to reverse."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset

#: Columns of a unit's connectivities that its rank is made of.
_OF_UNIT = ("unit", "split", "repeat", "fold")


def with_truth(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return the rows whose truth is known, with it: every row stands for a unit.

    Rows of the target ``reversal`` have no truth of their own; of the perturbations that roles.reversing names, ranks
    among all perturbations of the unit are added in the stratum ``all``.
    """
    found = []
    for target, part in frame.groupby("target", sort=False):
        if target == "reversal":
            found += [part, *_ranks(part, dataset)]
            continue
        truth = dataset.truth(str(target), "patient")
        known = part[part["unit"].isin(truth.index)]
        found.append(known.assign(**{c: truth.loc[known["unit"], c].to_numpy() for c in truth}))
    return pd.concat(found, ignore_index=True)


def units_asked(dataset: Dataset, frame: pd.DataFrame) -> pd.Index:
    """Return the units of which the rows of one panel speak: those whose truth is known, or who were treated."""
    target, stratum = (str(frame[c].iloc[0]) for c in ("target", "stratum"))
    if target != "reversal":
        return pd.Index(dataset.truth(target, "patient").index)
    named = dataset.obs[dataset.roles.columns["perturbation"]].astype(str)
    wanted = named.isin(dataset.reversing if stratum == "all" else (stratum,))
    return pd.Index(dataset.unit[wanted.to_numpy()].unique())


def _ranks(part: pd.DataFrame, dataset: Dataset) -> list[pd.DataFrame]:
    """Return one row per unit that was treated with a reversing perturbation and with another."""
    own = part["perturbation"].isin(dataset.reversing)
    rows = []
    for _, of_unit in part[part["unit"].isin(part.loc[own, "unit"])].groupby(list(_OF_UNIT), sort=False):
        is_known = own[of_unit.index].to_numpy()
        values = of_unit["connectivity"].to_numpy(float)
        if is_known.all():
            continue
        better = values[~is_known][None, :] > values[is_known][:, None]
        equal = values[~is_known][None, :] == values[is_known][:, None]
        rank = better + 0.5 * equal
        # One of several equal ones is the first as often as any other.
        lowest = values == values.min()
        first = (lowest & is_known).sum() / lowest.sum()
        columns = {"stratum": "all", "perturbation": "", "connectivity": np.nan, "row": -1}
        of_all = {"reversal_rank": rank.mean(), "reversal_first": first, "n_gallery": float(len(values))}
        of_all["n_reversing"] = float(is_known.sum())
        rows.append(of_unit.iloc[[0]].assign(**columns, **of_all))
    return rows
