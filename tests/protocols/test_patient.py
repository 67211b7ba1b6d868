import json

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, MethodView, Split, SplitSpec
from mmcell.metrics.classification import auroc
from mmcell.plan import make_plan
from mmcell.probes.design import ClinicalDesign
from mmcell.probes.logistic import at_prevalence, fit_nested_logistic
from mmcell.splits import splits_of
from tests.toys import PATIENT, cite

TOY = cite(12, 3)
UNITS = pd.Index(sorted(TOY.unit.unique()), name="id")
GROUPED, BATCH_OUT = (splits_of(TOY, spec) for spec in PATIENT.spec.splits)


def answered(values, split=GROUPED[0], toy=TOY, probe="default"):
    view = MethodView.of(toy, split, "patient")
    x = Embedding.from_array("x", UNITS, np.asarray(values, dtype=float), level="patient")
    return PATIENT.using(probe).run(view, {"x": x}, split, np.random.default_rng(0))


def marks(column, value):
    truth = (TOY.patients.loc[UNITS, column] == value).to_numpy(float)
    return truth[:, None] + 0.1 * np.random.default_rng(0).normal(size=(12, 2))


def test_the_label_and_every_batch_are_asked():
    items = answered(marks("state", "ill"))
    assert items.kind == "binary"
    assert set(items.frame["target"]) == {"label", "batch=b1", "batch=b2"}
    for _, rows in items.frame.groupby("target"):
        assert sorted(rows["item"]) == sorted(GROUPED[0].test)


def test_scores_are_probabilities_of_the_positive_class():
    frame = answered(marks("state", "ill")).frame.query("target == 'label'").set_index("item")
    ill = TOY.patients.loc[frame.index, "state"] == "ill"
    assert frame["y_pred"].between(0, 1).all()
    assert frame.loc[ill, "y_pred"].min() > 0.5 > frame.loc[~ill, "y_pred"].max()


def test_a_batch_is_told_from_the_rest():
    frame = answered(marks("batch", "b2")).frame.query("target == 'batch=b2'").set_index("item")
    b2 = TOY.patients.loc[frame.index, "batch"] == "b2"
    assert frame.loc[b2, "y_pred"].min() > 0.5 > frame.loc[~b2, "y_pred"].max()


def test_a_left_out_batch_is_the_group():
    frame = answered(marks("state", "ill"), BATCH_OUT[1]).frame
    assert set(frame["group"]) == {"b2"}
    assert set(frame["target"]) == {"label"}


def test_a_collapsed_embedding_gives_everybody_the_same():
    assert (answered(np.ones((12, 2))).frame["y_pred"] == 0.5).all()


def test_a_leak_that_training_does_not_show_is_not_asked():
    spec = SplitSpec("half", "group-kfold", targets=("label", "batch"))
    of_b1 = TOY.patients.index[TOY.patients["batch"] == "b1"]
    split = Split(pd.Index(of_b1), UNITS.difference(of_b1), spec=spec)
    assert set(answered(marks("state", "ill"), split).frame["target"]) == {"label"}


def test_one_class_in_training_is_refused(refused):
    ill = TOY.patients.index[TOY.patients["state"] == "ill"]
    with refused("task 'toy-patient': the training patients of a fold have one class only"):
        PATIENT.check(MethodView.of(TOY, Split(pd.Index(ill), UNITS.difference(ill)), "patient"))


def test_three_classes_are_refused(refused):
    toy = cite(12, 3, roles={"positive": None}, state=np.repeat(np.resize(["a", "b", "c"], 12), 3))
    with refused("task 'toy-patient': the label has 3 classes (a, b, c); this task compares two"):
        make_plan(PATIENT, "pca", toy)


@pytest.mark.parametrize("missing", [["D00"], ["D00", "D05"]])
def test_patients_without_label_do_not_train(missing):
    state = TOY.obs["state"].mask(TOY.obs["donor"].isin(missing))
    toy = cite(12, 3, state=state)
    split = Split(UNITS[:8], UNITS[8:])
    x = marks("state", "ill")
    wild = np.where(UNITS.isin(missing)[:, None], 1e6, x)
    np.testing.assert_array_equal(*(answered(v, split, toy).frame["y_pred"] for v in (x, wild)))


# -- covariates beside the vectors, and probabilities ------------------------------------------------------------------


def test_covariates_stand_beside_the_vectors_for_the_label_alone():
    rng = np.random.default_rng(0)
    ill = (TOY.obs["state"] == "ill").to_numpy()
    age = pd.Series(50.0 + 10 * ill + pd.Series(rng.normal(size=12), UNITS).reindex(TOY.unit).to_numpy(), TOY.ids)
    toy = cite(12, 3, age=age)
    noise = rng.normal(size=(12, 40))
    found = {p: answered(noise, toy=toy, probe=p).frame for p in ("default", "logistic+clinical")}
    split, view = GROUPED[0], MethodView.of(toy, GROUPED[0], "patient")
    ids, y = view.training("label")
    design = ClinicalDesign.fit(view.clinical.loc[ids])
    x = pd.DataFrame(noise, UNITS)
    model = fit_nested_logistic(x.loc[ids].to_numpy(), y, beside=design.transform(view.clinical.loc[ids]))
    label = found["logistic+clinical"].query("target == 'label'").set_index("item")
    expected = model.probability(x.loc[label.index].to_numpy(), design.transform(view.clinical.loc[label.index]))[:, 1]
    np.testing.assert_allclose(label["y_pred"], expected)
    assert set(label.index) == set(split.test)
    truth = (toy.patients.loc[label.index, "state"] == "ill").to_numpy().astype(int)
    assert auroc(truth, label["y_pred"].to_numpy()) == 1.0
    # A leak of the embedding is asked of the embedding.
    leaks = [f[f["target"] != "label"].reset_index(drop=True) for f in found.values()]
    pd.testing.assert_frame_equal(*leaks)


@pytest.mark.parametrize("probe", ["default", "logistic+clinical", "knn"])
def test_details_name_the_model(probe):
    details = json.loads(json.dumps(answered(marks("state", "ill"), probe=probe).details))
    assert {"model", "penalty", "dims", "n_train", "events_train", "not_converged"} <= set(details)
    assert (details["n_train"], details["events_train"], details["not_converged"]) == (8, 4, 0)
    assert details["dims"] == (3 if probe == "logistic+clinical" else 2)


def test_probabilities_of_the_event_are_at_the_training_prevalence():
    x = marks("batch", "b2")
    items = answered(x)
    _, y = MethodView.of(TOY, GROUPED[0], "patient").training("label")
    label = items.frame.query("target == 'label'")
    np.testing.assert_allclose(label["p_event"], at_prevalence(label["y_pred"].to_numpy(), y))
    flat = answered(np.ones((12, 2))).frame.query("target == 'label'")
    np.testing.assert_allclose(flat["p_event"], np.mean(y))


def test_the_shares_of_neighbours_are_probabilities_already():
    frame = answered(marks("state", "ill"), probe="knn").frame
    np.testing.assert_array_equal(frame["p_event"], frame["y_pred"])


def test_only_what_reads_covariates_adds_to_them():
    adds = {p: PATIENT.using(p).adds_to_covariates for p in PATIENT.probes}
    assert adds == {"default": False, "knn": False, "logistic+clinical": True}
    assert [PATIENT.plain(p) for p in PATIENT.probes] == ["default", "knn", "default"]


def test_an_unknown_probe_is_refused(refused):
    with refused("probe 'cox' is not one of default, knn, logistic+clinical"):
        answered(marks("state", "ill"), probe="cox")
