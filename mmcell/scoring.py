"""Score a table of predictions from anywhere: intervals over units, paired comparison, letters for ties."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pandas as pd

from mmcell.audit.predictions import crossing, outcome_faults
from mmcell.errors import MmcellError, first, noun, number_of
from mmcell.items import PANEL, Items
from mmcell.metrics.base import Metric, get_metric
from mmcell.readers import read_table
from mmcell.records import Finding
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import Adjust, Comparison, compare, disagreeing

_METRICS = {
    "binary": ("auroc", "balanced_accuracy"),
    "multiclass": ("balanced_accuracy", "macro_f1"),
    "regression": ("spearman",),
    "survival": ("harrell_c",),
}
_PREDICTION = re.compile(r"^(y_pred|risk)(?:[_:. ](.+))?$")
#: Columns that are scored, and those of a run's items beside them.
_KEPT = (
    "item", "unit", "crossed", "repeat", "fold", "y_true", "time", "event", "cause", "ipcw", "brier", "tau", "horizon",
    "p_event", "p_net", "log_hazard", "own_survival", "brier_horizon", "threshold", "risk_group",
)  # fmt: skip
_KNOWN = (*_KEPT, "predictor", "group", *PANEL)
#: Where a column comes from that few tables have.
_SOURCES = {
    "ipcw": "1/G(t−)², G being the chance to be under observation still: mmcell.metrics.survival.Censoring.fit("
    "train_time, train_event).ipcw(time, tau) of each fold's training patients",
    "cause": "0 = censored, 1 = the event, 2 = a competing event, where 'event' says 0",
    "brier": "what the item adds to the integrated Brier score; of predicted curves call "
    "mmcell.metrics.survival.integrated_brier_score",
    "brier_horizon": "what the item adds to the Brier score at the horizon; of predicted curves call "
    "mmcell.metrics.survival.brier_score",
    "p_event": "the predicted probability of the event by the horizon, or of class 1",
    "horizon": "the time by which p_event is meant, one number in all rows",
    "tau": "the time up to which means are taken, one number in all rows",
    "threshold": "the risk from which on to treat, such as the share of the training patients with the event",
    "risk_group": "high or low, cut at the training patients' median risk",
    "own_survival": "the predicted probability of being without the event at the item's own time",
}
#: A name is near to a prefix from this share of equal letters on.
_NEAR = 0.7


@dataclass(frozen=True, eq=False)
class Scoring:
    """What `score_table` returns.

    Attributes
    ----------
    table
        One row per predictor × metric: ``predictor metric value ci_low ci_high method chance letters rank rank_low
        rank_high n_units n_items n_excluded status reason``. Letters and ranks are of the first metric that is no test.
    comparison
        All pairs under that metric; None where there is none, or fewer than two predictors have predictions.
    notes
        What was assumed and found, in words.
    findings
        What the table says against its scores: units that cross folds.
    """

    table: pd.DataFrame
    comparison: Comparison | None
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def score_table(
    table: str | Path | pd.DataFrame,
    *,
    metrics: tuple[str, ...] = (),
    n_boot: int = 1000,
    n_permutations: int | None = None,
    adjust: Adjust = "holm",
    seed: int = 0,
) -> Scoring:
    """Score predictions that were made anywhere.

    Parameters
    ----------
    table
        A ``.csv`` or ``.parquet``, or a frame. Columns: ``item`` (default: the row), ``unit`` (the patient of every
        row), ``crossed`` (a second factor where units are crossed, such as the perturbation), ``fold`` and ``repeat``
        (default: one), the truth (``y_true``, or ``time`` and ``event``), and the predictions:
        ``y_pred`` or ``risk`` with a column ``predictor``, or one column each, ``y_pred_NAME`` or ``risk_NAME``.
        A higher risk means shorter survival.
    metrics
        Names; the default depends on the truth.
    n_boot, n_permutations, adjust, seed
        See `mmcell.stats.compare`.

    Raises
    ------
    MmcellError
        A column is missing or not what it should be. What is only undefined (one class, no event, a predictor
        without predictions) keeps its rows, with the reason.
    """
    if seed < 0:
        raise MmcellError(f"seed is {seed}; use a whole number from 0 on")
    where = "table" if isinstance(table, pd.DataFrame) else str(table)
    frame = table if isinstance(table, pd.DataFrame) else read_table(Path(table))
    long, notes = _long(frame, where)
    family, kind, empty = _family(long, where)
    chosen = [get_metric(m) for m in metrics or _METRICS[kind]]
    wrong = [m.name for m in chosen if kind not in m.kinds]
    if wrong:
        raise MmcellError(f"{where}: the metric {wrong[0]!r} does not read {kind} predictions; try {_METRICS[kind][0]}")
    for metric in chosen:
        absent = [n for n in metric.needs if not all(n in i.frame for i in family.values())]
        if absent:
            raise MmcellError(f"{where}: the metric {metric.name!r} needs {_told(absent)}")
    if kind == "binary" and not all(i.frame["y_pred"].between(0, 1).all() for i in family.values()) and not metrics:
        chosen = [m for m in chosen if m.name != "balanced_accuracy"]
        notes.append("predictions leave [0, 1], so nothing that needs a threshold is given")
    notes.append(f"the truth is read as {kind}")
    comparison = None
    headline = next((m for m in chosen if not m.is_test), None)
    if len(family) > 1 and headline is not None:
        comparison = compare(
            family, headline, n_boot=n_boot, n_permutations=n_permutations, adjust=adjust, seed=seed
        )  # fmt: skip
        pairs = int(comparison.table["p"].notna().sum())
        notes.append(
            f"comparisons under {headline.name}, p-values adjusted by {adjust} over {pairs} pair{'s' * (pairs != 1)}"
            if pairs else f"no pair can be compared under {headline.name}"
        )  # fmt: skip
        notes += disagreeing(comparison.table)
    findings = crossing(long) if "fold" in long else []
    notes += [f"{f.severity}: {f.message} ({f.evidence}); {f.cure}" for f in findings]
    expected = long["item"].nunique()
    rows = [
        _row(name, items, metric, comparison, expected, n_boot, seed)
        for name, items in family.items()
        for metric in chosen
    ]
    rows += [_unscored(name, metric, expected) for name in empty for metric in chosen]
    return Scoring(pd.DataFrame(rows), comparison, tuple(notes), tuple(findings))


def _told(absent: list[str]) -> str:
    """Return which columns to give, and what they are."""
    told = [f"{name!r} ({_SOURCES[name]})" if name in _SOURCES else repr(name) for name in absent]
    return f"the {noun(len(absent), 'column')} {', and '.join(told)}; give {'it' if len(absent) == 1 else 'them'}"


def _row(
    name: str, items: Items, metric: Metric, comparison: Comparison | None, expected: int, n_boot: int, seed: int
) -> dict[str, object]:
    found = bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]
    compared = comparison is not None and comparison.metric == metric.name
    rank = comparison.rank[name] if comparison is not None and compared else (np.nan, np.nan, np.nan)
    return {
        "predictor": name, "metric": metric.name, "value": found.value, "ci_low": found.low, "ci_high": found.high,
        "method": found.method, "chance": metric.chance_of(items),
        "letters": comparison.letters[name] if comparison is not None and compared else "",
        "rank": rank[0], "rank_low": rank[1], "rank_high": rank[2], "n_units": found.n_units,
        "n_items": items.frame["item"].nunique(), "n_excluded": expected - items.frame["item"].nunique(),
        "status": found.status, "reason": found.reason,
    }  # fmt: skip


def _unscored(name: str, metric: Metric, expected: int) -> dict[str, object]:
    numbers = ("value", "ci_low", "ci_high", "chance", "rank", "rank_low", "rank_high")
    return {
        "predictor": name, "metric": metric.name, **dict.fromkeys(numbers, np.nan), "method": "", "letters": "",
        "n_units": 0, "n_items": 0, "n_excluded": expected, "status": "undefined", "reason": "no usable prediction",
    }  # fmt: skip


def _long(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per predictor and item, and what was assumed."""
    notes = []
    columns = [(c, m) for c in map(str, frame.columns) if (m := _PREDICTION.match(c))]
    if not columns:
        _refuse_other_separator(frame, where)
        near = _unread(frame)
        raise MmcellError(
            f"{where}: no predictions; give a column 'y_pred' or 'risk', or one a predictor such as 'risk_clinical'"
            + (f" (numeric columns: {first(near)})" if near else "")
        )
    base = frame.copy()
    if "item" not in base:
        base["item"] = np.arange(len(base)) if "predictor" not in base else base.groupby("predictor").cumcount()
        notes.append("no column 'item': rows are items")
    if "unit" not in base:
        raise MmcellError(
            f"{where}: no column 'unit'; add one, the patient of every row (if every row is a patient, copy "
            f"{'item' if 'item' in frame else 'the row number'} into it)"
        )
    missing = base["unit"].isna()
    if missing.any():
        raise MmcellError(
            f"{where}: {number_of(int(missing.sum()), 'row has', 'rows have')} no 'unit' (first items: "
            f"{first(base.loc[missing, 'item'])}); "
            "fill in the patient of every row"
        )
    for column in ("fold", "repeat"):
        if column in base and base[column].isna().any():
            raise MmcellError(
                f"{where}: {number_of(int(base[column].isna().sum()), 'row has', 'rows have')} no {column!r} (first "
                "items: "
                f"{first(base.loc[base[column].isna(), 'item'])}); fill it in, or leave the column out"
            )
    keys = [c for c in ("item", "repeat", "predictor") if c in base]
    if base.duplicated(keys).any():
        raise MmcellError(
            f"{where}: {number_of(int(base.duplicated(keys).sum()), 'item is', 'items are')} scored twice (first: "
            f"{first(base.loc[base.duplicated(keys), 'item'])}); keep one row of each, or give a column 'repeat'"
        )
    _refuse_no_risks(base, [c for c, _ in columns], where)
    _refuse_text(base, [c for c, _ in columns], where)
    unread = _unread(frame)
    if unread:
        notes.append(f"numeric columns that were not read: {first(unread, 6)}")
    keep = [c for c in _KEPT if c in base]
    if "predictor" in base:
        if len(columns) > 1:
            raise MmcellError(f"{where}: give either a column 'predictor' or several prediction columns, not both")
        long = base[[*keep, "predictor"]].assign(y_pred=base[columns[0][0]])
        return long.assign(predictor=long["predictor"].astype(str)), notes
    parts = [base[keep].assign(predictor=m.group(2) or c, y_pred=base[c]) for c, m in columns]
    return pd.concat(parts, ignore_index=True), notes


def _refuse_other_separator(frame: pd.DataFrame, where: str) -> None:
    """Say so where a whole line was read as one column."""
    name = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    for mark, called in ((";", "';'"), ("\t", "tabs"), ("|", "'|'"), (",", "','")):
        if mark in name:
            raise MmcellError(
                f"{where}: has one column, {' '.join(name.split())!r}; it may be separated by {called}: save it "
                "as .csv with commas"
            )


def _unread(frame: pd.DataFrame) -> list[str]:
    """Return the numeric columns that mean nothing here, with the name that may have been meant."""
    names = [str(c) for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    rest = [n for n in names if n not in _KNOWN and not _PREDICTION.match(n) and not n.startswith("Unnamed:")]
    return [f"{n} (did you mean {near}?)" if (near := _meant(n)) else n for n in rest]


def _meant(name: str) -> str:
    """Return the column of predictions that a mistyped name is near: ``y_pred_A`` for ``pred_A``; "" for none."""
    heads = [(name[:i].lower(), prefix, name[i:]) for i in range(1, len(name) + 1) for prefix in ("y_pred_", "risk_")]
    near, prefix, rest = max(
        (SequenceMatcher(None, head, prefix).ratio(), prefix, rest) for head, prefix, rest in heads
    )
    return (prefix + rest if rest else prefix[:-1]) if near >= _NEAR else ""


def _refuse_no_risks(base: pd.DataFrame, columns: list[str], where: str) -> None:
    """Refuse predictions of survival that are not called risks: nobody knows which way they point."""
    unnamed = [c for c in columns if c.startswith("y_pred")]
    if {"time", "event"} <= set(base) and unnamed:
        raise MmcellError(
            f"{where}: column {unnamed[0]!r} beside 'time' and 'event'; survival tables need "
            f"{unnamed[0].replace('y_pred', 'risk', 1)!r} (higher risk = shorter survival): turn predictions of time "
            "round and rename them"
        )


def _refuse_text(base: pd.DataFrame, columns: list[str], where: str) -> None:
    """Refuse cells of text among numbers."""
    if all(pd.api.types.is_numeric_dtype(base[c]) for c in columns):
        return
    survival = {"time", "event"} <= set(base)
    numbers = {c: pd.to_numeric(base[c], errors="coerce") for c in columns}
    truth = base["y_true"].dropna() if "y_true" in base and not survival else pd.Series(dtype=float)
    classes = set() if pd.api.types.is_numeric_dtype(truth) else set(truth.astype(str))
    told = {str(v) for c in columns for v in base.loc[numbers[c].notna(), c].unique()}
    # Where all is text, or every number is the name of a class, classes are predicted.
    if not survival and told <= classes:
        return
    for column in columns:
        bad = numbers[column].isna() & base[column].notna() & ~base[column].astype(str).isin(classes)
        if bad.any():
            n, cells = int(bad.sum()), base.loc[bad, column]
            what = "neither a number nor a class of 'y_true'" if classes else "no number"
            raise MmcellError(
                f"{where}: column {column!r} has {n} cell{'s' * (n != 1)} that {'is' if n == 1 else 'are'} {what} "
                f"({first(f'{v!r} of item {i}' for v, i in zip(cells, base.loc[bad, 'item'], strict=True))}); correct "
                f"{'it' if n == 1 else 'them'}, or leave {'it' if n == 1 else 'them'} empty"
            )


def _family(long: pd.DataFrame, where: str) -> tuple[dict[str, Items], str, list[str]]:
    """Return predictor -> items, their kind, and the predictors without any item, after every check of the truth."""
    if {"time", "event"} <= set(long):
        kind, truth = "survival", ["time", "event"]
        faults = outcome_faults(long)
        if faults:
            rival = (
                "; where 2 is a competing event, write 0 there and give the codes 0, 1, 2 in a further column 'cause', "
                "which cause_specific_c and net_benefit read; for harrell_c such a time is the end of observation"
            )
            coded = pd.api.types.is_numeric_dtype(long["event"]) and set(long["event"].dropna()) == {0, 1, 2}
            raise MmcellError(f"{where}: {faults[0]}{rival if coded else ''}")
    elif "y_true" in long:
        truth = ["y_true"]
        known = long["y_true"].dropna()
        numbers = pd.api.types.is_numeric_dtype(long["y_pred"])
        two = set(known.unique()) <= {0, 1}
        if numbers and pd.api.types.is_numeric_dtype(known) and known.nunique() == 2 and not two:
            raise MmcellError(
                f"{where}: 'y_true' has the two values {first(sorted(known.unique()))}; write 0 and 1, 1 = positive"
            )
        kind = "multiclass" if not numbers else "binary" if two else "regression"
        if kind == "regression" and not pd.api.types.is_numeric_dtype(known):
            raise MmcellError(
                f"{where}: 'y_true' holds classes ({first(known.unique())}) and 'y_pred' numbers; give 0/1 for two "
                "classes, or predicted classes"
            )
        if (
            kind == "multiclass"
            and len(known)
            and not set(long["y_pred"].dropna().astype(str)) & set(known.astype(str))
        ):
            raise MmcellError(
                f"{where}: no prediction ({first(long['y_pred'].dropna().unique())}) is a class of 'y_true' "
                f"({first(known.unique())}); give numbers, or the classes' own names"
            )
    else:
        raise MmcellError(f"{where}: no truth; give the column 'y_true', or 'time' and 'event'")
    if long[truth].isna().any(axis=1).all():
        raise MmcellError(f"{where}: no row has a truth ({' and '.join(truth)}); fill it in")
    if kind != "multiclass":
        long = long.assign(y_pred=pd.to_numeric(long["y_pred"]).replace([np.inf, -np.inf], np.nan))
    usable = long.dropna(subset=[*truth, "y_pred"])
    family = {str(n): Items(p.drop(columns="predictor"), kind) for n, p in usable.groupby("predictor", sort=False)}
    lost = [name for name in dict.fromkeys(long["predictor"].astype(str)) if name not in family]
    if not family:
        raise MmcellError(f"{where}: no predictor ({first(lost)}) has a usable prediction; fill them in")
    return family, kind, lost
