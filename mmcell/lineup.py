"""Who takes part in a task: what the user gave, made into candidates, with every control beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from mmcell import controls
from mmcell.candidates import PLAIN_POOLING, Candidate, Role, modality_of
from mmcell.code import code_of
from mmcell.corrections.base import Correcting
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.embedding import Embedding
from mmcell.encoders.base import (
    ENCODERS,
    PREFIXES,
    Encoder,
    UnmadeError,
    check_encoder,
    identity,
    make_encoder,
    readable,
)
from mmcell.encoders.broken import Broken
from mmcell.encoders.file import read_file
from mmcell.errors import MmcellError
from mmcell.niche import positions
from mmcell.patients.base import PATIENT_ENCODERS
from mmcell.poolings import Pooling, resolve_poolings
from mmcell.registry import load_attribute
from mmcell.task import Task


def resolve(encoders: Any, seed: int = 0) -> dict[str, tuple[Encoder | Embedding, str]]:
    """Return name -> (encoder or embedding, key) for whatever the user gave.

    Parameters
    ----------
    encoders
        A list of names, ``module:attribute``, mappings with ``name`` and parameters, embeddings, and whatever
        `as_encoder` takes; or a mapping from name to any of these; or a single one.
    seed
        Of what is drawn, such as random embeddings.

    Raises
    ------
    MmcellError
        Two encoders have one name.
    """
    if isinstance(encoders, str) or not isinstance(encoders, (Mapping, Sequence)):
        encoders = [encoders]
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
        found = read_file(given)
        return name or found.name, found, found.fingerprint
    if isinstance(given, Mapping):
        parameters = {k: v for k, v in given.items() if k not in ("name", "use")}
        kind = str(given.get("use", given.get("name", name)))
        called = name or str(given.get("name", kind))
        try:
            encoder = make_encoder(kind, _seeded(kind, parameters, seed))
        except UnmadeError as error:
            return called, Broken.of(called, error), ""
        return called, *_known(encoder, called)
    checked = check_encoder(given, name or str(getattr(given, "__name__", type(given).__name__)))
    called = name or checked.card.name
    return called, *_known(checked, called)


def _known(encoder: Encoder, name: str) -> tuple[Encoder, str]:
    """Return the encoder and its identity; one whose own ``fingerprint`` raises is broken."""
    try:
        return encoder, identity(encoder)
    except Exception as error:
        return Broken.of(name, error), ""


def _seeded(kind: str, parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """Give a shipped encoder that draws at random the seed of the run, where it has none of its own."""
    prefix, colon, _ = kind.partition(":")
    if colon:
        found = load_attribute(PREFIXES[prefix]) if prefix in PREFIXES else None
    else:
        found = ENCODERS.get(kind) if kind in ENCODERS.references else None
    return {"seed": seed, **parameters} if "seed" in getattr(found, "__dataclass_fields__", {}) else parameters


def build(
    task: Task,
    dataset: Dataset,
    encoders: Mapping[str, tuple[Encoder | Embedding, str]],
    patient_encoders: Any,
    probes: Sequence[str] | None,
    control_names: Sequence[str],
    seed: int = 0,
    corrections: Sequence[Correcting | None] = (None,),
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
        known = (*task.spec.probes, *task.spec.more_probes)
        if probe not in known:
            raise MmcellError(f"task {task.spec.name!r}: unknown probe {probe!r}; known: {', '.join(known)}")
    # Where probes are alternatives (heads), controls go through each, so that like is compared with like; otherwise
    # through the task's first one. None needs covariates beside it: what these say is a control of its own.
    through = tuple(dict.fromkeys(map(task.plain, chosen_probes))) if task.spec.more_probes else task.spec.probes[:1]
    wished = patient_encoders or task.spec.patient_encoders or (PLAIN_POOLING,)
    asked = resolve_poolings(wished, seed)
    poolings: tuple[Pooling | None, ...] = asked if pooled else (None,)
    there = pd.Index(sorted(dataset.unit.reindex(dataset.rows(modality)).unique()), name="id")
    for how in asked if pooled else ():
        how.check(there)
        if how.reads_niche:
            positions(dataset)

    def key(source: str, pooling: Pooling | None, *parts: str) -> str:
        if pooling is not None and not pooling.key:
            return ""
        how = "" if pooling is None else pooling.key
        return digest(partner_key, source, how, *parts) if source and partner_key is not None else ""

    found: list[Candidate] = []
    for name, (source, source_key) in own.items():
        if isinstance(source, Embedding):
            check_ids(source, dataset, modality, level)
        else:
            why = readable(source, dataset, modality)
            if why and source.card.modality not in ("any", modality):
                # Encoders of several modalities may stand in one list: this one is not meant.
                skipped.append(f"{name} was not run on {task.spec.name}: {why}")
                continue
            source = (
                Broken.of(name, f"encoder {name!r}: {why}; choose another encoder or mend the card") if why else source
            )
        is_patient = isinstance(source, Embedding) and source.level == "patient"
        for pooling in (None,) if is_patient else poolings:
            if pooling is not None and not pooling.reads_embedding:
                continue
            for correcting, probe in product(corrections, chosen_probes):
                is_known = correcting is None or bool(correcting.key)
                own_key = key(source_key if is_known else "", pooling, probe, *([correcting.key] if correcting else []))
                found.append(
                    Candidate(name, source, "candidate", pooling, probe, own_key, partners, correcting=correcting)
                )
    # A patient encoder that reads labels alone is one candidate, whichever encoders there are.
    for pooling in poolings:
        if pooling is not None and not pooling.reads_embedding:
            for probe in chosen_probes:
                source = make_encoder("constant")
                found.append(
                    Candidate("", source, "candidate", pooling, probe, key("labels", pooling, probe), partners)
                )
    if own and not found:
        raise MmcellError(f"task {task.spec.name!r}: no encoder can read its data ({'; '.join(skipped)})")
    makers = {n: s for n, (s, _) in own.items()}
    found = _with_controls(found, makers, task, dataset, control_names, poolings, through, partners, key, skipped, seed)
    return found, skipped


def _with_controls(
    found: list[Candidate], own: Mapping[str, Encoder | Embedding], task: Task, dataset: Dataset, names: Sequence[str],
    poolings: tuple[Pooling | None, ...], probes: tuple[str, ...], partners: Mapping[str, Encoder | Embedding | str],
    key: Callable[..., str], skipped: list[str], seed: int,
) -> list[Candidate]:  # fmt: skip
    for name in names:
        if name == controls.UNTRAINED:
            twins = _untrained(own, task, dataset, seed)
        else:
            why = "" if name in task.models else controls.applies(name, task, dataset)
            why = why or _unpaired(name, task, dataset, partners)
            if why:
                # A ceiling or a subgroup that data do not have is no loss to anybody who did not ask for it.
                if name in task.spec.controls or name not in (*task.ceilings, "stratum-only"):
                    skipped.append(f"control {name} was not run on {task.spec.name}: {why}")
                continue
            twins = {name: name}
        if name == "random":
            twins |= _random_of_size(own, seed)
        for label, source, probe, pooling in (
            (n, s, p, how)
            for n, s in twins.items()
            for how in _poolings_of(n, poolings, seed)
            for p in ((name,) if name in task.models else probes)
        ):
            made = _control(label, source, task, pooling, probe, partners, key, seed)
            if made.permuted:
                # The very encoder that stands in the table already, so that it is not fitted twice.
                made = replace(
                    made, source=next((c.source for c in found if _equal(c.source, made.source)), made.source)
                )
            same = [c for c in found if c.name == made.name]
            if any(not _equal(c.source, made.source) or not _pooled_alike(c, made) for c in same):
                raise MmcellError(
                    f"encoder {made.label!r} is not the control of this name that task {task.spec.name!r} demands; "
                    "give it another name"
                )
            # What the user asked for and what the task demands anyway is one row, and a control that competes.
            found = [replace(c, role="control", asked=True) if c in same else c for c in found]
            found += [] if same else [made]
    return found


def _control(
    name: str, source: Encoder | str, task: Task, pooling: Pooling | None, probe: str,
    partners: Mapping[str, Encoder | Embedding | str], key: Callable[..., str], seed: int,
) -> Candidate:  # fmt: skip
    """Return one control as a candidate; `source` is an encoder or a name."""
    if name in task.models:
        given = {**partners, **task.models[name]}
        part: Role = "ceiling" if name in task.ceilings else "control"
        return Candidate(name, make_encoder("constant"), part, None, name, key(name, None, name), given)
    if name in controls.PERMUTED:
        encoder = make_encoder(task.spec.encoders[0], _seeded(task.spec.encoders[0], {}, seed))
        own_key = key(identity(encoder), pooling, probe, name)
        return Candidate(name, encoder, "control", pooling, probe, own_key, partners, permuted=True)
    if name in controls.BUILDERS or name == controls.SPLIT_HALF:
        role: Role = "ceiling" if name in (*task.ceilings, "oracle", controls.SPLIT_HALF) else "control"
        return Candidate(name, name, role, None, probe, key(name, None, probe), partners)
    if name in PATIENT_ENCODERS.references:
        alone = resolve_poolings(name, seed)[0]
        return Candidate("", make_encoder("constant"), "control", alone, probe, key("labels", alone, probe), partners)
    encoder = make_encoder(source, _seeded(source, {}, seed)) if isinstance(source, str) else source
    return Candidate(name, encoder, "control", pooling, probe, key(identity(encoder), pooling, probe), partners)


def _poolings_of(name: str, poolings: Sequence[Pooling | None], seed: int) -> list[Pooling | None]:
    """Return how a control's cells become patients: as the user's do where labels are permuted, else by their mean.

    Every supervised patient encoder has its own control with permuted labels, for it is fitted to them.
    """
    given = [p for p in poolings if p is not None]
    if not given:
        return [None]
    if name not in controls.PERMUTED:
        return [resolve_poolings(PLAIN_POOLING, seed)[0]]
    known = [p for p in given if p.reads_embedding]
    supervised = [p for p in known[1:] if p.is_supervised]
    return [known[0] if known else resolve_poolings(PLAIN_POOLING, seed)[0], *supervised]


def _pooled_alike(a: Candidate, b: Candidate) -> bool:
    return (a.pooling.key if a.pooling is not None else "") == (b.pooling.key if b.pooling is not None else "")


def _unpaired(name: str, task: Task, dataset: Dataset, partners: Mapping[str, Encoder | Embedding | str]) -> str:
    """Return why a control that depends on the task's own encoder or partner cannot be built, "" when it can."""
    if name in task.models:
        return ""
    if name in controls.PERMUTED:
        _, wanted, _ = task.spec.slot
        return readable(make_encoder(task.spec.encoders[0]), dataset, modality_of(wanted, dataset))
    if name == controls.SPLIT_HALF:
        slot = list(task.spec.slots)[1]
        if isinstance(partners[slot], (Embedding, str)):
            return "a gallery that is not encoded cannot be measured in halves"
        if dataset.modality(modality_of(task.spec.slots[slot][0], dataset)).preprocessing != "counts":
            return "the gallery holds no counts, and only counts can be split in halves"
    return ""


def _untrained(
    own: Mapping[str, Encoder | Embedding], task: Task, dataset: Dataset, seed: int
) -> dict[str, Encoder | str]:
    """Return the untrained twin of every encoder that has one and can read the data."""
    modality = modality_of(task.spec.slot[1], dataset)
    found: dict[str, Encoder | str] = {}
    for name, source in own.items():
        twin = getattr(source, "untrained", None)
        if isinstance(source, Embedding) or not callable(twin) or name.endswith("-untrained"):
            continue
        if not readable(source, dataset, modality):
            found[f"{name}-untrained"] = check_encoder(twin(seed), f"{name}-untrained")
    return found


def _random_of_size(own: Mapping[str, Encoder | Embedding], seed: int) -> dict[str, Encoder | str]:
    """Return noise of the size of every candidate whose size is known and is not that of ``random`` itself."""
    standard = make_encoder("random", {"seed": seed}).n_components  # type: ignore[attr-defined]
    sizes = {s.dim if isinstance(s, Embedding) else getattr(s, "dim", standard) for s in own.values()}
    return {
        f"random-{d}": make_encoder("random", {"n_components": d, "seed": seed}) for d in sorted(sizes - {standard})
    }


def _equal(a: Encoder | Embedding | str, b: Encoder | Embedding | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return type(a) is type(b) and a.card == b.card


def _partners(
    task: Task, dataset: Dataset, encoders: Mapping[str, tuple[Encoder | Embedding, str]], seed: int
) -> tuple[dict[str, Encoder | Embedding | str], str | None]:
    """Return the encoder of every further slot (``slot=name`` among the encoders replaces the task's own)."""
    found: dict[str, Encoder | Embedding | str] = {}
    keys = []
    for slot in list(task.spec.slots)[1:]:
        given = encoders.get(f"{slot}=")
        if given is None and slot not in task.spec.partners:
            raise MmcellError(f"task {task.spec.name!r}: nothing is given for its slot {slot!r}; give {slot}=FILE")
        named = task.spec.partners.get(slot)
        if given is None and isinstance(named, str) and named in controls.TARGETS:
            needs, builder = controls.TARGETS[named]
            needs(dataset)
            found[slot] = named
            keys.append(digest("target", named, code_of(builder)))
            continue
        source, key = given or _named(task.spec.partners[slot], seed)
        modality, level = task.spec.slots[slot]
        if isinstance(named, str) and named in controls.TARGETS and isinstance(source, Embedding):
            source.align(dataset.ids, missing="drop")
            found[slot] = source
            keys.append(key)
            continue
        if isinstance(named, str) and named in controls.TARGETS:
            raise MmcellError(f"task {task.spec.name!r}: what {slot!r} is has to be a file of values, {slot}=FILE")
        check(source, f"{slot}={source.card.name}", dataset, modality_of(modality, dataset), level)
        found[slot] = source
        keys.append(key)
    return found, digest(keys) if all(keys) else None


def _named(partner: str | Mapping[str, Any], seed: int) -> tuple[Encoder, str]:
    """Return an encoder by name, or by ``use`` with its parameters, and its identity."""
    given = {"use": partner} if isinstance(partner, str) else dict(partner)
    kind = str(given.pop("use"))
    encoder = make_encoder(kind, _seeded(kind, given, seed))
    return encoder, identity(encoder)


def check(source: Encoder | Embedding, name: str, dataset: Dataset, modality: str, level: str) -> None:
    """Raise when what is given for a slot cannot fill it."""
    if isinstance(source, Embedding):
        check_ids(source, dataset, modality, level)
    elif why := readable(source, dataset, modality):
        raise MmcellError(f"encoder {name!r}: {why}; choose another one for this slot")


def check_ids(embedding: Embedding, dataset: Dataset, modality: str, level: str) -> None:
    """Raise when an embedding does not hold every id of the modality at its own level."""
    if embedding.level == "patient" and level == "patient":
        embedding.align(dataset.units)
        return
    if embedding.level == "patient":
        raise MmcellError(f"embedding {embedding.name!r} is at level 'patient'; the task needs {level!r}")
    embedding.align(dataset.rows(modality))
