"""The "rosetta" collection: L1000 and Cell Painting profiles of the same perturbations, replicate by replicate.

Haghighi et al.: High-dimensional gene expression and morphology profiles of cells across 28,000 genetic and chemical
perturbations. Nature Methods 19, 1550–1557 (2022). CC0, in the Cell Painting Gallery as cpg0003-rosetta. Names of
folders, files and columns are those of the collection's own reading code; the data were not downloaded here, so no hash
is shipped: the one of the first download is recorded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mmcell.data.activity import with_activity
from mmcell.data.download import data_folder, fetch
from mmcell.data.entry import FETCHED, catalogued
from mmcell.data.profiles import read_profiles
from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_file
from mmcell.errors import MmcellError
from mmcell.roles import DatasetCard, ModalityCard, Roles, TableCard

#: Where the collection is served; the environment variable names a mirror.
URL = "https://cellpainting-gallery.s3.amazonaws.com/cpg0003-rosetta/broad/workspace/preprocessed_data"
MIRROR = "MMCELL_ROSETTA_URL"
_LICENCE = "CC0-1.0"
_FILES = {
    "rna": "L1000/replicate_level_l1k.csv.gz",
    "morphology": "CellPainting/replicate_level_cp_normalized_variable_selected.csv.gz",
}
_FEATURES = {"rna": "_at$", "morphology": "^(Cells|Cytoplasm|Nuclei)_"}
_PLATES = {"rna": "det_plate", "morphology": "Metadata_Plate"}


@dataclass(frozen=True)
class Part:
    """One dataset of the collection: its folder, what it is, and the column of each table that names a perturbation.

    With `doses` that name ends in ``_DOSE``.
    """

    folder: str
    about: str
    rna: str
    morphology: str
    doses: bool = False


PARTS = {
    "rosetta-lincs": Part(
        "LINCS-Pilot1", "compounds at six doses, A549", "pert_id_dose", "Metadata_pert_id_dose", True
    ),
    "rosetta-cdrp-bio": Part(
        "CDRPBIO-BBBC036-Bray", "bioactive compounds, U2OS", "pert_sample_dose", "Metadata_Sample_Dose", True
    ),
    "rosetta-cdrp": Part("CDRP-BBBC047-Bray", "compounds, U2OS", "pert_sample_dose", "Metadata_Sample_Dose", True),
    "rosetta-ta-orf": Part("TA-ORF-BBBC037-Rohban", "overexpressed genes, U2OS", "pert_id", "Metadata_broad_sample"),
    "rosetta-luad": Part("LUAD-BBBC041-Caicedo", "alleles of lung cancer genes, A549", "allele", "x_mutation_status"),
}


def _about(name: str) -> str:
    return f"L1000 and Cell Painting of {PARTS[name].about}: replicates, paired by perturbation"


def download(name: str, folder: str | Path | None = None) -> list[Path]:
    """Download the two tables of a part into ``FOLDER/rosetta/``, and return their paths.

    Raises
    ------
    MmcellError
        What `fetch` raises; no folder is named.
    """
    where, base = data_folder(folder) / "rosetta", os.environ.get(MIRROR, URL)
    paths = [f"{PARTS[name].folder}/{file}" for file in _FILES.values()]
    return [fetch(f"{base}/{path}", where / path) for path in paths]


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """Return a part of the collection that was downloaded before.

    Raises
    ------
    MmcellError
        Its files are not there; the message says what to do.
    """
    part, where = PARTS[name], data_folder(folder) / "rosetta" / PARTS[name].folder
    lacking = [file for file in _FILES.values() if not (where / file).is_file()]
    if lacking:
        raise MmcellError(f"dataset {name!r}: {where / lacking[0]} is not there; download it: mmcell fetch {name}")
    tables = {
        modality: TableCard(
            file=file, features=_FEATURES[modality],
            rename={getattr(part, modality): "perturbation", _PLATES[modality]: "plate"},
        )
        for modality, file in _FILES.items()
    }  # fmt: skip
    data, caveats = read_profiles(tables, where)
    values = ModalityCard(preprocessing="values", identifiers="other")
    card = DatasetCard(
        name=name, description=_about(name),
        source=URL, licence=_LICENCE, level="profile", modalities=dict.fromkeys(_FILES, values),
        caveats=("Both tables were normalised by their makers, per plate.", *caveats),
    )  # fmt: skip
    # Doses of one compound are no independent units: the compound is held out as a whole. Plates are those of one assay
    # each, so they are no gallery for the other.
    named = data.obs["perturbation"].astype(str)
    data.obs["compound"] = named.str.rpartition("_")[0].where(named.str.contains("_"), named) if part.doses else named
    roles, about = with_activity(data, Roles(unit="compound", perturbation="perturbation", control="negcon"), "plate")
    card = card.model_copy(update={"caveats": (*card.caveats, *([about] if about else []))})
    return Dataset(name, data, roles, card, digest([digest_file(where / f) for f in _FILES.values()], name))


@catalogued(_about("rosetta-lincs"), FETCHED, _LICENCE)
def load_lincs() -> Dataset:
    """Return ``rosetta-lincs``: compounds at six doses in A549; downloaded by `mmcell fetch`."""
    return load("rosetta-lincs")


@catalogued(_about("rosetta-cdrp-bio"), FETCHED, _LICENCE)
def load_cdrp_bio() -> Dataset:
    """Return ``rosetta-cdrp-bio``: bioactive compounds in U2OS; downloaded by `mmcell fetch`."""
    return load("rosetta-cdrp-bio")


@catalogued(_about("rosetta-cdrp"), FETCHED, _LICENCE)
def load_cdrp() -> Dataset:
    """Return ``rosetta-cdrp``: compounds in U2OS; downloaded by `mmcell fetch`."""
    return load("rosetta-cdrp")


@catalogued(_about("rosetta-ta-orf"), FETCHED, _LICENCE)
def load_ta_orf() -> Dataset:
    """Return ``rosetta-ta-orf``: overexpressed genes in U2OS; downloaded by `mmcell fetch`."""
    return load("rosetta-ta-orf")


@catalogued(_about("rosetta-luad"), FETCHED, _LICENCE)
def load_luad() -> Dataset:
    """Return ``rosetta-luad``: alleles of lung cancer genes in A549; downloaded by `mmcell fetch`."""
    return load("rosetta-luad")
