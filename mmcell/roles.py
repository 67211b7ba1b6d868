"""`Roles`: which column of a dataset means what, and the cards that say where data come from."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from mmcell.errors import MmcellError, did_you_mean, first, near_to, number_of

_FIELDS = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
_STRICT = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)


@dataclass(frozen=True, config=_FIELDS)
class Outcome:
    """The two columns of a right-censored outcome.

    Attributes
    ----------
    time
        Column of times, greater than 0.
    event
        Column that says how they ended: 1 = the event, 0 = censored.
    competing
        A further value of that column: another event, after which the one in question cannot happen (death of other
        causes before a relapse).
    """

    time: str
    event: str
    competing: str | None = None


@dataclass(frozen=True, config=_FIELDS)
class Roles:
    """Which column of ``obs`` means what.

    Attributes
    ----------
    unit
        The independent thing (patient, donor, …) that is split, resampled and permuted.
    sample, batch, cell_type, perturbation
        Column names, where they exist.
    replicates
        Whether several samples of one unit are replicates; otherwise they are taken for time points.
    control
        The value of `perturbation` that marks controls.
    reversing
        Values of `perturbation` that are known to reverse the disease: an approved treatment of it.
    label, positive
        A class of the unit, and the class that scores point to (default: the last in sorted order).
    ordered, order
        An ordered state of the unit (a stage, a grade): numbers, or text whose values `order` lists from least to most.
    outcome
        Time and event of the unit.
    technical, clinical
        Covariates: of the measurement, and of the patient.
    strata
        Columns of subgroups (cancer type, sex): the control ``stratum-only`` reads them, the worst one is named, and
        metrics of pairs are given within them, too.
    relevant
        Columns of the biology of interest: kept with the data, not read by the tasks of this version.
    contextual
        Columns that are neither the question nor the measurement (tissue, age, ethnicity): kept and shown, not read by
        the tasks. What a task must adjust for is `clinical`.
    """

    unit: str
    sample: str | None = None
    batch: str | None = None
    cell_type: str | None = None
    perturbation: str | None = None
    control: str | None = None
    reversing: tuple[str, ...] = Field(default=(), repr=False)
    label: str | None = None
    positive: str | None = None
    ordered: str | None = None
    order: tuple[str, ...] = ()
    outcome: Outcome | None = None
    technical: tuple[str, ...] = ()
    clinical: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    relevant: tuple[str, ...] = ()
    contextual: tuple[str, ...] = ()
    replicates: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """Role -> column, for every column that a role names."""
        single = ("unit", "sample", "batch", "cell_type", "perturbation", "label", "ordered")
        found = {role: getattr(self, role) for role in single if getattr(self, role) is not None}
        if self.outcome is not None:
            found |= {"outcome.time": self.outcome.time, "outcome.event": self.outcome.event}
        for role in ("technical", "clinical", "strata", "relevant", "contextual"):
            found |= {f"{role}[{i}]": column for i, column in enumerate(getattr(self, role))}
        return found

    def columns_of(self, role: str) -> tuple[str, ...]:
        """Return the columns of one role: one, several, or none.

        Parameters
        ----------
        role
            Name of a role.
        """
        return tuple(c for r, c in self.columns.items() if re.split(r"[.\[]", r)[0] == role)

    def hidden(self, targets: tuple[str, ...]) -> set[str]:
        """Return the columns that hold what is predicted, under whatever further role they also stand.

        Parameters
        ----------
        targets
            Roles that are predicted.
        """
        predicted = {target.partition("=")[0] for target in targets}
        return {column for role in predicted for column in self.columns_of(role)}


Identifiers = Literal["symbol", "ensembl", "other"]


class ModalityCard(BaseModel):
    """What the values of one modality are.

    `identifiers` says how its features are called (``var_names``), `gene_columns` which columns of ``var`` hold them
    in another way: ``{ensembl: gene_ids}``.
    """

    model_config = _STRICT

    preprocessing: Literal["counts", "log1p", "proportions", "values"] = "counts"
    identifiers: Identifiers = "symbol"
    gene_columns: dict[Literal["symbol", "ensembl"], str] = {}
    description: str = ""


#: Concept -> modality -> its markers, as the data call them.
Concepts = dict[str, dict[str, list[str]]]


class DatasetCard(BaseModel):
    """Where a dataset comes from, what may be done with it, and what to mind.

    `concepts` names sets of features whose activity in a cell means something (see `mmcell.concepts`).
    """

    model_config = _STRICT

    name: str
    description: str = ""
    source: str = ""
    licence: str = ""
    level: Literal["cell", "spot", "profile", "sample", "patient"] = "cell"
    modalities: dict[str, ModalityCard] = Field(default_factory=lambda: {"rna": ModalityCard()})
    time_unit: str = ""
    concepts: Concepts = {}
    caveats: tuple[str, ...] = ()


class TableCard(BaseModel):
    """One table of profiles, a row each.

    `id` is the column of ids (default: an unnamed first column, or one called ``id``); rows without ids are items of
    their own. `features` is a regular expression of the columns that are values (default: all numeric ones but
    ``Metadata_…``); `rename` gives columns that describe a profile the name that the other table has for them.
    """

    model_config = _STRICT

    file: str
    id: str | None = None
    features: str | None = None
    rename: dict[str, str] = {}


class SectionCard(BaseModel):
    """One section of spatial transcriptomics, from one of four sources.

    `counts` (a table, spots × genes), `positions` in pixels and `image`; `visium`, Space Ranger's output folder, with
    `image` at full resolution or else its own hires one; `spatialdata`, a ``.zarr``, whose `image` is a name in it; or
    HEST's `counts` (``st/ID.h5ad``) and `patches` (``patches/ID.h5``). `annotations` is a further table of spots;
    `facts` holds for all of them (``{patient: B}``).
    """

    model_config = _STRICT

    counts: str | None = None
    positions: str | None = None
    image: str | None = None
    visium: str | None = None
    spatialdata: str | None = None
    patches: str | None = None
    annotations: str | None = None
    facts: dict[str, str | int | float] = {}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        given = {n for n in ("counts", "positions", "image", "visium", "spatialdata", "patches") if getattr(self, n)}
        sources = (
            {"counts", "positions", "image"}, {"visium"}, {"visium", "image"}, {"spatialdata"},
            {"spatialdata", "image"}, {"counts", "patches"},
        )  # fmt: skip
        if given not in sources:
            raise ValueError(
                "give 'counts', 'positions' and 'image', or 'visium', or 'spatialdata', or 'counts' and 'patches'"
            )
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """What is read, relative to the card."""
        image = None if self.spatialdata else self.image
        named = (self.counts, self.positions, image, self.visium, self.spatialdata, self.patches, self.annotations)
        return tuple(name for name in named if name is not None)


class CohortCard(BaseModel):
    """A user's own cohort: the YAML beside one data file, beside one table a modality, or beside sections of tissue.

    `layer` says where an ``.h5ad`` or ``.zarr`` holds the values: ``X``, the name of a layer, or ``raw.X``. With
    `backed` they stay on disk and are read block by block, so that memory does not grow with the number of cells;
    without it, they are read into memory, which is faster where they fit. Rows must be stored as such (CSR or dense).

    `identifiers`, `genes` (a table with the columns ``symbol`` and ``ensembl``, relative to the card) and
    `gene_columns` speak of the modality ``rna``, and so does a concept that is a bare list of markers.
    """

    model_config = _STRICT

    data: str | None = None
    layer: str = "X"
    backed: bool = False
    tables: dict[str, TableCard] = {}
    sections: dict[str, SectionCard] = {}
    side: int = Field(default=112, ge=8, le=8192)
    roles: Roles
    name: str | None = None
    description: str = ""
    source: str = ""
    licence: str = ""
    level: Literal["cell", "spot", "profile", "sample", "patient"] = "cell"
    modality: str = "rna"
    preprocessing: Literal["counts", "log1p", "proportions", "values"] | dict[str, str] = "counts"
    identifiers: Identifiers = "symbol"
    genes: str | None = None
    gene_columns: dict[Literal["symbol", "ensembl"], str] = {}
    time_unit: str = ""
    concepts: Concepts = {}
    caveats: tuple[str, ...] = ()

    @field_validator("concepts", mode="before")
    @classmethod
    def _of_genes(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"rna": some} if isinstance(some, list) else some for name, some in value.items()}

    @field_validator("roles", mode="before")
    @classmethod
    def _needs_unit(cls, value: Any) -> Any:
        # A mistyped key is the mistake that helps, and is named as such.
        if isinstance(value, dict) and "unit" not in value and set(value) <= set(Roles.__dataclass_fields__):
            raise ValueError("'unit' is missing: name the column of the patient or donor")
        return value

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(map(bool, (self.data, self.tables, self.sections))) != 1:
            raise ValueError("give one of 'data' (a file), 'tables' (modality: file) and 'sections' (name: files)")
        if self.backed and not str(self.data).endswith((".h5ad", ".h5mu", ".zarr")):
            raise ValueError("'backed' is for 'data' that is one .h5ad, .h5mu or .zarr")
        if self.layer != "X" and not str(self.data).endswith((".h5ad", ".zarr")):
            raise ValueError("'layer' is for 'data' that is one .h5ad or .zarr")
        return self


#: How alike a value must be to one of those that are allowed to be taken for a slip.
_ALIKE = 0.6
#: What pydantic calls a key that a model, or a dataclass, does not have.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def parse(model: Any, content: Any, where: str) -> Any:
    """Validate YAML content against a pydantic model; the first fault becomes one readable line.

    Parameters
    ----------
    model
        The pydantic class.
    content
        What the safe YAML loader returned.
    where
        The file, for the message.

    Raises
    ------
    MmcellError
        Names the field, what was found and what is expected or near.
    """
    if not isinstance(content, dict):
        raise MmcellError(f"{where}: expected a mapping of keys at the top, found {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # A mistyped key often leaves a required one missing too; the mistake is what helps.
        fault = min(error.errors(), key=lambda f: f["type"] not in _UNKNOWN)
        spot = _spot(fault)
        if fault["type"] in _UNKNOWN:
            hint = did_you_mean(str(fault["loc"][-1]), _fields(model, fault["loc"][:-1]))
            raise MmcellError(f"{where}: unknown key {spot!r}; {hint}") from error
        # Every member of a union that fails is an error of its own, at one and the same key.
        others = [at for at in dict.fromkeys(_spot(f) for f in error.errors()) if at != spot]
        rest = f"; and {number_of(len(others), 'more error')} ({first(others)})" if others else ""
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "invalid_key":
            # Without quotes YAML takes null, yes, 7 and 2026-01-01 for what they look like.
            raise MmcellError(f"{where}: a key is {fault['input']!r} and no text; quote it") from error
        if fault["type"] == "string_type" and isinstance(fault["input"], bool):
            words = "yes, on and true" if fault["input"] else "no, off and false"
            message = f'without quotes YAML takes {words} for a truth value; quote it ("{words.partition(",")[0]}")'
        if fault["type"] == "literal_error" and isinstance(fault["input"], str):
            near = near_to(fault["input"], re.findall(r"'([^']*)'", fault["ctx"]["expected"]), _ALIKE)
            message += f", not {fault['input']!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
        at = f"{where}: {spot}" if spot else where
        raise MmcellError(f"{at}: {message[:1].lower()}{message[1:]}{rest}") from error


def _spot(fault: Any) -> str:
    """Return where a fault is, as ``roles.unit``: the tags of a union, such as literal['a','b'], are no places."""
    return ".".join(str(part) for part in fault["loc"] if "[" not in str(part))


def _fields(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Return the field names of the (nested) model at `path`; numbers and union tags are stepped over."""
    for part in path:
        fields = getattr(model, "model_fields", None) or getattr(model, "__pydantic_fields__", {})
        if part not in fields:
            continue
        for candidate in _classes(fields[part].annotation):
            model = candidate
    return list(getattr(model, "model_fields", None) or getattr(model, "__pydantic_fields__", {}))


def _classes(annotation: Any) -> list[Any]:
    if hasattr(annotation, "__pydantic_fields__"):
        return [annotation]
    return [c for part in getattr(annotation, "__args__", ()) for c in _classes(part)]
