"""What a run leaves behind: scores, findings and provenance as pydantic models that become JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mmcell.embedding import ModelCard
from mmcell.metrics.base import LEAKS
from mmcell.stats.bootstrap import Status

#: Part of every record's key: raised when the meaning of a stored field changes.
FORMAT = 3


def other_format(written: object) -> str:
    """Say that a record of another format cannot be taken, and what to do."""
    return f"has records of format {written}, this mmcell reads format {FORMAT}; run it again with this version"


def _absent(value: Any) -> Any:
    """Turn NaN into None: JSON has no NaN, and a number that is not there is not a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_absent)]
#: What can be counted, and what tables can hold.
Count = Annotated[int, Field(ge=0, lt=2**63)]


def jsonable(value: Any) -> Any:
    """Return a copy that JSON can hold: tuples become lists, NaN None, keys text."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    return _absent(value) if isinstance(value, (int, float, str, bool, type(None))) else str(value)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Gap(_Record):
    """A paired difference with its 95 % interval, and the smallest one that 80 % of such studies would find.

    None stands for what there is not.
    """

    value: Number
    low: Number = None
    high: Number = None
    mde: Number = None


class Versus(Gap):
    """The paired difference from one control."""

    control: str


class Worst(_Record):
    """The subgroup in which a metric is worst.

    Attributes
    ----------
    role, name
        What is grouped (``cell_type``, ``batch``, a column of roles.strata), and the group.
    value, n_units, n_items
        The metric there.
    n_groups, n_small, n_undefined
        Groups that were compared, two or more of a grouping, and those left out: with fewer than 10 units, or where the
        metric has no value.
    """

    role: str
    name: str
    value: Number
    n_units: Count
    n_items: Count
    n_groups: Count
    n_small: Count = 0
    n_undefined: Count = 0


class Group(_Record):
    """A metric in one subgroup, with its 95 % interval where it has 10 units or more.

    Attributes
    ----------
    role, name
        As in `Worst`.
    value, low, high, chance
        There; None where it is undefined.
    n_units, n_items
        What it rests on.
    """

    role: str
    name: str
    value: Number
    low: Number = None
    high: Number = None
    chance: Number = None
    n_units: Count = 0
    n_items: Count = 0


class Score(_Record):
    """One metric on one set of items.

    Attributes
    ----------
    metric, higher_is_better
        What, and its direction.
    target, query, gallery, stratum, split, shift
        Of what: what is predicted, the two modalities of a retrieval, the gallery or group, the split and what it
        leaves out.
    asked
        The column of what is predicted, where a split asks several things of which none is a leak.
    value, status, reason
        The estimate; ``ok``, ``boundary``, ``undefined``, ``too_few_units`` or ``failed``; why, or what to mind.
    low, high, method
        95 % interval over units, and how it was made (``bca``, ``percentile``, ``score``).
    level, n_items, n_units, n_excluded
        What a unit is; how many items and units; held-out items that could not be scored.
    chance
        The value without skill.
    difference
        From the task's reference control.
    versus, verdict
        Headline scores of candidates: the differences from all controls, and what they allow to say, in words.
    worst
        The worst subgroup, beside the mean over everything and beside every headline score.
    groups
        Headline scores of candidates and of the reference: the metric in every subgroup.
    skill
        (value − reference)/(ceiling − reference), where a ceiling is told apart from the reference.
    p_null, n_null, null_mean
        p of the null in which labels are permuted through the whole pipeline; its draws with a value, and their mean.
    n_gallery
        Median size of the galleries of a retrieval.
    """

    metric: str
    higher_is_better: bool = True
    target: str = "label"
    query: str = ""
    gallery: str = ""
    stratum: str = "all"
    split: str = ""
    shift: str = ""
    asked: str = ""
    value: Number = None
    status: Status = "ok"
    reason: str = ""
    low: Number = None
    high: Number = None
    method: str = ""
    level: str = ""
    n_items: Count = 0
    n_units: Count = 0
    n_excluded: Count = 0
    chance: Number = None
    difference: Gap | None = None
    versus: tuple[Versus, ...] = ()
    verdict: str = ""
    worst: Worst | None = None
    groups: tuple[Group, ...] = ()
    skill: Number = None
    p_null: Number = None
    n_null: Count = 0
    null_mean: Number = None
    n_gallery: Number = None

    @property
    def is_leak(self) -> bool:
        """Whether it is of something that nobody asked for and that is watched because it should not show."""
        return self.target.partition("=")[0] in LEAKS

    @property
    def ci(self) -> tuple[float, float] | None:
        """The interval, or None."""
        return (self.low, self.high) if self.low is not None and self.high is not None else None


class Finding(_Record):
    """Something a reader must know beside a score.

    Attributes
    ----------
    severity
        ``info``, ``warning`` or ``leak``.
    code
        Stable short name.
    message, evidence, cure
        What, the numbers behind it, and what to do.
    """

    severity: Literal["info", "warning", "leak"]
    code: str
    message: str
    evidence: str = ""
    cure: str = ""


class Provenance(_Record):
    """How a record came about; the only part that may differ between two runs with one seed."""

    versions: dict[str, str] = {}
    python: str = ""
    platform: str = ""
    git: str = ""
    command: str = ""
    created: str = ""
    seconds: Number = None
    peak_memory_mb: Number = None


class RunRecord(_Record):
    """One candidate or control on one task.

    Attributes
    ----------
    format
        Version of the layout; a record of another one is not read.
    key
        Digest of all that decides the scores: data, task, split, encoder, parameters and code.
    task
        Facts of the task, see `TaskSpec.facts`.
    dataset, dataset_fingerprint, time_unit
        Name and digest of the data, and the unit of survival times.
    split_hash
        Digest of all splits.
    encoder, patient_encoder, probe, correction
        What was evaluated; "" where there is none.
    correction_kind
        ``inductive``, or ``transductive`` where the correction saw held-out rows.
    role
        ``candidate``, ``control`` or ``ceiling``.
    permuted
        Whether labels or partners were permuted.
    asked
        Whether a control was asked for by name as well, and competes.
    cards
        Slot -> card of its encoder.
    parameters
        Of the run: draws, seed, permutations.
    scores
        A `Score` for every metric, split, target and stratum.
    missing_controls
        Those that the task's protocol requires and that were left out or failed: the record is then incomplete, and no
        leaderboard takes it.
    findings
        What its scores may really show.
    details
        Facts of fits, curves and examples, JSON-able.
    error
        Why it failed; "" where it did not.
    provenance
        Time, memory, versions and date: all that may differ between two runs with one seed.
    """

    format: int = FORMAT
    key: str
    task: dict[str, Any]
    dataset: str
    dataset_fingerprint: str
    time_unit: str = ""
    split_hash: str
    encoder: str
    patient_encoder: str = ""
    probe: str = ""
    correction: str = ""
    correction_kind: Literal["", "inductive", "transductive"] = ""
    role: Literal["candidate", "control", "ceiling"]
    permuted: bool = False
    asked: bool = False
    cards: dict[str, ModelCard] = {}
    parameters: dict[str, Any] = {}
    scores: tuple[Score, ...] = ()
    missing_controls: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    details: dict[str, Any] = {}
    error: str = ""
    provenance: Provenance = Provenance()

    @property
    def encoding(self) -> str:
        """Encoder and correction as one name; a correction that has seen held-out rows is marked."""
        seen = " (transductive)" if self.correction_kind == "transductive" else ""
        return " → ".join(filter(None, (self.encoder, f"{self.correction}{seen}" if self.correction else "")))

    @property
    def label(self) -> str:
        """Encoder, correction and patient encoder as one name."""
        return " → ".join(part for part in (self.encoding, self.patient_encoder) if part)

    @property
    def competes(self) -> bool:
        """Whether somebody wants to know how good it is: a candidate, or a control that was asked for by name."""
        return self.role == "candidate" or self.asked

    @property
    def stands_as(self) -> Literal["candidate", "control", "ceiling"]:
        """The one role in tables: what somebody wants to know of is a candidate, if controls demand it, too."""
        return "candidate" if self.competes else self.role

    @property
    def is_rival(self) -> bool:
        """Whether others can be compared with it: a permuted control has another truth, a ceiling is no rival."""
        return self.role != "ceiling" and not self.permuted

    @property
    def order(self) -> tuple[str, ...]:
        """Where it stands in tables, whatever the order in which things were asked for or finished."""
        rank = str(("candidate", "control", "ceiling").index(self.stands_as))
        return (self.task["name"], self.dataset, rank, self.encoder, self.correction, self.patient_encoder, self.probe)

    def content(self) -> dict[str, Any]:
        """Return everything but the provenance: equal for two runs with the same seed."""
        return self.model_dump(mode="json", exclude={"provenance"})
