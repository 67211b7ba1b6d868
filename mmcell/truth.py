"""What is to be predicted, read from a dataset's roles and checked: classes, ordered states, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, did_you_mean, first

if TYPE_CHECKING:
    from mmcell.dataset import Dataset


def truth_of(dataset: Dataset, target: str, level: str) -> pd.DataFrame:
    """Return the truth of a target; see `mmcell.Dataset.truth`, which remembers it.

    Raises
    ------
    MmcellError
        The role is not set, its column has one class, or `positive` is not one of its values.
    """
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


def class_names(values: pd.Series) -> pd.Series:
    """Return classes as text, value by value, so that what is written 1 in one column is no 1.0 in another."""
    return values.map(lambda v: f"{v:.0f}" if isinstance(v, float | np.floating) and v.is_integer() else str(v))


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
    if raw.empty:
        raise MmcellError(
            f"dataset {dataset.name!r}: no {dataset.roles.unit} has both {names['time']!r} and {names['event']!r}; "
            "fill them in"
        )
    if raw["time"].dtype.kind in "mM":
        raise MmcellError(
            f"dataset {dataset.name!r}: {names['time']!r} holds dates or spans of the calendar; give the time from the "
            "start to the event or to the last contact, as a number of days or months"
        )
    rival = _competing(dataset, raw["event"])
    numbers = raw.assign(event=raw["event"].astype(object).where(~rival, 0)).apply(pd.to_numeric, errors="coerce")
    for kind, cure in (("time", "give numbers"), ("event", "write 1 = event, 0 = censored")):
        text = raw.loc[numbers[kind].isna(), kind]
        if len(text):
            raise MmcellError(
                f"dataset {dataset.name!r}: {names[kind]!r} is not numeric in {len(text)} of {len(raw)} "
                f"({first(text.astype(str).unique())}); {cure}"
            )
    frame = numbers.assign(cause=numbers["event"].where(~rival, 2))
    if problem := miscoded(frame["event"]):
        rival_hint = "; where 2 is a competing event, say so in the card: outcome: {time: …, event: …, competing: 2}"
        hint = rival_hint if set(frame["event"]) == {0, 1, 2} else ""
        if hint and dataset.roles.outcome.competing is not None:
            hint += f", not {dataset.roles.outcome.competing}, which nobody has"
        raise MmcellError(f"dataset {dataset.name!r}: {names['event']!r} {problem}{hint}")
    if problem := untimely(frame["time"], names["time"]):
        raise MmcellError(f"dataset {dataset.name!r}: {problem}")
    if frame["event"].sum() == 0:
        raise MmcellError(
            f"dataset {dataset.name!r}: {names['event']!r} has no events; survival cannot be scored without any"
        )
    frame = frame.astype({"time": float, "event": int, "cause": int})
    return frame if dataset.roles.outcome.competing is not None else frame.drop(columns="cause")


def _competing(dataset: Dataset, event: pd.Series) -> pd.Series:
    """Return which ends are competing events; none where none is declared."""
    assert dataset.roles.outcome is not None
    competing = dataset.roles.outcome.competing
    if competing in ("0", "1"):
        raise MmcellError(
            f"dataset {dataset.name!r}: roles.outcome.competing is {competing}, which marks "
            f"{'the event itself' if competing == '1' else 'who was censored'}; name another value, such as 2"
        )
    return as_text(event) == competing


def miscoded(event: pd.Series) -> str:
    """Return what is wrong with numbers that should be 1 = event and 0 = censored, with the cure; "" for nothing."""
    found = set(event.unique())
    wrong = sorted(found - {0, 1})
    if not wrong:
        return ""
    cure = "1 = event, 0 = censored"
    if found <= {1, 2}:
        cure += "; where 2 means the event and 1 censored, subtract 1"
    return f"has values other than 0 and 1 ({first(f'{value:g}' for value in wrong)}); {cure}"


def untimely(time: pd.Series, name: str) -> str:
    """Return how many times are none, kind by kind, and whose they are first, with the cure; "" for nothing.

    Parameters
    ----------
    time
        Numbers, none of them missing, by whose they are.
    name
        What the column is called.
    """
    kinds = {"zero": time == 0, "negative": time < 0, "infinite": time == np.inf}
    found = {kind: int(which.sum()) for kind, which in kinds.items() if which.any()}
    if not found:
        return ""
    n, whose = sum(found.values()), first(time.index[np.logical_or.reduce(list(kinds.values()))])
    if n == 1:
        return f"1 value of {name!r} is {next(iter(found))} ({whose}); correct or remove it"
    said = ", ".join(f"{k} {kind}" for kind, k in found.items()) if len(found) > 1 else next(iter(found))
    what = f"are no times ({said})" if len(found) > 1 else f"are {said}"
    return f"{n} values of {name!r} {what}, first those of {whose}; correct or remove them"
