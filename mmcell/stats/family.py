"""A family over several places (tasks, datasets): every pair in every place, and in the mean over places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from mmcell.digest import stream
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.stats.bootstrap import Estimate, bootstrap, interval
from mmcell.stats.comparison import (
    Comparison,
    Difference,
    bootstrap_p,
    difference,
    family_of,
    lettered,
    mostly_defined,
    pair_row,
    pair_rows,
    ranks,
    refuse_tests,
    standard_error,
    with_adjusted,
)
from mmcell.stats.multiplicity import Adjust, checked, draws_for
from mmcell.stats.parts import drawn
from mmcell.stats.power import minimum_detectable_effect
from mmcell.stats.shared import Shared
from mmcell.stats.swap import swap_p, swapper
from mmcell.stats.units import MINIMUM, Units

#: The place that is the mean over all others.
ALL = "all"


def compare_across(
    families: Mapping[str, Mapping[str, Items]],
    metric: Metric,
    *,
    datasets: Mapping[str, str],
    n_boot: int = 1000,
    n_permutations: int | None = None,
    adjust: Adjust = "holm",
    seed: int = 0,
) -> Comparison:
    """Compare predictors in several places and over them all.

    Every place has its rows, as `compare` would give them there; the rows of the place ``all`` hold the mean over
    places of the paired differences. All rows together are the family over which p-values are adjusted. Letters and
    ranks are of the means.

    The interval of a mean is BCa over draws of all units: places of one dataset share their draws, others are
    independent. Its p comes from swapping two predictors inside random units, in all places of the unit's dataset at
    once. Where a side lies on a bound in some place, the places' own intervals are averaged as if they moved
    together, which is wide rather than narrow. A pair without an interval in some place has none in the mean.

    Parameters
    ----------
    families
        Place -> predictor -> items.
    metric
        Of all places, so that their directions agree.
    datasets
        Place -> dataset: only within one dataset are equal ids the same unit.
    n_boot, n_permutations, adjust, seed
        As in `compare`.

    Returns
    -------
    Comparison
        As of `compare`; the first column of its table is ``place``, and the place ``all`` is the mean over them.

    Raises
    ------
    MmcellError
        As in `compare`; fewer than two places; a dataset whose units are crossed in some places only.
    """
    if len(families) < 2 or ALL in families:
        raise MmcellError(
            f"a family over places needs at least two, none of them called {ALL!r}; there is {', '.join(families)}"
        )
    checked(adjust)
    refuse_tests(metric)
    places = _places(families, datasets)
    names = list(dict.fromkeys(name for family in families.values() for name in family))
    absent = {name: tuple(place for place, family in families.items() if name not in family) for name in names}
    common = [name for name in names if not absent[name]]
    pairs = sum(comb(len(family), 2) for family in (*families.values(), common))
    draws = draws_for(pairs) if n_permutations is None else n_permutations
    over = _Over(places, metric, n_boot, draws, seed)
    rows: list[dict[str, object]] = []
    for place in places:
        found = pair_rows(place.shared, list(families[place.name]), metric, over.estimate, draws, seed)
        rows += [{"place": place.name, **row} for row in found]
    rows += [{"place": ALL, **over.row(a, b)} for a, b in combinations(common, 2)]
    table = with_adjusted(pd.DataFrame(rows), adjust)
    values = {name: float(np.mean([metric.fn(f[name]) for f in families.values()])) for name in common}
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    means = over.means(list(known))
    return Comparison(
        metric.name, table, lettered(table[table["place"] == ALL], known, absent, metric),
        ranks(absent, {n: m[0] for n, m in means.items()}, {n: m[1] for n, m in means.items()}, metric),
        {name: there for name, there in absent.items() if there}, draws,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Place:
    """Predictors of one place, and all units of its dataset, among which its own are found by id."""

    name: str
    dataset: str
    shared: Shared
    space: Units

    def columns(self, items: Items) -> np.ndarray:
        return self.space.ids.get_indexer(items.units.ids)


def _places(families: Mapping[str, Mapping[str, Items]], datasets: Mapping[str, str]) -> list[_Place]:
    spaces = {}
    for dataset in {datasets[place] for place in families}:
        units = [i.units for place, f in families.items() if datasets[place] == dataset for i in f.values()]
        if len({u.crossed for u in units}) > 1:
            raise MmcellError(f"dataset {dataset!r}: its units are crossed in some places only; declare them alike")
        ids = reduce(pd.Index.union, [u.ids for u in units])
        spaces[dataset] = Units.of(*(ids.get_level_values(k) for k in range(ids.nlevels)))
    return [_Place(name, datasets[name], family_of(f), spaces[datasets[name]]) for name, f in families.items()]


@dataclass(frozen=True, eq=False)
class _Over:
    """The mean over places under draws that the places of one dataset share; what was computed once is kept."""

    places: list[_Place]
    metric: Metric
    n_boot: int
    n_permutations: int
    seed: int
    _estimates: dict[Items, Estimate] = field(default_factory=dict)
    _weights: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)
    _draws: dict[tuple[Items, bool], np.ndarray] = field(default_factory=dict)

    def estimate(self, items: Items) -> Estimate:
        """Return what `bootstrap` says of one predictor in one place."""
        if items not in self._estimates:
            found = bootstrap(items, [self.metric], n_boot=self.n_boot, seed=self.seed)
            self._estimates[items] = found[self.metric.name]
        return self._estimates[items]

    def draws(self, place: _Place, items: Items, left_out: bool = False) -> np.ndarray:
        """Return the values of one predictor under the draws of its dataset, or with each of its units left out."""
        if (items, left_out) not in self._draws:
            key = (place.dataset, left_out)
            if key not in self._weights:
                chosen = place.space.bootstrap(self.n_boot, self.seed, place.dataset)
                self._weights[key] = place.space.jackknife() if left_out else chosen
            weights = self._weights[key][:, place.columns(items)]
            enough = items.units.independent >= MINIMUM
            self._draws[items, left_out] = (
                drawn(self.metric, items, weights) if enough else np.full(len(weights), np.nan)
            )
        return self._draws[items, left_out]

    def means(self, names: list[str]) -> dict[str, tuple[float, np.ndarray]]:
        """Return the mean over places and its draws, on the items that all these predictors share in each place."""
        there = [(place, place.shared.on(names)) for place in self.places] if names else []
        return {
            name: (
                float(np.mean([self.metric.fn(items[name]) for _, items in there])),
                np.mean([self.draws(place, items[name]) for place, items in there], axis=0),
            )
            for name in names
        }

    def row(self, a: str, b: str) -> dict[str, object]:
        """Return the row of one pair."""
        pairs = []
        for place in self.places:
            left, right = place.shared.on([a, b]).values()
            pairs.append((place, left, right))
        draws = mostly_defined(np.mean([self.draws(at, x) - self.draws(at, y) for at, x, y in pairs], axis=0))
        gap = self._gap(pairs, draws)
        if any(place.space.crossed for place in self.places):
            p = bootstrap_p(gap.value, draws)
        else:
            p = self._swapped(a, b, pairs) if np.isfinite(gap.value) else float("nan")
        n_items = sum(x.n_items for _, x, _ in pairs)
        return pair_row(a, b, gap, p, draws, self.metric, n_items)

    def _gap(self, pairs: list[tuple[_Place, Items, Items]], draws: np.ndarray) -> Difference:
        sides = [(self.estimate(left), self.estimate(right)) for _, left, right in pairs]
        gaps = [difference(left, right) for left, right in sides]
        value = float(np.mean([gap.value for gap in gaps]))
        if not len(draws) or np.isnan([gap.low for gap in gaps]).any():
            return Difference(value, np.nan, np.nan)
        if any("boundary" in (left.status, right.status) for left, right in sides):
            low, high = (float(np.mean([getattr(gap, end) for gap in gaps])) for end in ("low", "high"))
            return Difference(value, low, high, minimum_detectable_effect(standard_error(value, low, high)))
        left_out = []
        for dataset in sorted({place.dataset for place, _, _ in pairs}):
            parts = []
            for (place, left, right), gap in zip(pairs, gaps, strict=True):
                here = place.dataset == dataset
                parts.append(self.draws(place, left, True) - self.draws(place, right, True) if here else gap.value)
            left_out.append(np.sum(np.broadcast_arrays(*parts), axis=0) / len(parts))
        low, high, _ = interval(value, draws, np.concatenate(left_out))
        return Difference(value, low, high, minimum_detectable_effect(draws))

    def _swapped(self, a: str, b: str, pairs: list[tuple[_Place, Items, Items]]) -> float:
        observed, differences = 0.0, np.zeros(self.n_permutations)
        swaps: dict[str, np.ndarray] = {}
        for place, left, right in pairs:
            if place.dataset not in swaps:
                rng = stream(self.seed, "swap", place.dataset, *sorted((a, b)))
                swaps[place.dataset] = rng.random((self.n_permutations, len(place.space))) < 0.5
            swapped = swapper(left, right, self.metric)
            observed += swapped(np.zeros((1, len(left.units)), dtype=bool))[0]
            differences += swapped(swaps[place.dataset][:, place.columns(left)])
        return swap_p(differences, observed)
