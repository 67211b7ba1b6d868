"""`Place`: who stands where by one metric on one set of items, of those whose records can be ranked at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmcell.errors import MmcellError
from mmcell.items import PANEL, Items
from mmcell.metrics.base import METRICS, get_metric
from mmcell.records import RunRecord, Score
from mmcell.stats.bootstrap import ALPHA
from mmcell.stats.comparison import Comparison, compare
from mmcell.stats.multiplicity import Adjust, out_of_reach

#: Whether a record can be ranked; ``unverifiable`` ones are shown beside the ranks, ``refused`` ones are listed.
Standing = Literal["complete", "unverifiable", "refused"]
_ADJUSTED: dict[Adjust, str] = {"holm": "Holm", "bh": "Benjamini–Hochberg"}
_NOWHERE = (np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Entry:
    """A candidate of some run.

    Attributes
    ----------
    record, items, run
        What was found, and the short name of the run that it is of.
    name
        Unique in its group.
    standing, reason
        Whether it can be ranked, and why not.
    """

    record: RunRecord
    items: Items | None
    run: str
    name: str
    standing: Standing = "complete"
    reason: str = ""

    @property
    def encoder(self) -> str:
        """The encoder, or the patient encoder where that reads no embedding."""
        return self.record.encoder or self.record.patient_encoder

    def panel(self, facts: Sequence[str]) -> Items | None:
        """Return the items of one place (target, query, gallery, stratum, split), None where there are none."""
        panels = self.items.panels() if self.items is not None else ()
        return next((panel for found, panel in panels if tuple(found.values()) == tuple(facts)), None)


@dataclass(frozen=True, eq=False)
class Row:
    """An entry in one place; `rank` is (rank, lowest, highest), NaN where there is none, and `reason` says why."""

    entry: Entry
    score: Score
    rank: tuple[float, float, float] = _NOWHERE
    letters: str = ""
    reason: str = ""

    @property
    def is_ranked(self) -> bool:
        """Whether it has a rank."""
        return bool(np.isfinite(self.rank[0]))


@dataclass(frozen=True, eq=False)
class Place:
    """The task's primary metric on one set of items.

    Attributes
    ----------
    metric, facts
        By what, and where: target, query, gallery, stratum, split.
    rows
        Best first; those without a rank last.
    notes
        What to know of ranks and letters.
    """

    metric: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[Row]:
        """Rows that have a rank."""
        return [row for row in self.rows if row.is_ranked]

    @property
    def leaders(self) -> list[Row]:
        """The rows that stand first; several where they are tied."""
        return [row for row in self.ranked if row.rank[0] == self.ranked[0].rank[0]]

    @property
    def alike(self) -> list[Row]:
        """Ranked rows below the leading ones that share a letter with one of them: they cannot be told apart."""
        first = {letter for row in self.leaders for letter in row.letters}
        return [row for row in self.ranked if row not in self.leaders and first & set(row.letters)]


def places_of(entries: Sequence[Entry], adjust: Adjust, n_permutations: int | None) -> tuple[Place, ...]:
    """Return every place in which entries of one group have the headline score, ranked.

    Parameters
    ----------
    entries
        Of one task, version, dataset and split; refused ones have no place.
    adjust, n_permutations
        Of the comparison, see `mmcell.stats.comparison.compare`.
    """
    families: dict[tuple[str, ...], list[tuple[Entry, Score]]] = {}
    for entry in entries:
        for score in entry.record.scores if entry.standing != "refused" else ():
            if score.metric == entry.record.task["primary"] and score.stratum == "all":
                facts = tuple(getattr(score, name) for name in PANEL)
                families.setdefault((score.metric, *facts), []).append((entry, score))
    return tuple(_place(key[0], key[1:], found, adjust, n_permutations) for key, found in sorted(families.items()))


def _place(
    metric: str, facts: tuple[str, ...], found: list[tuple[Entry, Score]], adjust: Adjust, n_permutations: int | None
) -> Place:
    why = {entry.name: _unranked(entry, score) for entry, score in found}
    family = {}
    for entry, _ in found:
        panel = None if why[entry.name] else entry.panel(facts)
        if panel is not None:
            family[entry.name] = panel
        why[entry.name] = why[entry.name] or ("" if panel is not None else "its scored items are not beside the record")
    compared, notes = _compared(metric, family, [e.record for e, _ in found], adjust, n_permutations)
    ranks: Mapping[str, tuple[float, float, float]] = compared.rank if compared is not None else {}
    if len(family) == 1:
        ranks = dict.fromkeys(family, (1.0, 1.0, 1.0))
    rows = []
    for entry, score in found:
        rank = ranks.get(entry.name, _NOWHERE)
        lost = "no value on the items that all share" if compared is not None else "; ".join(notes)
        reason = why[entry.name] or ("" if np.isfinite(rank[0]) else lost)
        letters = compared.letters[entry.name] if compared is not None and entry.name in family else ""
        rows.append(Row(entry, score, rank, letters, reason))
    return Place(metric, facts, tuple(sorted(rows, key=_order)), notes)


def _unranked(entry: Entry, score: Score) -> str:
    """Say why an entry has no rank in a place; "" where it may have one."""
    if entry.standing == "unverifiable":
        return entry.reason
    return "" if score.value is not None else score.reason or score.status.replace("_", " ")


def _order(row: Row) -> tuple[bool, float, bool, float, str]:
    value = row.score.value
    signed = 0.0 if value is None else -value if row.score.higher_is_better else value
    return not row.is_ranked, row.rank[0] if row.is_ranked else 0.0, value is None, signed, row.entry.name


def _compared(
    metric: str, family: Mapping[str, Items], records: Sequence[RunRecord], adjust: Adjust, n_permutations: int | None
) -> tuple[Comparison | None, tuple[str, ...]]:
    """Return the comparison of a family with what to know of it; None where they cannot be compared."""
    if len(family) < 2:
        return None, ()
    if metric not in METRICS.references:
        return None, (f"no ranks: the metric {metric} is not installed here",)
    # One seed for all, so that draws are paired; runs of one split share theirs as a rule.
    n_boot, seed = (pick(r.parameters[name] for r in records) for pick, name in ((max, "n_boot"), (min, "seed")))
    chosen = get_metric(metric)
    try:
        found = compare(family, chosen, n_boot=n_boot, n_permutations=n_permutations, adjust=adjust, seed=seed)
    except MmcellError as error:
        # Such as nothing scored by all: it is said in the place of every rank.
        return None, (f"no ranks: {error}",)
    pairs = int(found.table["p"].notna().sum())
    notes = [
        f"ranks and their 95 % intervals are over {n_boot} bootstrap draws of the units that all {len(family)} share; "
        f"letters after adjustment by {_ADJUSTED[adjust]} over {pairs} pair{'s' * (pairs != 1)}, "
        f"{found.n_permutations:,} permutations"
    ]
    if adjust == "holm" and out_of_reach(pairs, found.n_permutations):
        notes.append(
            f"with {found.n_permutations:,} permutations no p of {pairs} pairs can reach {ALPHA:g} after adjustment: "
            "all share a letter; use more"
        )
    if {panel.n_items for panel in family.values()} != {int(found.table["n_items"].min())}:
        notes.append("not all scored the same items: ranks are on those that all share, values on each one's own")
    return found, tuple(notes)
