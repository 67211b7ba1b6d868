"""The vectors of patients as an AnnData for scanpy: of one split, made again as the run made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.candidates import Cache, Candidate
from mmcell.corrections.base import CORRECTIONS
from mmcell.data.catalog import in_catalogue
from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.encoders.base import ENCODERS, PREFIXES
from mmcell.encoders.shelf import shelf_of
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.items import Items
from mmcell.patients.base import PATIENT_ENCODERS
from mmcell.plan import Plan, make_plan
from mmcell.poolings import ALL_CELLS
from mmcell.records import RunRecord, jsonable
from mmcell.splits import Split
from mmcell.task import Task
from mmcell.work import Work

if TYPE_CHECKING:
    from anndata import AnnData

#: Kinds of items whose ``y_pred`` is one number or class per patient.
_PREDICTED = ("binary", "multiclass", "regression", "survival")


def patients_as_anndata(
    records: Sequence[RunRecord], items: Mapping[str, Items], *, task: Task | None, fold: int, split: str | None,
    sources: Mapping[str, Any], patient_encoders: Any, corrections: Any, dataset: Any, cache: Any,
) -> AnnData:  # fmt: skip
    """Return patients with the vectors of some records; see `mmcell.Results.to_anndata`.

    Parameters
    ----------
    records
        Of one task and dataset, one or more.
    items
        Record key -> items.
    task, fold, split, sources, patient_encoders, corrections, dataset, cache
        As there; `task` is the object where it was one.

    Raises
    ------
    MmcellError
        No record was chosen.
    """
    vectors: dict[str, Embedding] = {}
    told: dict[str, str] = {}
    predicted: dict[str, pd.Series] = {}
    keys: dict[str, str] = {}
    chosen: tuple[Plan, Split] | None = None
    several = len({record.probe for record in records}) > 1
    for record in records:
        name = "_".join(filter(None, (record.encoder, record.correction, record.patient_encoder)))
        # A slash in a key is a folder in the file.
        called, name = name, name.replace("/", "_")
        if told.setdefault(name, called) != called:
            raise MmcellError(f"to_anndata: {called} and {told[name]} would both be X_{name}; name one, encoder=")
        own = f"{name}_{record.probe}" if several and record.probe else name
        plan, candidate = _planned(record, task, sources, patient_encoders, corrections, dataset)
        here = _split_of(plan, split, fold)
        chosen = chosen or (plan, here)
        if name not in vectors:
            work = Work(plan, candidate, plan.task, Cache(shelf=shelf_of(cache, None)))
            vectors[name] = work.vectors(here)
        if record.key in items:
            predicted[own] = _held_out(items[record.key], here)
        keys[own] = record.key
    if chosen is None:
        raise MmcellError("to_anndata: no record was chosen")
    return _assembled(*chosen, records[0], vectors, {k: v for k, v in predicted.items() if len(v)}, keys)


def _planned(
    record: RunRecord, task: Task | None, sources: Mapping[str, Any], patient_encoders: Any, corrections: Any,
    dataset: Any,
) -> tuple[Plan, Candidate]:  # fmt: skip
    """Return the plan that a record came of, cut to the one candidate; raises where it is another one."""
    if task is None:
        _refuse_code(record.task["name"], "the task", "evaluate it yourself")
    if record.encoder not in sources and record.role != "candidate":
        _refuse_code(record.encoder, "the encoder", f"give sources={{{record.encoder!r}: …}}")
    source = sources.get(record.encoder, record.encoder)
    is_named = isinstance(source, str) and source == record.encoder and record.role == "candidate"
    if is_named and record.encoder and not _is_known(record.encoder):
        raise MmcellError(
            f"to_anndata: {record.encoder!r} is no name of an encoder; give what was evaluated, "
            f"sources={{{record.encoder!r}: …}}"
        )
    _check_ways(record, patient_encoders, corrections)
    pooling = patient_encoders if patient_encoders is not None else record.patient_encoder or None
    is_control = record.role == "control" and isinstance(source, str) and not record.asked
    if dataset is None and not in_catalogue(record.dataset):
        raise MmcellError(f"to_anndata: {record.dataset!r} is a dataset of your own; give dataset= as in evaluate")
    plan = make_plan(
        task if task is not None else record.task["name"],
        [] if is_control else {record.encoder: source} if record.encoder else None,
        dataset if dataset is not None else record.dataset,
        patient_encoders=pooling,
        probes=[record.probe] if record.probe else None,
        corrections=corrections if corrections is not None else record.correction or None,
        controls=[record.encoder or record.patient_encoder] if is_control else [],
        seed=record.parameters["seed"],
    )
    what = f"to_anndata: {record.label} on {record.task['name']}"
    if plan.dataset.fingerprint != record.dataset_fingerprint:
        raise MmcellError(f"{what}: {plan.dataset.name!r} holds other data than when it was run; run it again")
    if plan.split_hash != record.split_hash:
        raise MmcellError(f"{what}: splits are others than when it was run; give the same task and data, or run again")
    place = (record.encoder, record.correction, record.patient_encoder)
    same = [c for c in plan.candidates if (c.encoder, c.correction, c.patient_encoder) == place and not c.permuted]
    if not same:
        labels = [c.label for c in plan.candidates]
        raise MmcellError(
            f"{what}: cannot be made from what was given; {did_you_mean(record.label, labels)}; give sources=, "
            "patient_encoders= or corrections= as they were evaluated"
        )
    for way, facts in record.details.get("ways", {}).items():
        made = jsonable(same[0].ways.get(way, {}))
        if made != facts:
            differ = [k for k in dict.fromkeys([*facts, *made]) if facts.get(k) != made.get(k)]
            was = first(f"{k}={facts.get(k)!r}, not {made.get(k)!r}" for k in differ)
            raise MmcellError(
                f"{what}: the {way.replace('_', ' ')} that was run had {was}; give {way}s= as it was evaluated"
            )
    if same[0].cards.get(record.encoder) != record.cards.get(record.encoder):
        raise MmcellError(f"{what}: the card of {record.encoder!r} is another one than when it was run; run it again")
    return plan, same[0]


def _check_ways(record: RunRecord, patient_encoders: Any, corrections: Any) -> None:
    """Refuse a name in a table that names no patient encoder or correction, where the thing itself was not given."""
    ways = (
        ("patient encoder", record.patient_encoder, PATIENT_ENCODERS, patient_encoders),
        ("correction", record.correction, CORRECTIONS, corrections),
    )
    for what, name, registry, given in ways:
        if name and given is None and name.removesuffix(f":{ALL_CELLS}") not in registry.references:
            raise MmcellError(
                f"to_anndata: {name!r} is no name of a {what}; give what was evaluated, {what.replace(' ', '_')}s=…"
            )


def _refuse_code(name: str, what: str, cure: str) -> None:
    """Raise where a record, which may be anybody's, names code of its own; only the caller may."""
    if ":" in name and name.partition(":")[0] not in PREFIXES:
        raise MmcellError(f"to_anndata: {what} {name!r} is code that a record names, which is not run; {cure}")


def _is_known(name: str) -> bool:
    return name in ENCODERS.references or name.partition(":")[0] in PREFIXES


def _split_of(plan: Plan, name: str | None, fold: int) -> Split:
    names = list(dict.fromkeys(s.spec.name for s in plan.splits))
    wanted = names[0] if name is None else name
    folds = [s for s in plan.splits if s.spec.name == wanted and s.repeat == 0]
    if not folds:
        raise MmcellError(f"to_anndata: no split {wanted!r}; {did_you_mean(wanted, names)}")
    if not 0 <= fold < len(folds):
        raise MmcellError(f"to_anndata: fold is {fold}; {wanted} has the folds 0 to {len(folds) - 1}")
    return folds[fold]


def _held_out(items: Items, split: Split) -> pd.Series:
    """Return patient -> prediction of the fold that held them out, in a split's repeat; empty where there is none."""
    if items.kind not in _PREDICTED:
        return pd.Series(dtype=float)
    frame = items.frame
    here = (frame["split"] == split.spec.name) & (frame["repeat"] == split.repeat) & (frame["stratum"] == "all")
    here &= frame["target"] == split.spec.targets[0]
    if "within" in frame:
        here &= frame["within"] == ""
    rows = frame[here]
    return pd.Series(rows["y_pred"].to_numpy(), index=rows["item"].astype(str))


def _assembled(
    plan: Plan, split: Split, record: RunRecord, vectors: Mapping[str, Embedding], predicted: Mapping[str, pd.Series],
    keys: Mapping[str, str],
) -> AnnData:  # fmt: skip
    import anndata as ad

    dataset = plan.dataset
    everybody = pd.Index(dataset.patients.index.astype(str))
    has_all = np.logical_and.reduce([everybody.isin(v.ids) for v in vectors.values()])
    ids = everybody[has_all]
    obs = _facts(dataset, ids)
    obs["side"] = np.where(ids.isin(split.test), "held out", "training")
    fold = pd.Series(pd.NA, index=everybody, dtype="Int64")
    for one in plan.splits:
        if one.spec.name == split.spec.name and one.repeat == split.repeat:
            fold[everybody.isin(one.test)] = one.fold
    obs["fold"] = fold.reindex(ids)
    for name, values in predicted.items():
        obs[f"y_pred_{name}"] = values.reindex(ids).to_numpy()
    uns = {
        "task": record.task["name"], "version": record.task["version"], "dataset": record.dataset,
        "dataset_fingerprint": record.dataset_fingerprint, "split": split.spec.name, "split_hash": record.split_hash,
        "repeat": split.repeat, "fold": split.fold, "seed": record.parameters["seed"], "records": dict(keys),
        "trained_on": np.array(sorted(map(str, split.train))), "held_out": np.array(sorted(map(str, split.test))),
        "left_out": np.array(sorted(everybody[~has_all])),
    }  # fmt: skip
    obsm = {f"X_{name}": np.asarray(v.align(ids).values) for name, v in vectors.items()}
    return ad.AnnData(obs=obs, obsm=obsm, uns={"mmcell": uns})


def _facts(dataset: Dataset, ids: pd.Index) -> pd.DataFrame:
    """Return the columns of patients that roles name, under their own names."""
    named = [c for c in dict.fromkeys(dataset.roles.columns.values()) if c in dataset.patients]
    table = dataset.patients[named].set_axis(dataset.patients.index.astype(str), axis=0).reindex(ids)
    # An id stands for its patient already, and an index may not bear the name of a column.
    table = table.drop(columns=[c for c in table if c == dataset.roles.unit])
    return table.rename_axis(index=None)


def chosen_records(
    records: Sequence[RunRecord], task: str | None, encoder: str | Sequence[str] | None, patient_encoder: str | None,
    probe: str | None,
) -> list[RunRecord]:  # fmt: skip
    """Return the records that a call of `mmcell.Results.to_anndata` means.

    Raises
    ------
    MmcellError
        No record fits; several tasks or datasets do; a task whose vectors are not those of patients; a permuted
        control, or one that failed.
    """
    names = sorted({r.task["name"] for r in records})
    if task is not None and task not in names:
        raise MmcellError(f"to_anndata: there are no results of task {task!r}; {did_you_mean(task, names)}")
    here = [r for r in records if task in (None, r.task["name"])]
    of_patients = [r for r in here if next(iter(r.task["slots"].values()))[1] == "patient"]
    if not of_patients:
        raise MmcellError(f"to_anndata: {first(names)}: vectors are not of patients; take a task at that level")
    places = sorted({(r.task["name"], r.dataset) for r in of_patients})
    if len(places) > 1:
        text = first(f"{name} on {data}" for name, data in places)
        raise MmcellError(f"to_anndata: there are results of {text}; name one, task=")
    asked = (encoder,) if isinstance(encoder, str) else encoder
    known = {r.encoder or r.patient_encoder for r in of_patients}
    for name in asked or ():
        if name not in known:
            raise MmcellError(f"to_anndata: there is no result of {name!r}; {did_you_mean(name, known)}")
    found = [
        r for r in of_patients
        if ((r.encoder or r.patient_encoder) in asked if asked else r.competes)
        and patient_encoder in (None, r.patient_encoder) and probe in (None, r.probe)
    ]  # fmt: skip
    if not found:
        raise MmcellError("to_anndata: no result fits encoder=, patient_encoder= and probe=; see Results.table()")
    for record in found:
        if record.permuted or record.error:
            why = "its labels are permuted" if record.permuted else f"it failed: {record.error}"
            raise MmcellError(f"to_anndata: {record.label} has no vectors to show, {why}; name another encoder=")
    return found
