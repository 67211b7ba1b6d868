"""`Bags` and `Directions`: of the cells of a view the means that are compared, and what training units make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.metrics.chain import CHOSEN
from mmcell.probes.scale import settled
from mmcell.probes.signatures import (
    FEWEST,
    FEWEST_UNITS,
    Space,
    along,
    bag_means,
    cosine,
    disease_direction,
    has_types,
    mean_direction,
    permuted_directions,
    spread_directions,
)
from mmcell.task import MethodView
from mmcell.untreated import speaking

#: Random directions beside every measured one: the smallest p is 1 in 200.
N_RANDOM = 199
#: The stratum of patients along the disease's own direction.
DISEASE = "disease itself"
_CONTROL = 0


@dataclass(frozen=True, eq=False)
class Bags:
    """Which cells belong together: those of a unit under one condition.

    Attributes
    ----------
    units, types
        Sorted names; the one type ``""`` where cells have none, or all are taken together.
    perturbations
        Sorted names, controls left out.
    cells
        Cell id -> ``unit`` and ``kind``, codes of its unit and type (−1: none), ``condition``: 0 for controls, i + 1
        for the i-th perturbation, −1 for cells without one, and ``describes``: whether it speaks of its unit.
    batch
        (units,) code of the batch; one code where batches are not known, or a unit lies in several.
    """

    units: pd.Index
    types: tuple[str, ...]
    perturbations: tuple[str, ...]
    cells: pd.DataFrame
    batch: np.ndarray

    @classmethod
    def of(cls, view: MethodView, *, by_type: bool) -> Self:
        """Read them from a view; cells of a unit speak of it if nothing was done to them, else its controls do."""
        unit, units = pd.factorize(view.unit.to_numpy(dtype=object), sort=True)
        kind, types = np.zeros(len(unit), dtype=np.int64), np.array([""], dtype=object)
        if by_type and "cell_type" in view.columns:
            kind, types = pd.factorize(view.role("cell_type").astype(object).map(str, na_action="ignore"), sort=True)
        named = view.role("perturbation").astype(object).map(str, na_action="ignore")
        perturbations = sorted(set(named.dropna()) - {str(view.control)})
        condition = pd.Index([str(view.control), *perturbations]).get_indexer(named)
        # Of a unit that has treated cells alone nothing is known.
        describes = speaking(unit, named, str(view.control)) & (condition <= _CONTROL)
        columns = {"unit": unit, "kind": kind, "condition": condition, "describes": describes}
        cells = pd.DataFrame(columns, index=view.unit.index)
        return cls(pd.Index(units), tuple(types), tuple(perturbations), cells, _batches(view, unit, len(units)))

    @property
    def described(self) -> pd.Index:
        """Units with enough cells of one type that speak of them."""
        size = self.cells[self.cells["describes"] & (self.cells["kind"] >= 0)].groupby(["unit", "kind"]).size()
        return self.units[np.unique(size.index.get_level_values("unit")[size >= FEWEST])]

    @cached_property
    def item(self) -> pd.Series:
        """Unit -> id of the first of its cells that speaks of it, or of its first cell."""
        cells = self.cells.sort_values("describes", ascending=False, kind="stable")
        first = cells.reset_index(names="id").drop_duplicates("unit").set_index("unit")["id"]
        return pd.Series(first.sort_index().to_numpy(), index=self.units)

    def treated(self, units: np.ndarray) -> list[str]:
        """Return the perturbations that some of the units have enough cells of, and controls, of one type."""
        cells = self.cells[self.units.isin(units)[self.cells["unit"]] & (self.cells["kind"] >= 0)]
        count = pd.crosstab([cells["unit"], cells["kind"]], cells["condition"])
        if _CONTROL not in count:
            return []
        enough = count[count[_CONTROL] >= FEWEST] >= FEWEST
        return [name for i, name in enumerate(self.perturbations, start=1) if i in enough and enough[i].any()]

    def means(self, x: Embedding) -> tuple[np.ndarray, np.ndarray]:
        """Return (units, types, d) means of what speaks of units, and (conditions, units, types, d) of treated ones."""
        cells = self.cells[self.cells.index.isin(x.ids)]
        values = settled(np.asarray(x.align(pd.Index(cells.index)).values))
        unit, kind, condition = (cells[c].to_numpy() for c in ("unit", "kind", "condition"))
        n, n_types, n_conditions = len(self.units), len(self.types), 1 + len(self.perturbations)
        own = bag_means(values, np.where(cells["describes"], unit, -1), kind, n, n_types)
        bag = np.where(condition >= 0, condition * n + unit, -1)
        treated = bag_means(values, bag, kind, n_conditions * n, n_types)
        return own, treated.reshape(n_conditions, n, n_types, -1)


@dataclass(frozen=True, eq=False)
class Directions:
    """What training units say of perturbations and of the disease, in one space.

    Attributes
    ----------
    bags, train
        The cells, and (units,) which units are training ones.
    points
        (units, types, d) where units are.
    effects
        (P, units, types, d) what perturbations do in them.
    disease
        (types, d) from the well to the ill.
    signatures
        (P, types, d).
    state
        (units,) 1 (ill) or 0 (well) of training patients; NaN for the others.
    """

    bags: Bags
    train: np.ndarray
    points: np.ndarray
    effects: np.ndarray
    disease: np.ndarray
    signatures: np.ndarray
    state: np.ndarray

    @classmethod
    def of(cls, bags: Bags, x: Embedding, train: pd.Index, y: pd.Series) -> Self:
        """Learn from training units.

        Parameters
        ----------
        bags, x
            Cells and their embedding.
        train
            Training units.
        y
            Training patient -> 1 (ill) or 0 (well).
        """
        own, treated = bags.means(x)
        is_train = bags.units.isin(train)
        state = y.reindex(bags.units).to_numpy(dtype=float)
        space = Space.fit(own[is_train])
        points = space.points(own)
        effects = np.stack([space.effects(part - treated[_CONTROL]) for part in treated[1:]])
        state = np.where(is_train & has_types(points).any(axis=1), state, np.nan)
        known = np.isfinite(state)
        return cls(
            bags, is_train, points, effects, disease_direction(points[known], state[known]),
            np.stack([mean_direction(part[is_train]) for part in effects]), state,
        )  # fmt: skip

    @cached_property
    def connectivities(self) -> np.ndarray:
        """(P,) cosine of every signature with the disease's direction: −1 undoes it, 1 is like it."""
        return cosine(self.signatures, self.disease)

    @cached_property
    def choice(self) -> int:
        """The perturbation whose signature lies nearest to the disease's direction, or to its opposite."""
        return int(np.argmax(np.abs(self.connectivities)))

    @cached_property
    def _drawn(self) -> np.ndarray:
        """(k, 1 + P, units) numbers that every fold and every embedding shares: k experiments that measured nothing."""
        shape = (N_RANDOM, 1 + len(self.signatures), len(self.bags.units))
        return stream(0, "random directions").standard_normal(shape)

    @cached_property
    def _random_disease(self) -> np.ndarray:
        """(k, types, d) directions of a disease whose labels mean nothing: exchanged within batches."""
        rows = np.flatnonzero(np.isfinite(self.state))
        points, y = self.points[rows], self.state[rows]
        return permuted_directions(points, y, self._drawn[:, 0, rows], self.bags.batch[rows])

    def _random_signature(self, i: int) -> np.ndarray:
        return spread_directions(self.effects[i, self.train], self._drawn[:, 1 + i, self.train])

    @cached_property
    def _treated(self) -> np.ndarray:
        """(P,) how many training units every signature is learnt from."""
        return np.array([has_types(part[self.train]).any(axis=1).sum() for part in self.effects])

    def chosen(self, units: pd.Index) -> pd.Series:
        """Return where units stand along the chosen signature, turned the way of the disease; NaN without cells."""
        turned = self._sign * self.signatures[self.choice]
        return pd.Series(along(self.points[self._rows(units)], turned), index=units)

    @property
    def _sign(self) -> float:
        return -1.0 if self.connectivities[self.choice] < 0 else 1.0

    def places(self, units: pd.Index) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
        """Yield every direction by its stratum, where units stand along it (n,), and along random ones (n, k).

        Along a signature of too few units the random ones are NaN. The disease's own direction has none: labels made
        it that are asked for in other folds, so that its score varies more by chance than that of a random one.
        """
        points = self.points[self._rows(units)]
        drawn, near = [], np.empty((N_RANDOM, len(self.signatures)))
        for i in range(len(self.signatures)):
            random = self._random_signature(i)
            near[:, i] = cosine(random, self.disease)
            drawn.append(along(points, random) if self._treated[i] >= FEWEST_UNITS else _nothing(points))
        # Whoever measured nothing would have chosen, too.
        best = np.argmax(np.abs(near), axis=1)
        at = np.arange(N_RANDOM)
        turned = np.where(near[at, best] < 0, -1.0, 1.0) * np.stack(drawn)[best, :, at].T
        few = self._treated[self.choice] < FEWEST_UNITS
        yield CHOSEN, self.chosen(units).to_numpy(), _nothing(points) if few else turned
        yield DISEASE, along(points, self.disease), None
        for i, name in enumerate(self.bags.perturbations):
            # What no training unit was treated with has no signature, and nobody a place along it.
            if self._treated[i]:
                yield name, along(points, self.signatures[i]), drawn[i]

    def reversals(self, units: pd.Index) -> Iterator[tuple[str, pd.Index, np.ndarray, np.ndarray]]:
        """Yield every perturbation, the units (n,) it was given to, and how its effects lie to the disease.

        That is their cosine with its direction (n,), and with random ones (n, k).
        """
        rows = self._rows(units)
        for i, name in enumerate(self.bags.perturbations):
            effects = self.effects[i, rows]
            found = cosine(effects, self.disease)
            known = np.isfinite(found)
            yield name, units[known], found[known], cosine(effects[known], self._random_disease)

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-able: what was chosen, how signatures lie to the disease, and what they were learnt from."""
        names = self.bags.perturbations
        known = zip(names, self.connectivities, self._treated, strict=True)
        return {
            "chosen": names[self.choice],
            "connectivity": {name: float(value) if n else None for name, value, n in known},
            "units_treated": dict(zip(names, map(int, self._treated), strict=True)),
            "types": [*filter(None, self.bags.types)],
        }

    def _rows(self, units: pd.Index) -> np.ndarray:
        return self.bags.units.get_indexer(units)


def _nothing(points: np.ndarray) -> np.ndarray:
    return np.full((len(points), N_RANDOM), np.nan)


def _batches(view: MethodView, unit: np.ndarray, n: int) -> np.ndarray:
    """Return the code of each unit's batch, 0 for all where a unit has none or several."""
    if "batch" not in view.columns:
        return np.zeros(n, dtype=np.int64)
    code, _ = pd.factorize(view.role("batch").astype(object))
    pairs = pd.DataFrame({"unit": unit, "batch": code}).drop_duplicates()
    if (code < 0).any() or len(pairs) > n:
        return np.zeros(n, dtype=np.int64)
    return pairs.sort_values("unit")["batch"].to_numpy()
