"""`Cohort`: whom a stratification is of, what it reads of them, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.encoders.base import Encoder, check_encoder, make_encoder, readable
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.plausible import meant_as_number, plausible
from mmcell.poolings import Pooling, resolve_poolings
from mmcell.proportions import whole
from mmcell.roles import CohortCard, DatasetCard, ModalityCard, Roles, parse
from mmcell.stratification.ends import Early, Kind, outcome_in, timeless_in
from mmcell.truth import as_text

Source: TypeAlias = str | Path | pd.DataFrame | Dataset
_FILES = (".h5ad", ".h5mu", ".zarr")
_TABLES = (".csv", ".tsv", ".gz", ".parquet")
#: Fewer patients than this say nothing of groups among patients.
FEWEST = 20


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients, what they are grouped by, and what became of them.

    Attributes
    ----------
    dataset
        Whose units are the patients.
    source, modality
        Encoder or fixed embedding, and what it reads.
    pooling
        How cells become patients; None where rows are patients.
    patients
        (n,) the patients that have what is read, sorted.
    kind
        What became of them: ``survival``, ``label`` (a class) or ``none``.
    outcome
        A row per patient of whom it is known: ``time`` and ``event``, or ``label`` (text).
    positive
        The class that odds point to, where there are two.
    covariates
        A row per patient, as they are.
    batch
        Patient -> batch as text; None where there is none.
    columns
        What the outcome's columns are called by their owner.
    by_default, passed_over
        The columns of a table that patients are grouped by because nobody said which: all numeric ones without a role;
        and those that are not, for they hold text.
    timeless
        Patients whose outcome was left out for a time that is not positive.
    """

    dataset: Dataset
    source: Encoder | Embedding
    modality: str
    pooling: Pooling | None
    patients: pd.Index
    kind: Kind
    outcome: pd.DataFrame
    positive: str
    covariates: pd.DataFrame
    batch: pd.Series | None
    columns: tuple[str, ...]
    by_default: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    timeless: tuple[str, ...] = ()

    @property
    def truth(self) -> pd.DataFrame | None:
        """Its outcome as `mmcell.Dataset.truth` has it: time and event, or whether of the positive class; or None."""
        if self.kind == "survival":
            return self.outcome
        return pd.DataFrame({"y_true": (self.outcome["label"] == self.positive).astype(int)}) if self.positive else None

    @cached_property
    def values(self) -> pd.DataFrame | None:
        """The values of every patient as they are in the table; None where rows are cells, or there are none."""
        data = self.dataset
        if data.card.level != "patient" or data.values(self.modality) is None:
            return None
        raw, named = data.features(self.modality).X, data.anndata(self.modality)
        dense = np.asarray(raw.toarray() if hasattr(raw, "toarray") else raw, dtype=float)
        return pd.DataFrame(dense, named.obs_names, named.var_names)

    @cached_property
    def whole(self) -> bool:
        """Whether these are proportions that add up to 1."""
        return self._proportions is not None and not self.broken

    @cached_property
    def broken(self) -> tuple[str, ...]:
        """Patients whose proportions do not add up to 1: with one of them nobody's are read as log-ratios."""
        values = self._proportions
        return () if values is None else tuple(map(str, values.index[~whole(values.to_numpy())]))

    @property
    def _proportions(self) -> pd.DataFrame | None:
        stated = self.dataset.modality(self.modality).preprocessing == "proportions"
        return self.values if stated else None

    @property
    def plain(self) -> bool:
        """Whether patients are grouped by the values of their rows, which nothing has encoded."""
        return self.pooling is None and getattr(getattr(self.source, "card", None), "name", "") == "features"

    @property
    def encoder(self) -> str:
        """What the embedding is called, and how it becomes patients."""
        if self.plain and self.whole:
            return "log-ratios of proportions"
        read = self.pooling is None or self.pooling.reads_embedding
        name = self.source.name if isinstance(self.source, Embedding) else self.source.card.name
        return " → ".join(([name] if read else []) + ([self.pooling.name] if self.pooling else []))

    def columns_read(self, d: int) -> list[str]:
        """Return what the d values of a patient are called."""
        own = (
            self.source.columns if isinstance(self.source, Embedding) else self.dataset.anndata(self.modality).var_names
        )
        return list(map(str, own)) if own is not None and len(own) == d else [f"column {j}" for j in range(d)]


def open_cohort(
    source: Source, *, embedding: Any, patient_encoder: Any, modality: str | None, preprocessing: str | None,
    features: str | None, roles: Mapping[str, Any], seed: int, early: Early = "error",
) -> Cohort:  # fmt: skip
    """Return the cohort that was named, with the roles that were given on top of its card's.

    Raises
    ------
    MmcellError
        No such dataset, file or column; roles that contradict each other; an embedding that is not of these patients;
        fewer than 20 patients.
    """
    given = {role: value for role, value in roles.items() if value not in (None, (), [], "")}
    if given.get("label") and (given.get("time") or given.get("event")):
        raise MmcellError("stratify: give either time and event, or a label: one outcome at a time")
    if bool(given.get("time")) != bool(given.get("event")):
        raise MmcellError("stratify: time and event belong together; give both columns")
    dataset = _dataset_of(source, given, preprocessing, modality, features)
    if given.get("label"):
        dataset = replace(dataset, roles=replace(dataset.roles, outcome=None))
    chosen = modality if modality is not None else next(iter(dataset.card.modalities))
    dataset.anndata(chosen)
    read, pooling = _encoder(dataset, chosen, embedding, patient_encoder, seed)
    patients = _patients(dataset, read, pooling)
    if len(patients) < FEWEST:
        few = "1 patient is" if len(patients) == 1 else f"{len(patients)} patients are"
        raise MmcellError(f"stratify: {few} too few to look for groups; {FEWEST} are the least")
    timeless = timeless_in(dataset, early)
    kind, outcome, positive, columns = outcome_in(dataset, given.get("positive"), timeless)
    covariates = dataset.covariates("clinical").reindex(patients)
    for name in covariates:
        plausible(covariates[name].dropna(), f"the covariate {name!r}", "stratify")
    batch = None
    if dataset.roles.batch is not None and dataset.roles.batch in dataset.patients:
        values = dataset.per_unit(dataset.roles.batch)
        batch = as_text(values.dropna()).reindex(patients)
    table = isinstance(source, pd.DataFrame) or (isinstance(source, (str, Path)) and Path(source).suffix in _TABLES)
    taken = table and features is None and embedding is None
    return Cohort(
        dataset, read, chosen, pooling, patients, kind, outcome[outcome.index.isin(patients)], positive,
        covariates, batch, columns, tuple(map(str, dataset.anndata(chosen).var_names)) if taken else (),
        _text_columns(dataset) if taken else (), timeless,
    )  # fmt: skip


def _dataset_of(
    source: Source, given: Mapping[str, Any], preprocessing: str | None, modality: str | None, features: str | None
) -> Dataset:
    from mmcell.data.catalog import load_dataset
    from mmcell.data.cohort import read_data
    from mmcell.readers import existing, read_table

    if isinstance(source, pd.DataFrame):
        return _of_table(source, "table", given, preprocessing, features)
    named = Path(source) if isinstance(source, (str, Path)) else None
    if named is not None and named.suffix in _TABLES:
        return _of_table(read_table(named), str(named), given, preprocessing, features)
    if named is not None and named.suffix in _FILES:
        if features is not None:
            _refuse_features(read_data(existing(named)), str(named))
        return _of_file(existing(named), given, preprocessing, modality)
    if preprocessing is not None:
        raise MmcellError("stratify: preprocessing is for a bare file or a table; a dataset's card says its own")
    dataset = source if isinstance(source, Dataset) else load_dataset(str(source))
    if features is not None:
        _refuse_features(dataset.data, f"dataset {dataset.name!r}")
    if not given:
        return dataset
    known = list(map(str, dataset.obs.columns))
    return replace(dataset, roles=_roles(given, dataset.roles, known, f"dataset {dataset.name!r}"))


def _refuse_features(data: Any, who: str) -> None:
    """Refuse features where there is no table, and say what can be chosen instead."""
    parts = dict(data.mod) if hasattr(data, "mod") else {}
    there = [f"--modality {name}" for name in parts] if len(parts) > 1 else []
    there += [f"--embedding FILE:obsm/{key}" for part in (parts or {"": data}).values() for key in part.obsm]
    raise MmcellError(
        f"stratify: --features choose the columns of a table, and {who} is none; there is "
        f"{first([*there, 'an encoder by name, such as --embedding pca'], 6)}"
    )


def _roles(given: Mapping[str, Any], on: Roles | None, known: Sequence[str], who: str) -> Roles:
    """Return the roles that were given, on top of others where there are any."""
    for role in ("unit", "time", "event", "label", "batch", "cell_type"):
        if role in given and given[role] not in known:
            raise MmcellError(f"{who}: no column {given[role]!r} ({role}); {did_you_mean(str(given[role]), known)}")
    for column in given.get("clinical", ()):
        if column not in known:
            raise MmcellError(f"{who}: no column {column!r} (covariates); {did_you_mean(str(column), known)}")
    named = {r: given[r] for r in ("unit", "label", "positive", "batch", "cell_type", "clinical") if r in given}
    if "time" in given:
        named["outcome"] = {"time": given["time"], "event": given["event"]}
    parsed = parse(CohortCard, {"data": "-", "roles": {"unit": "", **named}}, "stratify").roles
    changed = {role: getattr(parsed, role) for role in named}
    if on is None:
        return Roles(**{"unit": parsed.unit, **changed})
    if "label" in changed and "positive" not in changed:
        # The card's positive class is of its own label.
        changed["positive"] = None if changed["label"] != on.label else on.positive
    return replace(on, **changed)


def _of_file(path: Path, given: Mapping[str, Any], preprocessing: str | None, modality: str | None) -> Dataset:
    """Return the dataset of a bare file, whose roles are those that were given and no others."""
    from mmcell.data.cohort import read_data

    data = read_data(path)
    known = list(map(str, data.obs.columns))
    if "unit" not in given:
        raise MmcellError(f"{path}: say which column is the patient: --unit COLUMN ({first(known, 8)})")
    names = list(data.mod) if hasattr(data, "mod") else [modality or "rna"]
    stated: Any = preprocessing or "counts"
    cards = {name: ModalityCard(preprocessing=stated, identifiers="other") for name in names}
    roles = _roles(given, None, known, str(path))
    patients = data.obs[roles.unit].astype(str).to_numpy()
    level: Any = "patient" if np.array_equal(patients, data.obs_names.astype(str)) else "cell"
    return Dataset(path.stem, data, roles, DatasetCard(name=path.stem, modalities=cards, level=level))


def _of_table(
    table: pd.DataFrame, who: str, given: Mapping[str, Any], preprocessing: str | None, features: str | None
) -> Dataset:
    """Return the dataset of a table with a row a patient: the numeric columns without a role are the embedding."""
    import anndata as ad

    table = table.set_axis([str(c) for c in table.columns], axis=1)
    known = list(table.columns)
    if len(known) == 1 and ";" in known[0]:
        raise MmcellError(
            f"{who}: the only column is {known[0][:40]!r}: separated by ';'? Save it with commas, or as .tsv"
        )
    if "unit" not in given:
        raise MmcellError(f"{who}: say which column is the patient: --id COLUMN ({first(known, 8)})")
    roles = _roles(given, None, known, who)
    ids = table[roles.unit]
    if ids.isna().any():
        raise MmcellError(
            f"{who}: {int(ids.isna().sum())} rows have no {roles.unit!r}; fill in the patient or drop them"
        )
    names = as_text(ids)
    if names.duplicated().any():
        raise MmcellError(
            f"{who}: {first(names[names.duplicated()].unique())} of {roles.unit!r} stands in several rows; "
            "give one row a patient"
        )
    taken = set(roles.columns.values())
    free = [c for c in known if c not in taken and pd.api.types.is_numeric_dtype(table[c])]
    free = [c for c in free if not pd.api.types.is_bool_dtype(table[c])]
    if features is None:
        for name in (c for c in known if c not in taken and not pd.api.types.is_numeric_dtype(table[c])):
            meant_as_number(table[name].dropna(), f"column {name!r}", "stratify")
    else:
        free = _chosen(features, free, known, who)
    if not free:
        raise MmcellError(f"{who}: no numeric column without a role is left to group patients by; see --covariates")
    values = table[free].astype(float)
    gaps = values.isna().sum()
    if gaps.any():
        raise MmcellError(
            f"{who}: {int(gaps.max())} patients have no {gaps.idxmax()!r}; fill it in, make it a covariate, or leave "
            "it out with --features"
        )
    obs = table.drop(columns=free).set_index(pd.Index(names.to_numpy(), name=None))
    obs[roles.unit] = names.to_numpy()
    data = ad.AnnData(values.to_numpy(np.float64), obs=obs)
    data.var_names = free
    stated: Any = preprocessing or "values"
    card = ModalityCard(preprocessing=stated, identifiers="other")
    name = Path(who).name.partition(".")[0]
    return Dataset(name, data, roles, DatasetCard(name=name, level="patient", modalities={"features": card}))


def _chosen(features: str, free: Sequence[str], known: Sequence[str], who: str) -> list[str]:
    """Return the numeric columns without a role that a regular expression matches as a whole."""
    try:
        named = [c for c in known if re.fullmatch(features, c)]
    except re.error as error:
        raise MmcellError(f"stratify: features {features!r} is no regular expression ({error})") from error
    found = [c for c in free if c in named]
    if not found:
        why = f"{first(named)}, which has a role or is not numeric" if named else "no column"
        listed = [part.strip() for part in features.split(",")]
        cure = (
            f"it is a regular expression, not a list: write '{'|'.join(map(re.escape, listed))}'; "
            if set(listed) <= set(known)
            else ""
        )
        raise MmcellError(
            f"{who}: --features {features!r} matches {why}; {cure if not named else ''}"
            f"numeric columns without a role: {first(free, 12) or 'none'}"
        )
    return found


def _encoder(
    dataset: Dataset, modality: str, embedding: Any, patient_encoder: Any, seed: int
) -> tuple[Encoder | Embedding, Pooling | None]:
    """Return what reads the data, and how cells become patients."""
    cells = dataset.card.level != "patient"
    typed = dataset.roles.cell_type is not None
    of_patients = isinstance(embedding, Embedding) and _is_of_patients(embedding, dataset)
    if patient_encoder is not None and (of_patients or not cells):
        raise MmcellError("stratify: rows are patients already; leave --patient-encoder out")
    pooling = None
    if cells and not of_patients:
        chosen = patient_encoder or ("composition" if typed and embedding is None else "pseudobulk")
        found = resolve_poolings(chosen, seed)
        if len(found) != 1:
            raise MmcellError(f"stratify: {len(found)} patient encoders; give one")
        pooling = found[0]
        if pooling.is_supervised:
            raise MmcellError(
                f"stratify: {pooling.name} is fitted to the label, so its groups would know the outcome; give another"
            )
        if embedding is not None and not pooling.reads_embedding:
            raise MmcellError(f"stratify: {pooling.name} reads cell types, not --embedding; leave one of the two out")
    if isinstance(embedding, Embedding):
        return _checked(embedding, dataset, of_patients), pooling
    if embedding is None:
        embedding = "pca" if cells or dataset.modality(modality).preprocessing in ("counts", "log1p") else "features"
        if pooling is not None and not pooling.reads_embedding:
            embedding = "constant"
    made = make_encoder(embedding) if isinstance(embedding, str) else check_encoder(embedding, "embedding")
    why = readable(made, dataset, modality)
    if why:
        raise MmcellError(f"stratify: {made.card.name}: {why}; choose another --embedding")
    return made, pooling


def _is_of_patients(embedding: Embedding, dataset: Dataset) -> bool:
    """Whether the ids are those of patients rather than of cells."""
    return bool(embedding.ids.isin(dataset.units).sum() > embedding.ids.isin(dataset.ids).sum()) or (
        dataset.card.level == "patient"
    )


def _checked(embedding: Embedding, dataset: Dataset, of_patients: bool) -> Embedding:
    """Return an embedding's rows of this dataset, in its order."""
    if of_patients:
        units = dataset.units_of("patient").index
        found = embedding.align(units, missing="drop")
        return Embedding(found.name, "patient", found.modality, found.ids, found.values, found.card, found.columns)
    return embedding.align(dataset.ids, missing="drop")


def _patients(dataset: Dataset, read: Encoder | Embedding, pooling: Pooling | None) -> pd.Index:
    """Return the sorted patients that have what is read."""
    if not isinstance(read, Embedding) or (pooling is not None and not pooling.reads_embedding):
        return dataset.units.rename("patient")
    own = read.ids if pooling is None else pd.Index(dataset.unit.reindex(read.ids).unique())
    return pd.Index(sorted(own), name="patient")


def _text_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns of a table that have no role and are no numbers."""
    taken = set(dataset.roles.columns.values())
    return tuple(str(c) for c in dataset.obs if c not in taken)
