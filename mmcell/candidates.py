"""`Candidate`: one way to get from data to the embedding that a task's probe sees."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmcell import controls
from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_file, digest_ids, stream
from mmcell.embedding import Embedding, ModelCard
from mmcell.encoders.base import ENCODERS, Encoder, check_encoder, encode, fits, make_encoder, readable
from mmcell.errors import MmcellError, did_you_mean
from mmcell.patients.base import PATIENT_ENCODERS, encode_patients, make_patient_encoder
from mmcell.splits import Split
from mmcell.task import Task

Role = Literal["candidate", "control", "ceiling"]
#: Cell embeddings of controls become patients through this one.
_CONTROL_POOLING = "pseudobulk"
#: ``pseudobulk:all-cells`` reads every cell of a patient instead of equally many of each.
_ALL_CELLS = "all-cells"


@dataclass(frozen=True, eq=False)
class Candidate:
    """What is evaluated: an encoder or a fixed embedding, perhaps a patient encoder, and a probe.

    Attributes
    ----------
    encoder, patient_encoder, probe, role
        What tables call it.
    source
        An encoder, a fixed embedding, or the name of a control that is built from the dataset.
    key
        Digest of everything that decides its values; "" when that cannot be known before it has run.
    partners
        Slot -> fixed embedding or encoder, for slots other than the first.
    """

    encoder: str
    source: Encoder | Embedding | str
    role: Role = "candidate"
    patient_encoder: str = ""
    probe: str = "default"
    key: str = ""
    partners: Mapping[str, Encoder | Embedding] = field(default_factory=dict)

    @property
    def cards(self) -> dict[str, ModelCard]:
        """Cards of all models involved, by slot."""
        own = {} if isinstance(self.source, str) else {self.encoder or "x": self.source.card}
        return own | {slot: partner.card for slot, partner in self.partners.items()}

    @property
    def name(self) -> tuple[str, str, str]:
        """What tells it from others on the same task."""
        return (self.encoder, self.patient_encoder, self.probe)

    @property
    def label(self) -> str:
        """Encoder and patient encoder as one name."""
        return " → ".join(part for part in (self.encoder, self.patient_encoder) if part)


class Cache:
    """Recently computed embeddings, up to a number of bytes; keyed by what decides their values."""

    def __init__(self, most: int = 600_000_000) -> None:
        self._most = most
        self._found: dict[tuple[Any, ...], Embedding] = {}

    def encode(
        self, source: Encoder | Embedding, name: str, dataset: Dataset, modality: str, split: Split
    ) -> Embedding:
        """Return the rows of the whole dataset; what must be fitted is fitted on the split's training units."""
        if isinstance(source, Embedding):
            # In the dataset's order and without further ids, so that how a file was written decides nothing.
            return source if source.level == "patient" else source.align(dataset.ids)
        train = split.train if fits(source) else None
        key = (id(source), dataset.fingerprint, modality, "" if train is None else digest_ids(train))
        if key not in self._found:
            made = encode(source, name, dataset, modality, train)
            while self._found and sum(e.values.nbytes for e in self._found.values()) + made.values.nbytes > self._most:
                del self._found[next(iter(self._found))]
            self._found[key] = made
        return self._found[key]


def embeddings_of(
    candidate: Candidate, task: Task, dataset: Dataset, split: Split, cache: Cache, seed: int
) -> dict[str, Embedding]:
    """Return the embedding of every slot for one split; nothing here has seen a label."""
    found = {}
    for slot, (wanted, level) in task.spec.slots.items():
        modality = modality_of(wanted, dataset)
        source = candidate.source if slot == task.spec.slot[0] else candidate.partners[slot]
        if isinstance(source, str):
            found[slot] = controls.BUILDERS[source](dataset, modality, level, split)
            continue
        cells = cache.encode(source, candidate.encoder or slot, dataset, modality, split)
        if level == "patient" and "patient" not in (cells.level, dataset.card.level):
            cell_type = dataset.obs[dataset.roles.cell_type] if dataset.roles.cell_type else None
            rng = stream(seed, "cells", dataset.fingerprint, split.key)
            name, _, how = candidate.patient_encoder.partition(":")
            cells = encode_patients(
                make_patient_encoder(name), cells, dataset.unit, split.train, cell_type=cell_type, rng=rng,
                equal_cells=how != _ALL_CELLS,
            )  # fmt: skip
        found[slot] = cells
    return found


def modality_of(wanted: str, dataset: Dataset) -> str:
    """Return the modality that a slot means; ``*`` is the first one of the dataset."""
    return next(iter(dataset.card.modalities)) if wanted == "*" else wanted


def resolve(encoders: Any, seed: int = 0) -> dict[str, tuple[Encoder | Embedding, str]]:
    """Return name -> (encoder or embedding, key) for whatever the user gave.

    Parameters
    ----------
    encoders
        A list of names, ``module:attribute``, mappings with ``name`` and parameters, embeddings and objects with
        ``encode``; or a mapping from name to any of these; or a single one.
    """
    if isinstance(encoders, (str, Embedding)) or callable(getattr(encoders, "encode", None)):
        encoders = [encoders]
    if not isinstance(encoders, (Mapping, Sequence)):
        raise MmcellError(f"encoders: {type(encoders).__name__} is neither an encoder, a list of them nor a mapping")
    pairs = list(encoders.items()) if isinstance(encoders, Mapping) else [(None, e) for e in encoders]
    found: dict[str, tuple[Encoder | Embedding, str]] = {}
    for name, given in pairs:
        chosen, source, key = _one(name, given, seed)
        if chosen in found:
            raise MmcellError(f"encoder {chosen!r} is given twice; give the second another name")
        found[chosen] = (source, key)
    return found


def _one(name: str | None, given: Any, seed: int) -> tuple[str, Encoder | Embedding, str]:
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, Embedding):
        return name or given.name, given, given.fingerprint
    if isinstance(given, Mapping) and "file" in given:
        return _file(name, given)
    if isinstance(given, Mapping):
        parameters = {k: v for k, v in given.items() if k not in ("name", "use")}
        kind = str(given.get("use", given.get("name", name)))
        parameters = _seeded(kind, parameters, seed)
        encoder = make_encoder(kind, parameters)
        # The code counts too: the same card with another implementation is another encoder.
        code = digest_file(Path(inspect.getfile(type(encoder)))) if kind in ENCODERS.references else ""
        return name or str(given.get("name", kind)), encoder, digest(encoder.card.key, parameters, code) if code else ""
    checked = check_encoder(given, name or type(given).__name__)
    return name or checked.card.name, checked, ""


def _seeded(kind: str, parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """Give a shipped encoder that draws at random the seed of the run, where it has none of its own."""
    found = ENCODERS.get(kind) if kind in ENCODERS.references else None
    return {"seed": seed, **parameters} if "seed" in getattr(found, "__dataclass_fields__", {}) else parameters


def _file(name: str | None, given: Mapping[str, Any]) -> tuple[str, Embedding, str]:
    known = ("file", "key", "name", "level", "modality")
    unknown = [k for k in given if k not in known]
    if unknown:
        raise MmcellError(
            f"encoder file {given['file']}: unknown key {unknown[0]!r}; {did_you_mean(unknown[0], known)}"
        )
    options: dict[str, Any] = {k: str(given[k]) for k in ("name", "level", "modality") if k in given}
    found = Embedding.read(given["file"], given.get("key"), **options)
    return name or found.name, found, found.fingerprint


def build(
    task: Task,
    dataset: Dataset,
    encoders: Mapping[str, tuple[Encoder | Embedding, str]],
    patient_encoders: Sequence[str] | None,
    probes: Sequence[str] | None,
    control_names: Sequence[str],
    seed: int = 0,
) -> tuple[list[Candidate], list[str]]:
    """Return every candidate and control of a task, and in words what could not be run and why.

    Raises
    ------
    MmcellError
        None of the encoders can read the task's data, an unknown patient encoder, probe or control.
    """
    _, wanted, level = task.spec.slot
    modality = modality_of(wanted, dataset)
    dataset.modality(modality)
    skipped: list[str] = []
    partners, partner_key = _partners(task, dataset, encoders, seed)
    own = {n: e for n, e in encoders.items() if not n.endswith("=")}
    unused = [n for n in encoders if n.endswith("=") and n[:-1] not in partners]
    skipped += [f"{n} was not used by {task.spec.name}: it has no such slot" for n in unused]
    pooled = level == "patient" and dataset.card.level != "patient"
    chosen_probes = tuple(probes or task.spec.probes)
    for probe in chosen_probes:
        if probe not in task.spec.probes:
            raise MmcellError(f"task {task.spec.name!r}: unknown probe {probe!r}; known: {', '.join(task.spec.probes)}")
    poolings = tuple(patient_encoders or task.spec.patient_encoders or (_CONTROL_POOLING,)) if pooled else ("",)
    for pooling in poolings:
        name, _, how = pooling.partition(":")
        if pooling:
            PATIENT_ENCODERS.get(name)
        if how not in ("", _ALL_CELLS):
            raise MmcellError(f"patient encoder {pooling!r}: {how!r} is not known; write {name} or {name}:{_ALL_CELLS}")

    def key(*parts: str) -> str:
        return digest(partner_key, *parts) if all(parts[:1]) and partner_key is not None else ""

    found: list[Candidate] = []
    for name, (source, source_key) in own.items():
        if isinstance(source, Embedding):
            check_ids(source, dataset, level)
        else:
            why = readable(source, dataset, modality)
            if why:
                skipped.append(f"{name} was not run on {task.spec.name}: {why}")
                continue
        is_patient = isinstance(source, Embedding) and source.level == "patient"
        for pooling in ("",) if is_patient else poolings:
            if pooling and not make_patient_encoder(pooling.partition(":")[0]).reads_embedding:
                continue
            for probe in chosen_probes:
                found.append(
                    Candidate(name, source, "candidate", pooling, probe, key(source_key, pooling, probe), partners)
                )
    # A patient encoder that reads labels alone is one candidate, whichever encoders there are.
    for pooling in poolings:
        if pooling and not make_patient_encoder(pooling.partition(":")[0]).reads_embedding:
            for probe in chosen_probes:
                source = make_encoder("constant")
                found.append(
                    Candidate("", source, "candidate", pooling, probe, key("labels", pooling, probe), partners)
                )
    if own and not found:
        raise MmcellError(f"task {task.spec.name!r}: no encoder can read its data ({'; '.join(skipped)})")
    found = _with_controls(found, task, dataset, control_names, pooled, partners, key, skipped, seed)
    return found, skipped


def _with_controls(
    found: list[Candidate], task: Task, dataset: Dataset, names: Sequence[str], pooled: bool,
    partners: Mapping[str, Encoder | Embedding], key: Any, skipped: list[str], seed: int,
) -> list[Candidate]:  # fmt: skip
    probe = task.spec.probes[0]
    for name in names:
        why = controls.applies(name, dataset)
        if why:
            skipped.append(f"control {name} was not run on {task.spec.name}: {why}")
            continue
        if name in controls.BUILDERS:
            made = Candidate(name, name, "control", "", probe, key(name, "", probe), partners)
        elif name in PATIENT_ENCODERS.references:
            made = Candidate("", make_encoder("constant"), "control", name, probe, key("labels", name, probe), partners)
        else:
            encoder = make_encoder(name, _seeded(name, {}, seed))
            pooling = _CONTROL_POOLING if pooled else ""
            made = Candidate(name, encoder, "control", pooling, probe, key(encoder.card.key, pooling, probe), partners)
        same = [c for c in found if c.name == made.name]
        if any(not _equal(c.source, made.source) for c in same):
            raise MmcellError(
                f"encoder {name!r} is not the control of this name that task {task.spec.name!r} demands; "
                "give it another name"
            )
        # What the user asked for and what the task demands anyway is one row, and a control.
        found = [replace(c, role="control") if c in same else c for c in found] if same else [*found, made]
    return found


def _equal(a: Encoder | Embedding | str, b: Encoder | Embedding | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return type(a) is type(b) and a.card == b.card


def _partners(
    task: Task, dataset: Dataset, encoders: Mapping[str, tuple[Encoder | Embedding, str]], seed: int
) -> tuple[dict[str, Encoder | Embedding], str | None]:
    """Return the encoder of every further slot (``slot=name`` among the encoders replaces the task's own)."""
    found: dict[str, Encoder | Embedding] = {}
    keys = []
    for slot in list(task.spec.slots)[1:]:
        given = encoders.get(f"{slot}=")
        if given is None:
            if slot not in task.spec.partners:
                raise MmcellError(f"task {task.spec.name!r}: nothing is given for its slot {slot!r}; give {slot}=FILE")
            encoder = make_encoder(task.spec.partners[slot], _seeded(task.spec.partners[slot], {}, seed))
            found[slot] = encoder
            keys.append(encoder.card.key)
        else:
            found[slot] = given[0]
            keys.append(given[1])
        modality, level = task.spec.slots[slot]
        check(found[slot], f"{slot}={found[slot].card.name}", dataset, modality_of(modality, dataset), level)
    return found, digest(keys) if all(keys) else None


def check(source: Encoder | Embedding, name: str, dataset: Dataset, modality: str, level: str) -> None:
    """Raise when what is given for a slot cannot fill it."""
    if isinstance(source, Embedding):
        check_ids(source, dataset, level)
    elif why := readable(source, dataset, modality):
        raise MmcellError(f"encoder {name!r}: {why}; choose another one for this slot")


def check_ids(embedding: Embedding, dataset: Dataset, level: str) -> None:
    """Raise when an embedding does not hold every id of the dataset at its own level."""
    if embedding.level == "patient" and level == "patient":
        embedding.align(pd.Index(sorted(dataset.unit.unique()), name="id"))
        return
    if embedding.level == "patient":
        raise MmcellError(f"embedding {embedding.name!r} is at level 'patient'; the task needs {level!r}")
    embedding.align(dataset.ids)
