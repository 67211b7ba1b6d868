"""Simulated studies, and the dials of a simulated dataset by its name."""

import pickle

import numpy as np
import pandas as pd
import pytest
import yaml

import mmcell
from mmcell import load_dataset
from mmcell.audit.sources import audit
from mmcell.data.catalog import dials_of
from mmcell.data.simulate import simulate_studies
from mmcell.report.cards import show_card
from mmcell.results import Results
from tests.test_cli import run

SIMULATED = ("sim-cohort", "sim-null", "sim-studies")
SMALL = "sim-studies:n_patients=12,cells_per_patient=30,batch_effect=2,seed=1"


@pytest.fixture(scope="module")
def studies():
    """The same studies, nearer and farther."""
    return {dial: simulate_studies(batch_effect=dial) for dial in (0.0, 1.0, 2.0)}


# -- what is planted ----------------------------------------------------------------------------------------------


def test_studies_hold_patients_and_these_hold_cells(studies):
    data = studies[1.0]
    assert (data.roles.batch, data.roles.unit, data.roles.outcome) == ("study", "patient", None)
    assert data.patients.groupby("study").size().to_dict() == {"study1": 10, "study2": 10, "study3": 10}
    assert (pd.crosstab(data.patients["study"], data.patients["disease"]) == 5).all(axis=None)
    assert data.patients["n_items"].mean() == pytest.approx(60, rel=0.15)
    assert set(data.card.modalities) == {"rna", "protein", "morphology"}


def test_the_dial_moves_what_is_measured_and_nothing_that_is_planted(studies):
    near, far = studies[0.0], studies[2.0]
    for name in ("cells", "patients"):
        pd.testing.assert_frame_equal(near.planted[name], far.planted[name])
    pd.testing.assert_frame_equal(near.obs, far.obs)
    assert not set(near.planted["cells"]) & {"study", "batch", "unrelated"}
    assert (near.anndata("rna").X != far.anndata("rna").X).nnz > 0


def test_the_dial_is_the_spread_of_log_means_between_studies(studies):
    """Within one type, of genes with enough counts; two studies differ by √2 of what one is moved by, 0.3 at 1."""
    found = {}
    for dial, data in studies.items():
        of_type = (data.obs["cell_type"] == "CD14+ Monocyte").to_numpy()
        study = data.obs["study"].to_numpy()
        counts = data.anndata("rna").X
        one, other = (np.asarray(counts[of_type & (study == s)].sum(axis=0)).ravel() for s in ("study1", "study2"))
        rich = np.minimum(one, other) > 150
        found[dial] = float(np.log(one[rich] / other[rich]).std() / np.sqrt(2))
    # Patients and counting add to it.
    assert found[0.0] < 0.12
    assert np.sqrt(found[1.0] ** 2 - found[0.0] ** 2) == pytest.approx(0.3, abs=0.05)
    assert np.sqrt(found[2.0] ** 2 - found[0.0] ** 2) == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(
    ("n", "alone"),
    [
        (0, {}),
        (1, {"Dendritic": "study1"}),
        (3, {"Dendritic": "study1", "CD14+ Monocyte": "study2", "CD19+ B": "study3"}),
    ],
)
def test_types_live_in_one_study_as_many_as_are_asked_for(n, alone):
    data = simulate_studies(n_patients=12, unshared_types=n)
    where = data.obs.groupby("cell_type")["study"].agg(lambda s: sorted(set(s)))
    assert {kind: s[0] for kind, s in where.items() if len(s) == 1} == alone
    assert (where[[k for k in where.index if k not in alone]].map(len) == 3).all()
    assert all(kind in " ".join(data.card.caveats) for kind in alone)


def test_the_other_dials_reach_what_they_are_called():
    quick = {"n_patients": 12, "cells_per_patient": 20}
    base = simulate_studies(**quick)
    for dial, value in {"state_effect": 0.0, "composition_effect": 0.0, "confounding": 1.0, "seed": 1}.items():
        assert simulate_studies(**quick, **{dial: value}).fingerprint != base.fingerprint
    assert simulate_studies(**quick, n_batches=4).obs["study"].nunique() == 4
    moved = simulate_studies(**quick, confounding=1.0)
    assert (pd.crosstab(moved.patients["study"], moved.patients["disease"]) == 0).any(axis=1).all()


def test_what_cannot_be_simulated_is_refused(refused):
    with refused("unshared_types is 4", "at most 3"):
        simulate_studies(unshared_types=4)
    with refused("unshared_types needs at least 2 batches"):
        simulate_studies(n_batches=1)
    with refused("batch_effect is -1"):
        simulate_studies(batch_effect=-1)


# -- dials by name ------------------------------------------------------------------------------------------------


def test_dials_are_given_behind_the_name():
    data = load_dataset(SMALL)
    direct = simulate_studies(12, 30, batch_effect=2.0, seed=1)
    assert data.name == data.card.name == SMALL
    assert data.fingerprint == direct.fingerprint
    assert load_dataset("sim-studies:seed=1,batch_effect=2.0, cells_per_patient=30,n_patients=12") is data
    assert load_dataset("sim-studies").name == "sim-studies"


@pytest.mark.parametrize("name", SIMULATED)
def test_every_simulated_dataset_has_dials(name):
    small = load_dataset(f"{name}:n_patients=8,cells_per_patient=6,seed=3")
    assert small.unit.nunique() == 8
    other = load_dataset(f"{name}:n_patients=8,cells_per_patient=6,seed=4")
    assert small.fingerprint != other.fingerprint
    assert "Simulated" in small.card.description
    assert {"n_patients", "cells_per_patient", "n_batches", "seed"} <= set(dials_of(name))


def test_dials_are_of_the_kind_that_they_are():
    assert "image" not in load_dataset("sim-null:n_patients=8,cells_per_patient=5,images=false").card.modalities
    assert "image" in load_dataset("sim-null:n_patients=8,cells_per_patient=5,images=true").card.modalities


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("sim-studies:batch_efect=2", ["'sim-studies'", "unknown dial 'batch_efect'", "did you mean batch_effect"]),
        ("sim-studies:batch_effect=strong", ["batch_effect is 'strong'", "give a number"]),
        ("sim-studies:batch_effect", ["batch_effect is ''", "give a number"]),
        ("sim-studies:batch_effect=nan", ["batch_effect is 'nan'", "give a number"]),
        ("sim-studies:seed=1.5", ["seed is '1.5'", "whole number"]),
        ("sim-cohort:images=maybe", ["images is 'maybe'", "true or false"]),
        ("sim-studies:seed=1,seed=2", ["seed is given twice"]),
        ("sim-studies:", ["unknown dial ''", "known: batch_effect"]),
        ("sim-null:batch_effect=1", ["unknown dial 'batch_effect'"]),
        ("hcc-immune:seed=1", ["'hcc-immune'", "no dials", "only simulated"]),
        ("sim-studie:seed=1", ["unknown dataset 'sim-studie'", "did you mean sim-studies"]),
    ],
)
def test_a_dial_that_is_none_is_refused(refused, name, pieces):
    with refused(*pieces):
        load_dataset(name)


def test_a_dataset_with_dials_travels_by_its_name():
    data = load_dataset(SMALL)
    sent = pickle.dumps(data)
    assert len(sent) < 10_000
    assert pickle.loads(sent).fingerprint == data.fingerprint


def test_a_dataset_with_dials_goes_through_a_whole_run(tmp_path):
    config = {
        "name": "dials",
        "tasks": [{"task": "sim-alignment", "dataset": SMALL, "encoders": ["pca"], "controls": ["random"]}],
        "n_boot": 100,
    }
    (tmp_path / "dials.yaml").write_text(yaml.safe_dump(config))
    done = run("run", tmp_path / "dials.yaml", "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 0, done.stderr
    table = Results.read(tmp_path / "out").table()
    assert set(table["dataset"]) == {SMALL}
    assert (table["status"] != "failed").all()
    assert SMALL in (tmp_path / "out" / "report.html").read_text()
    direct = mmcell.evaluate(["pca"], "sim-alignment", dataset=SMALL, controls=["random"], n_boot=100).table()
    pd.testing.assert_series_equal(direct["value"], table["value"])


def test_show_and_audit_know_dials(capsys, refused):
    show_card(SMALL)
    shown = capsys.readouterr().out
    assert f"dataset: {SMALL}" in shown
    assert "batch effect 2" in shown
    assert "batch_effect: 1.0" in shown
    assert "batch effect 2" in " ".join(f.message for f in audit(SMALL, n_boot=100))
    for refuses in (show_card, audit):
        with refused("unknown dial 'batch_efect'"):
            refuses("sim-studies:batch_efect=2")
