"""Patients with their vectors as AnnData: those that the probe saw, of the split that is named."""

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.protocols.patient import PatientState
from mmcell.testing import tiny_cohort


class Half:
    """The first ten genes: an encoder that has no name in the registry."""

    card = mmcell.ModelCard(name="half", modality="rna", preprocessing="log1p")

    def encode(self, data):
        return np.asarray(data.X[:, :10].todense() if hasattr(data.X, "todense") else data.X[:, :10], dtype=np.float32)


@pytest.fixture(scope="module")
def cohort():
    return tiny_cohort()


@pytest.fixture(scope="module")
def run(cohort):
    """Results, and what the probe was given: split key -> vectors of every call, in order."""
    seen = {}
    as_it_is = PatientState.run

    def spied(self, view, embeddings, split, rng):
        seen.setdefault((split.spec.name, split.repeat, split.fold), []).append(embeddings["x"])
        return as_it_is(self, view, embeddings, split, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatientState, "run", spied)
        results = mmcell.evaluate(
            {"pca": "pca", "half": Half()}, "patient-state", dataset=cohort, n_boot=100, patient_encoders="pseudobulk"
        )
    return results, seen


@pytest.mark.parametrize(("split", "fold"), [("grouped", 0), ("grouped", 2), ("leave-one-batch-out", 1)])
def test_vectors_are_those_that_the_probe_saw(run, cohort, split, fold):
    results, seen = run
    found = results.to_anndata("pca", dataset=cohort, split=split, fold=fold)
    vectors = found.obsm["X_pca_pseudobulk"]
    alike = [e for e in seen[split, 0, fold] if e.values.shape[1] == vectors.shape[1]]
    assert any(np.array_equal(e.align(found.obs_names).values, vectors) for e in alike)


def test_another_fold_gives_other_vectors_and_another_side(run, cohort):
    results, _ = run
    a, b = (results.to_anndata("pca", dataset=cohort, fold=fold) for fold in (0, 1))
    assert not np.allclose(np.abs(a.obsm["X_pca_pseudobulk"][:, :1]), np.abs(b.obsm["X_pca_pseudobulk"][:, :1]))
    assert (a.obs["side"] != b.obs["side"]).any()


def test_what_stands_beside_the_vectors(run, cohort):
    results, _ = run
    found = results.to_anndata(dataset=cohort, sources={"half": Half()})
    assert set(found.obsm) == {"X_pca_pseudobulk", "X_half_pseudobulk"}
    assert {"state", "age", "batch", "side", "fold"} <= set(found.obs)
    facts = found.uns["mmcell"]
    assert set(facts["held_out"]) == set(found.obs_names[found.obs["side"] == "held out"])
    assert set(facts["trained_on"]) == set(found.obs_names[found.obs["side"] == "training"])
    assert (found.obs["fold"][found.obs["side"] == "held out"] == facts["fold"]).all()
    # The prediction is that of the items, looked up one by one.
    record = next(r for r in results.records if r.encoder == "pca")
    assert facts["records"]["pca_pseudobulk"] == record.key
    items = results.items[record.key].frame
    for patient, row in found.obs.iterrows():
        own = items[(items["item"] == patient) & (items["split"] == "grouped") & (items["repeat"] == 0)]
        own = own[own["target"] == "label"]
        assert len(own) == 1
        assert own["y_pred"].item() == row["y_pred_pca_pseudobulk"]
        assert own["fold"].item() == row["fold"]


def test_scanpy_takes_it_and_it_can_be_written(run, cohort, tmp_path):
    import anndata as ad
    import scanpy as sc

    results, _ = run
    found = results.to_anndata("pca", dataset=cohort)
    sc.pp.neighbors(found, use_rep="X_pca_pseudobulk", n_neighbors=4)
    assert found.obsp["distances"].shape == (found.n_obs, found.n_obs)
    found.write_h5ad(tmp_path / "patients.h5ad")
    again = ad.read_h5ad(tmp_path / "patients.h5ad")
    assert list(again.uns["mmcell"]["trained_on"]) == list(found.uns["mmcell"]["trained_on"])


@pytest.mark.parametrize("control", ["composition", "technical-only"])
def test_controls_have_vectors_too(run, cohort, control):
    assert f"X_{control}" in run[0].to_anndata(control, dataset=cohort).obsm


def test_results_that_were_read_again_give_the_same(cohort, tmp_path):
    options = {"dataset": cohort, "n_boot": 100, "controls": [], "patient_encoders": "pseudobulk"}
    first = mmcell.evaluate("pca", "patient-state", out=tmp_path, **options).to_anndata(dataset=cohort)
    again = mmcell.Results.read(tmp_path).to_anndata(dataset=cohort)
    np.testing.assert_array_equal(first.obsm["X_pca_pseudobulk"], again.obsm["X_pca_pseudobulk"])
    pd.testing.assert_frame_equal(first.obs, again.obs)


def test_the_callers_data_are_left_alone(run):
    cohort = tiny_cohort()
    before = cohort.obs.copy()
    run[0].to_anndata("pca", dataset=cohort).obs["state"] = "changed"
    pd.testing.assert_frame_equal(cohort.obs, before)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"encoder": "pac"}, "no result of 'pac'; did you mean pca"),
        ({"encoder": "half"}, "'half' is no name of an encoder"),
        ({"encoder": "pca", "split": "gruped"}, "no split 'gruped'; did you mean grouped"),
        ({"encoder": "pca", "fold": 99}, "fold is 99; grouped has the folds 0 to"),
        ({"encoder": "pca", "task": "patient-survivl"}, "no results of task 'patient-survivl'"),
        ({"encoder": "pca", "patient_encoder": "moments"}, "no result fits"),
        ({"encoder": "label-permuted"}, "its labels are permuted"),
        ({"encoder": "half", "sources": {"half": "hvg"}}, "the card of 'half' is another one"),
        ({"encoder": "pca", "dataset": None}, "'tiny-cohort' is a dataset of your own; give dataset="),
        ({"encoder": "pca", "dataset": tiny_cohort(seed=5)}, "holds other data than when it was run"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_line(run, cohort, wanted, message):
    with pytest.raises(mmcell.MmcellError, match=message) as error:
        run[0].to_anndata(**{"dataset": cohort, **wanted})
    assert "\n" not in str(error.value)


def test_vectors_of_cells_are_refused(cohort):
    results = mmcell.evaluate("pca", "rna-to-protein", dataset=cohort, n_boot=100, controls=[])
    with pytest.raises(mmcell.MmcellError, match="rna-to-protein: vectors are not of patients"):
        results.to_anndata(dataset=cohort)


def test_parameters_that_a_name_does_not_say_must_be_those_of_the_run(cohort):
    own = {"use": "kernel-mean", "n_features": 16}
    results = mmcell.evaluate("pca", "patient-state", dataset=cohort, n_boot=100, controls=[], patient_encoders=own)
    with pytest.raises(
        mmcell.MmcellError, match=r"kernel-mean.* had n_features=16, not 256; give patient_encoders="
    ) as error:
        results.to_anndata(dataset=cohort)
    assert "\n" not in str(error.value)
    assert results.to_anndata(dataset=cohort, patient_encoders=own).obsm["X_pca_kernel-mean"].shape[1] == 16


def test_vectors_of_a_file_need_the_file(cohort, tmp_path):
    ids = cohort.patients.index.astype(str)
    own = pd.DataFrame(np.random.default_rng(0).normal(size=(len(ids), 3)), index=ids)
    own.to_csv(tmp_path / "theirs.csv")
    options = {"dataset": cohort, "n_boot": 100, "controls": []}
    results = mmcell.evaluate(None, "patient-state", patient_encoders=f"file:{tmp_path / 'theirs.csv'}", **options)
    with pytest.raises(
        mmcell.MmcellError, match=r"'theirs' is no name of a patient encoder; give .* patient_encoders="
    ):
        results.to_anndata(dataset=cohort)
    moved = (tmp_path / "theirs.csv").rename(tmp_path / "elsewhere.csv")
    again = {"use": "file", "file": str(moved), "name": "theirs"}
    found = results.to_anndata(dataset=cohort, patient_encoders=again)
    np.testing.assert_allclose(found.obsm["X_theirs"], own.loc[found.obs_names], rtol=1e-6)
    own.iloc[0, 0] += 1
    own.to_csv(moved)
    with pytest.raises(mmcell.MmcellError, match="the patient encoder that was run had fingerprint="):
        results.to_anndata(dataset=cohort, patient_encoders=again)


def test_a_name_with_a_slash_can_be_written(cohort, tmp_path):
    import anndata as ad

    sources = {"lab/half": Half(), "lab_half": Half()}
    options = {"dataset": cohort, "n_boot": 100, "controls": [], "patient_encoders": "pseudobulk"}
    results = mmcell.evaluate(sources, "patient-state", **options)
    found = results.to_anndata("lab/half", dataset=cohort, sources=sources)
    found.write_h5ad(tmp_path / "patients.h5ad")
    assert list(ad.read_h5ad(tmp_path / "patients.h5ad").obsm) == ["X_lab_half_pseudobulk"]
    with pytest.raises(mmcell.MmcellError, match="lab_half_pseudobulk and lab/half_pseudobulk would both be"):
        results.to_anndata(dataset=cohort, sources=sources)
