"""Public cohorts of the reference benchmark: what each is, where it is downloaded, and how it is read from disk.

COMBAT is a file of Zenodo; the others lie in the layout of CELLxGENE, which is the same for all of them. They are large
(600,000 to 2,300,000 cells), so their counts stay on disk. None was downloaded here: columns beyond those of the layout
are those that published code reads; one that a file lacks is left out, and the card says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcell.data.download import data_folder, fetch, known_digest
from mmcell.data.entry import FETCHED, catalogued
from mmcell.data.lazy import open_lazily
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.matrix import Matrix, elements, opened
from mmcell.roles import DatasetCard, ModalityCard, Roles

#: Source files of a release of the CELLxGENE Census, which do not change, by dataset id.
CENSUS = "https://cellxgene-census-public-us-west-2.s3.us-west-2.amazonaws.com/cell-census/2025-01-30/h5ads"
#: The environment variable that names a mirror of all of them: BASE/NAME.h5ad.
MIRROR = "MMCELL_COHORTS_URL"
#: The columns of CELLxGENE's layout that are context of every cell.
_CONTEXT = ("tissue", "development_stage", "self_reported_ethnicity")
#: What stands for a cell without a type.
UNLABELLED = "unlabelled"
#: Rows that tell whether a matrix holds counts.
_LOOKED = 1000


@dataclass(frozen=True)
class Cohort:
    """One public cohort.

    Attributes
    ----------
    url, about, source, licence
        Where it is, what it is, whose it is.
    roles
        Role -> column or columns. `unit` and `cell_type` must be there; others are left out where the file lacks them.
    asked
        Column that holds what is asked, and class -> its values there. Donors with another value have no label.
    positive
        Class that scores point to.
    layer
        Where the counts are; "" for CELLxGENE's layout: ``raw.X`` where that is there, otherwise ``X``.
    only
        Column of ``var`` and its value for the features that count.
    values
        How features are called, and which columns hold other names.
    caveats
        What to mind.
    """

    url: str
    about: str
    source: str
    roles: Mapping[str, Any]
    asked: tuple[str, Mapping[str, tuple[str, ...]]]
    positive: str
    licence: str = "CC-BY-4.0"
    layer: str = ""
    only: tuple[str, str] | None = None
    values: ModalityCard = field(
        default_factory=lambda: ModalityCard(identifiers="ensembl", gene_columns={"symbol": "feature_name"})
    )
    caveats: tuple[str, ...] = ()


COHORTS = {
    "combat": Cohort(
        "https://zenodo.org/records/6120249/files/COMBAT-CITESeq-DATA.h5ad",
        "CITE-seq of blood of patients with COVID-19, sepsis or influenza and of healthy volunteers; the RNA of it",
        "COMBAT Consortium, Cell 185, 916 (2022); Zenodo record 6120249",
        {
            "unit": "COMBAT_ID", "sample": "scRNASeq_sample_ID", "batch": "Pool_ID",
            "cell_type": "Annotation_major_subset", "clinical": ("Age", "Sex"),
            "technical": ("QC_scrub_doublet_scores",), "relevant": ("Source", "Outcome", "Death28"),
            "contextual": ("Institute", "BMI", "Ethnicity", "TimeSinceOnset"),
        },
        ("Source", {"healthy": ("HV",), "covid": ("COVID_MILD", "COVID_SEV", "COVID_CRIT")}),
        "covid",
        layer="raw",
        only=("feature_types", "Gene Expression"),
        values=ModalityCard(identifiers="symbol", gene_columns={"ensembl": "gene_ids"}),
        caveats=(
            "Health-care workers with mild COVID-19, sepsis and influenza have no label: they are another question.",
            "Surface proteins lie in the same file and are not read.",
        ),
    ),
    "stephenson": Cohort(
        f"{CENSUS}/c7775e88-49bf-4ba2-a03b-93f00447c958.h5ad",
        "Blood of patients with COVID-19 of all severities and of controls, from three sites",
        "Stephenson et al., Nature Medicine 27, 904 (2021); CELLxGENE dataset c7775e88-49bf-4ba2-a03b-93f00447c958",
        {
            "unit": "donor_id", "sample": "sample_id", "batch": "Site", "cell_type": "cell_type", "clinical": ("sex",),
            "technical": ("assay", "suspension_type"),
            "relevant": ("disease", "Status_on_day_collection_summary", "Worst_Clinical_Status", "Outcome"),
            "contextual": (*_CONTEXT, "Smoker", "Days_from_onset"),
        },
        ("disease", {"normal": ("normal",), "covid": ("COVID-19",)}),
        "covid",
        caveats=(
            "Controls came from one site and not from all, so that the site tells part of the disease.",
            "Some controls were given LPS, in samples of their own: Status_on_day_collection_summary names them.",
        ),
    ),
    "onek1k": Cohort(
        f"{CENSUS}/3faad104-2ab8-4434-816d-474d8d2641db.h5ad",
        "Blood of 981 healthy donors; the label is their sex",
        "Yazar et al., Science 376, eabf3041 (2022); CELLxGENE dataset 3faad104-2ab8-4434-816d-474d8d2641db",
        {
            "unit": "donor_id", "batch": "pool_number", "cell_type": "cell_type", "clinical": ("age",),
            "technical": ("assay", "suspension_type"), "relevant": ("sex",), "contextual": ("disease", *_CONTEXT),
        },
        ("sex", {"female": ("female",), "male": ("male",)}),
        "female",
        caveats=("Genes of the sex chromosomes tell the label: a high score checks the pipeline and is no discovery.",),
    ),
    "hlca": Cohort(
        f"{CENSUS}/9f222629-9e39-47d0-b83f-e08d610c7479.h5ad",
        "The integrated Human Lung Cell Atlas, core and extension: healthy and diseased lungs of many studies",
        "Sikkema et al., Nature Medicine 29, 1563 (2023); CELLxGENE dataset 9f222629-9e39-47d0-b83f-e08d610c7479",
        {
            "unit": "donor_id", "sample": "sample", "batch": "study", "cell_type": "cell_type", "clinical": ("sex",),
            "technical": ("assay", "suspension_type", "sequencing_platform", "fresh_or_frozen"),
            "relevant": ("disease", "lung_condition"),
            "contextual": (*_CONTEXT, "dataset", "core_or_extension", "smoking_status", "age_or_mean_of_age_range"),
        },
        ("disease", {"normal": ("normal",), "diseased": ()}),
        "diseased",
        caveats=(
            "Studies differ in disease, protocol and place in the lung: hold out whole studies (leave-one-batch-out).",
            "A donor with healthy and diseased samples has no label.",
        ),
    ),
    "lupus": Cohort(
        "https://datasets.cellxgene.cziscience.com/6e65a13e-2a45-4340-9442-bd2c41a01f17.h5ad",
        "Blood of patients with systemic lupus erythematosus and of healthy donors",
        "Perez et al., Science 376, eabf1970 (2022); file 6e65a13e-2a45-4340-9442-bd2c41a01f17 of CELLxGENE collection "
        "436154da-bcf1-4130-9c8b-120ff9a888f2",
        {
            "unit": "donor_id", "sample": "sample_uuid", "batch": "Processing_Cohort", "cell_type": "cell_type",
            "clinical": ("sex",), "technical": ("assay", "suspension_type"), "relevant": ("disease", "disease_state"),
            "contextual": (*_CONTEXT, "library_uuid"),
        },
        ("disease", {"normal": ("normal",), "lupus": ("systemic lupus erythematosus",)}),
        "lupus",
        caveats=(
            "One processing cohort holds no patient with lupus: there the batch is the label.",
            "The id names a file, not a dataset: the dataset is 218acb0f-9f2f-4f76-b90b-15a4b7c7f629 in the Census.",
        ),
    ),
}  # fmt: skip


def path_of(name: str, folder: str | Path | None = None) -> Path:
    """Return where the file of a cohort lies in a folder of data: ``FOLDER/cohorts/NAME.h5ad``."""
    return data_folder(folder) / "cohorts" / f"{name}.h5ad"


def download(name: str, folder: str | Path | None = None) -> list[Path]:
    """Download the file of a cohort, and return its path.

    Raises
    ------
    MmcellError
        What `fetch` raises; no folder is named.
    """
    mirror = os.environ.get(MIRROR)
    url = f"{mirror}/{name}.h5ad" if mirror else COHORTS[name].url
    return [fetch(url, path_of(name, folder))]


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Return a cohort that was downloaded before; its counts stay on disk.

    Raises
    ------
    MmcellError
        Its file is not there, is not what was downloaded, is cut short, or lacks donors, cell types or counts.
    """
    cohort = COHORTS[name]
    if not (folder or os.environ.get("MMCELL_DATA")) or not path_of(name, folder).is_file():
        raise MmcellError(
            f"dataset {name!r}: is not there; download it: mmcell fetch {name} --data-dir FOLDER, and name FOLDER with "
            "MMCELL_DATA"
        )
    path = path_of(name, folder)
    layer = _layer(name, cohort, path)
    wanted = [c for v in cohort.roles.values() for c in ([v] if isinstance(v, str) else v)]
    data, values = open_lazily(path, layer, columns={*wanted, cohort.asked[0]}, only=cohort.only)
    _refuse_no_counts(values, layer, name, path)
    roles, left_out = _roles(name, cohort, path, data.obs)
    obs, said = _labelled(cohort, data.obs, roles.unit, str(roles.cell_type))
    data.obs = obs
    roles, moved = _settled(roles, obs)
    columns = {kind: c for kind, c in cohort.values.gene_columns.items() if c in data.var}
    card = DatasetCard(
        name=name, description=cohort.about, source=cohort.source, licence=cohort.licence,
        modalities={"rna": cohort.values.model_copy(update={"gene_columns": columns})},
        caveats=(*cohort.caveats, *left_out, *said, *moved),
    )  # fmt: skip
    # Last: what turned out to be another file must not be recorded as the right one.
    fingerprint = digest(known_digest(path), layer, card.model_dump(), repr(roles))
    return Dataset(name, data, roles, card, fingerprint, disk={"rna": values})


def _layer(name: str, cohort: Cohort, path: Path) -> str:
    try:
        root = opened(path)
    except MmcellError as error:
        raise MmcellError(f"{error}: delete it and run mmcell fetch {name} again") from error
    if cohort.layer:
        if f"layers/{cohort.layer}" not in root:
            raise MmcellError(
                f"{path}: has no raw counts in layers/{cohort.layer} (it holds {first(elements(root))}); delete it and "
                f"run mmcell fetch {name} again"
            )
        return cohort.layer
    return "raw.X" if "raw/X" in root else "X"


def _refuse_no_counts(values: Matrix, layer: str, name: str, path: Path) -> None:
    """Raise when the first rows are no counts; all others are looked at when they are encoded."""
    some = values[:_LOOKED]
    found = some.data if hasattr(some, "indptr") else np.asarray(some)
    if found.size and not (found.min() >= 0 and (found == np.round(found)).all()):
        where = "neither raw.X nor X holds whole numbers" if layer == "X" else f"{layer} does not hold whole numbers"
        raise MmcellError(f"{path}: has no raw counts ({where}); delete it and run mmcell fetch {name} again")


def _roles(name: str, cohort: Cohort, path: Path, obs: pd.DataFrame) -> tuple[Roles, list[str]]:
    """Return the roles that the file has columns for, and in words which it has not."""
    for role, needed in {**{r: cohort.roles[r] for r in ("unit", "cell_type")}, "label": cohort.asked[0]}.items():
        if needed not in obs:
            raise MmcellError(
                f"{path}: obs has no column {needed!r}, the {role} of {name}; {did_you_mean(needed, map(str, obs))}; "
                f"delete the file and run mmcell fetch {name} again"
            )
    kept: dict[str, Any] = {"label": "condition", "positive": cohort.positive}
    lacking = []
    for role, given in cohort.roles.items():
        columns = [given] if isinstance(given, str) else list(given)
        there = [c for c in columns if c in obs]
        lacking += [f"{c} ({role})" for c in columns if c not in obs]
        if there:
            kept[role] = there[0] if isinstance(given, str) else tuple(there)
    said = [f"The file has no column {', '.join(lacking)}: these roles are left out."] if lacking else []
    return Roles(**kept), said


def _labelled(cohort: Cohort, obs: pd.DataFrame, unit: str, cell_type: str) -> tuple[pd.DataFrame, list[str]]:
    """Return obs with what is asked of a donor as ``condition``, no cell without a type, and what that left out."""
    column, classes = cohort.asked
    found = obs[column].astype(object)
    named = {value: name for name, values in classes.items() for value in values}
    # A class without values takes all others.
    rest = next((name for name, values in classes.items() if not values), np.nan)
    condition = found.map(named).where(found.isna() | found.isin(list(named)), rest)
    donors = obs[unit]
    said = []
    # What stands for no class is another state, too: cells of both leave the donor without a label.
    states = pd.DataFrame({"donor": donors, "state": condition.where(condition.notna(), found)})
    values = states.dropna().drop_duplicates()
    several = pd.Index(values["donor"][values["donor"].duplicated()].unique())
    mixed = several[several.isin(donors[condition.notna()].unique())]
    if len(mixed):
        condition = condition.mask(donors.isin(mixed))
        said.append(
            f"{number_of(len(mixed), 'donor has', 'donors have')} cells of several states and no label "
            f"({first(mixed)})."
        )
    known = donors[condition.notna()].nunique()
    if known < donors.nunique():
        others = found[condition.isna()].dropna().unique()
        said.append(
            f"{donors.nunique() - known} of {donors.nunique()} donors have no label"
            + (f" ({column}: {first(sorted(map(str, others)))})." if len(others) else ".")
        )
    kind = obs[cell_type].astype(object)
    # Some files say "nan" in words.
    untyped = kind.isna() | (kind == "nan")
    if untyped.any():
        kind = kind.mask(untyped, UNLABELLED)
        said.append(f"{int(untyped.sum()):,} cells have no type and are called {UNLABELLED!r}.")
    return obs.assign(condition=condition, **{cell_type: pd.Categorical(kind)}), said


def _settled(roles: Roles, obs: pd.DataFrame) -> tuple[Roles, list[str]]:
    """Return roles whose covariates can be read by controls; the others become context, and are named."""
    donors = obs[roles.unit]
    pairs = {c: pd.DataFrame({"donor": donors, "value": obs[c]}).dropna().drop_duplicates() for c in roles.clinical}
    varying = [c for c, table in pairs.items() if table["donor"].duplicated().any()]
    gaps = [c for c in roles.technical if obs[c].isna().any()]
    moved = [*varying, *gaps]
    if not moved:
        return roles, []
    facts = {f: getattr(roles, f) for f in Roles.__dataclass_fields__}
    facts |= {f: tuple(c for c in facts[f] if c not in moved) for f in ("clinical", "technical")}
    facts["contextual"] = (*roles.contextual, *moved)
    said = [f"{', '.join(varying)} varies within donors and is no clinical covariate."] if varying else []
    said += [f"{', '.join(gaps)} is missing for some cells and is no technical covariate."] if gaps else []
    return Roles(**facts), said


@catalogued(COHORTS["combat"].about, FETCHED, COHORTS["combat"].licence)
def load_combat() -> Dataset:
    """Return ``combat``: blood in COVID-19, sepsis, influenza and health (COMBAT 2022); on disk, by `mmcell fetch`."""
    return load("combat")


@catalogued(COHORTS["stephenson"].about, FETCHED, COHORTS["stephenson"].licence)
def load_stephenson() -> Dataset:
    """Return ``stephenson``: blood of COVID-19 patients and controls (Stephenson 2021); on disk, by `mmcell fetch`."""
    return load("stephenson")


@catalogued(COHORTS["onek1k"].about, FETCHED, COHORTS["onek1k"].licence)
def load_onek1k() -> Dataset:
    """Return ``onek1k``: blood of 981 healthy donors (Yazar 2022); on disk, by `mmcell fetch`."""
    return load("onek1k")


@catalogued(COHORTS["hlca"].about, FETCHED, COHORTS["hlca"].licence)
def load_hlca() -> Dataset:
    """Return ``hlca``: the Human Lung Cell Atlas (Sikkema 2023); on disk, by `mmcell fetch`."""
    return load("hlca")


@catalogued(COHORTS["lupus"].about, FETCHED, COHORTS["lupus"].licence)
def load_lupus() -> Dataset:
    """Return ``lupus``: blood of patients with lupus and of controls (Perez 2022); on disk, by `mmcell fetch`."""
    return load("lupus")
