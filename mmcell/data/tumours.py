"""Cell fractions of tumours with survival, in files that a user brings: METABRIC, and The Cancer Genome Atlas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mmcell.data.brought import brought_file
from mmcell.data.entry import catalogued, to_bring
from mmcell.dataset import Dataset
from mmcell.readers import read_table
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles

_BREAST = "github.com/YounessAzimzade/Survival-XML-TME-BC"
_PAN_CANCER = "github.com/BiomedicalMachineLearning/CRC_Spatial_Landscape"
_METABRIC, _BREAST_TCGA, _TCGA = "breast-tme/MBRC.csv", "breast-tme/TCGA.csv", "tcga-composition"
_TCGA_LICENCE = "none stated for the fractions; the atlas is open"
_ESTIMATES = "Fractions are estimates from bulk expression."
#: FIGO and AJCC in one: what stands behind the numeral tells apart within a stage.
_STAGE = {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0}


@catalogued(
    "28 cell fractions of 1,975 breast tumours, 9 clinical covariates, 800 relapses",
    to_bring(_METABRIC),
    "none stated",
)
def load_metabric(folder: str | Path | None = None) -> Dataset:
    """Return ``breast-metabric``: cell fractions of breast tumours, clinical covariates and time to relapse.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    table = read_table(brought_file("breast-metabric", _METABRIC, f"{_BREAST}: MBRC.csv", folder))
    obs = pd.DataFrame(
        {
            "patient": table["Mixture"], "months": table["RFSurvival"], "relapse": table["RFStatus"],
            "age": table["Age"], "grade": table["Neopl.Histo.Grade"], "stage": table["Tumor.Stage"],
            "size": table["Tumor.Size"], "nodes": table["Lym.nodes.positive"], "er": table["ER"],
            "her2": table["HER2"], "pgr": table["PgR"], "pam50": table["PAM50"],
        }
    )  # fmt: skip
    clinical = ("age", "grade", "stage", "size", "nodes", "er", "her2", "pgr", "pam50")
    card = DatasetCard(
        name="breast-metabric",
        description="28 cell fractions of primary breast tumours of METABRIC with clinical covariates and relapse",
        source="Azimzade et al., Survival-XML-TME-BC, from METABRIC (Curtis et al., Nature 486, 346, 2012)",
        licence="none stated",
        caveats=(
            "Death without a relapse is censored; the file does not tell who died, so it is no competing event here.",
            "PAM50 is read from the expression that the fractions are estimated from.",
            "Treatment is not in the file.",
        ),
    )
    roles = Roles(unit="patient", outcome=Outcome("months", "relapse"), clinical=clinical, strata=("pam50",))
    return _dataset(obs, _fractions(table), roles, card, "months")


@catalogued(
    "the fractions of `breast-metabric` in 1,027 breast tumours of the atlas, 113 events",
    to_bring(_BREAST_TCGA),
    "none stated; the atlas is open",
)
def load_breast_tcga(folder: str | Path | None = None) -> Dataset:
    """Return ``breast-tcga``: the fractions of ``breast-metabric`` in the breast tumours of the atlas.

    Raises
    ------
    MmcellError
        The file is not there; the message says where it is to be had.
    """
    table = read_table(brought_file("breast-tcga", _BREAST_TCGA, f"{_BREAST}: TCGA.csv", folder))
    barcode = table["Mixture"].str.replace(".", "-")
    primary = barcode.str[13:15] == "01"
    table = table[primary]
    obs = pd.DataFrame(
        {
            "patient": barcode[primary].str[:12], "months": table["DFSurvival"], "event": table["DFStatus"],
            "age": table["Age"], "er": table["ER"].where(table["ER"] != "Indeterminate"), "pam50": table["PAM50"],
        }
    )  # fmt: skip
    card = DatasetCard(
        name="breast-tcga",
        description="28 cell fractions of primary breast tumours of the atlas with disease-free survival",
        source="Azimzade et al., Survival-XML-TME-BC, from The Cancer Genome Atlas",
        licence="none stated; the atlas is open",
        caveats=(
            f"Primary tumours only: {int((~primary).sum())} samples of metastases are not part of this dataset.",
            "The file codes stages without saying how, so they are no covariates here.",
            "PAM50 is read from the expression that the fractions are estimated from.",
        ),
    )
    roles = Roles(
        unit="patient", outcome=Outcome("months", "event"), clinical=("age", "er", "pam50"), strata=("pam50",)
    )
    return _dataset(obs, _fractions(table), roles, card, "months")


@catalogued("12 cell fractions of 5,808 primary tumours of 16 cancers, 1,624 deaths", to_bring(_TCGA), _TCGA_LICENCE)
def load_tcga(folder: str | Path | None = None) -> Dataset:
    """Return ``tcga-composition``: cell fractions of the primary tumours of 16 cancers, and overall survival.

    Raises
    ------
    MmcellError
        A file is not there; the message says where it is to be had.
    """
    return _tcga("tcga-composition", folder, "OS", "overall survival")


@catalogued(
    "the tumours of `tcga-composition` with death of the cancer, other deaths competing",
    to_bring(_TCGA),
    _TCGA_LICENCE,
)
def load_tcga_dss(folder: str | Path | None = None) -> Dataset:
    """Return ``tcga-composition-dss``: the same tumours with death of the cancer; other deaths are a competing event.

    Raises
    ------
    MmcellError
        A file is not there; the message says where it is to be had.
    """
    return _tcga("tcga-composition-dss", folder, "DSS", "death of the cancer, with other deaths competing")


def _tcga(name: str, folder: str | Path | None, endpoint: str, what: str) -> Dataset:
    """Return the atlas with one of the endpoints of its clinical data resource."""
    samples = read_table(
        brought_file(name, f"{_TCGA}/cibersortx_6475.csv.gz", f"{_PAN_CANCER}: CIBERSORTx fractions", folder)
    )
    clinic = read_table(
        brought_file(name, f"{_TCGA}/tcga_cdr.csv.gz", "gdc.cancer.gov/about-data/publications/pancanatlas: "
                     "TCGA-CDR as csv", folder)
    )  # fmt: skip
    first, n_others, n_again = _one_a_patient(samples["Mixture"])
    table = samples.loc[first].assign(patient=samples["Mixture"].str.replace(".", "-").str[:12])
    n_tumours = len(table)
    table = table.merge(clinic[clinic["Redaction"].isna()], left_on="patient", right_on="bcr_patient_barcode")
    event = table[endpoint]
    caveats: tuple[str, ...] = ()
    if endpoint == "DSS":
        caveats = _causes(table)
        # Dead, and not of the cancer.
        event = event.where(~((table["OS"] == 1) & (event == 0)), 2)
    stage = table["ajcc_pathologic_tumor_stage"].map(_stage)
    obs = pd.DataFrame(
        {
            "patient": table["patient"], "days": table[f"{endpoint}.time"], "event": event, "cancer": table["type"],
            "age": table["age_at_initial_pathologic_diagnosis"], "gender": table["gender"],
            "stage": stage.fillna(table["clinical_stage"].map(_stage)),
        }
    )  # fmt: skip
    card = DatasetCard(
        name=name,
        description=f"12 cell fractions of primary tumours of 16 cancers of the atlas, and {what}",
        source="CIBERSORTx fractions of BiomedicalMachineLearning/CRC_Spatial_Landscape; outcomes of the TCGA clinical "
        "data resource (Liu et al., Cell 173, 400, 2018), joined by patient",
        licence=_TCGA_LICENCE,
        caveats=(
            f"One primary tumour a patient: {n_others} samples of normal tissue, recurrences and metastases, and "
            f"{n_again} further of a patient (the later barcode) are not part of this dataset.",
            f"{n_tumours - len(table)} patients without a clinical record, or with a redacted one, are not either.",
            "The cancer says much of the outcome: read the values within cancer.",
            "Stage is pathological, where that is missing clinical, and as a number I to IV; prostate has none.",
            *caveats,
        ),
    )
    competing = "2" if endpoint == "DSS" else None
    roles = Roles(
        unit="patient", outcome=Outcome("days", "event", competing),
        clinical=("age", "gender", "stage", "cancer"), strata=("cancer",),
    )  # fmt: skip
    return _dataset(obs, table.loc[:, "Fibroblasts":"PMNs"], roles, card, "days")


def _causes(table: pd.DataFrame) -> tuple[str, ...]:
    """Say how causes of death are known, and who is left out where they are not: that is decided by the outcome."""
    known, died = table["DSS"].notna(), table["OS"] == 1
    lost = ~known & table["OS"].notna()
    share = 100 * died[known].mean()
    return (
        "Who died with tumour counts as dead of it, who died free of tumour as dead of other causes: an approximation "
        "of the source.",
        f"Of {int(lost.sum()):,} patients of whom it is known whether they died but not of what, "
        f"{int(died[lost].sum()):,} died, against {share:.0f} % of all others. They are left out, so the outcome "
        "decides who is here, and risks of death are too low: read ranks rather than risks, or take deaths of any "
        "cause, tcga-composition.",
    )


def _one_a_patient(barcode: pd.Series) -> tuple[pd.Index, int, int]:
    """Return the rows of each patient's first primary tumour, and how many others and further ones there are.

    A barcode is ``TCGA-SITE-PATIENT-TYPE+VIAL-…``, its parts divided by dots here; the type of a primary tumour is 01.
    """
    primary = barcode[barcode.str[13:15] == "01"].sort_values()
    again = primary.str[:12].duplicated()
    return primary.index[~again].sort_values(), len(barcode) - len(primary), int(again.sum())


def _stage(text: object) -> float:
    """Return the stage as a number; missing where it is none (``[Not Available]``, X)."""
    _, _, stage = str(text).partition("Stage ")
    return _STAGE.get(stage.rstrip("ABC123"), np.nan)


def _fractions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of fractions; what follows them is sums of these or of the clinic."""
    return table.loc[:, "B.cells.Memory":"T.cells.CD8."]


def _dataset(obs: pd.DataFrame, values: pd.DataFrame, roles: Roles, card: DatasetCard, time_unit: str) -> Dataset:
    """Return patients with an outcome as a dataset; how many had none stands among the caveats."""
    import anndata as ad

    assert roles.outcome is not None
    time = obs[roles.outcome.time]
    unknown = time.isna() | obs[roles.outcome.event].isna()
    early = ~unknown & (time <= 0)
    usable = ~(unknown | early)
    obs = obs[usable].set_axis(pd.Index(obs.loc[usable, roles.unit].to_numpy()), axis=0)
    data = ad.AnnData(values[usable].to_numpy(np.float32), obs=obs)
    data.var_names = list(values.columns)
    n, events = len(obs), int((obs[roles.outcome.event] == 1).sum())
    lost = (
        f"Of {len(usable):,} patients {int(unknown.sum())} have no outcome and {int(early.sum())} a time that is not "
        "positive; they are not part of this dataset."
    )
    card = card.model_copy(
        update={
            "description": f"{card.description}: {n:,} patients, {events:,} events",
            "level": "patient",
            "modalities": {"composition": ModalityCard(preprocessing="proportions", identifiers="other")},
            "time_unit": time_unit,
            "caveats": (*card.caveats, lost, _ESTIMATES),
        }
    )
    return Dataset(card.name, data, roles, card)
