"""A table of predictions, from anywhere: units that cross folds, items scored twice, truths that vary, small folds."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from mmcell.audit.units import FEW_EVENTS, PER_VARIABLE, few_units
from mmcell.errors import MmcellError, first
from mmcell.records import Finding
from mmcell.stats.units import MINIMUM
from mmcell.truth import miscoded, untimely

_PREDICTION = re.compile(r"^(y_pred|risk)(?:[_:. ](.+))?$")
#: Columns that say which predictions belong together, as far as a table has them.
_APART = ("predictor", "target", "query", "gallery", "stratum", "split")


def audit_predictions(frame: pd.DataFrame, where: str = "table") -> list[Finding]:
    """Return findings about a table of predictions.

    Parameters
    ----------
    frame
        Columns as `mmcell.scoring.score_table` reads them: ``item unit fold repeat``, the truth (``y_true``, or
        ``time`` and ``event``) and predictions; items of a run, too.
    where
        What messages call it.

    Raises
    ------
    MmcellError
        There is neither a truth nor a prediction nor a unit in it.
    """
    columns = [str(c) for c in frame.columns]
    known = {"unit", "fold", "y_true", "time", "event"} & set(columns)
    if not known and not any(map(_PREDICTION.match, columns)):
        raise MmcellError(
            f"{where}: is no table of predictions (columns {first(columns)}); give item, unit, fold, y_true and y_pred"
        )
    table = frame.set_axis(columns, axis=1).reset_index(drop=True)
    found = []
    if "item" not in table:
        table["item"] = table.index if "predictor" not in table else table.groupby("predictor").cumcount()
    if "unit" not in table:
        found.append(
            Finding(
                severity="warning", code="no-unit",
                message=f"{where}: no column 'unit', so every item would count as an independent patient",
                cure="name the patient of every item: intervals are too narrow otherwise",
            )
        )  # fmt: skip
        return [*found, *_twice(table), *_unusable(table)]
    missing = table["unit"].isna()
    if missing.any():
        items = table.loc[missing, "item"].unique()
        found.append(
            Finding(
                severity="warning", code="no-unit", message=f"{len(items)} items have no unit",
                evidence=first(items), cure="fill in the patient of every item",
            )
        )  # fmt: skip
    table = table[~missing]
    return [
        *found,
        *crossing(table),
        *_twice(table),
        *_varying(table),
        *_absent(table),
        *_unusable(table),
        *_sizes(table),
        *_folds(table),
    ]


def _keys(table: pd.DataFrame, *more: str) -> list[str]:
    return [c for c in (*_APART, *more) if c in table]


def crossing(table: pd.DataFrame) -> list[Finding]:
    """Find units held out in two folds of one repeat: each was in training when its other items were predicted.

    Parameters
    ----------
    table
        With ``unit``, ``fold`` and, where there are several, ``repeat``.
    """
    if "fold" not in table:
        text = "no column 'fold': whether a unit crosses a split cannot be seen"
        return [Finding(severity="info", code="no-fold", message=text, cure="give the fold of every item")]
    keys = [c for c in ("target", "split", "repeat") if c in table]
    pairs = table.dropna(subset=["fold"])[[*keys, "unit", "fold"]].drop_duplicates()
    n = pairs.groupby([*keys, "unit"], dropna=False).size()
    crossing = n[n > 1].index.get_level_values("unit").unique().sort_values()
    if not len(crossing):
        return []
    unit = crossing[0]
    folds = sorted(pairs.loc[pairs["unit"] == unit, "fold"].unique())
    return [
        Finding(
            severity="leak", code="unit-crosses-split",
            message=f"{len(crossing)} of {table['unit'].nunique()} units are held out in several folds of one repeat: "
            "their other items were in training",
            evidence=f"{first(crossing)}; {unit} in folds {first(folds, 5)}",
            cure="split by unit (mmcell.make_splits), and predict again",
        )
    ]  # fmt: skip


def _twice(table: pd.DataFrame) -> list[Finding]:
    twice = table.duplicated(_keys(table, "item", "repeat"))
    if not twice.any():
        return []
    items = table.loc[twice, "item"].unique()
    return [
        Finding(
            severity="warning", code="scored-twice", message=f"{len(items)} items are scored twice in one repeat",
            evidence=first(items), cure="keep one row of each, or give a column 'repeat'",
        )
    ]  # fmt: skip


def _varying(table: pd.DataFrame) -> list[Finding]:
    found = []
    for column in ("y_true", "time", "event"):
        if column not in table:
            continue
        keys = [c for c in ("target",) if c in table]
        per_item = table.groupby([*keys, "item"], dropna=False)[column].nunique()
        if (per_item > 1).any():
            items = per_item[per_item > 1].index.get_level_values("item").unique()
            found.append(
                Finding(
                    severity="warning", code="truth-varies-within-item", evidence=first(items),
                    message=f"{column!r} takes several values for {len(items)} items",
                    cure="an item has one truth in all repeats and for all predictors: correct the table",
                )
            )  # fmt: skip
        values = table.groupby([*keys, "unit"])[column].nunique()
        several = values[values > 1].index.get_level_values("unit").unique()
        if not len(several):
            continue
        n = table["unit"].nunique()
        # Classes of cells vary in nearly every unit; a label of patients that varies in a few is a mistake.
        of_cells = column == "y_true" and len(several) > n / 2
        found.append(
            Finding(
                severity="info" if of_cells else "warning", code="varies-within-unit",
                message=f"{column!r} takes several values in {len(several)} of {n} units"
                + (": right for a truth of cells, wrong for one of patients" if of_cells else ""),
                evidence=first(several), cure="" if of_cells else "a unit carries one truth: correct these",
            )
        )  # fmt: skip
    return found


def _absent(table: pd.DataFrame) -> list[Finding]:
    found = []
    truths = [c for c in ("y_true", "time", "event") if c in table]
    predictions = [c for c in table if _PREDICTION.match(c)]
    for columns, what, cure in ((truths, "truth", "fill it in"), (predictions, "prediction", "predict them too")):
        for column in columns:
            lost = table.loc[table[column].isna(), "item"].unique()
            if len(lost):
                found.append(
                    Finding(
                        severity="warning", code=f"no-{what}", message=f"{len(lost)} items have no {column!r}",
                        evidence=first(lost), cure=f"{cure}: who is left out is not scored",
                    )
                )  # fmt: skip
    if "predictor" in table:
        n = table.groupby("predictor")["item"].nunique()
        if n.min() < n.max():
            text = "predictors were scored on different items"
            shown = ", ".join(f"{name}: {k}" for name, k in n.items())
            found.append(Finding(severity="warning", code="other-items", message=text, evidence=shown,
                                 cure="compare them on the items they share"))  # fmt: skip
    return found


def outcome_faults(table: pd.DataFrame) -> list[str]:
    """Return, each in a line with its cure, why times and events cannot be what they are called.

    Parameters
    ----------
    table
        With ``item``, ``time`` and ``event``; an item counts once, however many rows it has.
    """
    for column, cure in (("time", "give numbers"), ("event", "write 1 = event, 0 = censored")):
        if not pd.api.types.is_numeric_dtype(table[column]):
            text = table[column][pd.to_numeric(table[column], errors="coerce").isna()].dropna().unique()
            return [f"the column {column!r} is not numeric ({first(text)}); {cure}"]
    known = table.dropna(subset=["time", "event"]).drop_duplicates(["item", "time", "event"])
    found = []
    if problem := miscoded(known["event"]):
        found.append(f"'event' {problem}")
    if problem := untimely(known.set_index("item")["time"], "time"):
        found.append(problem)
    return found


def _unusable(table: pd.DataFrame) -> list[Finding]:
    if not {"time", "event"} <= set(table):
        return []
    faults = outcome_faults(table)
    if not faults and not table["event"].sum():
        faults = ["'event' has no events: nothing can be ranked; follow patients for longer"]
    return [
        Finding(severity="warning", code="unusable-outcome", message=said, cure=cure)
        for said, _, cure in (fault.rpartition("; ") for fault in faults)
    ]


def _sizes(table: pd.DataFrame) -> list[Finding]:
    n = table["unit"].nunique()
    found = few_units(n)
    for classes in _classes(table):
        counts = classes.value_counts()
        if len(counts) == 1:
            found.append(Finding(severity="warning", code="one-class", message=f"one class only ({counts.index[0]})",
                                 cure="two are needed"))  # fmt: skip
        elif counts.min() < PER_VARIABLE:
            found.append(
                Finding(
                    severity="warning", code="few-in-class",
                    message=f"{counts.min()} units of class {counts.idxmin()}: each of them moves the scores",
                    evidence=", ".join(f"{name}: {k}" for name, k in counts.items()),
                    cure="read the interval, not the value" if n >= MINIMUM else "add patients of this class",
                )
            )  # fmt: skip
    if "event" in table and pd.api.types.is_numeric_dtype(table["event"]):
        events = int(table.groupby("unit")["event"].max().sum())
        # Below 10 units there is no interval that could be wide.
        if 0 < events < FEW_EVENTS and n >= MINIMUM:
            said = f"{events} event{'s' * (events != 1)}"
            text = f"{said} among {n} units: intervals are wide"
            found.append(Finding(severity="warning", code="few-events", message=text, evidence=said,
                                 cure="read the interval, not the value"))  # fmt: skip
    return found


def _classes(table: pd.DataFrame) -> list[pd.Series]:
    """Return the class of each unit for every target whose truth is a class of units."""
    if "y_true" not in table:
        return []
    found = []
    parts = [p for _, p in table.groupby("target")] if "target" in table else [table]
    for part in parts:
        truth = part.dropna(subset=["y_true"]).drop_duplicates(["unit", "y_true"])
        number = pd.api.types.is_numeric_dtype(truth["y_true"])
        few = truth["y_true"].nunique() <= 2 if number else truth["y_true"].nunique() <= 20
        if few and len(truth) and not truth["unit"].duplicated().any():
            found.append(truth.set_index("unit")["y_true"].astype(str))
    return found


def _folds(table: pd.DataFrame) -> list[Finding]:
    """Folds in which nothing can be ranked: one class only, or no event."""
    if "fold" not in table:
        return []
    keys = [c for c in ("target", "split", "repeat", "fold") if c in table]
    grouped = table.groupby(keys, dropna=False)
    found = []
    if "y_true" in table and _classes(table):
        n = grouped["y_true"].nunique()
        found += _unranked(n == 1, "hold one class only", "folds-with-one-class")
    if "event" in table and pd.api.types.is_numeric_dtype(table["event"]):
        found += _unranked(grouped["event"].sum() == 0, "hold no event", "folds-without-event")
    return found


def _unranked(empty: pd.Series, text: str, code: str) -> list[Finding]:
    if not empty.any():
        return []
    names = [name if isinstance(name, tuple) else (name,) for name in empty.index[empty]]
    shown = ["/".join(str(part) for part in name) for name in names]
    return [
        Finding(
            severity="warning", code=code, evidence=first(shown),
            message=f"{int(empty.sum())} of {len(empty)} folds {text}: nothing can be ranked in them",
            cure="stratify the folds, or use fewer",
        )
    ]  # fmt: skip


def twin_findings(tables: dict[str, pd.DataFrame]) -> list[Finding]:
    """Return units that every one of several predictors gives the very same prediction in the same fold.

    Parameters
    ----------
    tables
        Predictor -> its items, with ``unit fold y_pred``; predictors that give nearly everybody the same do not count.
    """
    keys = ("target", "split", "repeat", "fold", "item", "unit")
    columns = {}
    for name, frame in tables.items():
        if not {"unit", "fold", "y_pred"} <= set(frame) or not pd.api.types.is_numeric_dtype(frame["y_pred"]):
            continue
        if frame["y_pred"].nunique() > 0.5 * len(frame):
            columns[name] = frame.set_index([k for k in keys if k in frame])["y_pred"]
    if len(columns) < 2 or len({tuple(c.index.names) for c in columns.values()}) > 1:
        return []
    wide = pd.DataFrame({name: c[~c.index.duplicated()] for name, c in columns.items()}).dropna()
    shared = [k for k in wide.index.names if k not in ("item", "unit")]
    flat = wide.reset_index()
    same = flat[flat.duplicated([*shared, *columns], keep=False)]
    groups = same.groupby([*shared, *columns])["unit"].agg(lambda u: tuple(sorted(map(str, set(u)))))
    pairs = sorted({g for g in groups if len(g) > 1})
    if not pairs:
        return []
    return [
        Finding(
            severity="warning", code="same-predictions",
            message=f"{len(pairs)} sets of units get the very same prediction from all of {len(columns)} predictors: "
            "their data may be copies of each other",
            evidence=first("=".join(p) for p in pairs), cure="run mmcell audit on the dataset",
        )
    ]  # fmt: skip


def wide_predictions(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return predictor -> its rows with the column ``y_pred``, from a wide or a long table."""
    if "predictor" in frame and "y_pred" in frame:
        return {str(n): p for n, p in frame.groupby("predictor")}
    named = {c: m.group(2) or c for c in map(str, frame.columns) if (m := _PREDICTION.match(c))}
    base = frame.drop(columns=list(named))
    return {name: base.assign(y_pred=np.asarray(frame[c])) for c, name in named.items()}
