"""`audit`: findings about a dataset, a bare file, a table of predictions or a finished run, before or after scoring."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mmcell.audit.batches import batch_predictability, confounded, embedding_means, label_from_batch, unit_means
from mmcell.audit.clinical import clinical_findings
from mmcell.audit.composition import composition_findings
from mmcell.audit.duplicates import duplicate_findings, of_row
from mmcell.audit.evidence import ordered
from mmcell.audit.identifiers import misnamed
from mmcell.audit.overlap import overlap_findings
from mmcell.audit.predictions import audit_predictions, twin_findings, wide_predictions
from mmcell.audit.retention import retention_findings, technical_retention, technical_table
from mmcell.audit.technical import counted_anyway, covariate_leaks, jointly
from mmcell.audit.units import empty, excluded, positive_class, samples, small, targets_of, unusable, varying
from mmcell.audit.values import finite_features, finite_rows, values_findings
from mmcell.dataset import Dataset
from mmcell.embedding import Embedding, ModelCard
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.matrix import is_sparse
from mmcell.records import Finding
from mmcell.roles import CohortCard, DatasetCard, ModalityCard, Roles, parse
from mmcell.survey import survey

if TYPE_CHECKING:
    from mmcell.results import Results

_FILES = (".h5ad", ".h5mu", ".zarr")
_TABLES = (".csv", ".parquet")
#: So many columns of a file are named to choose from.
_LISTED = 12
#: Role -> what can be looked at when it is known.
_OPENS = {
    "unit": "duplicates between patients, numbers of patients",
    "batch": "batch against label, how predictable the batch is",
    "label": "confounding with batch, what the measurement alone says of it, rare classes",
    "cell_type": "types in one batch, distorted compositions",
    "sample": "several samples of one patient",
}


def audit(
    source: str | Path | pd.DataFrame | Dataset | Results,
    *,
    roles: Mapping[str, Any] | None = None,
    preprocessing: str | None = None,
    modality: str = "rna",
    embeddings: Iterable[Embedding] = (),
    cards: Iterable[ModelCard] = (),
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Finding]:
    """Return what a reader must know of data, predictions or results: leaks first, then warnings, then information.

    Parameters
    ----------
    source
        A `Dataset`, its name in the catalogue or the YAML of its card; a bare ``.h5ad``, ``.h5mu`` or ``.zarr``; a
        table of predictions (``.csv``, ``.parquet`` or a frame); the output folder of a run, or its `Results`.
    roles
        Role -> column, see `Roles`: of a bare file, where no role is ever guessed; for a dataset they come on top of
        its card.
    preprocessing, modality
        What the values of a bare file are (``counts``, ``log1p``, …), and of what.
    embeddings
        Of the dataset's items or patients: looked at for duplicates, batches and technical retention.
    cards
        Of models, whose pretraining manifests are compared with the dataset.
    n_boot, seed
        Of the intervals, and of everything random.

    Returns
    -------
    list of Finding
        The worst first, each with its evidence and a cure.

    Raises
    ------
    MmcellError
        There is no such source, or it cannot be read; a role names a column that is not there.
    """
    # One BLAS thread: on matrices this small several spin rather than help, and sums depend on their number.
    with threadpool_limits(1, user_api="blas"):
        return _audited(source, roles or {}, preprocessing, modality, list(embeddings), list(cards), n_boot, seed)


def _audited(
    source: str | Path | pd.DataFrame | Dataset | Results, roles: Mapping[str, Any], preprocessing: str | None,
    modality: str, embeddings: list[Embedding], cards: list[ModelCard], n_boot: int, seed: int,
) -> list[Finding]:  # fmt: skip
    from mmcell.results import Results

    given = {k: v for k, v in roles.items() if v not in (None, (), [])}
    if isinstance(source, (str, Path)):
        source = _read(source)
    if isinstance(source, (pd.DataFrame, Results)):
        extra = {"roles": given, "preprocessing": preprocessing, "embeddings": embeddings}
        unused = [name for name, value in extra.items() if value]
        if unused:
            raise MmcellError(f"audit: {unused[0]} are of data; a table or a run has none of its own, leave them out")
    if isinstance(source, pd.DataFrame):
        return ordered([*audit_predictions(source), *twin_findings(wide_predictions(source))])
    if isinstance(source, Results):
        from mmcell.audit.runs import audit_run

        names = {r.dataset for r in source.records}
        return ordered([*audit_run(source), *(f for n in sorted(names) for f in overlap_findings(cards, n))])
    if isinstance(source, Dataset):
        data = _with(source, given)
        return ordered(audit_dataset(data, embeddings, cards, n_boot=n_boot, seed=seed))
    path, content = source
    return ordered(_bare(path, content, given, preprocessing, modality, embeddings, cards, n_boot, seed))


def _read(source: str | Path) -> pd.DataFrame | Dataset | Results | tuple[Path, Any]:
    from mmcell.data.catalog import DATASETS, in_catalogue, load_dataset
    from mmcell.data.cohort import read_data
    from mmcell.readers import existing, read_table
    from mmcell.results import Results

    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        return load_dataset(path)
    if path.suffix in _TABLES:
        return read_table(path)
    if path.suffix in _FILES:
        with warnings.catch_warnings():
            # It becomes a finding.
            warnings.filterwarnings("ignore", message="Variable names are not unique")
            return path, read_data(existing(path))
    if path.is_dir():
        return Results.read(path)
    if in_catalogue(str(source)):
        return load_dataset(str(source))
    raise MmcellError(
        f"{source}: is no dataset ({did_you_mean(str(source), DATASETS.names())}), no folder of a run, and ends in "
        f"none of {', '.join((*_FILES, *_TABLES, '.yaml'))}"
    )


def _with(dataset: Dataset, given: Mapping[str, Any]) -> Dataset:
    return replace(dataset, roles=replace(dataset.roles, **_checked(given))) if given else dataset


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    known = Roles.__dataclass_fields__
    for role in given:
        if role not in known:
            raise MmcellError(f"audit: there is no role {role!r}; {did_you_mean(role, known)}")
    card = parse(CohortCard, {"data": "-", "roles": {"unit": "", **given}}, "audit")
    return {role: getattr(card.roles, role) for role in given}


def _bare(
    path: Path, content: Any, given: Mapping[str, Any], preprocessing: str | None, modality: str,
    embeddings: list[Embedding], cards: list[ModelCard], n_boot: int, seed: int,
) -> list[Finding]:  # fmt: skip
    """Audit a file without a card: what needs no role always, the rest as far as roles are given."""
    found, wanted = [], _checked(given)
    parts = dict(content.mod) if hasattr(content, "mod") else {modality: content}
    repeated = pd.Index(content.obs_names)[pd.Index(content.obs_names).duplicated()].unique()
    if len(repeated):
        found.append(
            Finding(
                severity="warning", code="repeated-names", evidence=first(repeated),
                message=f"{len(repeated)} obs_names occur more than once",
                cure="call obs_names_make_unique() before writing the file; without it nothing can be matched by id",
            )
        )  # fmt: skip
    column, unit = wanted.get("unit"), None
    if column is not None and column in content.obs and not len(repeated):
        missing = content.obs[column].isna().to_numpy()
        if missing.any():
            found.append(
                Finding(
                    severity="warning", code="no-unit", evidence=first(content.obs_names[missing]),
                    message=f"{int(missing.sum())} items have no {column!r} and are not looked at further",
                    cure="fill in the patient of every item, or drop these items",
                )
            )  # fmt: skip
            content = content[~missing].copy()
            parts = dict(content.mod) if hasattr(content, "mod") else {modality: content}
        unit = content.obs[column]
    if unit is None:
        if column is not None and column not in content.obs:
            raise MmcellError(f"{path}: no column {column!r} in obs; {did_you_mean(column, map(str, content.obs))}")
        for name, part in parts.items():
            found += _matrix(part, part.X, name, preprocessing, None, seed)
        found += [f for e in embeddings for f in duplicate_findings(e.values, e.ids, None, e.name, counts=False)]
        found += overlap_findings([*cards, *(e.card for e in embeddings)], path.stem)
        given_roles = {r for r in wanted if r == "unit" or "unit" in wanted}
        return [*found, *_unopened(given_roles, "--{}", content.obs.columns)]
    stated: Any = preprocessing or "values"
    modalities = {name: ModalityCard(preprocessing=stated, identifiers="other") for name in parts}
    dataset = Dataset(path.stem, content, Roles(**wanted), DatasetCard(name=path.stem, modalities=modalities))
    shown = None if preprocessing is None else "card"
    found += audit_dataset(dataset, embeddings, cards, n_boot=n_boot, seed=seed, stated=shown is not None)
    return [*found, *_unopened(set(wanted), "--{}", content.obs.columns.difference(_named(wanted), sort=False))]


def _named(wanted: Mapping[str, Any]) -> list[str]:
    return [name for name in wanted.values() if isinstance(name, str)]


def _unopened(given: set[str], option: str, columns: pd.Index) -> list[Finding]:
    rest = {role: what for role, what in _OPENS.items() if role not in given}
    if not rest:
        return []
    words = "; ".join(f"{option.format(role.replace('_', '-'))}: {what}" for role, what in rest.items())
    return [
        Finding(
            severity="info", code="roles-not-given", evidence=words,
            message="not looked at, for nobody said which column it is: "
            + ", ".join(role.replace("_", " ") for role in rest)
            + (f"; obs has {first(columns, _LISTED)}" if len(columns) else "; obs has no column"),
            cure="name these columns, or write a card",
        )
    ]  # fmt: skip


def audit_dataset(
    dataset: Dataset,
    embeddings: Iterable[Embedding] = (),
    cards: Iterable[ModelCard] = (),
    *,
    n_boot: int = 1000,
    seed: int = 0,
    stated: bool = True,
) -> list[Finding]:
    """Return all findings about a dataset that need no model, and those about embeddings of it.

    Parameters
    ----------
    dataset, embeddings, cards, n_boot, seed
        See `audit`.
    stated
        Whether its card says what the values are.
    """
    cells = dataset.card.level != "patient"
    targets, modality = targets_of(dataset), next(iter(dataset.card.modalities))
    draws = {"n_boot": n_boot, "seed": seed}
    found = [*unusable(dataset), *small(dataset, targets), *empty(dataset)]
    found += [*excluded(dataset, targets, "patient"), *positive_class(dataset), *_crossed(dataset)]
    found += clinical_findings(dataset, targets)
    found += confounded(dataset, **draws)
    found += label_from_batch(dataset, **draws)
    if cells:
        found += [*composition_findings(dataset), *samples(dataset)]
        found += covariate_leaks(dataset, modality, targets, all_values=True, **draws)
        found += [*jointly(dataset, modality, **draws), *counted_anyway(dataset, modality)]
    for name in dataset.card.modalities:
        values = dataset.values(name)
        said = dataset.modality(name).preprocessing if stated else None
        found += _matrix(dataset.anndata(name), values, name, said, dataset, seed)
        if values is not None:
            found += batch_predictability(
                dataset, unit_means(dataset, name), f"mean {name} profiles" if cells else f"{name} profiles", **draws
            )  # fmt: skip
    for embedding in embeddings:
        found += _embedding(dataset, embedding, modality, n_boot, seed)
    models = [*cards, *(e.card for e in embeddings)]
    found += overlap_findings(models, dataset.name, (dataset.card.source, dataset.card.description))
    found += [Finding(severity="info", code="caveat", message=text) for text in dataset.card.caveats]
    return found


def _crossed(dataset: Dataset) -> list[Finding]:
    """Say that units lie in several batches, which is no mistake."""
    column = dataset.roles.batch
    if column is None:
        return []
    several = varying(dataset, column)
    if several.empty:
        return []
    return [
        Finding(
            severity="info", code="units-in-several-batches", evidence=first(several.index),
            message=f"{len(several)} of {dataset.unit.nunique()} units lie in several batches ({column}): leaving one "
            "out would cut them, and how predictable it is was not asked",
        )
    ]  # fmt: skip


def _matrix(
    part: Any, values: Any, name: str, stated: str | None, dataset: Dataset | None, seed: int
) -> list[Finding]:  # fmt: skip
    """Look at the values of one modality, in memory or on disk, and at copies among its rows."""
    if values is None:
        return []
    ids = pd.Index(part.obs_names.astype(str))
    features = pd.Index(part.var_names.astype(str))
    found = values_findings(values, ids, features, name, stated)
    if dataset is not None:
        found += misnamed(features, name, dataset.modality(name).identifiers)
    unit = None if dataset is None else dataset.unit
    counts = stated == "counts"
    on_disk = dataset is not None and name in dataset.disk
    if dataset is not None and (counts or on_disk):
        x, known = finite_features(dataset, name)
    else:
        keep = finite_rows(values)
        x, known = (values, ids) if keep.all() else (values[keep], ids[keep])
    if len(known) < len(ids):
        found.append(
            Finding(
                severity="info", code="rows-left-out", evidence=first(ids.difference(known, sort=False)),
                message=f"{name}: {len(ids) - len(known):,} of {len(ids):,} items are left out where duplicates, depth "
                "and batches are looked at: they hold values that are NaN, infinite or negative counts",
            )
        )  # fmt: skip
    # Without a card, rows with few values are taken for sparse ones where most values are zero.
    stored = getattr(x, "nnz", np.inf)
    if dataset is not None and on_disk and is_sparse(x):
        stored = survey(dataset, name).found.sum()
    sparse = counts or stored < 0.5 * x.shape[0] * x.shape[1]
    groups = {} if dataset is None else {"batch": of_row(dataset, "batch"), "label": of_row(dataset, "label")}
    return [*found, *duplicate_findings(x, known, unit, name, counts=sparse, seed=seed, **groups)]


def _embedding(dataset: Dataset, embedding: Embedding, modality: str, n_boot: int, seed: int) -> list[Finding]:
    found, ids = [], dataset.units_of("patient").index if embedding.level == "patient" else dataset.ids
    absent = ids.difference(embedding.ids)
    if len(absent):
        found.append(
            Finding(
                severity="warning", code="no-vector", evidence=first(absent),
                message=f"{embedding.name}: {len(absent)} of {len(ids)} {embedding.level}s have no row",
                cure="embed them too",
            )
        )  # fmt: skip
    rows = embedding.align(ids, missing="drop")
    unit = dataset.units_of(embedding.level)
    found += duplicate_findings(rows.values, rows.ids, unit, embedding.name, counts=False, seed=seed)
    means = embedding_means(dataset, rows)
    found += batch_predictability(dataset, means, f"mean vectors of {embedding.name}", n_boot=n_boot, seed=seed)
    if dataset.card.level != "patient":
        card = embedding.card
        vectors = Embedding.from_array(embedding.name, means.index, means.to_numpy(), level="patient", card=card)
        table = technical_retention(vectors, technical_table(dataset, modality), n_boot=n_boot, seed=seed)
        found += [f.model_copy(update={"message": f"{embedding.name}: {f.message}"}) for f in retention_findings(table)]
    return found
