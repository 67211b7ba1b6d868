"""Which cells speak of their unit: those that nothing was done to, where some of its cells were treated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding


def speaking(unit: np.ndarray, perturbation: pd.Series, control: str | None) -> np.ndarray:
    """Return which cells (n,) describe their unit.

    Those without a perturbation; of a unit that has none of these its controls, and of one without controls all.

    Parameters
    ----------
    unit
        (n,) codes.
    perturbation
        (n,) names, missing for cells that nothing was done to.
    control
        The name that controls have; None where they have none.
    """
    bare = perturbation.isna().to_numpy()
    controls = bare | (perturbation.astype(object).map(str).to_numpy() == control)
    found = bare.copy()
    for some in (controls, np.ones_like(bare)):
        has = np.bincount(unit[found], minlength=unit.max(initial=-1) + 1) > 0
        found |= some & ~has[unit]
    return found


def untreated(dataset: Dataset) -> pd.Index:
    """Return the ids of the items that describe their units; all of them where nothing was perturbed."""
    column = dataset.roles.perturbation
    if column is None:
        return dataset.ids
    return dataset.once("untreated", lambda: _untreated(dataset, dataset.obs[column]))


def _untreated(dataset: Dataset, perturbation: pd.Series) -> pd.Index:
    code, _ = pd.factorize(dataset.unit)
    return dataset.ids[speaking(code, perturbation, dataset.roles.control)]


def of_patients(cells: Embedding, dataset: Dataset) -> Embedding:
    """Return the rows that describe their patients: what was done to some cells is not what their patient is like."""
    if dataset.roles.perturbation is None:
        return cells
    return cells.align(cells.ids[cells.ids.isin(untreated(dataset))])
