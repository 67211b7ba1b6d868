"""Comparison of predictors on the same items: paired differences, swap permutation, Holm or BH, letters for ties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from mmcell.digest import stream
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.stats.bootstrap import ALPHA, SPREAD, Estimate, bootstrap, interval
from mmcell.stats.multiplicity import Adjust as Adjust
from mmcell.stats.multiplicity import adjusted, checked, draws_for, letters
from mmcell.stats.power import minimum_detectable_effect
from mmcell.stats.shared import Shared
from mmcell.stats.swap import swap_p, swapper

#: With fewer defined draws than this share, an interval would describe the lucky draws only.
DEFINED_SHARE = 0.8


@dataclass(frozen=True)
class Difference:
    """A paired difference with its interval, and the smallest one that 80 % of such studies would find.

    `low`, `high` and `mde` are NaN where there is none.
    """

    value: float
    low: float
    high: float
    mde: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """All pairs of a family of predictors.

    Attributes
    ----------
    metric
        Name.
    table
        One row per pair: ``a b difference ci_low ci_high p p_adjusted mde win_probability n_items``, on the items that
        the two share. ``mde`` is the difference that would be found with 80 % power; ``win_probability`` the share of
        draws in which a is better than b, ties one half. Across several places the first column is ``place``, and the
        place ``all`` is the mean over them.
    letters
        Predictor -> letters; two that share one cannot be told apart at 5 % after adjustment. None without a value.
    rank
        Predictor -> (rank, lowest, highest): 1 is best, 95 % interval over draws of the items that all share.
    absent
        Predictor -> places it was not scored in: it then has no part in the mean over places, no letter and no rank.
    n_permutations
        Draws behind each p.
    """

    metric: str
    table: pd.DataFrame
    letters: dict[str, str]
    rank: dict[str, tuple[float, float, float]]
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    n_permutations: int = 0


def difference(a: Estimate, b: Estimate) -> Difference:
    """Return a − b with its BCa interval; both must come from `bootstrap` with the same seed.

    There is no interval where the two were not scored on the same items and units: they are then not paired. Where a
    side lies on a bound its draws have no spread and would hide its uncertainty; the two sides' own intervals are
    then combined as if they were independent (MOVER), which is wide rather than narrow.

    Parameters
    ----------
    a, b
        Of one metric on the same items.

    References
    ----------
    Newcombe: Interval estimation for the difference between independent proportions. Stat Med 17, 873–890 (1998).
    """
    value = a.value - b.value
    draws = paired_draws(a, b)
    if not np.isfinite(value) or not len(draws):
        return Difference(value, np.nan, np.nan)
    if np.ptp(draws) < SPREAD and np.isnan([a.low, b.low]).all():
        # Neither moves under any draw: there is nothing to make an interval of.
        return Difference(value, np.nan, np.nan)
    if "boundary" in (a.status, b.status):
        (a_low, a_high), (b_low, b_high) = _ends(a), _ends(b)
        below, above = np.hypot(a.value - a_low, b_high - b.value), np.hypot(a_high - a.value, b.value - b_low)
        low, high = float(value - below), float(value + above)
        return Difference(value, low, high, minimum_detectable_effect(standard_error(value, low, high)))
    low, high, _ = interval(value, draws, a.jackknife - b.jackknife)
    return Difference(value, low, high, minimum_detectable_effect(draws))


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Return the interval; that of a value which no draw moves has no width (a constant scores 0.5 in every cohort).

    The one-sided interval of a value on a bound is drawn at the level of one side of a two-sided one.
    """
    if estimate.status == "boundary":
        return estimate.two_sided
    drawn = estimate.draws[np.isfinite(estimate.draws)]
    if np.isnan(estimate.low) and len(drawn) and np.ptp(drawn) < SPREAD:
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def paired_draws(a: Estimate, b: Estimate) -> np.ndarray:
    """Return the defined draws of a − b; none where they are not paired, or where over a fifth is undefined."""
    if len(a.draws) != len(b.draws) or a.rows != b.rows or not a.units.equals(b.units):
        return np.empty(0)
    return mostly_defined(a.draws - b.draws)


def mostly_defined(draws: np.ndarray) -> np.ndarray:
    """Return the defined draws, or none of them where over a fifth is undefined."""
    defined = draws[np.isfinite(draws)]
    return defined if len(defined) >= DEFINED_SHARE * len(draws) else np.empty(0)


def standard_error(value: float, low: float, high: float) -> float:
    """Return the standard error that the longer arm of a 95 % interval stands for."""
    return float(max(value - low, high - value) / norm.ppf(1 - ALPHA / 2))


def win_probability(draws: np.ndarray, higher_is_better: bool) -> float:
    """Return the share of draws of a − b in which a is better, ties one half; NaN without draws."""
    if not len(draws):
        return float("nan")
    better = draws > 0 if higher_is_better else draws < 0
    return float(np.mean(better) + 0.5 * np.mean(draws == 0))


def bootstrap_p(value: float, draws: np.ndarray) -> float:
    """Return the two-sided p of a difference from its centred bootstrap draws, with the +1.

    For crossed units, where nothing can be swapped that leaves both factors' variance in the null.
    """
    if not np.isfinite(value) or not len(draws):
        return float("nan")
    return float((np.sum(np.abs(draws - value) >= abs(value) - 1e-12) + 1) / (len(draws) + 1))


def compare(
    family: Mapping[str, Items],
    metric: Metric,
    *,
    n_boot: int = 1000,
    n_permutations: int | None = None,
    adjust: Adjust = "holm",
    seed: int = 0,
) -> Comparison:
    """Compare every pair of a declared family of predictors on the items they share.

    The p-value of a pair comes from swapping the two predictors' within-fold ranks (for a metric that ranks;
    otherwise their predictions) inside random units: under the null the two are exchangeable unit by unit. Crossed
    units cannot be swapped; their p comes from the two-way bootstrap.

    Parameters
    ----------
    family
        Predictor -> items. A pair is compared on the items that both score.
    metric
        Of all.
    n_boot, n_permutations, seed
        Draws for the intervals and the null; None takes as many for the null as the pairs ask for, see `draws_for`.
    adjust
        ``holm`` (family-wise error) or ``bh`` (false discovery rate).

    Returns
    -------
    Comparison
        All pairs, letters for ties, and ranks with their intervals.

    Raises
    ------
    MmcellError
        Fewer than two predictors, no shared item, different truths for one item; a metric that is the p of a test.
    """
    checked(adjust)
    refuse_tests(metric)
    shared = family_of(family)

    @cache
    def estimated(items: Items) -> Estimate:
        return bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]

    draws = draws_for(comb(len(family), 2)) if n_permutations is None else n_permutations
    rows = pair_rows(shared, list(family), metric, estimated, draws, seed)
    table = with_adjusted(pd.DataFrame(rows), adjust)
    values = {name: metric.fn(items) for name, items in family.items()}
    known = [name for name, value in values.items() if np.isfinite(value)]
    ranked = {name: estimated(items) for name, items in shared.on(known).items()} if known else {}
    return Comparison(
        metric.name, table,
        lettered(table, {name: values[name] for name in known}, family, metric),
        ranks(family, {n: e.value for n, e in ranked.items()}, {n: e.draws for n, e in ranked.items()}, metric),
        n_permutations=draws,
    )  # fmt: skip


def refuse_tests(metric: Metric) -> None:
    """Raise `MmcellError` where a metric is the p of a test: of two such numbers neither is better."""
    if metric.is_test:
        raise MmcellError(
            f"compare: {metric.name!r} is the p of a test of each predictor, by which none is better than another; "
            "compare another metric"
        )


def family_of(family: Mapping[str, Items]) -> Shared:
    """Return a family of at least two predictors that share items, aligned.

    Raises
    ------
    MmcellError
        Fewer than two predictors.
    """
    if len(family) < 2:
        raise MmcellError(f"a comparison needs at least two predictors, there is {first(family) or 'none'}")
    shared = Shared(family)
    shared.on(family)
    return shared


def pair_rows(
    shared: Shared,
    names: list[str],
    metric: Metric,
    estimated: Callable[[Items], Estimate],
    n_permutations: int,
    seed: int,
) -> list[dict[str, object]]:
    """Return a row for every pair, still without adjustment."""
    rows = []
    for a, b in combinations(names, 2):
        pair = shared.on([a, b])
        left, right = (estimated(items) for items in pair.values())
        gap, draws = difference(left, right), paired_draws(left, right)
        if left.units.crossed:
            p = bootstrap_p(gap.value, draws)
        else:
            swaps = stream(seed, "swap", *sorted((a, b))).random((n_permutations, len(left.units))) < 0.5
            p = _swapped(pair[a], pair[b], metric, swaps) if np.isfinite(gap.value) else np.nan
        rows.append(pair_row(a, b, gap, p, draws, metric, pair[a].n_items))
    return rows


def pair_row(
    a: str, b: str, gap: Difference, p: float, draws: np.ndarray, metric: Metric, n_items: int
) -> dict[str, object]:
    """Return one row of `Comparison.table`, still without adjustment."""
    wins = win_probability(draws, metric.higher_is_better)
    return {
        "a": a, "b": b, "difference": gap.value, "ci_low": gap.low, "ci_high": gap.high, "p": p, "mde": gap.mde,
        "win_probability": wins, "n_items": n_items,
    }  # fmt: skip


def _swapped(a: Items, b: Items, metric: Metric, swaps: np.ndarray) -> float:
    # What is observed is the draw in which nobody changes places.
    observed, *drawn = swapper(a, b, metric)(np.vstack([np.zeros(swaps.shape[1], dtype=bool), swaps]))
    return swap_p(np.asarray(drawn), float(observed)) if np.isfinite(observed) else float("nan")


def with_adjusted(table: pd.DataFrame, adjust: Adjust) -> pd.DataFrame:
    """Return the table with p adjusted over all its rows: they are the family."""
    table.insert(table.columns.get_loc("p") + 1, "p_adjusted", adjusted(table["p"].to_numpy(), adjust))
    return table


def disagreeing(table: pd.DataFrame) -> list[str]:
    """Return a line on the pairs whose interval and p, both before adjustment, do not say the same; none without any.

    Two methods that answer one question differ near the 5 % line, and where units are few.

    Parameters
    ----------
    table
        That of a `Comparison`.
    """
    said = []
    for row in table.dropna(subset=["ci_low", "ci_high", "p"]).to_dict("records"):
        excludes = row["ci_low"] > 0 or row["ci_high"] < 0
        if excludes != (row["p"] <= ALPHA):
            place = f"{row['place']}, " if "place" in row else ""
            said.append(
                f"{place}{row['a']} − {row['b']} ({'excludes' if excludes else 'includes'} 0, p {row['p']:.4f})"
            )
    if not said:
        return []
    return [f"interval and p disagree: {first(said, 6)}; letters follow the adjusted p"]


def lettered(
    table: pd.DataFrame, values: Mapping[str, float], names: Mapping[str, object], metric: Metric
) -> dict[str, str]:
    """Return the letters of all names; one without a value is neither like nor unlike any other, and has none."""
    sign = 1.0 if metric.higher_is_better else -1.0
    order = sorted(values, key=lambda name: -sign * values[name])
    apart = {(r.a, r.b) for r in table.itertuples() if r.p_adjusted <= ALPHA}
    return dict.fromkeys(names, "") | letters(order, {pair for pair in apart if values.keys() >= set(pair)})


def ranks(
    names: Mapping[str, object], values: Mapping[str, float], draws: Mapping[str, np.ndarray], metric: Metric
) -> dict[str, tuple[float, float, float]]:
    """Return (rank, lowest, highest) of all names: 1 is best, 95 % interval over draws; NaN for one without a value.

    There is no interval where over a fifth of the draws leaves one of them undefined.
    """
    nothing = dict.fromkeys(names, (np.nan, np.nan, np.nan))
    if not values:
        return nothing
    sign = 1.0 if metric.higher_is_better else -1.0
    at, drawn = np.array(list(values.values())), np.array(list(draws.values()))
    defined = np.isfinite(drawn).all(axis=0)
    point = rankdata(-sign * at) if np.isfinite(at).all() else np.full(len(at), np.nan)
    low, high = np.full((2, len(at)), np.nan)
    if defined.mean() >= DEFINED_SHARE:
        # Those that are tied for the first three ranks can each be the first, or the third.
        first, last = (rankdata(-sign * drawn[:, defined], method=how, axis=0) for how in ("min", "max"))
        low = np.quantile(first, ALPHA / 2, axis=1, method="inverted_cdf")
        high = np.quantile(last, 1 - ALPHA / 2, axis=1, method="inverted_cdf")
    return nothing | {n: (float(r), float(a), float(b)) for n, r, a, b in zip(values, point, low, high, strict=True)}
