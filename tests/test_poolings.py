from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Embedding, SplitSpec
from mmcell.candidates import Candidate, labels_for
from mmcell.encoders.base import make_encoder
from mmcell.patients import Composition, Pseudobulk
from mmcell.plan import make_plan
from mmcell.poolings import Pooling, resolve_poolings
from mmcell.splits import splits_of
from tests.toys import PATIENT, cite

TOY = cite(20, 10)


def test_names_mappings_and_objects_are_patient_encoders():
    found = resolve_poolings(
        ["pseudobulk:all-cells", {"use": "composition", "name": "two", "n_types": 2}, Composition(n_types=3)], seed=5
    )
    assert [(p.name, p.equal_cells, p.reads_embedding) for p in found] == [
        ("pseudobulk:all-cells", False, True), ("two", True, False), ("composition", True, False),
    ]  # fmt: skip
    assert found[1].parameters["n_types"] == 2
    assert found[1].parameters["seed"] == 5
    assert [p.name for p in resolve_poolings({"mine": Pseudobulk(), "other": "composition"})] == ["mine", "other"]


def test_what_decides_the_vectors_decides_the_key():
    keys = [
        p.key
        for given in ("composition", "composition:all-cells", {"use": "composition", "n_types": 3}, "pseudobulk")
        for p in resolve_poolings(given)
    ]
    assert len(set(keys)) == 4
    assert all(keys)
    again = resolve_poolings({"use": "composition", "name": "other"})[0].key
    assert again == keys[0]


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ("pseudobulks", ["unknown patient encoder 'pseudobulks'", "did you mean pseudobulk"]),
        ("pseudobulk:all", ["'all' is not known", "pseudobulk:all-cells"]),
        ({"use": "composition", "n_type": 3}, ["parameter 'n_type' is not known", "n_types"]),
        (["composition", {"use": "composition", "n_types": 3}], ["is given twice", "another name"]),
        (object(), ["lacks fit, transform or reads_embedding"]),
    ],
)
def test_what_cannot_be_used_is_refused(refused, given, pieces):
    with refused(*pieces):
        resolve_poolings(given)


class Tells:
    """A supervised encoder that repeats the label of training patients, and knows nothing of others."""

    reads_embedding = True
    supervised = True

    def fit(self, cells, owner, *, cell_type=None, concepts=None, y=None):
        self.y = y
        self.facts = {"patients": len(y)}
        return self

    def transform(self, cells, owner, *, cell_type=None):
        ids = pd.Index(sorted(owner.reindex(cells.ids).unique()))
        values = np.array([[float(self.y.get(i, 0.5))] for i in ids])
        return Embedding.from_array("tells", ids, values, level="patient")


def test_a_supervised_encoder_gets_the_labels_of_training_patients_alone():
    results = mmcell.evaluate(
        "features", PATIENT, dataset=TOY, patient_encoders=[Tells()], controls=["constant"], n_boot=100
    )
    record = next(r for r in results.records if r.patient_encoder == "Tells" and r.role == "candidate")
    assert {s.value for s in record.scores if s.metric == "auroc"} == {0.5}
    folds = record.details["folds"]
    assert all(f["patient_encoder"]["patients"] < TOY.unit.nunique() for f in folds)


def test_one_that_is_fitted_to_labels_needs_a_label(refused):
    split = replace(splits_of(TOY, PATIENT.spec.splits[0])[0], spec=SplitSpec("s", "group-kfold", targets=("batch",)))
    candidate = Candidate("features", make_encoder("features"), pooling=Pooling("mine", Tells()))
    with refused("patient encoder 'mine' is fitted to a label", "predicts 'batch'"):
        labels_for(candidate, PATIENT, TOY, split)


def test_a_file_of_distances_is_a_patient_encoder(tmp_path):
    units = sorted(TOY.unit.unique())
    d = np.abs(np.subtract.outer(np.arange(len(units)), np.arange(len(units)))).astype(float)
    pd.DataFrame(d, index=units, columns=units).to_csv(tmp_path / "d.csv")
    entry = {"use": "file", "name": "distances", "file": str(tmp_path / "d.csv"), "kind": "distances"}
    results = mmcell.evaluate(
        "features", PATIENT, dataset=TOY, patient_encoders=[entry, f"file:{tmp_path / 'd.csv'}"], controls=["constant"],
        n_boot=100,
    )  # fmt: skip
    table = results.table()
    values = {
        name: list(rows["value"]) for name, rows in table.groupby("patient_encoder") if name in {"d", "distances"}
    }
    assert values["d"] == values["distances"]
    assert not results.failed


@pytest.mark.parametrize(
    "given",
    [["pseudobulk", {"use": "composition", "n_types": 2}], [{"use": "moments", "name": "pseudobulk"}]],
)
def test_another_encoder_cannot_take_the_name_of_a_control(refused, given):
    with refused("is not the control of this name", "another name"):
        make_plan(PATIENT, ["features", "random"], TOY, patient_encoders=given)


def test_every_supervised_encoder_has_a_control_with_permuted_labels():
    plan = make_plan(PATIENT, "features", TOY, patient_encoders=["pseudobulk", Tells(), "moments"])
    permuted = [c.patient_encoder for c in plan.candidates if c.permuted]
    assert permuted == ["pseudobulk", "Tells"]


class Keeps(Pseudobulk):
    """Not shipped; what it holds decides what it does."""

    def __init__(self, k):
        self.k = k


def test_what_is_not_shipped_is_known_by_plain_values_or_not_at_all():
    one, other = (resolve_poolings(Keeps(k))[0].key for k in (1, 2))
    assert one
    assert one != other
    assert resolve_poolings(Keeps(np.arange(3)))[0].key == ""


def test_a_task_with_a_label_of_its_own_is_not_run_on_other_data(refused):
    with refused("task 'patient-age' asks for Age_interval", "patient-state"):
        make_plan("patient-age", "features", TOY)


def test_a_wrong_value_is_said_as_it_is(refused):
    with refused("patient encoder 'composition'", "n_clusters: '20'"):
        resolve_poolings({"use": "composition", "n_clusters": "20"})


@pytest.mark.demo
def test_what_can_be_read_of_a_patient_is_compared_between_the_classes():
    concepts = {"illness": {"rna": ["rna0", "rna1", "rna2"]}, "other": {"rna": ["rna28", "rna29"]}}
    dataset = replace(cite(20, 30), card=TOY.card.model_copy(update={"concepts": concepts}))
    entries = [
        {"use": "scope", "epochs": 4},
        {"use": "scope", "name": "weights", "epochs": 2, "blocks": ["weights"]},
        {"use": "scope", "name": "untied", "epochs": 2, "tied": False, "n_components": 3},
    ]
    results = mmcell.evaluate(
        "features", PATIENT, dataset=dataset, patient_encoders=entries, controls=["constant"], n_boot=100
    )
    found = {r.patient_encoder: r.details.get("contrasts") for r in results.records if r.role == "candidate"}
    table = pd.DataFrame(found["scope"]).set_index("name")
    assert {f"{k}: {c}" for k in ("B", "NK", "T", "overall") for c in concepts} <= set(table.index)
    assert {"weight: B", "weight: NK", "weight: T"} <= set(table.index)
    assert table.loc["overall: illness", "effect"] > 1.5
    assert table.loc["overall: illness", "q"] < 0.01
    assert (table["n_positive"] == 10).all()
    assert {c["name"] for c in found["weights"]} == {"weight: B", "weight: NK", "weight: T"}
    # What one fold calls component 1 is another thing in the next.
    assert {c["name"] for c in found["untied"]} == {"overall: illness", "overall: other"}
    record = next(r for r in results.records if r.patient_encoder == "scope" and r.role == "candidate")
    assert set(record.details["folds"][0]["patient_encoder"]["concepts"]) == set(concepts)
