from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Embedding, SplitSpec
from mmcell.corrections import Centre, Correcting, Tvn, resolve_corrections
from mmcell.splits import splits_of
from tests.toys import ALIGNMENT, PATIENT, cite

TOY = cite(12, 10)
SPLIT = splits_of(TOY, SplitSpec("donors", "group-kfold", n_splits=3, targets=("label",)), 0)[0]
NEW = splits_of(TOY, SplitSpec("batches", "leave-one-group-out", by="batch", targets=("cell_type",)), 0)[0]
CELLS = Embedding.from_array("e", TOY.ids, np.random.default_rng(0).normal(size=(len(TOY.ids), 3)))


class Spy:
    """Notes what it is shown."""

    def __init__(self, transductive=False):
        self.transductive = transductive
        self.shown = []

    def __deepcopy__(self, memo):
        return self

    def fit(self, x, batch, control):
        self.shown.append((x, batch, control))
        return self

    def transform(self, x, batch, control):
        self.shown.append((x, batch, control))
        return x


@pytest.mark.parametrize("transductive", [False, True])
def test_only_a_transductive_one_sees_held_out_rows(transductive):
    spy = Spy(transductive)
    found, facts = Correcting("spy", spy).apply(CELLS, TOY, SPLIT)
    trains = TOY.unit.reindex(CELLS.ids).isin(SPLIT.train).to_numpy()
    (x, batch, control), (every, _, _) = spy.shown
    kind = "transductive" if transductive else "inductive"
    assert facts == {"name": "spy", "kind": kind, "fitted rows": len(x), "new batches": []}
    np.testing.assert_array_equal(x, CELLS.values if transductive else CELLS.values[trains])
    np.testing.assert_array_equal(every, CELLS.values)
    assert set(batch) == {"b1", "b2"}
    assert not control.any()
    np.testing.assert_array_equal(found.values, CELLS.values)
    pd.testing.assert_index_equal(found.ids, CELLS.ids)


def test_a_batch_without_training_rows_is_named():
    assert Correcting("centre", Centre()).apply(CELLS, TOY, NEW)[1]["new batches"] == [NEW.group]


def test_controls_are_those_of_the_roles():
    data = cite(12, 10, roles={"perturbation": "state", "control": "well"})
    spy = Spy()
    Correcting("spy", spy).apply(CELLS, data, SPLIT)
    assert (spy.shown[1][2] == (data.obs["state"] == "well").to_numpy()).all()


def test_names_mappings_and_objects_are_corrections():
    found = resolve_corrections(["none", "centre", {"use": "tvn", "name": "soft", "ridge": 2.0}, Spy()])
    assert found[0] is None
    assert [c.name for c in found[1:]] == ["centre", "soft", "Spy"]
    assert found[2].correction.ridge == 2.0
    assert resolve_corrections(None) == resolve_corrections("none") == (None,)
    assert [c.name for c in resolve_corrections({"mine": Centre()})[1:]] == ["mine"]
    assert resolve_corrections("tests.corrections.test_base:Spy")[1].name == "tests.corrections.test_base:Spy"
    harmony = resolve_corrections("harmony")[1]
    assert (harmony.kind, harmony.label) == ("transductive", "harmony (transductive)")


def test_what_decides_the_values_decides_the_key():
    soft = {"use": "tvn", "name": "soft", "ridge": 2.0}
    keys = [c.key for c in resolve_corrections(["centre", "tvn", soft, "harmony"])[1:]]
    assert len(set(keys)) == 4
    assert all(keys)
    assert Correcting("other", Tvn()).key == keys[1]
    # What an object of somebody else's holds, no key tells.
    assert Correcting("spy", Spy()).key == ""


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ("centr", ["unknown correction 'centr'", "did you mean centre"]),
        ({"use": "tvn", "ridg": 1}, ["correction 'tvn'", "ridg"]),
        ({"use": "tvn", "ridge": 0}, ["ridge is 0", "above 0"]),
        (["centre", Centre()], ["'centre' is given twice", "another name"]),
        (object(), ["lacks fit or transform"]),
    ],
)
def test_what_cannot_be_used_is_refused(refused, given, pieces):
    with refused(*pieces):
        resolve_corrections(given)


class Breaks(Spy):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def transform(self, x, batch, control):
        return x[1:] if self.how == "short" else np.where(np.arange(len(x))[:, None] == 1, np.nan, x)


@pytest.mark.parametrize(
    ("correction", "data", "pieces"),
    [
        (Breaks("short"), TOY, ["transform returned the shape (119, 3)"]),
        (Breaks("nan"), TOY, ["1 rows are no longer finite", "cell0001"]),
        (Spy(), replace(TOY, roles=replace(TOY.roles, batch=None)), ["has no batches", "roles.batch"]),
        (Spy(), cite(12, 10, batch="b1"), ["has one batch only (b1)"]),
        (Spy(), cite(12, 10, batch=["b1", None] * 60), ["60 of 120 rows have no 'batch'", "fill it in"]),
    ],
    ids=["short", "nan", "no role", "one batch", "missing"],
)
def test_rows_and_batches_that_do_not_serve_are_refused(refused, correction, data, pieces):
    with refused("correction 'bad': ", *pieces):
        Correcting("bad", correction).apply(CELLS, data, SPLIT)


def test_patients_in_several_batches_are_corrected_as_cells(refused):
    data = cite(12, 10, batch=["b1", "b2"] * 60)
    of_patients = Embedding.from_array("p", sorted(set(data.unit)), np.zeros((12, 2)), level="patient")
    with refused("have cells in several batches", "correct the cells"):
        Correcting("centre", Centre()).apply(of_patients, data, SPLIT)


# -- in a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    return mmcell.evaluate(
        {"good": "pca"}, ALIGNMENT, dataset=cite(24, 20), corrections=["centre", "harmony"], controls=["random", "pca"],
        n_boot=100,
    )  # fmt: skip


def test_every_encoder_stands_as_it_is_and_with_each_correction(results):
    table = results.table(details=True)
    good = table.loc[table["encoder"] == "good", ["correction", "correction_kind", "role"]]
    assert set(good.itertuples(index=False, name=None)) == {
        ("", "", "candidate"), ("centre", "inductive", "candidate"), ("harmony", "transductive", "candidate"),
    }  # fmt: skip
    assert set(table.loc[table["role"] == "control", "correction"]) == {""}
    assert {r.label for r in results.records} == {
        "good", "good → centre", "good → harmony (transductive)", "random", "pca",
    }  # fmt: skip


def test_the_batch_shows_less_once_it_is_taken_out(results):
    table = results.table()
    shown = table[(table["metric"] == "batch_predictability") & (table["encoder"] == "good")].set_index("correction")
    assert (shown.loc[["centre", "harmony"], "value"] < shown.loc["", "value"] - 0.1).all()


def test_findings_say_what_was_seen(results):
    found = {r.encoding: {f.code for f in r.findings} for r in results.records}
    assert "new-batches" in found["good → centre"]
    assert "transductive" in found["good → harmony (transductive)"]
    assert not {"new-batches", "transductive"} & found["good"]


def test_cells_are_corrected_before_they_become_patients():
    results = mmcell.evaluate(
        "pca", PATIENT, dataset=cite(24, 10), corrections="centre", patient_encoders=["pseudobulk", "composition"],
        controls=["random"], n_boot=100,
    )  # fmt: skip
    assert {r.label for r in results.records if r.role == "candidate"} == {
        "pca → pseudobulk", "pca → centre → pseudobulk", "composition",
    }  # fmt: skip


def test_a_corrected_run_is_found_again(tmp_path):
    asked = {"dataset": cite(12, 10), "corrections": ["centre"], "controls": ["random"], "n_boot": 100, "out": tmp_path}
    first = mmcell.evaluate("pca", ALIGNMENT, **asked)
    again = mmcell.evaluate("pca", ALIGNMENT, **asked, reuse="always")
    pd.testing.assert_frame_equal(first.table(), again.table())
    assert len(list((tmp_path / "records").glob("*centre*"))) == 1
