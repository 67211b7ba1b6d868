import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.data.simulate import simulate_cohort, simulate_perturbation
from mmcell.data.simulate.programme import RESPONSE, SHIFT, TREATMENTS
from mmcell.data.simulate.reference import reference
from mmcell.modalities import not_pulling
from mmcell.testing import write_cohort
from tests.data.simulated import patient_shares, small


def same(one, other, modality):
    a, b = (d.anndata(modality).X for d in (one, other))
    a, b = (x.toarray() if hasattr(x, "toarray") else x for x in (a, b))
    return a.shape == b.shape and bool((a == b).all())


@pytest.fixture(scope="module")
def cohort():
    return small(n=24, cells=120, images=True)


@pytest.fixture(scope="module")
def large():
    """Many patients, no images, no batches: where means are compared."""
    return simulate_cohort(60, 100, images=False, batch_effect=0.0)


# -- the shape of it ----------------------------------------------------------------------------------------------


def test_four_modalities_of_the_same_cells(cohort):
    assert set(cohort.card.modalities) == {"rna", "protein", "morphology", "image"}
    for name in cohort.card.modalities:
        assert list(cohort.anndata(name).obs_names) == list(cohort.ids)
        assert np.isfinite(cohort.features(name).X.toarray() if name == "rna" else cohort.features(name).X).all()
    for name in ("rna", "protein"):
        x = cohort.anndata(name).X
        values = x.data if hasattr(x, "data") and hasattr(x, "indptr") else x
        assert (values == values.round()).all()
        assert values.min() >= 0
    about = cohort.anndata("image").uns["image"]
    assert cohort.anndata("image").X.reshape(-1, *about["shape"]).shape[1:] == (3, 24, 24)
    assert cohort.anndata("image").X.dtype == np.uint8
    assert set(small().card.modalities) == {"rna", "protein", "morphology"}


def test_every_patient_has_one_disease_batch_outcome_and_covariates(cohort):
    patients = cohort.patients
    assert {"disease", "batch", "age", "sex", "stage", "months", "death"} <= set(patients)
    assert pd.crosstab(patients["disease"], patients["batch"]).to_numpy().tolist() == [[4, 4, 4], [4, 4, 4]]
    assert patients["n_items"].nunique() > 10
    assert (patients["months"] > 0).all()
    assert cohort.positive == "ill"
    assert cohort.roles.outcome.time == "months"


def test_no_method_sees_the_truth(cohort):
    for name in cohort.card.modalities:
        seen = cohort.features(name)
        assert set(seen.uns) == ({"image"} if name == "image" else set())
        assert not (len(seen.obsm) + seen.obs.shape[1])
    assert cohort.planted is not None
    assert list(cohort.planted["cells"].index) == list(cohort.ids)
    assert list(cohort.planted["patients"].index) == list(cohort.patients.index)


def test_real_data_have_nothing_planted():
    assert mmcell.testing.tiny_cohort(4, 5).planted is None


def test_the_truth_survives_pickling_and_files(tmp_path):
    data = small(images=True)
    again = pickle.loads(pickle.dumps(data))
    read = mmcell.load_dataset(write_cohort(tmp_path, data))
    for other in (again, read):
        for name, table in data.planted.items():
            found = other.planted[name]
            pd.testing.assert_frame_equal(found, table, check_names=False, check_dtype=False)
        np.testing.assert_array_equal(other.anndata("rna").obsm["spatial"], data.anndata("rna").obsm["spatial"])
    assert list(read.anndata("image").uns["image"]["shape"]) == [3, 24, 24]


# -- dials and seeds ----------------------------------------------------------------------------------------------


def test_the_seed_decides_everything():
    one, again, other = small(3, images=True), small(3, images=True), small(4, images=True)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert all(same(one, again, m) for m in one.card.modalities)
    pd.testing.assert_frame_equal(one.obs, again.obs)
    assert (one.patients["age"] != other.patients["age"]).any()


@pytest.mark.parametrize(
    ("dial", "value", "changed", "columns"),
    [
        ("composition_effect", 3.0, {"rna", "protein", "morphology"}, {"cell_type"}),
        ("state_effect", 3.0, {"rna", "protein", "morphology"}, set()),
        ("batch_effect", 2.0, {"rna", "protein", "morphology"}, set()),
        ("coupling", 0.0, {"protein", "morphology"}, set()),
        ("survival_effect", 3.0, set(), {"months", "death"}),
        ("clinical_effect", 3.0, set(), {"months", "death"}),
        ("censoring", 0.7, set(), {"months", "death"}),
        ("confounding", 1.0, {"rna", "protein", "morphology"}, {"batch"}),
    ],
)
def test_a_dial_changes_what_it_governs_and_nothing_else(dial, value, changed, columns):
    usual, turned = small(), small(**{dial: value})
    assert {m for m in usual.card.modalities if not same(usual, turned, m)} == changed
    differing = {c for c in usual.obs if (usual.obs[c] != turned.obs[c]).any()}
    assert differing == columns


def test_a_batch_keeps_its_effect_when_others_are_empty():
    emptied = 0
    for seed in range(8):
        usual, moved = (small(seed, n=10, n_batches=5, confounding=c, cells=5) for c in (0.0, 0.5))
        emptied += moved.obs["batch"].nunique() < 5
        stayed = (usual.obs["batch"] == moved.obs["batch"]).to_numpy()
        assert 0 < stayed.sum() < len(stayed)
        values = (data.anndata("morphology").X[stayed] for data in (usual, moved))
        np.testing.assert_array_equal(*values)
    assert emptied


def test_images_are_beside_the_rest():
    usual, drawn = small(), small(images=True)
    assert all(same(usual, drawn, m) for m in usual.card.modalities)
    turned = small(images=True, state_effect=3.0)
    assert not same(drawn, turned, "image")


def test_more_cells_for_the_ill():
    usual, turned = (small(n=40, cell_count_effect=e).patients for e in (0.0, 1.0))
    ratio = turned["n_items"] / usual["n_items"]
    means = np.log(ratio).groupby(usual["disease"]).mean()
    assert means["ill"] - means["well"] == pytest.approx(1.0, abs=0.05)
    pd.testing.assert_frame_equal(usual.drop(columns="n_items"), turned.drop(columns="n_items"))


@pytest.mark.parametrize(("n_batches", "confounding"), [(2, 0.0), (2, 1.0), (3, 1.0), (4, 0.5)])
def test_confounding_ties_the_disease_to_the_batch(n_batches, confounding):
    patients = small(n=40, n_batches=n_batches, confounding=confounding, cells=5).patients
    table = pd.crosstab(patients["disease"], patients["batch"]).to_numpy()
    purity = table.max(axis=0).sum() / 40
    assert purity == 1.0 if confounding == 1 else (purity == 0.5 if confounding == 0 else 0.6 < purity < 0.95)


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        ({"n_patients": 3}, "n_patients is 3"),
        ({"n_patients": 8.5}, "n_patients is 8.5"),
        ({"cells_per_patient": 0}, "cells_per_patient is 0"),
        ({"state_effect": -1.0}, "state_effect is -1.0"),
        ({"composition_effect": float("nan")}, "composition_effect is nan"),
        ({"batch_effect": float("inf")}, "batch_effect is inf"),
        ({"survival_effect": "strong"}, "survival_effect is 'strong'"),
        ({"seed": -1}, "seed is -1"),
        ({"censoring": 1.0}, "censoring is 1.0"),
        ({"confounding": 1.5}, "confounding is 1.5"),
        ({"confounding": 0.5, "n_batches": 1}, "confounding needs at least 2 batches"),
        ({"n_patients": 8, "n_batches": 5}, "n_batches is 5 for 8 patients"),
    ],
)
def test_what_cannot_be_simulated_is_refused(refused, arguments, piece):
    with refused(piece):
        simulate_cohort(**arguments)


def test_the_smallest_cohort_is_made():
    data = simulate_cohort(4, 5, n_batches=1, censoring=0.0)
    assert data.unit.nunique() == 4
    assert data.patients["death"].eq(1).all()


def test_importing_loads_nothing_heavy():
    heavy = {"scanpy", "torch", "anndata", "scipy.optimize"}
    code = f"import sys, mmcell.data.simulate; assert not {heavy} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what was planted is there ------------------------------------------------------------------------------------


def test_the_composition_shift_is_recovered(large):
    found, ref = patient_shares(large), reference()
    expected = pd.DataFrame(index=found.index, columns=found.columns, dtype=float)
    for patient, shift in large.planted["patients"]["composition_shift"].items():
        weight = {t: p * np.exp(shift * SHIFT.get(t, 0.0)) for t, p in zip(ref.types, ref.proportion, strict=True)}
        expected.loc[patient] = pd.Series(weight) / sum(weight.values())
    # A Dirichlet of concentration 25 has the variance q(1 - q)/26, and counting n cells adds about q(1 - q)/n.
    error = np.sqrt((expected * (1 - expected) * (1 / 26 + 1 / 100)).mean() / len(found))
    assert ((found - expected).mean().abs() < 3.5 * error).all()
    spread = ((found - expected) ** 2).mean() / (expected * (1 - expected)).mean()
    assert spread.mean() == pytest.approx(1 / 26 + 1 / 100, rel=0.25)
    ill = large.patients["disease"] == "ill"
    moved = found[ill].mean() - found[~ill].mean()
    assert moved["CD14+ Monocyte"] > 0.06
    assert moved["Dendritic"] < -0.06


def fold_changes(data, kind, one, other):
    """Log ratio of the mean counts of each gene between two groups of the cells of a type."""
    of_type = (data.obs["cell_type"] == kind).to_numpy()
    x = data.anndata("rna").X
    means = (np.asarray(x[of_type & group].mean(axis=0)).ravel() for group in (one, other))
    a, b = (np.log(m + 0.05) for m in means)
    return a - b


def test_the_programme_is_in_the_types_that_respond(large):
    ill = (large.obs["disease"] == "ill").to_numpy()
    cells = large.planted["cells"]
    for kind in reference().types:
        of_type = (cells["cell_type"] == kind).to_numpy()
        planted = cells.loc[of_type & ill, "programme"].mean() - cells.loc[of_type & ~ill, "programme"].mean()
        assert planted == pytest.approx(RESPONSE.get(kind, 0.0), abs=0.3)
    responding, silent = (np.abs(fold_changes(large, k, ill, ~ill)) for k in ("CD14+ Monocyte", "CD19+ B"))
    assert np.sort(responding)[-15:].mean() > 2 * np.sort(silent)[-15:].mean()


def test_hazard_and_censoring_are_what_was_asked_for():
    lifelines = pytest.importorskip("lifelines")
    table, shares = [], []
    for seed in range(2):
        data = small(seed, n=500, cells=5, survival_effect=1.3, clinical_effect=0.4, censoring=0.3)
        patients = data.patients
        planted = data.planted["patients"]
        expected = 1.3 * (planted["severity"] - 0.5) + 0.4 * (patients["stage"] - 2.5)
        np.testing.assert_allclose(planted["log_hazard"], expected)
        columns = patients[["months", "death", "stage"]].astype(float).assign(severity=planted["severity"])
        model = lifelines.CoxPHFitter().fit(columns, "months", "death")
        table.append(model.params_[["severity", "stage"]])
        shares.append(1 - patients["death"].mean())
    found = pd.DataFrame(table).mean()
    assert found["severity"] == pytest.approx(1.3, abs=0.15)
    assert found["stage"] == pytest.approx(0.4, abs=0.1)
    assert np.mean(shares) == pytest.approx(0.3, abs=0.04)


def test_stage_says_nothing_of_the_cells():
    planted = [small(s, n=100, cells=5) for s in range(4)]
    stage = np.concatenate([d.patients["stage"] for d in planted]).astype(float)
    severity = np.concatenate([d.planted["patients"]["severity"] for d in planted])
    assert abs(np.corrcoef(stage, severity)[0, 1]) < 0.15


def test_types_form_neighbourhoods(cohort):
    where, kind = cohort.anndata("rna").obsm["spatial"], cohort.obs["cell_type"].to_numpy()
    same_type, anyone = [], []
    for patient in cohort.patients.index[:6]:
        rows = (cohort.unit == patient).to_numpy()
        away = np.linalg.norm(where[rows][:, None] - where[rows][None], axis=2)
        np.fill_diagonal(away, np.inf)
        nearest = away.argmin(axis=1)
        same_type.append((kind[rows][nearest] == kind[rows]).mean())
        anyone.append((pd.Series(kind[rows]).value_counts(normalize=True) ** 2).sum())
    assert np.mean(same_type) > np.mean(anyone) + 0.25


def test_images_differ_by_type_and_show_the_programme(cohort):
    about = cohort.anndata("image").uns["image"]
    pictures = cohort.anndata("image").X.reshape(-1, *about["shape"]).astype(float)
    facts = pd.DataFrame(pictures.mean(axis=(2, 3)), index=cohort.ids, columns=list(about["channels"]))
    between = facts.groupby(cohort.obs["cell_type"]).mean().std()
    assert (between[["nucleus", "cytoplasm"]] > 5).all()
    cells = cohort.planted["cells"]
    centred = facts["granules"] - facts["granules"].groupby(cells["cell_type"]).transform("mean")
    assert np.corrcoef(centred, cells["programme"])[0, 1] > 0.2


# -- treatments ---------------------------------------------------------------------------------------------------


def test_treatments_are_given_to_the_same_patients():
    cohort, treated = small(), simulate_perturbation(12, 40)
    shown = ["disease", "batch", "age", "sex", "stage"]
    pd.testing.assert_frame_equal(cohort.patients[shown], treated.patients[shown])
    assert not set(cohort.ids) & set(treated.ids)
    assert treated.roles.perturbation == "treatment"
    assert treated.roles.control == "control"
    counts = pd.crosstab(treated.obs["patient"], treated.obs["treatment"])
    assert list(counts) == sorted(TREATMENTS)
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_the_reversal_is_the_disease_reversed(large):
    treated = simulate_perturbation(60, 200, batch_effect=0.0)
    kind = "CD14+ Monocyte"
    ill = (large.obs["disease"] == "ill").to_numpy()
    disease = fold_changes(large, kind, ill, ~ill)
    which = treated.obs["treatment"].to_numpy()
    effects = {
        name: fold_changes(treated, kind, which == name, which == "control")
        for name in ("reversal", "mimic", "unrelated", "inert")
    }
    found = {name: np.corrcoef(disease, effect)[0, 1] for name, effect in effects.items()}
    assert found["reversal"] < -0.6
    assert found["mimic"] > 0.6
    assert abs(found["unrelated"]) < 0.2
    assert abs(found["inert"]) < 0.25
    assert np.abs(effects["unrelated"]).max() > 3 * np.abs(effects["inert"]).std()


def test_treatments_at_zero_do_nothing():
    none, some = (simulate_perturbation(8, 40, treatment_effect=e) for e in (0.0, 1.0))
    programme = none.planted["cells"].groupby(none.obs["treatment"])["unrelated"].max()
    assert (programme == 0).all()
    control = (none.obs["treatment"] == "control").to_numpy()
    pd.testing.assert_frame_equal(none.planted["cells"][control], some.planted["cells"][control])


def test_treatments_do_more_in_the_ill_where_that_is_planted():
    alike, more = (simulate_perturbation(20, 60, response_effect=e) for e in (0.0, 1.0))
    assert (alike.planted["patients"]["response"] == 1).all()
    response = more.planted["patients"]["response"]
    severity = more.planted["patients"]["severity"]
    np.testing.assert_allclose(response, 1 + severity - 0.5)
    of_cell = more.planted["cells"]["unrelated"].groupby(more.obs["patient"]).max()
    pd.testing.assert_series_equal(of_cell, response.reindex(of_cell.index), check_names=False)
    control = (more.obs["treatment"] == "control").to_numpy()
    pd.testing.assert_frame_equal(alike.planted["cells"][control], more.planted["cells"][control])
    assert "response effect 1" in more.card.caveats[0]


def test_the_shipped_treatments_have_dials():
    data = mmcell.load_dataset("sim-perturbation:n_patients=8,cells_per_patient=30,response_effect=0")
    assert data.name == data.card.name == "sim-perturbation:n_patients=8,cells_per_patient=30,response_effect=0"
    assert data.unit.nunique() == 8
    assert (data.planted["patients"]["response"] == 1).all()
    assert "treatment effect 2" in data.card.caveats[0]


# -- the catalogue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sim-cohort", "sim-null"])
def test_the_catalogue_holds_simulated_data_and_says_so(name):
    data = mmcell.load_dataset(name)
    assert data.name == data.card.name == name
    assert data.card.description.startswith("Simulated: ")
    assert all((data.card.source, data.card.licence == "BSD-3-Clause", data.card.caveats))
    assert data.unit.nunique() == 90
    assert data.patients["batch"].nunique() == 3
    assert data.truth("outcome", "patient")["event"].sum() >= 50
    assert len(pickle.dumps(data)) < 10_000
    planted = data.planted["patients"]
    assert (planted[["composition_shift", "programme_shift", "log_hazard"]] == 0).to_numpy().all() == (
        name == "sim-null"
    )


def test_a_part_of_a_cohort_keeps_the_truth(cohort):
    from dataclasses import replace

    with not_pulling():
        part = replace(cohort, data=cohort.data[:50].copy(), fingerprint="")
    assert part.planted["patients"]["severity"].notna().all()
