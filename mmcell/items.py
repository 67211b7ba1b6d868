"""`Items`: what a task returns, one row per scored item. Every metric, interval and comparison is a function of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, first, number_of

if TYPE_CHECKING:
    from mmcell.stats.units import Units

#: kind -> columns that a task of this kind must return, and those that grading adds.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "binary": (("y_pred",), ("y_true",)),
    "multiclass": (("y_pred",), ("y_true",)),
    "regression": (("y_pred",), ("y_true",)),
    "survival": (("y_pred",), ("time", "event")),
    "retrieval": (("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile"), ()),
    "features": (("row", "n_items"), ()),
    "effects": ((), ()),
    "chain": (("row",), ()),
}
#: Columns whose combinations are scored apart.
PANEL = ("target", "query", "gallery", "stratum", "split")
_DEFAULTS: dict[str, Any] = {
    "target": "label", "query": "", "gallery": "", "stratum": "all", "split": "", "group": "", "repeat": 0, "fold": 0
}  # fmt: skip
#: Kinds whose rows may be parted by the column ``within``.
_PARTED = ("binary", "regression", "survival", "features")


@dataclass(frozen=True, eq=False)
class Items:
    """A table of scored items with named arrays beside it.

    Attributes
    ----------
    frame
        One row per scored item; see Notes.
    kind
        ``binary``, ``multiclass``, ``regression``, ``survival``, ``retrieval``, ``features``, ``effects`` or ``chain``.
    arrays
        Named arrays that belong to the table: of survival items ``survival`` (items, k), the predicted probability of
        being without the event beyond each of the rising ``times`` (k,), and where events compete ``incidence``, that
        the event has come by then; of feature items ``moments`` and ``features``; of chain items ``random``.
    details
        JSON-able facts about the fitted models, kept in the record.

    Notes
    -----
    Columns of every kind, with a default where a task does not set them: ``item`` and, once graded, ``unit``;
    ``split repeat fold``, where it was held out; ``target query gallery stratum``, what is asked; ``group``, the batch
    or cohort that was held out as a whole. Where there is such a thing: ``crossed``, the second factor of crossed units
    (donor × perturbation), and ``by:NAME``, a subgroup in which scores are given, too.

    =============  =============================================================================================
    Kind           Columns
    =============  =============================================================================================
    binary         ``y_pred`` (higher = more likely the positive class), ``y_true``; ``p_event``, its probability;
                   ``threshold``, the risk at which net benefit is scored
    multiclass     ``y_pred y_true``, as text; ``y_knn``, what nearest neighbours say, and their ``distance``. From
                   grading: ``in_reference``, whether training units hold the label; of alignment pseudo-values of
                   what a neighbour graph says (see `mmcell.standing`)
    regression     ``y_pred y_true``
    survival       ``y_pred`` (risk: higher = shorter survival), ``time``, ``event`` (1 = the event, 0 = none seen);
                   ``cause`` (2 = a competing event, 1, 0) where one is declared; ``risk_group`` (high, low). From
                   grading: ``ipcw``, the weight against censoring, up to ``tau``; of predicted curves ``brier``, its
                   part of the integrated score, ``own_survival``, the curve at its own time, and by the ``horizon``
                   ``p_event``, ``log_hazard``, ``brier_horizon`` and ``threshold``; where events compete ``p_net``,
                   the probability if nothing else befell
    retrieval      ``above tied tied_correct n_correct n_gallery percentile``; ``precision``; of groups that are tested
                   (replicates, targets) ``p``, ``q`` and ``n_queries``, see `mmcell.protocols.mechanism`
    features       ``row``, where the sums of one unit and stratum stand in ``arrays["moments"]``, ``within``, what they
                   are centred in, and ``n_items``, how many items they are
    effects        one column a metric, its value for this perturbation, NaN where it is undefined (see
                   `mmcell.metrics.effects`); ``n_gallery``, how many effects a prediction is compared with;
                   ``effect_size``, as predicted, and ``strong``, whether the measured effect is; ``context``, within
                   which sizes are put in order
    chain          ``row``, where in ``arrays["random"]`` stands what random directions give (−1: nowhere); by target
                   ``label`` and ``ordered`` ``y_pred y_true``; ``reversal`` ``perturbation connectivity``, and in the
                   stratum ``all`` ``reversal_rank reversal_first n_gallery n_reversing``; ``outcome`` ``time event
                   y_pred`` and ``beside``, the risk by covariates alone
    =============  =============================================================================================

    Of binary, regression and survival items ``within`` is the subgroup of units that a row is compared in, "" for all
    (see `mmcell.strata`).
    """

    frame: pd.DataFrame
    kind: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MmcellError(f"items: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        needed = ("item", *KINDS[self.kind][0])
        absent = [c for c in needed if c not in self.frame]
        if absent:
            raise MmcellError(f"items of kind {self.kind!r}: the column {absent[0]!r} is missing; return it")
        usual = _DEFAULTS | ({"within": ""} if self.kind in _PARTED else {})
        defaults = {k: v for k, v in usual.items() if k not in self.frame}
        frame = self.frame.assign(**defaults).reset_index(drop=True)
        for column in KINDS[self.kind][0]:
            if self.kind == "multiclass":
                valid, what = frame[column].notna().to_numpy(), "missing"
            else:
                numbers = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
                valid, what = np.isfinite(numbers), "not a finite number"
            if not valid.all():
                bad = frame.loc[~valid, "item"]
                raise MmcellError(
                    f"items: {column!r} is {what} for {number_of(len(bad), 'item')} ({first(bad)}); "
                    "leave such items out, they are then counted as excluded"
                )
        for column in ("repeat", "fold"):
            if frame[column].isna().any():
                raise MmcellError(
                    f"items: {column!r} is missing for {number_of(int(frame[column].isna().sum()), 'item')} "
                    f"({first(frame.loc[frame[column].isna(), 'item'])}); fill it in, or leave the column out"
                )
        twice = frame.duplicated(["item", "repeat", *PANEL])
        if twice.any():
            raise MmcellError(
                f"items: {number_of(int(twice.sum()), 'item is', 'items are')} scored twice in one repeat "
                f"({first(frame.loc[twice, 'item'])}); "
                "return each held-out item once"
            )
        object.__setattr__(self, "frame", frame)

    @cached_property
    def units(self) -> Units:
        """The independent units of the items, from their columns ``unit`` and, where units are crossed, ``crossed``.

        Raises
        ------
        MmcellError
            A unit id is missing.
        """
        from mmcell.stats.units import Units

        if "unit" not in self.frame:
            raise MmcellError("items: the column 'unit' is missing; name the independent thing of each item")
        return Units.of(self.frame["unit"], self.frame.get("crossed"), item=self.frame["item"])

    @property
    def n_items(self) -> int:
        """How many items there are, whatever the number of repeats; of predicted features those behind the rows."""
        if self.kind == "features":
            return int(self.frame.drop_duplicates("item")["n_items"].sum())
        return int(self.frame["item"].nunique())

    @property
    def codes(self) -> np.ndarray:
        """(n,) position of each item's unit among the columns of a weight matrix."""
        return self.units.codes

    @cached_property
    def folds(self) -> list[tuple[Any, np.ndarray]]:
        """(repeat, rows) of every fold, and of every subgroup in it where items are compared within subgroups.

        Predictions are comparable within one only.
        """
        keys = [c for c in ("repeat", "fold", "within") if c in self.frame]
        grouped = self.frame.groupby(keys, sort=True).indices
        return [(repeat, rows) for (repeat, *_), rows in grouped.items()]

    @cached_property
    def is_within(self) -> bool:
        """Whether rows are compared within subgroups of units; of predicted features the protocol decides that."""
        return self.kind != "features" and "within" in self.frame and bool((self.frame["within"] != "").any())

    def column(self, name: str) -> np.ndarray:
        """Return one column as an array.

        Parameters
        ----------
        name
            Of `frame`.
        """
        return self.frame[name].to_numpy()

    def where(self, mask: np.ndarray | pd.Series) -> Self:
        """Return the items of a boolean mask.

        Parameters
        ----------
        mask
            (n,) truth values, by position.
        """
        return self._rows(np.flatnonzero(np.asarray(mask)))

    def _rows(self, rows: np.ndarray) -> Self:
        """Return some of the rows. They were checked when these items were made, so they are not checked again."""
        part = self._of(self.frame.iloc[rows].reset_index(drop=True))
        if "units" in self.__dict__:
            part.__dict__["units"] = self.units.of_rows(rows)
        return part

    def without(self, columns: Sequence[str]) -> Self:
        """Return the same items without some of the columns that no metric reads.

        Parameters
        ----------
        columns
            Names of columns that are there.
        """
        found = self._of(self.frame.drop(columns=columns))
        if "units" in self.__dict__:
            found.__dict__["units"] = self.units
        return found

    def having(self, columns: Mapping[str, np.ndarray]) -> Self:
        """Return the same items with other values in some of their columns.

        Parameters
        ----------
        columns
            Name -> (n,) values, by position.
        """
        return self._of(self.frame.assign(**columns))

    def _of(self, frame: pd.DataFrame) -> Self:
        part = object.__new__(type(self))
        for name, value in (("frame", frame), ("kind", self.kind), ("arrays", self.arrays), ("details", {})):
            object.__setattr__(part, name, value)
        return part

    def resample(self, weights: np.ndarray) -> Self:
        """Return the items repeated as often as `weights` (whole numbers, one per unit) says: the slow way.

        Parameters
        ----------
        weights
            (units,) how often each unit is drawn.
        """
        times = np.asarray(weights)[self.codes].astype(int)
        rows = np.repeat(np.arange(len(self.frame)), times)
        frame = self.frame.iloc[rows].reset_index(drop=True)
        copy = np.concatenate([np.arange(t) for t in times]) if len(times) else times
        frame["item"] = frame["item"].astype(str) + "#" + pd.Series(copy.astype(str))
        return type(self)(frame, self.kind, self.arrays)

    def panels(self) -> Iterator[tuple[dict[str, str], Items]]:
        """Yield every set of items that is scored on its own.

        One per target × query × gallery × stratum × split; where items carry a ``group`` (a held-out batch or
        cohort), one more per group, whose name then stands as the stratum, behind that of a gallery.

        Yields
        ------
        facts, items : dict, Items
            What the part is of (target, query, gallery, stratum, split), and its rows.
        """
        for keys, rows in self.frame.groupby(list(PANEL), sort=False, dropna=False).indices.items():
            facts = dict(zip(PANEL, map(str, keys), strict=True))
            part = self._rows(rows)
            yield facts, part
            groups = part.column("group").astype(str)
            names = sorted(set(groups) - {""})
            if len(names) > 1:
                for name in names:
                    stratum = name if facts["stratum"] == "all" else f"{facts['stratum']}/{name}"
                    yield {**facts, "stratum": stratum}, part.where(groups == name)

    @classmethod
    def concat(cls, parts: list[Items]) -> Items:
        """Join the items of several folds; details become a list, arrays are named by their part.

        Parameters
        ----------
        parts
            Items of one kind.

        Returns
        -------
        Items
            All rows, in the order of the parts.
        """
        if parts[0].kind in _STACKED:
            parts = _STACKED[parts[0].kind](parts)
        frames = [part.frame for part in parts]
        details = {"folds": [dict(part.details) for part in parts]} if any(part.details for part in parts) else {}
        named = {f"{i}/{name}": array for i, part in enumerate(parts) for name, array in part.arrays.items()}
        arrays = parts[0].arrays if parts[0].kind in _STACKED else named
        return cls(pd.concat(frames, ignore_index=True), parts[0].kind, arrays, details)


def _with_one_random(parts: list[Items]) -> list[Items]:
    """Return parts whose rows point into one array of what random directions give."""
    arrays = {"random": np.concatenate([part.arrays["random"] for part in parts])}
    found, first = [], 0
    for part in parts:
        row = part.frame["row"]
        found.append(Items(part.frame.assign(row=row.where(row < 0, row + first)), part.kind, arrays, part.details))
        first += len(part.arrays["random"])
    return found


def _with_one_sum(parts: list[Items]) -> list[Items]:
    """Return parts whose rows point into one array of sums; features meet by name, and one that is absent counts 0."""
    names = pd.Index(np.concatenate([part.arrays["features"] for part in parts])).unique()
    sums = np.zeros((sum(len(part.arrays["moments"]) for part in parts), 6, len(names)))
    arrays = {"moments": sums, "features": names.to_numpy().astype(str)}
    found, first = [], 0
    for part in parts:
        own = part.arrays["moments"]
        sums[first : first + len(own), :, names.get_indexer(part.arrays["features"])] = own
        frame = part.frame.assign(row=part.frame["row"] + first)
        found.append(Items(frame, part.kind, arrays, part.details))
        first += len(own)
    return found


#: Kinds whose rows point into an array that all parts share.
_STACKED = {"features": _with_one_sum, "chain": _with_one_random}
