"""What became of patients, read from a dataset's roles: survival, a class, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, first, number_of
from mmcell.roles import ModalityCard, Roles
from mmcell.truth import as_text, untimely

Kind = Literal["survival", "label", "none"]
#: What becomes of patients whose time is not positive: the study is refused, or their outcome is left out.
Early = Literal["error", "drop"]
#: A class of a label has so many patients on average.
_PATIENTS = 10


def timeless_in(dataset: Dataset, early: Early) -> tuple[str, ...]:
    """Return the patients whose time is not positive.

    Raises
    ------
    MmcellError
        There are such patients, and nobody said to leave their outcome out.
    """
    outcome = dataset.roles.outcome
    if outcome is None or not pd.api.types.is_numeric_dtype(dataset.obs[outcome.time]):
        return ()
    known = pd.DataFrame({c: dataset.per_unit(c) for c in (outcome.time, outcome.event)}).dropna()
    who = tuple(map(str, sorted(known.index[known[outcome.time] <= 0])))
    if who and early == "error":
        raise MmcellError(
            f"stratify: {untimely(known[outcome.time], outcome.time)}, or, with --early drop, group its patient "
            "and leave the outcome out"
        )
    return who


def _survival(dataset: Dataset, timeless: Sequence[str]) -> pd.DataFrame:
    """Return time and event of the patients, without those whose time is not positive."""
    import anndata as ad

    outcome = dataset.roles.outcome
    if outcome is None or not timeless:
        return dataset.truth("outcome", "patient")
    unit = dataset.roles.unit
    obs = pd.DataFrame({c: dataset.per_unit(c) for c in (outcome.time, outcome.event)}).drop(index=list(timeless))
    obs.index = obs.index.astype(str)
    card = dataset.card.model_copy(
        update={"level": "patient", "modalities": {"none": ModalityCard(preprocessing="values", identifiers="other")}}
    )
    data = ad.AnnData(np.zeros((len(obs), 1)), obs=obs.assign(**{unit: obs.index}))
    return Dataset(dataset.name, data, Roles(unit=unit, outcome=outcome), card).truth("outcome", "patient")


def outcome_in(
    dataset: Dataset, positive: str | None, timeless: Sequence[str]
) -> tuple[Kind, pd.DataFrame, str, tuple[str, ...]]:
    """Return its kind, a row per patient of whom it is known, the class that odds point to, and its columns.

    Parameters
    ----------
    dataset
        Whose roles name it.
    positive
        The class that was asked for.
    timeless
        Patients whose time is not positive: left out.

    Raises
    ------
    MmcellError
        It cannot be read, or has one class or too many.
    """
    roles = dataset.roles
    if roles.outcome is not None:
        return "survival", _survival(dataset, timeless), "", (roles.outcome.time, roles.outcome.event)
    if roles.label is None:
        return "none", pd.DataFrame(index=pd.Index([], name="unit")), "", ()
    labels = as_text(dataset.per_unit(roles.label).dropna())
    classes = sorted(labels.unique())
    if len(classes) < 2:
        raise MmcellError(
            f"dataset {dataset.name!r}: the label {roles.label!r} has one class only ({first(classes)}); "
            "at least two are needed"
        )
    most = max(4, len(labels) // _PATIENTS)
    if len(classes) > most:
        raise MmcellError(
            f"stratify: the label {roles.label!r} has {number_of(len(classes), 'class', 'classes')} among "
            f"{number_of(len(labels), 'patient')} "
            f"({first(classes)}); give one of {most} at most, or time and event"
        )
    # Of more than two classes one stands against the rest, but only where somebody said which.
    named = len(classes) == 2 or positive is not None
    return "label", labels.to_frame("label"), dataset.positive if named else "", (roles.label,)
