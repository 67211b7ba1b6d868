"""`Task`: a question on a dataset. `MethodView`: all that a method may see while it answers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.splits import Split, SplitSpec
from mmcell.variants import sampled

Slot = tuple[str, str]
#: What the name of a probe ends in that reads clinical covariates beside the embedding.
PLUS_CLINICAL = "+clinical"


@dataclass(frozen=True)
class Published:
    """A figure that somebody published for the same data, split and metric; the report shows it beside ours.

    Attributes
    ----------
    metric, value, source
        Name of our metric, what was published, and where.
    model
        Whose figure it is.
    query, stratum, split
        Which of our places it belongs to; "" for the first.
    """

    metric: str
    value: float
    source: str
    model: str = ""
    query: str = ""
    stratum: str = "all"
    split: str = ""


@dataclass(frozen=True)
class TaskSpec:
    """The facts of a task: what is asked, of which data, and what a score is compared with.

    Attributes
    ----------
    name, version, question, superseded_by
        A corrected task is a new version, which `superseded_by` then names.
    dataset
        Name of the default dataset; "" where every user brings their own.
    slots
        Slot -> (modality, level); the first slot takes the evaluated encoder. The modality ``*`` stands for the
        first one of the dataset.
    split
        One `SplitSpec` or several.
    metrics, primary
        Names of metrics or `Metric` objects, and the name of the one that headlines.
    controls
        Run with every evaluation, beside those that the protocol requires: see `mmcell.controls`.
    reference
        The control that every score is compared with: an encoder's or patient encoder's name, fixed beforehand.
    partners
        Slot -> encoder for the slots other than the first: a name, or ``{"use": NAME, …parameters}``.
    patient_encoders
        How cells become patients where the slot's level is ``patient`` and the embedding's is not.
    probes, more_probes
        Names of the models that the protocol fits, each a row of its own; the further ones are fitted on request.
    unit
        ``unit``: what roles.unit names; ``unit×ROLE`` where units are crossed with another role (donor × perturbation):
        both are then resampled.
    encoders
        What is evaluated when nothing is named; the first one also stands in for all where labels or partners are
        permuted.
    corrections
        What is done about batches when nothing is named, each beside the embedding as it is; see `mmcell.corrections`.
    null_within
        Roles (``batch``, ``strata``, …) within whose groups labels are permuted; none: among all units.
    roles
        Roles of its own dataset that this task reads otherwise (another label); not applied to a user's data.
    published
        Figures for the very same data and protocol; none is better than one that is only similar.
    """

    name: str
    question: str
    dataset: str
    slots: Mapping[str, Slot]
    split: SplitSpec | tuple[SplitSpec, ...]
    metrics: tuple[str | Metric, ...]
    primary: str
    version: str = "1"
    unit: str = "unit"
    controls: tuple[str, ...] = ("random", "constant", "technical-only")
    reference: str = "random"
    partners: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    patient_encoders: tuple[str | Mapping[str, Any], ...] = ()
    roles: Mapping[str, Any] = field(default_factory=dict)
    probes: tuple[str, ...] = ("default",)
    more_probes: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ("pca",)
    corrections: tuple[str, ...] = ()
    null_within: tuple[str, ...] = ()
    superseded_by: str | None = None
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        if self.primary not in self.metric_names:
            raise MmcellError(
                f"task {self.name!r}: primary {self.primary!r} is not among its metrics; "
                f"{did_you_mean(self.primary, self.metric_names)}"
            )
        if self.reference not in self.controls:
            raise MmcellError(f"task {self.name!r}: the reference {self.reference!r} must be one of its controls")
        if self.unit.partition("×")[0] != "unit":
            raise MmcellError(f"task {self.name!r}: unit {self.unit!r} is not 'unit' or 'unit×ROLE'; set roles.unit")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics."""
        return tuple(m if isinstance(m, str) else m.name for m in self.metrics)

    @property
    def splits(self) -> tuple[SplitSpec, ...]:
        """The split specs as a tuple."""
        return self.split if isinstance(self.split, tuple) else (self.split,)

    @property
    def slot(self) -> tuple[str, str, str]:
        """Name, modality and level of the slot that takes the evaluated encoder."""
        name = next(iter(self.slots))
        return name, *self.slots[name]

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON-able values; a metric by its name."""
        return {**asdict(self), "metrics": self.metric_names}


@dataclass(frozen=True, eq=False)
class MethodView:
    """What a method may see of a dataset under one split. It holds no test label, so none can be looked up.

    Attributes
    ----------
    train, test
        Ids (of items, or of patients where the task's level is ``patient``) on either side.
    unit
        id -> unit.
    columns
        Roles that are not predicted under this split (``batch``, ``cell_type``, …), one column a role; at the level
        ``patient`` also ``strata``, the subgroups of roles.strata crossed.
    clinical
        Clinical covariates, one row per unit, missing values included.
    labels
        Target -> truth (see `Dataset.truth`) of *training* ids only; an ``outcome`` is that of training units.
    targets
        What is predicted under this split.
    control
        The value of the role ``perturbation`` that marks controls; None where there is none.
    """

    train: pd.Index
    test: pd.Index
    unit: pd.Series
    columns: pd.DataFrame
    clinical: pd.DataFrame
    labels: Mapping[str, pd.DataFrame]
    targets: tuple[str, ...]
    control: str | None = None

    @classmethod
    def of(cls, dataset: Dataset, split: Split, level: str) -> Self:
        """Cut a view out of a dataset; training ids without a label are left out of `train` by the protocols.

        Parameters
        ----------
        dataset, split
            What is cut, and where.
        level
            At which ids are seen: ``patient``, or that of the items.
        """
        unit = dataset.units_of(level)
        train, test = (unit.index[unit.isin(side)] for side in (split.train, split.test))
        targets = split.spec.targets
        hidden = dataset.roles.hidden(targets)
        columns = {}
        for role in ("sample", "batch", "cell_type", "perturbation", "label"):
            column = getattr(dataset.roles, role)
            if column is None or column in hidden:
                continue
            if level == "patient":
                if column in dataset.patients:
                    columns[role] = dataset.patients[column]
            else:
                columns[role] = dataset.obs[column]
        strata = [c for c in dataset.roles.strata if c not in hidden]
        if level == "patient" and strata and all(c in dataset.patients for c in strata):
            # Subgroups are crossed: one of sex and cancer type is both.
            columns["strata"] = dataset.patients[strata].astype(str).agg("|".join, axis=1)
        labels = {}
        for i, target in enumerate(targets):
            # A further target is a leak that is watched: where the data cannot answer, the question itself stands.
            if target == "pairs" or (i > 0 and unasked(dataset, target, level)):
                continue
            truth = dataset.truth(target, level)
            # An outcome is that of a unit, whatever the level.
            labels[target] = truth[truth.index.isin(split.train if target == "outcome" else train)]
        clinical = dataset.covariates("clinical")
        clinical = clinical[[c for c in clinical if c not in hidden]]
        return cls(
            train, test, unit, pd.DataFrame(columns, index=unit.index), clinical, labels, targets, dataset.roles.control
        )

    def role(self, name: str) -> pd.Series:
        """Return the column of a role, ``unit`` included, all ids.

        Parameters
        ----------
        name
            A role of `Roles`.

        Raises
        ------
        MmcellError
            The role is not set, or it is what is to be predicted.
        """
        if name == "unit":
            return self.unit
        if name not in self.columns:
            predicted = {t.partition("=")[0] for t in self.targets}
            why = "is what this split predicts" if name in predicted else "is not set in the dataset's roles"
            raise MmcellError(f"the role {name!r} {why}; a method cannot see it")
        return self.columns[name]

    def training(self, target: str) -> tuple[pd.Index, np.ndarray]:
        """Return the training ids that carry `target`, and its values.

        Parameters
        ----------
        target
            A role that is predicted under this split.

        Returns
        -------
        ids : pandas.Index
            (n,) training ids.
        y : numpy.ndarray
            (n,) classes, or (n, 2) time and event for ``outcome``: a competing event ends the time like a censoring.
        """
        truth = self.labels[target]
        truth = truth.loc[self.train[self.train.isin(truth.index)]]
        if target == "outcome":
            return pd.Index(truth.index), truth[["time", "event"]].to_numpy()
        return pd.Index(truth.index), truth.to_numpy()[:, 0]


def unasked(dataset: Dataset, target: str, level: str) -> str:
    """Return why a target cannot be asked of a dataset, "" when it can."""
    try:
        dataset.truth(target, level)
    except MmcellError as error:
        return str(error)
    return ""


class Task(ABC):
    """A protocol on a dataset with a split and metrics.

    Subclasses set `spec` and write `run`; the framework makes the splits, fits encoders on training units, checks
    what comes back, attaches the truth by id and scores it.
    """

    spec: TaskSpec
    #: The one of `TaskSpec.probes` in use.
    probe: str = "default"
    #: The role (or ``unit``) whose equal values are partners in a retrieval, where the data have it; "" for equal ids.
    matched_by: str = ""
    #: Items that are asked about at most: of more, so many are drawn, evenly over the units; 0 asks about all.
    max_items: int = 0
    #: Controls without which a result is incomplete; of several names joined by ``|`` one is enough.
    required: ClassVar[tuple[str, ...]] = ("random", "constant", "technical-only")
    #: What a perfect embedding would score, where the data allow it; the first that can be built gives the skill.
    ceilings: ClassVar[tuple[str, ...]] = ()

    #: Whether partners move between units, too, where a null permutes them: what is asked is which unit's they are.
    between_units: ClassVar[bool] = False

    @property
    def draws(self) -> bool:
        """Whether the protocol compares items with each other, and of many asks about some that are drawn."""
        return bool(type(self).max_items)

    @property
    def models(self) -> Mapping[str, Mapping[str, str]]:
        """Models of the protocol that read no embedding, controls or ceilings by name: slot -> what they are given."""
        return {}

    @property
    def adds_to_covariates(self) -> bool:
        """Whether the probe in use reads covariates beside the embedding: its null is then one of what is gained."""
        return False

    @property
    def moves_covariates(self) -> bool:
        """Whether the labels of a null take a patient's covariates along, so that these still fit the outcome."""
        return self.adds_to_covariates

    def plain(self, probe: str) -> str:
        """Return the same model without covariates beside the embedding: what controls are fitted with.

        Parameters
        ----------
        probe
            One of the task's.
        """
        return probe

    def prepared(self, dataset: Dataset, sources: Mapping[str, Any]) -> Dataset:  # noqa: ARG002
        """Return the dataset with what the protocol needs beside it, before anything is asked of either.

        Parameters
        ----------
        dataset
            Left as it is.
        sources
            Name -> encoder or embedding, of what is evaluated. Where the dataset is cut to what these know, so that
            all are asked the same, a further caveat on its card says what is left out.
        """
        return dataset

    def drawn(self, dataset: Dataset, seed: int) -> Dataset:
        """Return the items that are asked about: `max_items` at most, evenly over the units.

        Parameters
        ----------
        dataset
            Left as it is; what is drawn says so on its card.
        seed
            Of the draw.

        Raises
        ------
        MmcellError
            There are more units than items may be drawn.
        """
        return sampled(dataset, self.max_items, seed)

    def check(self, view: MethodView) -> None:  # noqa: B027
        """Raise `MmcellError` when the question cannot be put to these data; called for every split beforehand.

        And for every split in a world of permuted labels, whose draw is then undefined.

        Parameters
        ----------
        view
            What a method sees of one split.
        """

    @abstractmethod
    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """Answer for the held-out units of one split.

        Parameters
        ----------
        view
            Everything that may be seen.
        embeddings
            Slot -> embedding of all ids of the view.
        split
            Whose test units are to be predicted.
        rng
            The only source of randomness.

        Returns
        -------
        Items
            One row per held-out item (see `mmcell.items`), without the truth; ``unit``, ``repeat``, ``fold`` and the
            truth are filled in by the framework.

        Raises
        ------
        UnaskableError
            Where labels do not allow a model that `check` could not know of. In a world of permuted labels that draw
            is undefined; anything else that is raised there fails the row, as it does where labels are as they are.
        """

    def on(self, dataset: str) -> Self:
        """Return the same task on another dataset.

        Parameters
        ----------
        dataset
            A name, or the path of a card.
        """
        other = copy.copy(self)
        other.spec = replace(self.spec, dataset=dataset)
        return other

    def using(self, probe: str) -> Self:
        """Return the same task with another of its probes.

        Parameters
        ----------
        probe
            One of the task's.
        """
        other = copy.copy(self)
        other.probe = probe
        return other

    def drawing(self, max_items: int) -> Self:
        """Return the same task with another number of items that it draws at most.

        Parameters
        ----------
        max_items
            At most so many; 0 asks about all.

        Raises
        ------
        MmcellError
            The task draws none: what it asks takes all items, and time in proportion to them.
        """
        if not self.draws:
            raise MmcellError(
                f"task {self.spec.name!r}: max_items is for tasks that compare items with each other (alignment, "
                "retrieval); this one takes all of them, leave max_items out"
            )
        if max_items < 0:
            raise MmcellError(f"max_items is {max_items}; use a number above the units', or 0 for all items")
        other = copy.copy(self)
        other.max_items = max_items
        return other


def tasks_registry() -> Any:
    """Return the registry of tasks: the shipped ones and those of plug-ins (entry points ``mmcell.tasks``)."""
    from mmcell.registry import Registry

    return Registry("task", "mmcell.tasks", {})


def list_tasks() -> list[str]:
    """Return the names of all tasks."""
    return list(tasks_registry().names())


def get_task(name: str) -> Task:
    """Return a task by name, or by ``module:attribute``.

    Parameters
    ----------
    name
        As in `mmcell list tasks`, or ``module:attribute``.

    Raises
    ------
    MmcellError
        No such task; the nearest names are given.
    """
    from mmcell.registry import load_attribute

    found = load_attribute(name) if ":" in name else tasks_registry().get(name)
    task = found() if isinstance(found, type) else found
    if not isinstance(task, Task):
        raise MmcellError(f"task {name!r}: {type(task).__name__} is not a mmcell.Task; derive it from Task")
    return task
