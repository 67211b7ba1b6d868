"""What is to be predicted, read from a dataset's roles and checked: classes, ordered states, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, did_you_mean, first

if TYPE_CHECKING:
    from mmcell.dataset import Dataset


def truth_of(dataset: Dataset, target: str, level: str) -> pd.DataFrame:
    """Return the truth of a target; see `mmcell.Dataset.truth`, which remembers it."""
    role, _, value = target.partition("=")
    if role == "outcome":
        return _outcome(dataset)
    column = dataset.roles.columns.get(role)
    if column is None:
        raise MmcellError(f"dataset {dataset.name!r}: roles.{role} is not set; name its column in the card")
    known = (dataset.per_unit(column) if level == "patient" else dataset.obs[column]).dropna()
    if role == "ordered":
        return _ordered(dataset, column, known)
    found = as_text(known)
    classes = sorted(found.unique())
    if len(classes) < 2:
        raise MmcellError(
            f"dataset {dataset.name!r}: the {role} {column!r} has one class only ({first(classes)}); "
            "at least two are needed"
        )
    if value and value not in classes:
        raise MmcellError(
            f"dataset {dataset.name!r}: {value!r} is not a value of the {role} {column!r}; "
            f"{did_you_mean(value, classes)}"
        )
    if value:
        return pd.DataFrame({"y_true": (found == value).astype(int)})
    if role == "label" and len(classes) == 2:
        return pd.DataFrame({"y_true": (found == dataset.positive).astype(int)})
    return pd.DataFrame({"y_true": found})


def as_text(values: pd.Series) -> pd.Series:
    """Return classes as text; whole numbers that became floats beside missing values read as whole numbers again."""
    if pd.api.types.is_float_dtype(values) and np.isfinite(values).all() and (values == values.round()).all():
        values = values.astype(int)
    return values.astype(str)


def _ordered(dataset: Dataset, column: str, known: pd.Series) -> pd.DataFrame:
    """Return an ordered state as numbers: its own, or the places of its values in roles.order."""
    order = dataset.roles.order
    if order:
        text = as_text(known)
        unknown = sorted(set(text) - set(order))
        if unknown:
            raise MmcellError(
                f"dataset {dataset.name!r}: {unknown[0]!r} of {column!r} is not in roles.order; "
                f"{did_you_mean(unknown[0], order)}"
            )
        found = text.map({value: float(place) for place, value in enumerate(order)}).astype(float)
    elif pd.api.types.is_numeric_dtype(known):
        found = known.astype(float)
    else:
        values = first(sorted(known.astype(str).unique()))
        raise MmcellError(
            f"dataset {dataset.name!r}: the ordered state {column!r} is text ({values}); list its values from least to "
            "most in roles.order"
        )
    if not np.isfinite(found).all():
        raise MmcellError(f"dataset {dataset.name!r}: the ordered state {column!r} holds infinite values; correct them")
    if found.nunique() < 2:
        raise MmcellError(
            f"dataset {dataset.name!r}: the ordered state {column!r} has one value only; at least two are needed"
        )
    return pd.DataFrame({"y_true": found})


def _outcome(dataset: Dataset) -> pd.DataFrame:
    if dataset.roles.outcome is None:
        raise MmcellError(f"dataset {dataset.name!r}: roles.outcome is not set; name its time and event columns")
    names = {"time": dataset.roles.outcome.time, "event": dataset.roles.outcome.event}
    raw = pd.DataFrame({k: dataset.per_unit(c) for k, c in names.items()}).dropna()
    frame = raw.apply(pd.to_numeric, errors="coerce")
    if frame.isna().any(axis=None):
        bad = next(k for k in names if frame[k].isna().any())
        raise MmcellError(f"dataset {dataset.name!r}: {names[bad]!r} is not numeric; give numbers")
    wrong = ~frame["event"].isin([0, 1])
    if wrong.any():
        raise MmcellError(
            f"dataset {dataset.name!r}: {names['event']!r} has values other than 0 and 1 "
            f"({first(frame.loc[wrong, 'event'].unique())}); 1 = event, 0 = censored"
        )
    early = ~(frame["time"] > 0) | ~np.isfinite(frame["time"])
    if early.any():
        raise MmcellError(
            f"dataset {dataset.name!r}: {int(early.sum())} values of {names['time']!r} are not positive "
            f"(first: {first(frame.index[early])}); correct or remove these patients"
        )
    if frame["event"].sum() == 0:
        raise MmcellError(
            f"dataset {dataset.name!r}: {names['event']!r} has no events; survival cannot be scored without any"
        )
    return frame.astype({"time": float, "event": int})
