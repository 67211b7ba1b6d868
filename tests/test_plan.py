from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import yaml

from mmcell import SplitSpec
from mmcell.plan import make_plan
from mmcell.task import Task
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, Noise, cite, survivors

TOY = cite(8, 10)


def with_split(task, *splits, **more):
    other = task.on(task.spec.dataset)
    other.spec = replace(task.spec, split=splits, **more)
    return other


def codes(plan):
    return [f.code for f in plan.findings]


def test_a_plan_holds_all_that_will_be_run():
    plan = make_plan(PATIENT, "features", TOY)
    assert len(plan.splits) == 3 * 2 + 2
    assert {(c.encoder, c.patient_encoder) for c in plan.candidates} == {
        ("features", "pseudobulk"), ("pca", "pseudobulk"), ("random", "pseudobulk"), ("constant", "pseudobulk"),
        ("label-permuted", "pseudobulk"), ("technical-only", ""),
        ("clinical-only", ""), ("", "composition"),
    }  # fmt: skip
    assert plan.reference.patient_encoder == "composition"


def test_without_encoders_the_task_names_them():
    plan = make_plan(SURVIVAL, None, survivors())
    assert {c.encoder for c in plan.candidates if c.role == "candidate"} == {"features"}


def test_single_names_need_no_list():
    plan = make_plan(PATIENT, "pca", TOY, controls="random", patient_encoders="celltype-pseudobulk", probes="default")
    assert [(c.encoder, c.patient_encoder) for c in plan.candidates] == [
        ("pca", "celltype-pseudobulk"), ("random", "pseudobulk")
    ]  # fmt: skip


def test_items_are_drawn_where_they_are_compared_with_each_other(refused):
    plan = make_plan(RETRIEVAL, "features", TOY, max_items=50)
    assert len(plan.dataset.ids) <= 50
    assert set(plan.dataset.unit) == set(TOY.unit)
    (note,) = [n for n in plan.notes if "are asked about" in n]
    assert note in plan.dataset.card.caveats
    assert make_plan(RETRIEVAL, "features", TOY).dataset is TOY
    assert key(RETRIEVAL, max_items=50) not in (key(RETRIEVAL), key(RETRIEVAL, max_items=40))
    # A bound that draws nothing asks the same.
    assert key(RETRIEVAL, max_items=1000) == key(RETRIEVAL)
    with refused("max_items is for tasks that compare items with each other", "leave max_items out"):
        make_plan(PATIENT, "features", TOY, max_items=50)
    with refused("max_items is -1"):
        make_plan(RETRIEVAL, "features", TOY, max_items=-1)


def test_missing_controls_and_reference_are_findings():
    plan = make_plan(PATIENT, "pca", TOY, controls=["random"])
    assert plan.reference is None
    assert {"controls-missing", "reference-missing"} <= set(codes(plan))
    assert "controls left out: constant, technical-only" in next(f.message for f in plan.findings)


def test_a_split_that_cannot_be_made_is_named():
    for alone in (cite(8, 10, roles={"batch": None}), cite(8, 10, batch="b1")):
        plan = make_plan(PATIENT, "pca", alone)
        assert {s.spec.name for s in plan.splits} == {"grouped"}
        assert "split-not-run" in codes(plan)


def test_a_leak_that_the_data_cannot_show_stops_nothing():
    plan = make_plan(PATIENT, "pca", cite(8, 10, batch="b1"))
    assert "leak-not-asked" in codes(plan)


def key(task=PATIENT, encoders="features", dataset=TOY, **options):
    plan = make_plan(task, encoders, dataset, **options)
    return plan.key(next(c for c in plan.candidates if c.role == "candidate"))


def test_the_key_is_the_same_again():
    assert key() == key()
    assert key(encoders=["features", "hvg"]) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"n_boot": 200},
        {"encoders": "hvg"},
        {"encoders": {"other name": "features"}},
        {"encoders": [{"name": "hvg", "n_top": 3}]},
        {"null": 19},
        {"patient_encoders": "pseudobulk:all-cells"},
        {"dataset": cite(8, 10, seed=1)},
        {"dataset": replace(TOY, roles=replace(TOY.roles, clinical=()))},
        {"controls": ["random"]},
        {"task": with_split(PATIENT, *PATIENT.spec.splits, metrics=("auroc",))},
        {"task": with_split(PATIENT, PATIENT.spec.splits[0])},
        {"task": with_split(PATIENT, *PATIENT.spec.splits, version="2")},
    ],
)
def test_the_key_follows_everything_that_decides_a_record(change):
    assert key(**change) != key()


def test_what_is_not_known_before_it_runs_has_no_key():
    assert key(encoders={"mine": Noise()}) == ""


def test_a_task_typed_at_a_prompt_has_no_key():
    scope = {"Task": Task, "spec": ALIGNMENT.spec}
    exec("class Typed(Task):\n    spec = spec\n    def run(self, *a): ...", scope)
    assert key(scope["Typed"](), dataset=TOY) == ""


ONE_CLASS = {"state": "ill"}
TWO_CLASSES_IN_A_DONOR = {"state": np.where(np.arange(80) % 2, "ill", "well")}


@pytest.mark.parametrize(
    ("task", "dataset", "pieces"),
    [
        (PATIENT, cite(8, 10, roles={"positive": None}, **ONE_CLASS), ["'state' has one class only (ill)"]),
        (PATIENT, cite(8, 10, **TWO_CLASSES_IN_A_DONOR), ["'state' takes 2 values in donor 'D00'"]),
        (PATIENT, cite(8, 10, roles={"label": None}), ["roles.label is not set"]),
        (PATIENT, cite(4, 10, state=np.where(np.arange(40) < 10, "ill", "well")),
         ["1 unit of label", "cannot be spread over 3 folds"]),
        (SURVIVAL, survivors(death=0), ["'death' has no events"]),
        (SURVIVAL, survivors(years=-1.0), ["40 values of 'years' are negative, first those of P000"]),
        (SURVIVAL, TOY, ["roles.outcome is not set"]),
        (with_split(SURVIVAL, SplitSpec("one", "leave-one-group-out", "unit", targets=("outcome",))), survivors(12),
         ["harrell_c compares units within a fold", "every fold holds one unit"]),
        (with_split(PATIENT, PATIENT.spec.splits[1]), cite(8, 10, batch="b1"), ["batch has one group only (b1)"]),
    ],
)  # fmt: skip
def test_what_the_data_do_not_allow_is_refused(refused, task, dataset, pieces):
    with refused(*pieces):
        make_plan(task, "pca" if task is PATIENT else None, dataset)


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"n_boot": 99}, ["n_boot is 99; use at least 100"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"encoders": "pcaa"}, ["unknown encoder 'pcaa'"]),
        ({"controls": ["randon"]}, ["unknown encoder 'randon'"]),
    ],
)
def test_wrong_options_are_refused(refused, options, pieces):
    with refused(*pieces):
        make_plan(PATIENT, **{"encoders": "pca", "dataset": TOY} | options)


def test_an_unknown_task_is_refused(refused):
    with refused("unknown task 'patient-severety'", "did you mean patient-severity"):
        make_plan("patient-severety", "pca", TOY)


# -- what is asked for and demanded alike ------------------------------------------------------------------------------


class Twin(Noise):
    """An encoder with an untrained twin."""

    def untrained(self, seed):
        return Noise(seed)


def test_what_a_record_lacks_does_not_depend_on_who_else_runs():
    controls = ["random", "constant"]
    alone = make_plan(PATIENT, "pca", TOY, controls=controls)
    beside = make_plan(PATIENT, {"pca": "pca", "twin": Twin()}, TOY, controls=controls)
    of = {c.encoder: beside.lacking(c, []) for c in beside.candidates}
    assert of["pca"] == alone.lacking(next(c for c in alone.candidates if c.encoder == "pca"), [])
    assert set(of["twin"]) - set(of["pca"]) == {"untrained"}


def test_a_control_that_was_asked_for_is_there_and_competes():
    plan = make_plan(PATIENT, ["pca", "features"], TOY, controls=["random", "composition"])
    assert "pca" not in plan.missing
    assert "pca" not in plan.lacking(plan.candidates[0], [])
    whole = make_plan(PATIENT, ["pca", "features"], TOY)
    (pca,) = (c for c in whole.candidates if c.encoder == "pca")
    assert (pca.role, pca.asked, pca.competes) == ("control", True, True)
    other = make_plan(PATIENT, ["features"], TOY)
    assert not any(c.asked for c in other.candidates)


def test_few_units_of_a_class_make_fewer_folds():
    few = cite(8, 10, state=np.where(np.repeat(np.arange(8), 10) < 2, "ill", "well"))
    plan = make_plan(with_split(PATIENT, SplitSpec("g", "stratified-group-kfold", by="label")), "pca", few)
    assert len(plan.splits) == 2
    assert "split g: 2 folds, not 5: the rarest class has 2 units" in [f.message for f in plan.findings]


def test_counts_below_zero_are_refused_before_anything_runs(refused):
    below = cite(8, 10)
    below.anndata("rna").X[3, 5] = -2
    with refused("modality 'rna': X holds values down to -2, and the card says counts", "preprocessing: values"):
        make_plan(PATIENT, "features", below)


@pytest.mark.parametrize("on_disk", [False, True])
def test_log_values_called_counts_are_refused_once_and_before_anything_runs(tmp_path, refused, on_disk):
    logs = cite(8, 10)
    rna = logs.anndata("rna")
    ad.AnnData(np.log1p(rna.X), logs.obs, rna.var).write_h5ad(tmp_path / "logs.h5ad")
    card = {"data": "logs.h5ad", "roles": {"unit": "donor", "label": "state"}, "backed": on_disk}
    (tmp_path / "logs.yaml").write_text(yaml.safe_dump(card))
    with refused("dataset 'logs': modality 'rna': X holds fractions up to", "set preprocessing: log1p"):
        make_plan("patient-state", ["pca", "hvg"], tmp_path / "logs.yaml")
    (tmp_path / "logs.yaml").write_text(yaml.safe_dump({**card, "preprocessing": "log1p"}))
    assert make_plan("patient-state", ["pca", "hvg"], tmp_path / "logs.yaml").candidates


def test_corrected_counts_whose_first_rows_are_small_are_counts(monkeypatch, refused):
    monkeypatch.setattr("mmcell.survey._FIRST", 1)
    corrected = cite(8, 10)
    corrected.anndata("rna").X = np.minimum(corrected.anndata("rna").X, 15.0)
    corrected.anndata("rna").X[0] = 0.5
    with refused("X holds fractions up to"):
        make_plan(PATIENT, "features", corrected)
    again = replace(corrected, fingerprint="beyond logarithms")
    again.anndata("rna").X[-1, -1] = 250.5
    assert make_plan(PATIENT, "features", again).candidates


def test_few_patients_per_clinical_variable_are_named_where_a_model_of_them_is_fitted():
    task = PATIENT.on(PATIENT.spec.dataset)
    task.spec = replace(task.spec, more_probes=("logistic+clinical",))

    def said(**asked):
        return "few-per-variable" in codes(make_plan(task, "features", TOY, **asked))

    assert said(controls=["random", "clinical-only"])
    assert said(controls=["random"], probes=["logistic+clinical"])
    assert not said(controls=["random"])


def test_a_concept_without_any_marker_is_refused_before_anything_runs(refused):
    def with_concepts(**concepts):
        return replace(TOY, card=TOY.card.model_copy(update={"concepts": {k: {"rna": v} for k, v in concepts.items()}}))

    with refused("no marker of the concept gone is there (FOO1, FOO2)", "take it out of concepts"):
        make_plan(PATIENT, "features", with_concepts(there=["rna0"], gone=["FOO1", "FOO2"]), patient_encoders="scope")
    half = make_plan(PATIENT, "features", with_concepts(half=["rna0", "FOO1"]), patient_encoders="scope")
    assert "concept-markers" in codes(half)
    assert make_plan(PATIENT, "features", with_concepts(gone=["FOO1"])).candidates
