"""`Board`: the candidates of many runs, ranked within what can be compared; the rest is listed with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.items import PANEL, Items
from mmcell.joined import short_names
from mmcell.progress import Progress
from mmcell.ranked import Entry, Place, Row, Standing, places_of
from mmcell.records import FORMAT, RunRecord, Score, other_format
from mmcell.results import Results
from mmcell.spreadsheet import inert
from mmcell.stats.multiplicity import Adjust, checked
from mmcell.task import get_task, list_tasks

COLUMNS = (
    "task", "task_version", "dataset", "dataset_fingerprint", "split_hash", "candidate", "encoder", "patient_encoder",
    "correction", "probe", "metric", "primary", "higher_is_better", *PANEL, "value", "low", "high", "chance",
    "difference", "difference_low", "difference_high", "rank", "rank_low", "rank_high", "n_ranked", "letters",
    "n_units", "n_items", "score_status", "status", "reason", "run", "key",
)  # fmt: skip
_NUMBERS = (
    "value", "low", "high", "chance", "difference", "difference_low", "difference_high", "rank", "rank_low", "rank_high"
)  # fmt: skip
_COUNTS = ("n_ranked", "n_units", "n_items")
_FLAGS = ("primary", "higher_is_better")


@dataclass(frozen=True, eq=False)
class Group:
    """Entries that can be compared: of one task and version, on the same data, with the same units held out.

    Attributes
    ----------
    task, version, dataset, fingerprint, split_hash
        What they have in common.
    entries
        By name.
    places
        The headline score in every split and direction.
    version_known
        Whether the task is installed, so that its version was checked.
    """

    task: str
    version: str
    dataset: str
    fingerprint: str
    split_hash: str
    entries: tuple[Entry, ...]
    places: tuple[Place, ...]
    version_known: bool

    @property
    def record(self) -> RunRecord:
        """Any record, for what they share."""
        return self.entries[0].record

    def of(self, standing: Standing) -> list[Entry]:
        """Return the entries of one standing."""
        return [entry for entry in self.entries if entry.standing == standing]


@dataclass(frozen=True, eq=False)
class Board:
    """Groups of what can be compared, over several runs.

    Attributes
    ----------
    groups
        By task, dataset, version and hashes.
    runs
        Their short names.
    n_records
        How many records they hold, controls and ceilings included.
    """

    groups: tuple[Group, ...]
    runs: tuple[str, ...]
    n_records: int

    @classmethod
    def read(
        cls,
        folders: Iterable[str | Path],
        *,
        adjust: Adjust = "holm",
        n_permutations: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Read the runs in some folders; one that is given twice counts once. Arguments are those of `of`.

        Raises
        ------
        MmcellError
            No folder; one holds no finished run, or one of another format.
        """
        given = {str(Path(folder).resolve()): folder for folder in folders}
        return cls.of(
            {run: Results.read(at) for run, at in given.items()}, adjust=adjust, n_permutations=n_permutations,
            progress=progress,
        )  # fmt: skip

    @classmethod
    def of(
        cls,
        runs: Mapping[str, Results],
        *,
        adjust: Adjust = "holm",
        n_permutations: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Return the board of several results.

        Parameters
        ----------
        runs
            Folder -> results.
        adjust, n_permutations
            Of the letters for ties, see `mmcell.stats.comparison.compare`.
        progress
            Called before each group is ranked, with (its task and dataset, groups done, groups in all).

        Raises
        ------
        MmcellError
            No run; a record has another format; nobody competes.
        """
        checked(adjust)
        if not runs:
            raise MmcellError("leaderboard: no run was given; name the --out of an earlier mmcell run")
        shown = short_names(list(runs))
        found: dict[tuple[str, ...], list[Entry]] = {}
        # By name, so that the order in which runs are given changes nothing.
        for run in sorted(runs, key=lambda folder: shown[folder]):
            for record in runs[run].records:
                if record.format != FORMAT:
                    raise MmcellError(f"{run}: {other_format(record.format)}")
                if record.competes:
                    name = " · ".join(filter(None, (record.label, record.probe)))
                    entry = Entry(record, runs[run].items.get(record.key), shown[run], name)
                    found.setdefault(_question(record), []).append(entry)
        if not found:
            raise MmcellError("leaderboard: the runs hold no candidate; name a run that evaluates an encoder")
        installed = _versions({key[0] for key in found})
        groups = []
        for done, (key, entries) in enumerate(sorted(found.items())):
            if progress is not None:
                progress(f"{key[0]} on {key[1]}", done, len(found))
            named = _named([_judged(entry, installed[key[0]]) for entry in _once(entries)])
            places = places_of(named, adjust, n_permutations)
            groups.append(Group(*_facts(key), tuple(named), places, installed[key[0]] is not None))
        return cls(tuple(groups), tuple(sorted(shown.values())), sum(len(results.records) for results in runs.values()))

    @property
    def entries(self) -> list[Entry]:
        """All entries, group by group."""
        return [entry for group in self.groups for entry in group.entries]

    @property
    def counts(self) -> Counter[Standing]:
        """How many entries can be ranked, are unverifiable, or are refused."""
        return Counter(entry.standing for entry in self.entries)

    def table(self) -> pd.DataFrame:
        """Return one row per candidate × task × metric × place; ranks are those of the task's primary metric.

        Returns
        -------
        pandas.DataFrame
            ``task task_version dataset dataset_fingerprint split_hash candidate encoder patient_encoder correction
            probe metric primary higher_is_better target query gallery stratum split value low high chance difference
            difference_low difference_high rank rank_low rank_high n_ranked letters n_units n_items score_status status
            reason run key``. `status` is ``ranked``, ``unranked``, ``unverifiable`` or ``refused``, `reason` says why;
            numbers that there are not are NA. Text that a spreadsheet would take for a formula begins with an
            apostrophe.
        """
        rows = [row for group in self.groups for entry in group.entries for row in _rows(group, entry)]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        kinds = dict.fromkeys(_NUMBERS, "Float64") | dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_FLAGS, "boolean")
        frame = frame.astype(kinds)
        for name in frame.columns.difference([*_NUMBERS, *_COUNTS, *_FLAGS]):
            frame[name] = [inert(str(text)) for text in frame[name]]
        return frame


def _question(record: RunRecord) -> tuple[str, ...]:
    """Return what two records must share to be compared; sorted by it, groups stand in the order of their names."""
    version = str(record.task.get("version", ""))
    return record.task["name"], record.dataset, version, record.dataset_fingerprint, record.split_hash


def _facts(question: tuple[str, ...]) -> tuple[str, str, str, str, str]:
    task, dataset, version, fingerprint, split_hash = question
    return task, version, dataset, fingerprint, split_hash


def _versions(tasks: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of tasks, None for one that is not installed, such as a user's own."""
    known = set(list_tasks())
    return {name: get_task(name).spec.version if name in known else None for name in tasks}


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """Return every candidate once: the same key, or the same name with the same items, is one.

    Of two, a finished one stands before a failed one, a complete one before one that lacks controls, and a candidate
    before a control that was asked for.
    """
    found: list[Entry] = []
    for entry in entries:
        at = next((i for i, known in enumerate(found) if _is_same(known, entry)), None)
        if at is None:
            found.append(entry)
        elif _quality(entry) > _quality(found[at]):
            found[at] = entry
    return found


def _is_same(a: Entry, b: Entry) -> bool:
    if a.record.key == b.record.key:
        return True
    # The controls that stand beside a candidate are part of its key, and change nothing of what it scores.
    return a.name == b.name and a.items is not None and b.items is not None and _is_equal(a.items, b.items)


def _is_equal(a: Items, b: Items) -> bool:
    if not a.frame.equals(b.frame) or a.arrays.keys() != b.arrays.keys():
        return False
    return all(
        np.array_equal(a.arrays[name], b.arrays[name], equal_nan=a.arrays[name].dtype.kind == "f") for name in a.arrays
    )


def _quality(entry: Entry) -> tuple[bool, bool, bool]:
    record = entry.record
    return not record.error, not record.missing_controls, record.role == "candidate"


def _judged(entry: Entry, installed: str | None) -> Entry:
    """Return the entry with its standing."""
    record = entry.record
    version = str(record.task.get("version", ""))
    reasons = []
    if record.error:
        reasons.append(f"failed: {' '.join(record.error.split())}")
    elif record.missing_controls:
        reasons.append(
            f"incomplete: it lacks the control {', '.join(record.missing_controls)}; run it with controls='default'"
        )
    if installed is not None and version != installed:
        reasons.append(f"made with version {version or '?'} of the task, installed is {installed}; run it again")
    if not record.is_rival:
        reasons.append("a ceiling is no rival" if record.role == "ceiling" else "its labels or partners were permuted")
    if reasons:
        return replace(entry, standing="refused", reason="; ".join(reasons))
    closed = sorted({card.name for card in record.cards.values() if card.closed})
    if closed:
        why = f"{', '.join(closed)}: a closed model, nobody outside can run it and its scores cannot be verified"
        return replace(entry, standing="unverifiable", reason=why)
    return entry


def _named(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries by name; what has the same name and is not the same carries its run's, or its key's."""
    for tell in (_run_of, _key_of):
        twice = {name for name, n in Counter(e.name for e in entries).items() if n > 1}
        entries = [replace(e, name=f"{e.name} ({tell(e)})") if e.name in twice else e for e in entries]
    return sorted(entries, key=lambda e: (e.name, e.record.key))


def _run_of(entry: Entry) -> str:
    return entry.run


def _key_of(entry: Entry) -> str:
    return entry.record.key[:8]


def _rows(group: Group, entry: Entry) -> Iterable[dict[str, object]]:
    record = entry.record
    facts = {
        "task": group.task, "task_version": group.version, "dataset": group.dataset,
        "dataset_fingerprint": group.fingerprint, "split_hash": group.split_hash, "candidate": entry.name,
        "encoder": record.encoder, "patient_encoder": record.patient_encoder, "correction": record.correction,
        "probe": record.probe, "run": entry.run, "key": record.key,
    }  # fmt: skip
    if not record.scores:
        yield {
            **facts, "metric": record.task["primary"], "primary": True, **dict.fromkeys(PANEL, ""), "letters": "",
            "score_status": "failed" if record.error else "undefined", **_status(entry, None),
        }  # fmt: skip
    ranked = {
        (place.metric, place.facts): (row, len(place.ranked))
        for place in group.places for row in place.rows if row.entry is entry
    }  # fmt: skip
    for score in record.scores:
        where = tuple(getattr(score, name) for name in PANEL)
        row, n = ranked.get((score.metric, where), (None, None))
        rank = row.rank if row is not None and row.is_ranked else (None, None, None)
        gap = score.difference
        yield {
            **facts, "metric": score.metric, "primary": score.metric == record.task["primary"],
            "higher_is_better": score.higher_is_better, **dict(zip(PANEL, where, strict=True)), "value": score.value,
            "low": score.low, "high": score.high, "chance": score.chance,
            **{f"difference{end}": getattr(gap, field) if gap is not None else None
               for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))},
            **dict(zip(("rank", "rank_low", "rank_high"), map(_number, rank), strict=True)), "n_ranked": n,
            "letters": row.letters if row is not None else "", "n_units": score.n_units, "n_items": score.n_items,
            "score_status": score.status, **_status(entry, row, score),
        }  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _status(entry: Entry, row: Row | None, score: Score | None = None) -> dict[str, str]:
    if entry.standing != "complete":
        return {"status": entry.standing, "reason": entry.reason}
    if row is not None:
        return {"status": "ranked" if row.is_ranked else "unranked", "reason": row.reason or row.score.reason}
    primary = score is None or score.metric == entry.record.task["primary"]
    what = "a part of the items" if primary else "not the task's primary metric"
    return {"status": "unranked", "reason": "; ".join(filter(None, (what, score.reason if score is not None else "")))}
