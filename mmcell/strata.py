"""C, AUROC and Spearman within strata: graded items a second time, to be compared inside subgroups of units only.

Where a subgroup (a cancer type) says much of the outcome, pairs across subgroups reward an embedding for knowing the
subgroup. Pairs within one are free of that, whatever else differs between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmcell.dataset import Dataset
from mmcell.metrics.base import LEAKS
from mmcell.splits import Split
from mmcell.truth import as_text

#: What the stratum of such items is called, before the column's name.
WITHIN = "within "
#: Kinds of items that have metrics of pairs.
_KINDS = ("binary", "regression", "survival")


def within_strata(
    graded: pd.DataFrame, kind: str, dataset: Dataset, split: Split, folds: Sequence[Split]
) -> pd.DataFrame:
    """Return the graded items of one fold, and behind them a copy for each column of roles.strata.

    A copy has the column's name in ``stratum`` and its value in ``within``, by which `Items.folds` parts its rows.
    Items without a value are left out of it; so are leaks, and what the task itself compares in strata. No copy is
    made of a column that is predicted, that varies within units, or that is the same for all units of each fold, where
    pairs are within strata anyway.

    Parameters
    ----------
    graded, kind
        Items of one fold with ``item unit target stratum``.
    dataset, split, folds
        Whose strata; the fold; and all folds of its kind, that all may have the same copies.
    """
    if kind not in _KINDS:
        return graded
    parts = [graded]
    role = graded["target"].map(lambda target: str(target).partition("=")[0])
    whole = graded[(graded["stratum"] == "all") & ~role.isin(LEAKS)]
    grouped = [c for c in graded if c.startswith("by:")]
    for column in _columns(dataset, split, folds):
        value = whole["unit"].map(_values(dataset, column))
        # Its subgroups are those of the whole, and a held-out group has one row: neither is told twice.
        copy = whole.assign(stratum=WITHIN + column, within=value, group="", **dict.fromkeys(grouped))
        parts.append(copy[value.notna()])
    return pd.concat(parts)


def _columns(dataset: Dataset, split: Split, folds: Sequence[Split]) -> list[str]:
    hidden = dataset.roles.hidden(split.spec.targets)
    usable = [c for c in dataset.roles.strata if c in dataset.patients and c not in hidden]
    return [c for c in usable if _mixed(_values(dataset, c), folds)]


def _mixed(values: pd.Series, folds: Sequence[Split]) -> bool:
    """Whether any fold holds out units of two strata."""
    return any(values.reindex(fold.test).dropna().unique().size > 1 for fold in folds)


def _values(dataset: Dataset, column: str) -> pd.Series:
    return as_text(dataset.per_unit(column).dropna())
