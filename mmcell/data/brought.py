"""Cohorts that a user brings: where their files are to be had, what goes where, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from mmcell.data.download import data_folder
from mmcell.data.entry import catalogued, to_bring
from mmcell.dataset import Dataset
from mmcell.digest import digest_file
from mmcell.errors import MmcellError
from mmcell.readers import read_table
from mmcell.roles import DatasetCard, ModalityCard, Roles

_CYTOMETRY = "covid-cytometry/cd8_covid.h5ad"
_SECRETED = "nelisa/nelisa_profiles.parquet"
_NEOADJUVANT = "breast-tme/NAC.csv"
_GBM = "gbm-panobinostat/gbm.h5ad"
#: The columns that follow are sums of these.
_LAST_FRACTION = "T.cells.CD8."
#: Root of the squared differences of 28 standardised fractions. The median distance to another trial is 1.8; 412 of the
#: 2,007 lie closer than 0.5, all with the same response.
_TWIN = 0.5


@catalogued(
    "5,000 CD8 T cells of 32 donors, 16 channels (De Biasi et al. 2020)",
    to_bring(_CYTOMETRY),
    "GPL-3 (treekoR)",
)
def load_cytometry(folder: str | Path | None = None) -> Dataset:
    """Return ``covid-cytometry``: CD8 T cells of 32 donors.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    import anndata as ad

    path = brought_file(
        "covid-cytometry", _CYTOMETRY, "github.com/adam2o1o/treekoR: its De Biasi CD8 example as AnnData", folder
    )
    data = ad.read_h5ad(path)
    data.obs_names = [f"cell{i:05d}" for i in range(data.n_obs)]
    data.obs["cluster_id"] = "cluster " + data.obs["cluster_id"].astype(int).astype(str)
    card = DatasetCard(
        name="covid-cytometry",
        description="Flow cytometry of CD8 T cells: 5,000 cells × 16 channels of 19 COVID-19 patients and 13 controls",
        source="De Biasi et al., Nature Communications 11, 3434 (2020), through the R package treekoR",
        licence="GPL-3 (treekoR)",
        modalities={"protein": ModalityCard(preprocessing="values", identifiers="other")},
        caveats=(
            "Age and discharge are known of patients only, so they give the disease away and are no covariates here.",
            "The clusters that stand for cell types were learnt by the makers on the cells of all donors.",
            "About 156 cells a donor; batches are not known.",
        ),
    )
    roles = Roles(unit="sample_id", cell_type="cluster_id", label="condition", positive="COV")
    return Dataset("covid-cytometry", data, roles, card, digest_file(path))


@catalogued(
    "28 cell fractions of 1,802 breast tumours in 15 trials, and who responds to chemotherapy",
    to_bring(_NEOADJUVANT),
    "none stated",
)
def load_neoadjuvant(folder: str | Path | None = None) -> Dataset:
    """Return ``breast-neoadjuvant``: cell fractions of breast tumours before treatment, in 15 trials.

    The same tumours stand in several trials; of every such pair one is kept, see `twins`.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    import anndata as ad

    where = "github.com/YounessAzimzade/Survival-XML-TME-BC: NAC.csv"
    path = brought_file("breast-neoadjuvant", _NEOADJUVANT, where, folder)
    table = read_table(path)
    names = list(table.columns)
    fractions = names[names.index("Mixture") + 1 : names.index(_LAST_FRACTION) + 1]
    table.index = pd.Index(table["Mixture"].astype(str), name=None)
    again = twins(table[fractions].to_numpy(np.float64), table["Trial"].to_numpy(), table["Response"].to_numpy())
    table = table[~again]
    data = ad.AnnData(table[fractions].to_numpy(np.float32), obs=table.drop(columns=names[2:-4]))
    data.obs["Mixture"] = data.obs_names.to_numpy()
    data.var_names = fractions
    card = DatasetCard(
        name="breast-neoadjuvant",
        description="28 cell fractions of breast tumours before neoadjuvant chemotherapy in 15 trials, and whether "
        "the response was pathologically complete",
        source="Azimzade et al., Survival-XML-TME-BC; deconvolved from public bulk expression",
        licence="none stated",
        level="patient",
        modalities={"composition": ModalityCard(preprocessing="proportions", identifiers="other")},
        caveats=(
            f"Tumours that stand in two trials are kept once: {int(again.sum())} whose fractions and response are "
            "nearly those of a tumour of another trial were left out, the later in the file.",
            "Fractions are estimates from bulk expression.",
            "Trials differ in treatment and platform; PAM50 is itself read from expression.",
        ),
    )
    roles = Roles(
        unit="Mixture", batch="Trial", label="Response", positive="pCR", clinical=("ER", "PAM50"), strata=("PAM50",)
    )
    return Dataset("breast-neoadjuvant", data, roles, card, digest_file(path))


@catalogued(
    "191 secreted proteins of A549 cells under 301 compounds, 1,525 wells on four plates (Kalinin et al. 2025)",
    to_bring(_SECRETED),
    "BSD-3-Clause (the repository)",
)
def load_nelisa(folder: str | Path | None = None) -> Dataset:
    """Return ``nelisa``: proteins secreted by A549 cells under 301 compounds, four plates.

    The unit is the target: compounds of one target are chosen to resemble each other, so they are no independent
    evidence, and they must be held out together for one to be sought with the other. A control well is its position's.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    import anndata as ad

    where = "github.com/alxndrkalinin/2024_Kalinin_mAP: the nELISA profiles, as one parquet"
    path = brought_file("nelisa", _SECRETED, where, folder)
    table = read_table(path)
    proteins = [c for c in table if not c.startswith("Metadata_")]
    control = (table["Metadata_control_type"] == "negcon").to_numpy()
    well = table["Metadata_nelisa_well_loc"].astype(str)
    named = table["Metadata_pert_iname"].astype(str).mask(control, "DMSO")
    obs = pd.DataFrame(
        {
            "compound": named,
            "target": table["Metadata_target"].astype(str).mask(control, "DMSO at " + well),
            "plate": table["Metadata_Plate"].astype(str),
            "well": well,
            "targets": table["Metadata_target_list"].astype(str).mask(control, ""),
            "smiles": table["Metadata_smiles"].astype(str),
        }
    )
    obs.index = pd.Index(obs["plate"] + ":" + well, name=None)
    data = ad.AnnData(table[proteins].to_numpy(np.float32), obs=obs)
    data.var_names = [c.removesuffix(" [NSU]") for c in proteins]
    card = DatasetCard(
        name="nelisa",
        description="191 secreted proteins of A549 cells after 24 h: 1,269 wells of 301 compounds and 256 of DMSO, on "
        "four replicate plates",
        source="Kalinin et al., Nature Communications 16, 5181 (2025): github.com/alxndrkalinin/2024_Kalinin_mAP",
        licence="BSD-3-Clause (the repository)",
        level="profile",
        modalities={"protein": ModalityCard(preprocessing="values", identifiers="other")},
        caveats=(
            "Normalised by the makers: on every plate the median of the DMSO wells is 0.",
            "A compound lies in the same well of every plate, so what a position does is replicated like a compound: "
            "DMSO wells of one position find each other, too.",
            "Compounds were picked two a target. A compound has further targets (column 'targets'), and one that "
            "shares such a one counts as wrong.",
            "One cell line, one time, one dose, one experiment: batches are replicate plates, not laboratories.",
        ),
    )
    roles = Roles(unit="target", batch="plate", perturbation="compound", control="DMSO", relevant=("targets",))
    return Dataset("nelisa", data, roles, card, digest_file(path))


@catalogued(
    "5,000 cells of five glioblastomas with panobinostat and without, 300 genes (Zhao et al. 2021)",
    to_bring(_GBM),
    "MIT (lemur)",
)
def load_gbm(folder: str | Path | None = None) -> Dataset:
    """Return ``gbm-panobinostat``: cells of five glioblastomas with and without panobinostat.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    import anndata as ad

    path = brought_file(
        "gbm-panobinostat", _GBM, "github.com/const-ae/lemur: its glioblastoma example as AnnData", folder
    )
    data = ad.read_h5ad(path)
    # The same barcode may occur in two samples.
    data.obs_names = data.obs["sample_id"].astype(str) + "-" + data.obs["id"].astype(str)
    card = DatasetCard(
        name="gbm-panobinostat",
        description="Slices of five glioblastomas with 0.2 µM panobinostat or DMSO: 500 cells of each, 300 genes",
        source="Zhao et al., Genome Medicine 13, 82 (2021), through the R package lemur",
        licence="MIT (lemur)",
        modalities={"rna": ModalityCard(preprocessing="counts", identifiers="ensembl")},
        caveats=(
            "Five patients: an interval over them says next to nothing, and none is given.",
            "One treatment: which of several a prediction means cannot be asked.",
            "300 genes, chosen by the makers on all cells; depth is of these alone. 1,000 cells a patient.",
            "Tumour and other cells are mixed, and not told apart here: an effect is also a change of the mixture.",
        ),
    )
    roles = Roles(
        unit="patient_id", sample="sample_id", perturbation="condition", control="ctrl", clinical=("age", "gender"),
    )  # fmt: skip
    return Dataset("gbm-panobinostat", data, roles, card, digest_file(path))


def twins(values: np.ndarray, group: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return which rows repeat an earlier row of another group (n,).

    Two rows repeat each other when each is the other's nearest neighbour in another group, they are closer than
    `_TWIN` in standardised values, and their labels are equal: a held-out group is then not one that was never seen.
    """
    z = (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)
    distance = cdist(z, z)
    distance[group[:, None] == group[None, :]] = np.inf
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(z))
    mutual = (nearest[nearest] == rows) & (distance[rows, nearest] < _TWIN) & (label == label[nearest])
    return mutual & (nearest < rows)


def brought_file(name: str, path: str, source: str, folder: str | Path | None) -> Path:
    """Return a file of a dataset that the user brings.

    Raises
    ------
    MmcellError
        It is not there; the message says where it is to be had (`source`) and what goes where.
    """
    named = folder or os.environ.get("MMCELL_DATA")
    if not named or not (data_folder(folder) / path).is_file():
        raise MmcellError(
            f"dataset {name!r} is yours to bring: put FOLDER/{path} there ({source}) and name FOLDER with MMCELL_DATA"
            + (f"; {named} does not have it" if named else "")
        )
    return data_folder(folder) / path
