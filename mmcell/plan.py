"""`Plan`: one task, ready to run. All that can be wrong with data, roles, splits and names is found here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmcell import controls as controls_
from mmcell.audit.data import audit_data
from mmcell.candidates import Candidate, modality_of
from mmcell.code import UnknownCodeError, code_digest, code_of
from mmcell.concepts import lacking, refuse_unknown
from mmcell.corrections.base import resolve_corrections
from mmcell.data.catalog import load_dataset
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.embedding import Embedding
from mmcell.encoders.base import ENCODERS, make_encoder
from mmcell.encoders.shelf import Shelf
from mmcell.errors import MmcellError, first
from mmcell.incremental import CLINICAL
from mmcell.lineup import build, resolve
from mmcell.metrics.base import Metric, get_metric
from mmcell.plausible import plausible_covariates
from mmcell.records import FORMAT, Finding
from mmcell.splits import Split, most_folds, splits_of
from mmcell.stats.bootstrap import MAXIMUM_DRAWS, check_draws
from mmcell.survey import refuse_at_sight
from mmcell.task import PLUS_CLINICAL, MethodView, Task, get_task, unasked

ControlNames = Literal["default"] | Sequence[str]
#: With fewer permutations the smallest p, 1/(n + 1), lies above 0.05.
MINIMUM_NULL = 19


@dataclass(frozen=True, eq=False)
class Plan:
    """One task on one dataset with its splits and everything that will be scored.

    Attributes
    ----------
    task, dataset, splits, candidates
        What will be run.
    findings
        What is known of the data before anything runs.
    notes
        In words, what was asked for and cannot be run here; about the run, not about any one record.
    control_names
        The controls that were asked for.
    missing
        What the task's protocol requires and was not asked for: every record of this plan is incomplete.
    n_boot, n_null, seed
        Bootstrap draws, permutations of the labels through the whole pipeline (0: none), and the seed of everything
        random.
    shelf
        Where embeddings are kept; None keeps them nowhere.
    """

    task: Task
    dataset: Dataset
    splits: list[Split]
    candidates: list[Candidate]
    findings: list[Finding]
    notes: tuple[str, ...]
    control_names: tuple[str, ...]
    missing: tuple[str, ...]
    n_boot: int
    n_null: int
    seed: int
    shelf: Shelf | None = None

    @property
    def split_hash(self) -> str:
        """The digest of all splits."""
        return digest([s.key for s in self.splits])

    @property
    def reference(self) -> Candidate | None:
        """The control that every score is compared with; None when it could not be run."""
        return self.reference_for("")

    def reference_for(self, probe: str) -> Candidate | None:
        """Return the reference through this model where it was run through it, otherwise through the task's own.

        What covariates add is no part of the model: beside ``cox+clinical`` stands the reference through ``cox``.
        """
        wanted, probe = self.task.spec.reference, self.task.plain(probe)
        found = [c for c in self.candidates if c.role == "control" and wanted == (c.encoder or c.patient_encoder)]
        return next((c for c in found if c.probe == probe), found[0] if found else None)

    def key(self, candidate: Candidate) -> str:
        """Return the key of a candidate's record; "" when what decides its values is not known before it runs."""
        if not candidate.key:
            return ""
        try:
            code = digest(FORMAT, code_digest(), code_of(type(self.task), *_functions(self.metrics)))
        except UnknownCodeError:
            return ""
        # What was drawn is known by the fingerprint; a bound that draws nothing asks the same.
        state = {k: v for k, v in vars(self.task).items() if k not in ("spec", "max_items")}
        if not all(isinstance(v, (str, int, float, bool, tuple, type(None))) for v in state.values()):
            return ""
        # What stands beside a candidate is part of its record: the difference from it, and the verdict.
        beside = [c.key for c in self.candidates if c.role != "candidate"] if candidate.competes else []
        reference = self.reference_for(candidate.probe)
        return digest(
            self.task.spec.facts(), [m.facts() for m in self.metrics], state, self.missing, candidate.key,
            candidate.name, candidate.role, candidate.asked, sorted(self.control_names), sorted(beside),
            reference.key if reference else "", self.dataset.fingerprint, repr(self.dataset.roles), self.split_hash,
            self.n_boot, self.n_null, self.seed, code,
        )  # fmt: skip

    def ceiling_for(self, probe: str) -> Candidate | None:
        """Return the first ceiling of the task's protocol through this probe; skill is measured against it."""
        # A ceiling that reads no embedding is a model of its own, and one for all probes.
        found = {c.encoder: c for c in self.candidates if c.role == "ceiling" and c.probe in (probe, c.encoder)}
        return next((found[name] for name in self.task.ceilings if name in found), None)

    def lacking(self, candidate: Candidate, failed: Sequence[str]) -> tuple[str, ...]:
        """Return the controls that a candidate's record lacks: left out, or failed."""
        present = set(self.control_names) - set(failed)
        present |= {c.encoder for c in self.candidates if c.competes and c.encoder not in failed}
        found = list(dict.fromkeys([*self.missing, *controls_.missing(self.task, self.dataset, present)]))
        twin = f"{candidate.encoder}-{controls_.UNTRAINED}"
        has_twin = callable(getattr(candidate.source, "untrained", None)) and candidate.competes
        if has_twin and (controls_.UNTRAINED not in present or twin in failed):
            found.append(controls_.UNTRAINED)
        return tuple(found)

    @property
    def null_within(self) -> tuple[str, ...]:
        """The roles of `TaskSpec.null_within` that these data have in a form that labels can be permuted within."""
        return tuple(role for role in self.task.spec.null_within if _groups_units(role, self.task, self.dataset))

    @property
    def metrics(self) -> list[Any]:
        """The task's metrics."""
        return [get_metric(m) for m in self.task.spec.metrics]


def make_plan(
    asked: str | Task,
    encoders: Any = None,
    dataset: Any = None,
    *,
    patient_encoders: Any = None,
    probes: Sequence[str] | None = None,
    corrections: Any = None,
    controls: ControlNames = "default",
    max_items: int | None = None,
    n_boot: int = 1000,
    null: int = 0,
    seed: int = 0,
) -> Plan:
    """Return what `mmcell.evaluate` will run for one task; arguments and errors as there.

    Raises
    ------
    MmcellError
        See `mmcell.evaluate`.
    """
    check_numbers(n_boot, null, seed)
    task = get_task(asked) if isinstance(asked, str) else asked
    if max_items is not None:
        task = task.drawing(max_items)
    if dataset is None and not task.spec.dataset:
        raise MmcellError(f"task {task.spec.name!r} has no data of its own: name yours, --dataset cohort.yaml")
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset or task.spec.dataset)
    if data.name != task.spec.dataset and task.spec.roles:
        raise MmcellError(
            f"task {task.spec.name!r} asks for {first(task.spec.roles.values(), 1)}, which is a column of "
            f"{task.spec.dataset!r}; for your own label use patient-state"
        )
    if data.name != task.spec.dataset:
        task = task.on(data.name)
    elif task.spec.roles:
        data = replace(data, roles=replace(data.roles, **task.spec.roles))
    given = resolve(task.spec.encoders if encoders is None else encoders, seed)
    read, spec = data.card.caveats, task.spec
    data = task.prepared(data, {name: source for name, (source, _) in given.items() if not name.endswith("=")})
    whole, data = data, task.drawn(data, seed)
    crossed = spec.unit.partition("×")[2]
    if crossed and data.roles.columns.get(crossed) is None:
        raise MmcellError(f"task {spec.name!r}: units are crossed with {crossed!r}; set roles.{crossed} in the card")
    for modality in {modality_of(wanted, data) for wanted, _ in spec.slots.values()} & set(data.card.modalities):
        refuse_at_sight(data, modality)
    if spec.slot[2] == "patient":
        plausible_covariates(data, data.roles.hidden(tuple(t for s in spec.splits for t in s.targets)))
    splits, findings = _splits(task, data, seed)
    names = controls_.names_of(task) if controls == "default" else _tuple(controls)
    ways = resolve_corrections(spec.corrections if corrections is None else corrections)
    candidates, skipped = build(task, data, given, patient_encoders, _tuple(probes), names, seed, ways)
    skipped += [caveat for caveat in data.card.caveats if caveat not in read]
    own = [name for name, (source, _) in given.items() if name in ENCODERS.references and _is_named(source, name)]
    missing = controls_.missing(task, data, [*names, *own])
    if data is not whole:
        # In every record, wherever it goes; runs that draw other numbers are not compared.
        findings.append(Finding(severity="info", code="items-drawn", message=data.card.caveats[-1]))
    if missing:
        findings.append(
            Finding(
                severity="warning",
                code="controls-missing",
                message=f"controls left out: {', '.join(missing)}; the result is incomplete, no leaderboard takes it",
                cure="run with the default controls",
            )
        )
    if any(c.pooling is not None and c.pooling.reads_concepts for c in candidates):
        refuse_unknown(data)
        absent = lacking(data)
        if absent:
            text = "; ".join(f"{name}: {first(some)}" for name, some in absent.items())
            findings.append(
                Finding(severity="info", code="concept-markers", message=f"markers of concepts are not there ({text})")
            )
    if null and spec.slot[2] == "spot":
        skipped.append(
            f"{spec.name}: no partners were permuted: spots of a tissue resemble their neighbours, and exchanging them "
            "one by one would make every p too small"
        )
        null = 0
    lost = [role for role in spec.null_within if not _groups_units(role, task, data)]
    if not null and (spec.slot[2] == "patient" or task.between_units):
        findings.append(
            Finding(
                severity="info",
                code="no-null",
                message="labels were not permuted: an interval over units does not know how far a fitted probe swings",
                evidence="of two embeddings of noise, probed alike in 60 patients, 16 % of intervals call one better",
                cure="run with --null 100",
            )
        )
    if lost and null:
        skipped.append(f"{spec.name}: labels are not permuted within {', '.join(lost)}, which these data do not have")
    notes = tuple(sorted(skipped))
    plan = Plan(task, data, splits, candidates, findings, notes, tuple(names), missing, n_boot, null, seed)
    if plan.reference is None:
        text = f"the reference control {spec.reference} was not run: no score has a difference from it"
        findings.append(Finding(severity="warning", code="reference-missing", message=text))
    clinical = any(c.encoder == CLINICAL or c.probe.endswith(PLUS_CLINICAL) for c in candidates)
    findings += audit_data(data, splits, spec.slot[2], modality_of(spec.slot[1], data), clinical=clinical)
    return plan


def check_numbers(n_boot: int, null: int, seed: int) -> None:
    """Refuse numbers of draws, of permutations and seeds that no plan can have, before any data are read.

    Raises
    ------
    MmcellError
        One of them.
    """
    check_draws(n_boot)
    if null and null < MINIMUM_NULL:
        raise MmcellError(f"null is {null}; with fewer than {MINIMUM_NULL} permutations no p can reach 0.05; 0 = none")
    if null > MAXIMUM_DRAWS:
        raise MmcellError(f"null is more than {MAXIMUM_DRAWS:,}; 199 permutations tell whether p is below 0.01")
    if seed < 0:
        raise MmcellError(f"seed is {seed}; use a whole number from 0 on")


def _is_named(source: Any, name: str) -> bool:
    """Whether what was given under a control's name is that very encoder."""
    return not isinstance(source, Embedding) and source.card == make_encoder(name).card


def _functions(metrics: Sequence[Metric]) -> list[Any]:
    """Return what decides the values of metrics, beside their facts."""
    return [f for m in metrics for f in (m.fn, m.resampled, m.chance, m.size, m.comparable, m.parts) if callable(f)]


def _groups_units(role: str, task: Task, dataset: Dataset) -> bool:
    """Whether a role is there and, where labels of units are permuted, constant within units."""
    columns = dataset.roles.columns_of(role)
    of_pairs = any("pairs" in spec.targets for spec in task.spec.splits)
    return bool(columns) and (of_pairs or set(columns) <= set(dataset.patients))


def _tuple(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _splits(task: Task, dataset: Dataset, seed: int) -> tuple[list[Split], list[Finding]]:
    """Return all splits; one whose groups are lacking, or leave one class, is named and left out if others remain."""
    found: list[Split] = []
    findings = []
    level = task.spec.slot[2]
    reasons = []
    for spec in task.spec.splits:
        if spec.targets[0] != "pairs":
            dataset.truth(spec.targets[0], level)
        most = most_folds(dataset, spec)
        if 2 <= most < spec.n_splits:
            text = f"split {spec.name}: {most} folds, not {spec.n_splits}: the rarest class has {most} units"
            findings.append(Finding(severity="warning", code="fewer-folds", message=text))
            spec = replace(spec, n_splits=most)
        try:
            some = splits_of(dataset, spec, seed)
            # Looks at the truth before anything is computed: one class, no events, two values in a unit.
            for split in some:
                task.check(MethodView.of(dataset, split, level))
        except MmcellError as error:
            if spec.kind != "leave-one-group-out" or len(task.spec.splits) == 1:
                raise
            reasons.append(str(error))
            text = f"split {spec.name} was not run: {error}"
            findings.append(Finding(severity="warning", code="split-not-run", message=text))
            continue
        for target in spec.targets[1:]:
            if why := unasked(dataset, target, level):
                text = f"whether {target} shows was not asked: {why}"
                findings.append(Finding(severity="warning", code="leak-not-asked", message=text))
        found += some
    if not found:
        raise MmcellError(reasons[0])
    ranking = [m.name for m in map(get_metric, task.spec.metrics) if m.within_fold]
    if ranking and all(len(s.test) == 1 for s in found):
        raise MmcellError(
            f"task {task.spec.name!r}: {ranking[0]} compares units within a fold, and every fold holds one unit; "
            "leave out groups of units instead"
        )
    return found, findings
