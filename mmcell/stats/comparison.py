"""Comparison of predictors on the same items: paired differences, swap permutation, Holm or BH, letters for ties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mmcell.digest import stream
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.stats.bootstrap import ALPHA, Estimate, bootstrap, interval

Adjust = Literal["holm", "bh"]


@dataclass(frozen=True)
class Difference:
    """A paired difference with its interval; `low` and `high` are NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of a family of predictors.

    Attributes
    ----------
    metric
        Name.
    table
        One row per pair: ``a b difference ci_low ci_high p p_adjusted n_items``, on the items that the two share.
    letters
        Predictor -> letters; two that share one cannot be told apart at 5 % after adjustment. None without a value.
    rank
        Predictor -> (rank, lowest, highest): 1 is best, 95 % interval over draws of the items that all share.
    """

    metric: str
    table: pd.DataFrame
    letters: dict[str, str]
    rank: dict[str, tuple[float, float, float]]


def difference(a: Estimate, b: Estimate) -> Difference:
    """Return a − b with its BCa interval; both must come from `bootstrap` with the same seed.

    There is no interval where the two were not scored on the same units: their draws are then not paired. Where a
    side lies on a bound its draws have no spread and would hide its uncertainty; the two sides' own intervals are
    then combined as if they were independent (MOVER), which is wide rather than narrow.

    References
    ----------
    Newcombe: Interval estimation for the difference between independent proportions. Stat Med 17, 873–890 (1998).
    """
    value = a.value - b.value
    if len(a.draws) != len(b.draws) or not a.units.equals(b.units):
        return Difference(value, np.nan, np.nan)
    draws = a.draws - b.draws
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(defined) < 0.8 * len(draws):
        return Difference(value, np.nan, np.nan)
    if np.ptp(defined) == 0 and np.isnan([a.low, b.low]).all():
        # Neither moves under any draw: there is nothing to make an interval of.
        return Difference(value, np.nan, np.nan)
    if "boundary" in (a.status, b.status):
        low = value - np.hypot(a.value - a.low, b.high - b.value)
        high = value + np.hypot(a.high - a.value, b.value - b.low)
        return Difference(value, float(low), float(high))
    low, high, _ = interval(value, defined, a.jackknife - b.jackknife)
    return Difference(value, low, high)


def compare(
    family: Mapping[str, Items],
    metric: Metric,
    *,
    n_boot: int = 1000,
    n_permutations: int = 1000,
    adjust: Adjust = "holm",
    seed: int = 0,
) -> Comparison:
    """Compare every pair of a declared family of predictors on the items they share.

    The p-value of a pair comes from swapping the two predictors' within-fold ranks (for a metric that ranks;
    otherwise their predictions) inside random units: under the null the two are exchangeable unit by unit.

    Parameters
    ----------
    family
        Predictor -> items. A pair is compared on the items that both score.
    metric
        Of all.
    n_boot, n_permutations, seed
        Draws for the intervals and the null.
    adjust
        ``holm`` (family-wise error) or ``bh`` (false discovery rate).

    Raises
    ------
    MmcellError
        Fewer than two predictors, no shared item, different truths for one item.
    """
    if adjust not in ("holm", "bh"):
        raise MmcellError(f"adjust is {adjust!r}; use 'holm' or 'bh'")
    if len(family) < 2:
        raise MmcellError(f"a comparison needs at least two predictors, there is {first(family) or 'none'}")
    _shared(family)

    def estimated(items: Mapping[str, Items]) -> dict[str, Estimate]:
        return {name: bootstrap(i, [metric], n_boot=n_boot, seed=seed)[metric.name] for name, i in items.items()}

    rows = []
    for a, b in combinations(family, 2):
        pair = _shared({a: family[a], b: family[b]})
        both = estimated(pair)
        gap = difference(both[a], both[b])
        p = _swap_p(pair[a], pair[b], metric, gap.value, n_permutations, stream(seed, "swap", *sorted((a, b))))
        row = {"a": a, "b": b, "difference": gap.value, "ci_low": gap.low, "ci_high": gap.high, "p": p}
        rows.append({**row, "n_items": pair[a].frame["item"].nunique()})
    table = pd.DataFrame(rows)
    table.insert(6, "p_adjusted", adjusted(table["p"].to_numpy(), adjust))
    values = {name: metric.fn(items) for name, items in family.items()}
    known = {name: family[name] for name, value in values.items() if np.isfinite(value)}
    sign = 1.0 if metric.higher_is_better else -1.0
    order = sorted(known, key=lambda name: -sign * values[name])
    apart = {(r.a, r.b) for r in table.itertuples() if r.p_adjusted <= ALPHA}
    # A predictor without a value is neither like nor unlike any other: it has no letter and no rank.
    shown = dict.fromkeys(family, "") | letters(order, {pair for pair in apart if known.keys() >= set(pair)})
    rank = dict.fromkeys(family, (np.nan, np.nan, np.nan)) | _ranks(estimated(_shared(known)) if known else {}, sign)
    return Comparison(metric.name, table, shown, rank)


def letters(order: list[str], apart: set[tuple[str, str]]) -> dict[str, str]:
    """Return the compact letter display: names share a letter exactly when no pair under that letter is told apart.

    Parameters
    ----------
    order
        All names, best first: letters are handed out in this order.
    apart
        Pairs that differ, in either order.

    References
    ----------
    Piepho: An algorithm for a letter-based representation of all-pairwise comparisons.
    J Comput Graph Stat 13, 456–466 (2004): insert and absorb.
    """
    groups: list[set[str]] = [set(order)]
    for a, b in sorted(apart):
        split = []
        for group in groups:
            split += [group - {a}, group - {b}] if {a, b} <= group else [group]
        unique = [g for i, g in enumerate(split) if g not in split[:i]]
        groups = [g for g in unique if not any(g < other for other in unique)]
    groups.sort(key=lambda g: sorted(order.index(n) for n in g))
    return {name: "".join(_letter(i) for i, g in enumerate(groups) if name in g) for name in order}


def _letter(i: int) -> str:
    return chr(ord("a") + i % 26) + ("'" * (i // 26))


def adjusted(p: np.ndarray, how: Adjust) -> np.ndarray:
    """Return p-values adjusted over the family by Holm or Benjamini–Hochberg; an undefined p stays undefined."""
    p = np.asarray(p, dtype=float)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    m = len(order)
    if how == "holm":
        out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (m - np.arange(m))))
    else:
        steps = p[order] * m / (np.arange(m) + 1)
        out[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    return out


def _shared(family: Mapping[str, Items]) -> dict[str, Items]:
    keys = ["item", "repeat", "fold"]
    tables = {name: items.frame.set_index(keys).sort_index() for name, items in family.items()}
    for name, table in tables.items():
        if table.index.has_duplicates:
            raise MmcellError(
                f"predictor {name!r} holds several panels (galleries, splits, …); compare one of Items.panels()"
            )
    common = None
    for table in tables.values():
        common = table.index if common is None else common.intersection(table.index)
    if common is None or not len(common):
        raise MmcellError(
            f"the predictors {first(family)} share no item in the same fold; score them on the same split"
        )
    common = common.sort_values()
    kind = next(iter(family.values())).kind
    aligned = {name: Items(t.loc[common].reset_index(), kind) for name, t in tables.items()}
    truth = [c for c in ("unit", "y_true", "time", "event") if c in next(iter(aligned.values())).frame]
    reference = next(iter(aligned.values())).frame[truth]
    for name, items in aligned.items():
        if not items.frame[truth].equals(reference):
            raise MmcellError(f"predictor {name!r} carries another truth or unit for the same items; mend the table")
    return aligned


def _swap_p(a: Items, b: Items, metric: Metric, observed: float, n: int, rng: np.random.Generator) -> float:
    if not np.isfinite(observed):
        return np.nan
    columns = [c for c in ("y_pred", "above", "tied", "tied_correct", "percentile") if c in a.frame]
    left, right = (
        pd.DataFrame({c: _within_fold_ranks(i, c) if metric.within_fold else i.column(c) for c in columns})
        for i in (a, b)
    )
    start = _paired_value(a, b, left, right, np.zeros(len(left), dtype=bool), metric)
    if not np.isfinite(start):
        return np.nan
    more, valid = 0, 0
    for _ in range(n):
        swap = (rng.random(len(a.units)) < 0.5)[a.codes]
        value = _paired_value(a, b, left, right, swap, metric)
        if np.isfinite(value):
            valid += 1
            more += abs(value) >= abs(start) - 1e-12
    return (more + 1) / (valid + 1)


def _paired_value(
    a: Items, b: Items, left: pd.DataFrame, right: pd.DataFrame, swap: np.ndarray, metric: Metric
) -> float:
    keep = swap[:, None]
    one, two = np.where(keep, right, left), np.where(keep, left, right)
    values = []
    for items, block in ((a, one), (b, two)):
        values.append(metric.fn(items.having({column: block[:, i] for i, column in enumerate(left)})))
    return values[0] - values[1]


def _within_fold_ranks(items: Items, column: str) -> np.ndarray:
    out = np.empty(len(items.frame))
    values = items.column(column).astype(float)
    for _, rows in items.folds:
        out[rows] = rankdata(values[rows])
    return out


def _ranks(estimates: Mapping[str, Estimate], sign: float) -> dict[str, tuple[float, float, float]]:
    names = list(estimates)
    if not names:
        return {}
    values = np.array([estimates[n].value for n in names])
    draws = np.array([estimates[n].draws for n in names])
    defined = np.isfinite(draws).all(axis=0)
    point = rankdata(-sign * values) if np.isfinite(values).all() else np.full(len(names), np.nan)
    if not defined.any():
        return {name: (float(r), np.nan, np.nan) for name, r in zip(names, point, strict=True)}
    drawn = rankdata(-sign * draws[:, defined], axis=0)
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    return {n: (float(r), float(a), float(b)) for n, r, a, b in zip(names, point, low, high, strict=True)}
