from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from mmcell import Dataset, Embedding, evaluate
from mmcell.geometry import geometry, robustness
from mmcell.roles import Outcome
from tests.toys import PATIENT, SURVIVAL, Noise, cite, survivors

RNG = np.random.default_rng(0)


def vectors(values):
    ids = pd.Index([f"P{i}" for i in range(len(values))], name="id")
    return Embedding.from_array("x", ids, np.asarray(values, dtype=float), level="patient")


def lying(values, state, batch=None, within=(), held=None):
    x = vectors(values)
    facts = pd.DataFrame({"label": state, **({} if batch is None else {"batch": batch})}, index=x.ids)
    held = np.zeros(len(x), dtype=bool) if held is None else held
    return geometry(x, facts, held, state="label", within=within, rng=np.random.default_rng(1))


@given(st.integers(0, 1000), st.integers(3, 12))
def test_a_map_of_two_dimensions_keeps_every_distance(seed, n):
    x = np.random.default_rng(seed).normal(size=(n, 2))
    found = lying(x, ["a"] * n)
    np.testing.assert_allclose(pdist(found["map"]), pdist(x), atol=1e-9)
    assert sum(found["share"]) == pytest.approx(1.0)


def test_a_map_knows_no_sign_and_a_collapsed_embedding_no_place():
    x = RNG.normal(size=(9, 4))
    np.testing.assert_allclose(lying(x, ["a"] * 9)["map"], np.array(lying(x + 5.0, ["a"] * 9)["map"]), atol=1e-9)
    flat = lying(np.ones((9, 4)), ["a", "b", "a"] * 3)
    assert not np.any(flat["map"])
    assert flat["share"] == [0.0, 0.0]
    assert flat["anosim"][0]["r"] == 0.0
    assert flat["anosim"][0]["p"] == 1.0


def test_grouping_is_found_where_it_is():
    state = np.repeat(["a", "b"], 10)
    batch = np.tile(["one", "two"], 10)
    rows = {r["of"]: r for r in lying(RNG.normal(size=(20, 3)) + 6.0 * (state == "a")[:, None], state, batch)["anosim"]}
    assert rows["label"]["r"] > 0.9
    assert rows["label"]["p"] == 0.001
    assert rows["batch"]["p"] > 0.05
    assert rows["batch"]["n"] == 20


def test_what_the_batch_explains_is_not_the_state_within_it():
    """State and batch go together; within a batch the state moves nothing."""
    batch = np.repeat(["one", "two"], 12)
    state = np.where(np.arange(24) % 12 < np.where(batch == "one", 10, 2), "ill", "well")
    x = np.random.default_rng(3).normal(size=(24, 3)) + 5.0 * (batch == "one")[:, None]
    among, inside = (lying(x, state, batch, within=w)["anosim"][0] for w in ((), ("batch",)))
    assert among["r"] == inside["r"]
    assert among["p"] < 0.05 < inside["p"]
    assert inside["within"] == ["batch"]


def test_unknown_states_are_left_out_and_one_state_has_no_grouping():
    state = ["a", "b", None, "a", "b", "a"]
    assert lying(RNG.normal(size=(6, 2)), state)["anosim"][0]["n"] == 5
    alone = lying(RNG.normal(size=(6, 2)), ["a"] * 6)["anosim"][0]
    assert alone["r"] is None
    assert "one group only" in alone["reason"]


def test_steady_patients_are_robust_and_noise_is_at_chance():
    owner = np.repeat([f"D{i}" for i in range(20)], 2)
    facts = pd.DataFrame({"patient": owner, "batch": "b"})
    near = RNG.normal(size=(20, 4)).repeat(2, axis=0) + 0.01 * RNG.normal(size=(40, 4))
    of = robustness(vectors(near), facts, n_boot=200, rng=np.random.default_rng(0))
    assert of["value"] == 1.0
    assert of["reason"] == "the same for all patients"
    noise = robustness(vectors(RNG.normal(size=(40, 4))), facts, n_boot=200, rng=np.random.default_rng(0))
    assert noise["ci_low"] < 0.5 < noise["ci_high"]
    assert (noise["n_patients"], noise["n_samples"]) == (20, 40)


def test_robustness_of_few_has_no_interval_and_of_none_a_reason():
    few = robustness(vectors(RNG.normal(size=(6, 2))), pd.DataFrame({"patient": list("aabbcc")}), n_boot=100, rng=RNG)
    assert few["ci_low"] is None
    assert few["reason"] == "no interval of 3 patients"
    none = robustness(vectors(RNG.normal(size=(3, 2))), pd.DataFrame({"patient": list("abc")}), n_boot=100, rng=RNG)
    assert none["value"] is None
    assert "no patient has two samples" in none["reason"]


@pytest.fixture(scope="module")
def results():
    return evaluate(
        {"good": "features", "<noise>": Noise()}, PATIENT, dataset=cite(24, 10), n_boot=100, controls=["composition"],
        patient_encoders=["pseudobulk", "mil"],
    )  # fmt: skip


def details(results, encoder, patient_encoder):
    return next(r for r in results.records if (r.encoder, r.patient_encoder) == (encoder, patient_encoder)).details


def test_a_run_says_how_its_patients_lie(results):
    found = details(results, "good", "pseudobulk")["geometry"]
    rows = {r["of"]: r for r in found["anosim"]}
    assert rows["label"]["r"] > details(results, "<noise>", "pseudobulk")["geometry"]["anosim"][0]["r"]
    assert 0 < sum(found["held_out"]) < len(found["patients"]) == 24
    assert set(found["facts"]) == {"label", "batch"}


def test_of_what_is_fitted_to_labels_only_held_out_patients_take_part(results):
    found = details(results, "good", "mil")["geometry"]
    assert all(found["held_out"])
    assert len(found["patients"]) == 8


def test_composition_is_kept_as_shares(results):
    found = details(results, "", "composition")["composition"]
    np.testing.assert_allclose(np.sum(found["shares"], axis=1), 1.0)
    assert set(found["states"]) == {"ill", "well"}


def test_the_report_draws_maps_and_bars_and_escapes_names(results, tmp_path):
    page = results.report(tmp_path / "report.html").read_text()
    assert "How patients lie to each other" in page
    assert "Map of patients by label: good → pseudobulk" in page
    assert "Map of patients by batch: good → pseudobulk" in page
    assert "Composition of 24 patients, a bar a patient" in page
    assert "<noise>" not in page
    assert "&lt;noise&gt;" in page


def sampled(replicates=False, n_cells=24):
    """Donors in two samples each; what the toy plants is the donor's own in both."""
    toy = cite(24, n_cells)
    half = np.arange(len(toy.ids)) // (n_cells // 2) % 2
    obs = toy.obs.assign(visit=np.where(half == 1, "second", "first"))
    toy.data.obs["visit"] = obs["visit"].to_numpy()
    return Dataset("toy", toy.data, replace(toy.roles, sample="visit", replicates=replicates), toy.card)


@pytest.mark.parametrize(
    ("replicates", "what"), [(True, "replicate robustness"), (False, "steadiness over time points")]
)
def test_samples_of_one_patient_are_compared_in_the_space_of_the_fold(replicates, what, tmp_path):
    found = evaluate(
        {"x": "features"}, PATIENT, dataset=sampled(replicates), n_boot=100, controls=["composition"],
        patient_encoders=["pseudobulk", "mil"],
    )  # fmt: skip
    bulk, mil = (details(found, "x", n)["geometry"]["samples"] for n in ("pseudobulk", "mil"))
    assert (bulk["what"], bulk["n_samples"], bulk["n_patients"]) == (what, 48, 24)
    assert bulk["ci_low"] <= bulk["value"] <= bulk["ci_high"]
    assert mil["n_samples"] == 16
    assert what in found.report(tmp_path / "report.html").read_text()


def test_samples_of_few_cells_have_no_vector():
    found = evaluate({"x": "features"}, PATIENT, dataset=sampled(n_cells=12), n_boot=100, controls=["composition"])
    assert details(found, "x", "pseudobulk")["geometry"]["samples"]["n_samples"] == 0


def test_vectors_of_samples_are_those_of_the_fitted_encoder():
    from mmcell.patients.base import encode_patients
    from mmcell.patients.pseudobulk import Pseudobulk

    ids = pd.Index([f"c{i}" for i in range(60)])
    cells = Embedding.from_array("x", ids, RNG.normal(size=(60, 3)))
    owner, sample = pd.Series(np.repeat(list("abc"), 20), ids), pd.Series(np.repeat(list("uvwxyz"), 10), ids)
    found = encode_patients(
        Pseudobulk(), cells, owner, pd.Index(["a", "b"]), cell_type=None, rng=RNG, equal_cells=False, sample=sample
    )
    expected = pd.DataFrame(cells.values, ids).groupby(sample).mean()
    np.testing.assert_allclose(found.samples.align(expected.index).values, expected, atol=1e-6)


def test_a_state_that_is_the_batch_has_no_p_within_it():
    state = np.repeat(["a", "b"], 10)
    row = lying(RNG.normal(size=(20, 2)), state, state, within=("batch",))["anosim"][0]
    assert row["r"] is not None
    assert row["p"] is None
    assert row["reason"] == "label does not vary within batch"


def test_without_any_known_state_nothing_is_said_of_it():
    row = lying(RNG.normal(size=(6, 2)), [None] * 6, ["b"] * 6, within=("batch",))["anosim"][0]
    assert (row["r"], row["reason"]) == (None, "fewer than three patients")


def test_one_small_sample_does_not_decide_for_all():
    from mmcell.patients.base import encode_patients
    from mmcell.patients.pseudobulk import Pseudobulk

    sizes = [40, 40, 36, 40, 10, 9]
    sample = np.repeat(list("uvwxyz"), sizes)
    ids = pd.Index([f"c{i}" for i in range(len(sample))])
    cells = Embedding.from_array("x", ids, RNG.normal(size=(len(ids), 3)))
    owner = pd.Series(np.repeat(list("abc"), [80, 76, 19]), ids)
    found = encode_patients(
        Pseudobulk(), cells, owner, pd.Index(["a", "b"]), cell_type=None, rng=RNG, sample=pd.Series(sample, ids)
    )
    # The quarter of the median sample is 9.5 cells, and 10 are the least.
    assert found.facts["samples"] == {"cells each": 10, "fewest of": "y", "too small": 1}
    assert list(found.samples.ids) == list("uvwxy")


def test_what_stands_beside_the_scores_is_the_same_in_other_processes(results):
    from concurrent.futures import ThreadPoolExecutor

    toy = cite(24, 10)
    with ThreadPoolExecutor(2) as pool:
        again = evaluate(
            {"good": "features", "<noise>": Noise()}, PATIENT, dataset=toy, n_boot=100, controls=["composition"],
            patient_encoders=["pseudobulk", "mil"], executor=pool,
        )  # fmt: skip
    assert [r.details for r in again.records] == [r.details for r in results.records]
    assert "geometry" in details(again, "", "composition")


def test_no_score_is_lost_for_what_stands_beside_it(monkeypatch):
    from mmcell.errors import MmcellError
    from mmcell.work import Work

    def broken(_):
        raise MmcellError("no map today")

    monkeypatch.setattr(Work, "geometry", broken)
    found = evaluate("features", PATIENT, dataset=cite(12, 6), n_boot=100, controls=["constant"])
    record = next(r for r in found.records if r.role == "candidate")
    assert record.scores[0].value is not None
    assert any(f.code == "not-measured" and "no map today" in f.message for f in record.findings)


def test_ends_of_patients_are_named_not_coded():
    end = np.resize(["0", "1", "1", "moved"], 40)
    data = survivors(death=end, roles={"outcome": Outcome("years", "death", "moved")})
    record = evaluate("features", SURVIVAL, dataset=data, controls=["constant"], n_boot=100).records[0]
    named = {"0": "censored", "1": "event", "moved": "competing event"}
    assert record.details["geometry"]["facts"]["outcome"] == [named[e] for e in end]
