import os

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.data.brought import load_cytometry, load_gbm, load_nelisa, load_neoadjuvant, twins

HERE = pytest.mark.skipif(not os.environ.get("MMCELL_DATA"), reason="MMCELL_DATA does not name a folder of real data")


@pytest.mark.parametrize("load", [load_cytometry, load_gbm, load_neoadjuvant])
def test_what_is_not_there_says_where_it_is_to_be_had(load, tmp_path, monkeypatch, refused):
    with refused("is yours to bring", "github.com/", "does not have it"):
        load(tmp_path)
    monkeypatch.delenv("MMCELL_DATA", raising=False)
    with refused("is yours to bring", "MMCELL_DATA"):
        load()


def test_fractions_are_read_from_their_table(tmp_path):
    (tmp_path / "breast-tme").mkdir()
    table = pd.DataFrame({"Trial": ["a", "b"], "Mixture": ["s1", "s2"], "B.cells.Memory": [0.4, 0.1]})
    table["T.cells.CD8."], table["TCells"] = 1 - table["B.cells.Memory"], 0.5
    table = table.assign(ER="Positive", PAM50=["LumA", "Basal"], Response=["pCR", "RD"], Cohort="Discovery")
    table.to_csv(tmp_path / "breast-tme" / "NAC.csv", index=False)
    dataset = load_neoadjuvant(tmp_path)
    data = dataset.anndata("composition")
    assert list(data.var_names) == ["B.cells.Memory", "T.cells.CD8."]
    assert data.X.sum(axis=1).tolist() == [1.0, 1.0]
    assert dataset.truth("label", "patient")["y_true"].to_dict() == {"s1": 1, "s2": 0}


@HERE
@pytest.mark.realdata
def test_the_composition_of_tumours_says_who_responds_in_a_trial_never_seen():
    table = mmcell.evaluate("features", "treatment-response", n_boot=200, controls=["clinical-only"]).table()
    rows = table[(table["metric"] == "auroc") & (table["stratum"] == "all")].set_index("encoder")
    assert rows.loc["features", "value"] == pytest.approx(0.70, abs=0.06)
    assert rows.loc["features", "n_units"] == len(load_neoadjuvant().ids) < 2007


def test_what_repeats_a_tumour_of_another_trial_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 28))
    trial, response = np.repeat(["a", "b", "c"], 20), rng.integers(0, 2, 60)
    assert not twins(x, trial, response).any()
    x[45], response[45] = x[3] + 0.02, response[3]
    x[25], response[25] = x[7] - 0.02, 1 - response[7]
    x[12] = x[13] + 0.01
    assert np.flatnonzero(twins(x, trial, response)).tolist() == [45]


@HERE
@pytest.mark.realdata
def test_moments_of_cells_say_who_is_ill():
    table = mmcell.evaluate(
        "features", "patient-severity-cytometry", patient_encoders="moments", n_boot=200, controls=["composition"]
    ).table()
    rows = table[(table["metric"] == "auroc") & (table["patient_encoder"] == "moments")]
    assert rows["value"].item() == pytest.approx(0.80, abs=0.08)


@pytest.mark.demo
def test_another_label_of_the_same_data():
    from mmcell.plan import make_plan

    plan = make_plan("patient-age", "pca", controls=["composition"])
    truth = plan.dataset.truth("label", "patient")["y_true"]
    assert truth.sum() == 18
    assert plan.dataset.roles.clinical == ("cond_group",)
    assert mmcell.load_dataset("covid-cite").roles.label == "cond_group"


@HERE
@pytest.mark.realdata
def test_nelisa_holds_compounds_of_targets_and_positions_of_controls():
    data = load_nelisa()
    obs = data.obs
    control = obs["compound"] == "DMSO"
    assert (len(obs), control.sum(), obs.loc[~control, "compound"].nunique()) == (1525, 256, 301)
    # A control unit is a position on all four plates; a compound has one target.
    assert (obs[control].groupby("target")["plate"].nunique() == 4).all()
    assert len(obs.loc[~control, ["compound", "target"]].drop_duplicates()) == 301
    assert np.isfinite(data.anndata("protein").X).all()


def test_nelisa_that_is_not_there_says_where_it_is_to_be_had(tmp_path, refused):
    with refused("dataset 'nelisa' is yours to bring", "nelisa_profiles.parquet", "2024_Kalinin_mAP"):
        load_nelisa(tmp_path)


@HERE
@pytest.mark.realdata
def test_of_five_patients_there_is_a_number_and_no_interval():
    found = mmcell.evaluate("pca", "gbm-effect", n_boot=100, controls=["matching-mean", "split-half"])
    table = found.table().set_index(["encoder", "split", "metric"]).sort_index()
    assert set(table["status"]) <= {"too_few_units", "undefined"}
    alike = table["value"].xs(("patient-held-out", "pearson_delta"), level=("split", "metric"))
    assert alike["split-half"] > 0.9
    assert alike["matching-mean"] == pytest.approx(0.57, abs=0.03)
    # What is equal for all patients ties with all of them.
    headline = table.loc[("matching-mean", "half-held-out", "discrimination_specific")]
    assert headline["value"] == pytest.approx(headline["chance"])
    assert (table.loc[table["status"] != "undefined", "n_items"] == 5).all()
