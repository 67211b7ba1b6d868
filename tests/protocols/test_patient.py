import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, MethodView, Split, SplitSpec
from mmcell.plan import make_plan
from mmcell.splits import splits_of
from tests.toys import PATIENT, cite

TOY = cite(12, 3)
UNITS = pd.Index(sorted(TOY.unit.unique()), name="id")
GROUPED, BATCH_OUT = (splits_of(TOY, spec) for spec in PATIENT.spec.splits)


def answered(values, split=GROUPED[0], toy=TOY):
    view = MethodView.of(toy, split, "patient")
    x = Embedding.from_array("x", UNITS, np.asarray(values, dtype=float), level="patient")
    return PATIENT.run(view, {"x": x}, split, np.random.default_rng(0))


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
