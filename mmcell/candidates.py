"""`Candidate`: one way to get from data to the embedding that a task's probe sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mmcell import controls
from mmcell.concepts import concept_scores
from mmcell.corrections.base import Correcting
from mmcell.dataset import Dataset
from mmcell.digest import digest_ids, stream
from mmcell.effects import pooled
from mmcell.embedding import Embedding, ModelCard
from mmcell.encoders import encode as encode_
from mmcell.encoders.base import Encoder, fits
from mmcell.encoders.encode import columns_of, encode, fitted
from mmcell.encoders.shelf import Shelf
from mmcell.errors import MmcellError
from mmcell.memory import refuse_altered
from mmcell.niche import niche
from mmcell.patients.base import encode_patients
from mmcell.poolings import Pooling, resolve_poolings
from mmcell.progress import Counted
from mmcell.records import Finding
from mmcell.spaces import in_space
from mmcell.splits import Split
from mmcell.task import Task
from mmcell.untreated import of_patients
from mmcell.variants import halves

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData

Role = Literal["candidate", "control", "ceiling"]
#: Cell embeddings of controls, and of partners, become patients through this one.
PLAIN_POOLING = "pseudobulk"


@dataclass(frozen=True, eq=False)
class Candidate:
    """What is evaluated: an encoder or a fixed embedding, perhaps a patient encoder, and a probe.

    Attributes
    ----------
    encoder, probe, role
        What tables call it.
    source
        An encoder, a fixed embedding, or the name of a control that is built from the dataset.
    pooling
        How cells become patients, where that is needed.
    key
        Digest of everything that decides its values; "" when that cannot be known before it has run.
    partners
        Slot -> fixed embedding, encoder, or name of `mmcell.controls.TARGETS`, for slots other than the first.
    permuted
        Whether labels, or the partners of a retrieval, are permuted before anything is fitted.
    asked
        A control that was asked for by name, too.
    space
        What is done to the embedding before it is pooled or probed (see `mmcell.spaces.Space`); "" for nothing.
    correcting
        What takes batches out of the embedding before that; None for nothing.
    """

    encoder: str
    source: Encoder | Embedding | str
    role: Role = "candidate"
    pooling: Pooling | None = None
    probe: str = "default"
    key: str = ""
    partners: Mapping[str, Encoder | Embedding | str] = field(default_factory=dict)
    permuted: bool = False
    asked: bool = False
    space: str = ""
    correcting: Correcting | None = None

    @property
    def correction(self) -> str:
        """What tables call the correction; "" without one."""
        return self.correcting.name if self.correcting is not None else ""

    @property
    def encoding(self) -> str:
        """Encoder and correction as one name; a correction that has seen held-out rows is marked."""
        return " → ".join(filter(None, (self.encoder, self.correcting.label if self.correcting is not None else "")))

    @property
    def patient_encoder(self) -> str:
        """What tables call the pooling; "" without one."""
        return self.pooling.name if self.pooling is not None else ""

    @property
    def cards(self) -> dict[str, ModelCard]:
        """Cards of all models involved, by slot."""
        own = {} if isinstance(self.source, str) else {self.encoder or "x": self.source.card}
        return own | {slot: p.card for slot, p in self.partners.items() if not isinstance(p, str)}

    @property
    def ways(self) -> dict[str, dict[str, Any]]:
        """How cells were corrected and became patients, with parameters: what names in a table do not say."""
        own = {"patient_encoder": self.pooling, "correction": self.correcting}
        return {name: way.facts for name, way in own.items() if way is not None}

    @property
    def competes(self) -> bool:
        """Whether somebody wants to know how good it is: a candidate, or a control that was asked for by name."""
        return self.role == "candidate" or self.asked

    @property
    def name(self) -> tuple[str, str, str]:
        """What tells it from others on the same task."""
        return (self.encoding, self.patient_encoder, self.probe)

    @property
    def label(self) -> str:
        """Encoder, correction and patient encoder as one name."""
        return " → ".join(part for part in (self.encoding, self.patient_encoder) if part)


class Cache:
    """Recently computed embeddings, up to a number of bytes; behind them those that are kept on disk.

    Attributes
    ----------
    told
        Called with (rows done, rows in all) while something is encoded.
    """

    told: Counted | None = None

    def __init__(self, most: int = 600_000_000, shelf: Shelf | None = None) -> None:
        self._most = most
        self._shelf = shelf
        self._found: dict[tuple[Any, ...], Embedding] = {}
        self._halves: dict[tuple[str, str, int], tuple[Dataset, Dataset]] = {}

    def forget(self) -> None:
        """Let go of all that is in memory."""
        self._found.clear()
        self._halves.clear()

    def halves(self, dataset: Dataset, modality: str, seed: int) -> tuple[Dataset, Dataset]:
        """Return the dataset with the counts of a modality split in two, drawn once."""
        key = (dataset.fingerprint, modality, seed)
        if key not in self._halves:
            self._halves[key] = halves(dataset, modality, stream(seed, "halves", dataset.fingerprint))
        return self._halves[key]

    def encode(
        self, source: Encoder | Embedding, name: str, dataset: Dataset, modality: str, split: Split
    ) -> Embedding:
        """Return the rows of the whole dataset; what must be fitted is fitted on the split's training units."""
        if isinstance(source, Embedding):
            # In the dataset's order and without further ids, so that how a file was written decides nothing.
            if source.level == "patient":
                return source
            if modality not in dataset.card.modalities:
                # A file that stands for what is otherwise built from the dataset.
                return source.align(dataset.ids, missing="drop")
            return source.align(dataset.rows(modality))
        train = split.train if fits(source) else None
        key = (id(source), dataset.fingerprint, modality, "" if train is None else digest_ids(train))
        if key not in self._found:
            made = encode(source, name, dataset, modality, train, shelf=self._shelf, progress=self.told)
            while self._found and sum(e.values.nbytes for e in self._found.values()) + made.values.nbytes > self._most:
                del self._found[next(iter(self._found))]
            self._found[key] = made
        return self._found[key]


@dataclass(frozen=True, eq=False)
class Made:
    """What a candidate's probe sees under one split.

    Attributes
    ----------
    embeddings
        Slot -> embedding.
    facts
        What the fitted patient encoder says of itself.
    samples
        The vectors of the patients' samples, where they were asked for.
    corrected
        What the correction saw; empty without one.
    """

    embeddings: Mapping[str, Embedding]
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: Embedding | None = None
    corrected: Mapping[str, Any] = field(default_factory=dict)


def embeddings_of(
    candidate: Candidate, task: Task, dataset: Dataset, split: Split, cache: Cache, seed: int,
    y: pd.Series | pd.DataFrame | None = None, sample: pd.Series | None = None, by_type: bool = False,
) -> Made:  # fmt: skip
    """Return the embedding of every slot for one split, and with `sample` (item id -> sample) that of samples.

    With `by_type` its facts say which types of cells a patient encoder weighs, where it weighs them.
    Nothing here has seen a label, but for a supervised patient encoder `y`, those of training patients.

    Raises
    ------
    MmcellError
        Cells are to become patients, and no patient encoder is named.
    """
    if candidate.source == controls.SPLIT_HALF:
        return Made(_halves(candidate, task, dataset, split, cache, seed))
    found: dict[str, Embedding] = {}
    facts: Mapping[str, Any] = {}
    samples: Embedding | None = None
    corrected: Mapping[str, Any] = {}
    for slot, (wanted, level) in task.spec.slots.items():
        modality = modality_of(wanted, dataset)
        source = candidate.source if slot == task.spec.slot[0] else candidate.partners[slot]
        if isinstance(source, str):
            builder = controls.TARGETS[source][1] if source in controls.TARGETS else controls.BUILDERS[source]
            built = builder(dataset, modality, level, split)
            # What a control says of an item that the modality never measured is no part of the question.
            if level != "patient" and modality in dataset.card.modalities:
                # Effects in a pool of cells are called as perturbations, and these are rows of what describes them.
                of_pool = source in controls.TARGETS and pooled(dataset)
                built = built.align(dataset.ids if of_pool else dataset.rows(modality), missing="drop")
            found[slot] = built
            continue
        # Messages name the encoder itself, not the control that permutes its labels: the cells are cached for both.
        name = source.card.name if candidate.permuted else candidate.encoder or slot
        cells = cache.encode(source, name, dataset, modality, split)
        if candidate.correcting is not None and slot == task.spec.slot[0]:
            cells, corrected = candidate.correcting.apply(cells, dataset, split)
        if candidate.space and slot == task.spec.slot[0]:
            owner = cells.ids.to_series() if cells.level == "patient" else dataset.unit.reindex(cells.ids)
            cells = in_space(cells, candidate.space, cells.ids[owner.isin(split.train).to_numpy()])
        if level == "patient" and "patient" not in (cells.level, dataset.card.level):
            cell_type = dataset.obs[dataset.roles.cell_type] if dataset.roles.cell_type else None
            rng = stream(seed, "cells", dataset.fingerprint, split.key)
            # What stands beside the evaluated encoder is the same for all: partners become patients by their mean.
            own = slot == task.spec.slot[0]
            pooling = candidate.pooling if own else resolve_poolings(PLAIN_POOLING)[0]
            if pooling is None:
                raise MmcellError(f"candidate {candidate.label!r}: cells need a patient encoder; name one")
            if pooling.reads_niche:
                cells = niche(dataset, modality, cells.level, split)
            cells = of_patients(cells, dataset)
            concepts = concept_scores(dataset, split.train) if pooling.reads_concepts else None
            labels = y if own else None
            made = encode_patients(
                pooling.encoder, cells, dataset.unit, split.train if labels is None else labels.index,
                cell_type=cell_type, concepts=concepts, y=labels, rng=rng, equal_cells=pooling.equal_cells,
                sample=sample if own else None, by_type=by_type and own,
            )  # fmt: skip
            cells = made.vectors
            if own:
                facts, samples = made.facts, made.samples
        if isinstance(source, Embedding):
            # Rows that were all wanted, in the order of the file, have only been read since they were matched.
            refuse_altered(source.values)
        found[slot] = cells
    return Made(found, facts, samples, corrected)


def labels_for(candidate: Candidate, task: Task, dataset: Dataset, split: Split) -> pd.Series | pd.DataFrame | None:
    """Return the labels, or times and events, of training patients for who is fitted to them; None for any other.

    Raises
    ------
    MmcellError
        The split predicts something else.
    """
    if candidate.pooling is None or not candidate.pooling.is_supervised:
        return None
    target, known = split.spec.targets[0], candidate.pooling.targets
    if target not in known:
        raise MmcellError(
            f"patient encoder {candidate.patient_encoder!r} is fitted to a {' or an '.join(known)}, and task "
            f"{task.spec.name!r} predicts {target!r}; choose another patient encoder"
        )
    truth = dataset.truth(target, "patient")
    truth = truth[truth.index.isin(split.train)]
    return truth if target == "outcome" else truth["y_true"]


def _halves(
    candidate: Candidate, task: Task, dataset: Dataset, split: Split, cache: Cache, seed: int
) -> dict[str, Embedding]:
    """Return two halves of the gallery's counts, each encoded as the gallery is."""
    query, gallery = task.spec.slots
    encoder = candidate.partners[gallery]
    modality = modality_of(task.spec.slots[gallery][0], dataset)
    if isinstance(encoder, (Embedding, str)):
        raise MmcellError(
            f"control {controls.SPLIT_HALF!r}: a gallery that is not encoded cannot be measured in halves"
        )
    both = cache.halves(dataset, modality, seed)
    if fits(encoder):
        # Fitted on the whole counts, so that both halves, and every candidate, speak of the same features.
        rows = dataset.reader(modality, encoder.card.preprocessing, encoder.card.identifiers)
        encoder = _Fitted(fitted(encoder, gallery, rows, dataset.unit, split.train))
    made = [encode(encoder, slot, half, modality) for slot, half in zip((query, gallery), both, strict=True)]
    asked = modality_of(task.spec.slots[query][0], dataset)
    return {query: made[0].align(dataset.rows(asked), missing="drop"), gallery: made[1]}


class _Fitted:
    """An encoder that has been fitted and is not fitted again."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.card = encoder.card

    @property
    def columns(self) -> tuple[str, ...]:
        return columns_of(self._encoder)

    def encode(self, data: AnnData) -> np.ndarray | Embedding:
        return self._encoder.encode(data)


def fit_findings(candidate: Candidate, dataset: Dataset, wanted: str, splits: Sequence[Split]) -> list[Finding]:
    """Say where an encoder was fitted on a draw of the training items, because there are too many."""
    if isinstance(candidate.source, (str, Embedding)) or not fits(candidate.source):
        return []
    unit = dataset.unit.reindex(dataset.rows(modality_of(wanted, dataset)))
    sizes = unit.value_counts()
    most = max(int(sizes[sizes.index.isin(split.train)].sum()) for split in splits)
    if most <= encode_.FIT_ROWS:
        return []
    return [
        Finding(
            severity="info", code="fit-sampled",
            message=f"{candidate.encoder} is fitted on {encode_.FIT_ROWS:,} of up to {most:,} training items of a "
            "fold, drawn at random",
        )
    ]  # fmt: skip


def modality_of(wanted: str, dataset: Dataset) -> str:
    """Return the modality that a slot means; ``*`` is the first one of the dataset."""
    return next(iter(dataset.card.modalities)) if wanted == "*" else wanted
