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
from mmcell.metrics.classification import auroc
from mmcell.metrics.survival import harrell_c
from mmcell.modalities import not_pulling
from mmcell.probes.linear import fit_logistic
from mmcell.testing import write_cohort

NOTHING = dict.fromkeys(
    ("composition_effect", "state_effect", "batch_effect", "survival_effect", "clinical_effect", "coupling"), 0.0
)


def small(seed=0, n=12, cells=40, images=False, **dials):
    return simulate_cohort(n, cells, images=images, seed=seed, **dials)


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
        assert not (len(seen.uns) + len(seen.obsm) + seen.obs.shape[1])
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


def patient_shares(data):
    table = pd.crosstab(data.obs["patient"], data.obs["cell_type"])
    return table.div(table.sum(axis=1), axis=0)


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


# -- every dial at zero -------------------------------------------------------------------------------------------


def held_out(x, y, seed):
    """AUROC of a logistic probe on the half of the patients that it was not fitted on."""
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    return auroc(y[test], fit_logistic(x[train], y[train]).probability(x[test])[:, 1])


def patient_vectors(data):
    """Composition, mean expression, mean protein, mean morphology, counts and depth of every patient."""
    unit = data.unit
    found = {"composition": np.log(patient_shares(data).to_numpy() + 0.01)}
    for name in ("rna", "protein", "morphology"):
        x = data.features(name).X
        frame = pd.DataFrame(x.toarray() if hasattr(x, "toarray") else x, index=data.ids)
        found[name] = frame.groupby(unit).mean().to_numpy()
    depth = pd.Series(np.asarray(data.anndata("rna").X.sum(axis=1)).ravel(), index=data.ids).groupby(unit).mean()
    found["technical"] = np.log(np.stack([depth, data.patients["n_items"]], axis=1))
    return found


@pytest.fixture(scope="module")
def empty():
    """Cohorts in which nothing was planted, with what a method makes of each."""
    made = [small(seed, n=48, cells=20, **NOTHING) for seed in range(12)]
    return [(data, patient_vectors(data)) for data in made]


@pytest.mark.parametrize("view", ["composition", "rna", "protein", "morphology", "technical"])
def test_without_effects_nothing_tells_disease_or_batch(empty, view):
    by_label, by_batch = [], []
    for seed, (data, vectors) in enumerate(empty):
        patients = data.patients
        by_label.append(held_out(vectors[view], (patients["disease"] == "ill").to_numpy().astype(int), seed))
        by_batch.append(held_out(vectors[view], (patients["batch"] == "batch1").to_numpy().astype(int), seed))
    # Twelve cohorts: the standard error of a mean AUROC of 24 patients is about 0.035.
    assert np.mean(by_label) == pytest.approx(0.5, abs=0.11)
    assert np.mean(by_batch) == pytest.approx(0.5, abs=0.11)


def test_without_effects_survival_is_by_chance():
    found = {"severity": [], "stage": []}
    for seed in range(12):
        data = small(seed, n=80, cells=5, **NOTHING)
        time, event = data.patients["months"].to_numpy(float), data.patients["death"].to_numpy(int)
        assert (data.planted["patients"]["log_hazard"] == 0).all()
        found["severity"].append(harrell_c(time, event, data.planted["patients"]["severity"].to_numpy()))
        found["stage"].append(harrell_c(time, event, data.patients["stage"].to_numpy(float)))
    for values in found.values():
        assert np.mean(values) == pytest.approx(0.5, abs=0.04)


def percentile_within(data, gallery):
    """Rank of a cell's own partner among the cells of its batch and type, through a ridge head; held-out patients."""
    x = data.features("rna").X.toarray()
    y = np.asarray(data.features(gallery).X, dtype=float)
    patients = data.patients.index
    test = data.unit.isin(patients[: len(patients) // 2]).to_numpy()
    group = data.obs.groupby(["batch", "cell_type"]).ngroup().to_numpy()

    def centred(values):
        frame = pd.DataFrame(values)
        return (frame - frame.groupby(group).transform("mean")).to_numpy()

    x, y = centred(x), centred(y)
    a, b = x[~test], y[~test]
    head = np.linalg.solve(a.T @ a + 300 * np.eye(a.shape[1]), a.T @ b)
    left, right = x[test] @ head, y[test]
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
    score = left @ right.T
    together = group[test][:, None] == group[test][None]
    own = np.diag(score)[:, None]
    below = ((score < own) & together).sum(axis=1)
    return float((below / np.maximum(together.sum(axis=1) - 1, 1))[together.sum(axis=1) > 5].mean())


@pytest.mark.parametrize("gallery", ["protein", "morphology"])
def test_without_coupling_a_cell_does_not_find_itself(gallery):
    apart = [percentile_within(small(s, cells=80, coupling=0.0), gallery) for s in range(2)]
    coupled = percentile_within(small(cells=80), gallery)
    assert np.mean(apart) == pytest.approx(0.5, abs=0.04)
    assert coupled > 0.6


@pytest.mark.parametrize(("dial", "view"), [("composition_effect", "composition"), ("state_effect", "rna")])
def test_with_one_effect_the_disease_is_found_where_it_was_planted(dial, view):
    found = []
    for seed in range(3):
        data = small(seed, n=60, cells=30, **(NOTHING | {dial: 1.5}))
        y = (data.patients["disease"] == "ill").to_numpy().astype(int)
        found.append(held_out(patient_vectors(data)[view], y, seed))
    assert np.mean(found) > 0.7


# -- the catalogue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sim-cohort", "sim-null"])
def test_the_catalogue_holds_simulated_data_and_says_so(name):
    data = mmcell.load_dataset(name)
    assert data.name == data.card.name == name
    assert data.card.description.startswith("Simulated: ")
    assert all((data.card.source, data.card.licence == "BSD-3-Clause", data.card.caveats))
    assert data.unit.nunique() == 60
    assert data.patients["batch"].nunique() == 3
    assert data.truth("outcome", "patient")["event"].sum() >= 30
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
