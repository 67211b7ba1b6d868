"""Columns that are not what they are meant to be: numbers that are text, classes that are codes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import pandas as pd

from mmcell.errors import MmcellError, first

if TYPE_CHECKING:
    from mmcell.dataset import Dataset

#: From this share of numbers on, text in a column is a slip.
_NUMBERS = 0.8
#: A covariate of many classes has so many patients for each, otherwise it is a code.
_PATIENTS = 50


def meant_as_number(known: pd.Series, what: str, who: str) -> None:
    """Refuse a column that is text for the sake of a few cells, or of decimal commas.

    Parameters
    ----------
    known
        Its values, without the missing ones.
    what, who
        The column and whoever refuses it, for the message.

    Raises
    ------
    MmcellError
        With the cells.
    """
    text = known.astype(str)
    numbers = pd.to_numeric(text.str.replace(",", ".", regex=False), errors="coerce").notna()
    commas = text[numbers & text.str.contains(",", regex=False)]
    if numbers.mean() >= _NUMBERS and (not numbers.all() or len(commas)):
        odd = commas if numbers.all() else text[~numbers]
        cure = "write decimal points" if numbers.all() else "leave these cells empty where the number is not known"
        rows = "1 row" if len(odd) == 1 else f"{len(odd)} rows"
        raise MmcellError(f"{who}: {what} is text in {rows} ({first(map(repr, odd.unique()))}); {cure}")


def plausible(known: pd.Series, what: str, who: str) -> None:
    """Refuse a covariate of text that is meant to be numbers, or that is a code rather than a class.

    Parameters are those of `meant_as_number`.

    Raises
    ------
    MmcellError
        With what is wrong in it.
    """
    if pd.api.types.is_numeric_dtype(known) or known.empty:
        return
    meant_as_number(known, what, who)
    text = known.astype(str)
    most = max(10, len(text) // _PATIENTS)
    if text.nunique() > most:
        numbers = pd.to_numeric(text, errors="coerce").notna().all()
        cure = "store them as numbers" if numbers else f"merge them to {most} at most, or leave it out"
        raise MmcellError(
            f"{who}: {what} has {text.nunique()} classes among {len(text)} patients "
            f"({first(sorted(text.unique()))}); {cure}"
        )


def plausible_covariates(dataset: Dataset, hidden: Collection[str] = ()) -> None:
    """Refuse clinical covariates of a dataset that are text by a slip, or codes; `hidden` are read by nobody.

    Raises
    ------
    MmcellError
        With the first of them, and what is wrong in it.
    """
    for column in dataset.roles.clinical:
        if column not in hidden:
            known = dataset.per_unit(column).dropna()
            plausible(known, f"the clinical covariate {column!r}", f"dataset {dataset.name!r}")
