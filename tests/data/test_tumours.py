import os

import numpy as np
import pandas as pd
import pytest

from mmcell import load_dataset
from mmcell.data.tumours import _stage, load_breast_tcga, load_metabric, load_tcga, load_tcga_dss

HERE = pytest.mark.skipif(not os.environ.get("MMCELL_DATA"), reason="MMCELL_DATA does not name a folder of real data")
LOADERS = [load_metabric, load_breast_tcga, load_tcga, load_tcga_dss]
NAMES = ("breast-metabric", "breast-tcga", "tcga-composition", "tcga-composition-dss")


@pytest.fixture
def folder(tmp_path):
    """A folder with small files of the four datasets' shape."""
    (tmp_path / "breast-tme").mkdir()
    (tmp_path / "tcga-composition").mkdir()
    fractions = {"B.cells.Memory": 0.25, "NK.cells": 0.5, "T.cells.CD8.": 0.25}
    n = 6
    metabric = pd.DataFrame({"Mixture": [f"MB.{i}" for i in range(n)]} | fractions).assign(
        PAM50=["LumA", "Basal"] * 3, ER="Positive", HER2="Negative", PgR="Positive", Age=50.0, Cellularity="High",
        RFSurvival=[10, 0, 12, 13, 14, 15], RFStatus=[1, 1, 0, np.nan, 1, 0],
        **{"Neopl.Histo.Grade": [1, 2, 3, np.nan, 1, 2], "Tumor.Size": 20.0, "Tumor.Stage": 2.0,
           "Lym.nodes.positive": 0.0},
    )  # fmt: skip
    metabric.to_csv(tmp_path / "breast-tme" / "MBRC.csv", index=False)
    breast = pd.DataFrame({"Mixture": [f"TCGA.AA.000{i}.01" for i in range(n)]} | fractions).assign(
        ER=["Positive", "Indeterminate", "Negative"] * 2, PAM50="LumA", Age=50.0, DFStatus=[1, 0] * 3,
        DFSurvival=[1, 2, 3, 4, np.nan, 6],
    )  # fmt: skip
    breast.loc[5, "Mixture"] = "TCGA.AA.0000.06"
    breast.to_csv(tmp_path / "breast-tme" / "TCGA.csv", index=False)
    samples = [
        "TCGA.AA.0001.01A.02R.1", "TCGA.AA.0001.01A.01R.1", "TCGA.AA.0002.01B.11R.1", "TCGA.AA.0003.11A.11R.1",
        "TCGA.AA.0004.01A.11R.1", "TCGA.AA.0005.01A.11R.1", "TCGA.AA.0006.01A.11R.1", "TCGA.AA.0007.01A.11R.1",
        "TCGA.AA.0008.01A.11R.1",
    ]  # fmt: skip
    values = np.arange(len(samples)) / 10
    table = pd.DataFrame({"Mixture": samples, "Fibroblasts": values, "PMNs": 1 - values, "P.value": np.nan})
    table.to_csv(tmp_path / "tcga-composition" / "cibersortx_6475.csv.gz", index=False)
    # 8 has no clinical record, 7 is redacted, 6 has time 0, 5 died of another cause, 4 of an unknown one.
    clinic = pd.DataFrame(
        {
            "bcr_patient_barcode": [f"TCGA-AA-000{i}" for i in range(1, 8)],
            "type": ["LUAD", "OV", "LUAD", "OV", "LUAD", "OV", "LUAD"],
            "age_at_initial_pathologic_diagnosis": 60.0, "gender": "FEMALE",
            "ajcc_pathologic_tumor_stage": ["Stage IIIB", "[Not Applicable]", "Stage I", "Stage X", "Stage IV", "", ""],
            "clinical_stage": ["[Not Applicable]", "Stage IIC", "", "[Not Available]", "", "", ""],
            "OS": [1, 0, 0, 1, 1, 1, 1], "OS.time": [5, 6, 7, 8, 9, 0, 10],
            "DSS": [1, 0, 0, np.nan, 0, 1, 1], "DSS.time": [5, 6, 7, 8, 9, 0, 10],
            "Redaction": [None] * 6 + ["Redacted"],
        }
    )  # fmt: skip
    clinic.to_csv(tmp_path / "tcga-composition" / "tcga_cdr.csv.gz", index=False)
    return tmp_path


@pytest.mark.parametrize("load", LOADERS)
def test_what_is_not_there_says_where_it_is_to_be_had(load, tmp_path, refused):
    with refused("is yours to bring", "github.com/", "does not have it"):
        load(tmp_path)


def test_one_primary_tumour_a_patient(folder):
    dataset = load_tcga(folder)
    assert list(dataset.ids) == ["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-AA-0004", "TCGA-AA-0005"]
    # Of two samples of a patient that with the first barcode, wherever it stands in the file.
    assert dataset.anndata("composition").to_df().loc["TCGA-AA-0001", "Fibroblasts"] == np.float32(0.1)
    assert list(dataset.anndata("composition").var_names) == ["Fibroblasts", "PMNs"]
    text = " ".join(dataset.card.caveats)
    assert "1 samples of normal tissue" in text
    assert "1 further of a patient" in text
    assert "2 patients without a clinical record, or with a redacted one" in text
    assert "Of 5 patients 0 have no outcome and 1 a time that is not positive" in text
    assert "4 patients, 3 events" in dataset.card.description


def test_rows_meet_by_patient_whatever_their_order(folder):
    before = load_tcga(folder)
    for name in ("cibersortx_6475.csv.gz", "tcga_cdr.csv.gz"):
        path = folder / "tcga-composition" / name
        pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
    after = load_tcga(folder)
    ids = list(before.ids)
    pd.testing.assert_frame_equal(after.anndata("composition").to_df().loc[ids], before.anndata("composition").to_df())
    pd.testing.assert_frame_equal(after.truth("outcome", "patient"), before.truth("outcome", "patient"))


def test_stage_is_pathological_or_else_clinical(folder):
    stage = load_tcga(folder).patients["stage"]
    assert stage.iloc[:2].to_list() == [3.0, 2.0]
    assert np.isnan(stage["TCGA-AA-0004"])
    assert stage["TCGA-AA-0005"] == 4.0


@pytest.mark.parametrize(
    ("text", "stage"),
    [("Stage IIIC2", 3.0), ("Stage IA1", 1.0), ("Stage IVB", 4.0), ("Stage X", np.nan), (np.nan, np.nan)],
)
def test_stages_are_read_as_numbers(text, stage):
    np.testing.assert_equal(_stage(text), stage)


def test_death_of_other_causes_competes_with_death_of_the_cancer(folder):
    truth = load_tcga_dss(folder).truth("outcome", "patient")
    assert truth["cause"].to_dict() == {"TCGA-AA-0001": 1, "TCGA-AA-0002": 0, "TCGA-AA-0005": 2}
    assert truth["event"].to_list() == [1, 0, 0]
    assert "cause" not in load_tcga(folder).truth("outcome", "patient")


def test_whoever_died_of_nobody_knows_what_is_left_out_and_counted(folder):
    (text,) = [c for c in load_tcga_dss(folder).card.caveats if "too low" in c]
    assert "Of 1 patients of whom it is known whether they died but not of what, 1 died, against 75 %" in text
    path = folder / "tcga-composition" / "tcga_cdr.csv.gz"
    clinic = pd.read_csv(path)
    clinic.loc[[1, 2], "DSS"] = np.nan
    clinic.loc[2, "OS"] = np.nan
    clinic.to_csv(path, index=False)
    # 2 is alive and 4 dead; of 3, who has no tumour here, nothing is known. Of 1, 5 and 6 all died.
    (text,) = [c for c in load_tcga_dss(folder).card.caveats if "too low" in c]
    assert "Of 2 patients of whom it is known whether they died but not of what, 1 died, against 100 %" in text
    assert not [c for c in load_tcga(folder).card.caveats if "too low" in c]


def test_relapse_and_covariates_of_metabric(folder):
    dataset = load_metabric(folder)
    assert list(dataset.ids) == ["MB.0", "MB.2", "MB.4", "MB.5"]
    assert dataset.truth("outcome", "patient")["event"].to_list() == [1, 0, 1, 0]
    assert "Of 6 patients 1 have no outcome and 1 a time that is not positive" in " ".join(dataset.card.caveats)
    assert "months" not in dataset.roles.clinical
    assert list(dataset.anndata("composition").var_names) == ["B.cells.Memory", "NK.cells", "T.cells.CD8."]


def test_metastases_are_no_further_patients(folder):
    dataset = load_breast_tcga(folder)
    assert list(dataset.ids) == [f"TCGA-AA-000{i}" for i in range(4)]
    assert dataset.patients["er"].isna().to_list() == [False, True, False, False]


@HERE
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "n", "events", "features"),
    [
        ("breast-metabric", 1975, 800, 28), ("breast-tcga", 1027, 113, 28), ("tcga-composition", 5808, 1624, 12),
        ("tcga-composition-dss", 5577, 1007, 12),
    ],
)  # fmt: skip
def test_the_real_files(name, n, events, features):
    dataset = load_dataset(name)
    outcome = dataset.truth("outcome", "patient")
    assert (len(outcome), outcome["event"].sum()) == (n, events)
    values = dataset.anndata("composition").X
    assert values.shape == (n, features)
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-5)
    assert (outcome["time"] > 0).all()
    assert all((dataset.card.description, dataset.card.source, dataset.card.licence, dataset.card.caveats))
    if name == "tcga-composition-dss":
        assert "Of 232 patients" in (text := " ".join(dataset.card.caveats))
        assert "231 died" in text
    # No tumour stands twice under two names.
    assert len(np.unique(values, axis=0)) == n
