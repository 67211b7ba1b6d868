"""`join`: the results of several runs as one, to compare what was not run together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.records import RunRecord
from mmcell.results import Results


@dataclass(frozen=True)
class _Entry:
    run: str
    record: RunRecord
    items: Items | None


def join(runs: Mapping[str, Results]) -> Results:
    """Return the records of several runs as one.

    What two runs have in common, the same name with the same items, is there once: as a candidate where one of them
    evaluated it. The same name with other items (another revision, other parameters) carries its run's name.

    Parameters
    ----------
    runs
        Folder -> results.

    Raises
    ------
    MmcellError
        No run; two runs put one task's question to other data, or hold out other units.
    """
    if not runs:
        raise MmcellError("no run was given; name the --out of an earlier mmcell run")
    entries = [_Entry(run, r, results.items.get(r.key)) for run, results in runs.items() for r in results.records]
    _same_question(entries)
    places: dict[tuple[str, ...], list[_Entry]] = {}
    for entry in entries:
        r = entry.record
        place = (r.task["name"], r.dataset, r.encoding, r.patient_encoder, r.probe)
        places[place] = _with(places.get(place, []), entry)
    shown = short_names(list(runs))
    records, items = [], {}
    for found in places.values():
        for entry in found:
            record = _called(entry.record, shown[entry.run]) if len(found) > 1 else entry.record
            # Two runs may hold other items under one key only if a file was changed by hand.
            key = record.key if record.key not in items else f"{record.key}-{shown[entry.run]}"
            records.append(record.model_copy(update={"key": key}))
            if entry.items is not None:
                items[key] = entry.items
    notes = tuple(dict.fromkeys(note for results in runs.values() for note in results.notes))
    return Results(sorted(records, key=lambda r: r.order), items, notes)


def rivals(results: Results, *, candidates_only: bool = False) -> Results:
    """Return the results without what is no rival: ceilings, and controls whose labels or partners were permuted.

    Parameters
    ----------
    results
        Of a run.
    candidates_only
        Leaves all controls out.

    Raises
    ------
    MmcellError
        Nobody is left.
    """
    records = [r for r in results.records if r.is_rival and (r.competes or not candidates_only)]
    if not records:
        raise MmcellError("compare: the runs hold no candidate; leave out --candidates-only, or name another run")
    return Results(records, {r.key: results.items[r.key] for r in records if r.key in results.items}, results.notes)


def _same_question(entries: list[_Entry]) -> None:
    first: dict[tuple[str, str], _Entry] = {}
    for entry in entries:
        known = first.setdefault((entry.record.task["name"], entry.record.dataset), entry)
        for field, what, cure in (
            ("dataset_fingerprint", "other data", "run both on the same files, with the same max_items and seed"),
            ("split_hash", "other splits", "run both with the same seed and version of the task"),
        ):
            if getattr(entry.record, field) != getattr(known.record, field):
                raise MmcellError(
                    f"{known.run} and {entry.run}: {entry.record.task['name']} was run on {what} of "
                    f"{entry.record.dataset}; {cure}"
                )


def _with(found: list[_Entry], entry: _Entry) -> list[_Entry]:
    for i, known in enumerate(found):
        if known.items is entry.items or (
            known.items is not None and entry.items is not None and known.items.frame.equals(entry.items.frame)
        ):
            better = entry.record.role == "candidate" and known.record.role != "candidate"
            return [*found[:i], entry, *found[i + 1 :]] if better else found
    return [*found, entry]


def short_names(runs: Sequence[str]) -> dict[str, str]:
    """Return folder -> its last part, or as many of its last parts as tell it from the others."""
    parts = {run: Path(run).resolve().parts for run in runs}
    found = {}
    for run, own in parts.items():
        others = [other for name, other in parts.items() if name != run]
        n = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        found[run] = "/".join(own[-n:])
    return found


def _called(record: RunRecord, run: str) -> RunRecord:
    part = "encoder" if record.encoder else "patient_encoder"
    return record.model_copy(update={part: f"{getattr(record, part)} ({run})"})
