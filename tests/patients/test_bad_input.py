"""What is wrong with a cohort ends in a vector with a fact beside it, or in one line that says what to do."""

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, Results, evaluate
from mmcell.patients.base import encode_patients, make_patient_encoder
from mmcell.report.html import render
from mmcell.report.terminal import show_results
from tests.toys import PATIENT, cite, keep

RNG = np.random.default_rng
TRAIN = [f"p{i}" for i in range(8)]
SMALL = {"epochs": 2}
ENCODERS = {
    "composition": {},
    "composition-kmeans": {"use": "composition", "clusters": "kmeans", "n_clusters": 3},
    "pseudobulk": {},
    "celltype-pseudobulk": {},
    "moments": {},
    "kernel-mean": {"n_features": 16},
    "scope": SMALL,
    "gloscope": {},
    "pilot": {},
    "mil": SMALL,
    "file": {},
}
READ_TYPES = {"composition", "celltype-pseudobulk", "pilot"}


@pytest.fixture
def encoded(tmp_path):
    """Encode 8 training patients and 2 others; keywords give patients another string of types, one letter a cell."""

    def run(name, train=TRAIN, equal_cells=True, **kinds):
        kinds = dict.fromkeys([*TRAIN, "q0", "q1"], "ABCABCABCABC") | kinds
        owner = np.repeat(list(kinds), [len(k) for k in kinds.values()])
        ids = pd.Index([f"c{i}" for i in range(len(owner))])
        kind = list("".join(kinds.values()))
        values = RNG(0).normal(size=(len(ids), 4)) + np.array([ord(k) for k in kind])[:, None] % 4
        # Patients differ, most of all the seventh.
        values[:, 0] += 9 * (owner == "p7") + np.unique(owner, return_inverse=True)[1]
        chosen = dict(ENCODERS[name])
        if name == "file":
            vectors = pd.DataFrame(RNG(1).normal(size=(len(kinds) + 1, 3)), [*kinds, "nobody"])
            vectors.to_csv(tmp_path / "file.csv")
            chosen["file"] = tmp_path / "file.csv"
        encoder = make_patient_encoder(chosen.pop("use", name), chosen)
        y = pd.Series(np.arange(len(train)) % 2, train) if name == "mil" else None
        return encode_patients(
            encoder, Embedding.from_array("e", ids, values), pd.Series(owner, ids), pd.Index(train),
            cell_type=pd.Series(kind, ids), rng=RNG(0), y=y, equal_cells=equal_cells,
        )[:2]  # fmt: skip

    return run


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_wrong(encoded, name):
    found, facts = encoded(name, p0="A" * 12)
    assert len(found) == 10
    assert np.isfinite(found.values).all()
    assert facts["all the same"] is False
    assert facts.get("unseen types", {}) == {}
    assert facts.get("cells each") == (None if name == "file" else 12)


@pytest.mark.parametrize("name", ENCODERS)
def test_types_that_training_lacks_are_counted(encoded, name):
    found, facts = encoded(name, q0="AABBCCZZZYY", q1="ZZZ")
    assert np.isfinite(found.values).all()
    if name in READ_TYPES:
        assert facts["unseen types"] == {"Y": 2, "Z": 6}
        assert facts["of unseen types only"] == ["q1"]
    else:
        assert "unseen types" not in facts


@pytest.mark.parametrize("where", ["p3", "q0"])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_patient_with_one_cell(encoded, refused, name, where):
    if name == "gloscope":
        with refused("1 patient has one cell", where, "leave them out"):
            encoded(name, **{where: "A"})
        return
    found, facts = encoded(name, **{where: "A"})
    assert np.isfinite(found.values).all()
    if name == "file":
        assert "cells each" not in facts
    elif where == "p3":
        assert (facts["cells each"], facts["fewest of"]) == (1, "p3")
        # At a detection limit of one cell a composition says nothing.
        assert facts["all the same"] or name != "composition"
    else:
        assert facts["cells each"] == 12


@pytest.mark.parametrize("name", ENCODERS)
def test_a_patient_with_a_single_type(encoded, name):
    found, facts = encoded(name, p2="A" * 12, q0="B" * 12)
    assert np.isfinite(found.values).all()
    assert not facts["all the same"]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_cohort_with_a_single_type(encoded, name):
    found, facts = encoded(name, **dict.fromkeys([*TRAIN, "q0", "q1"], "A" * 12))
    assert np.isfinite(found.values).all()
    assert facts["all the same"] == (name in {"composition", "pilot"})


@pytest.mark.parametrize("name", ENCODERS)
def test_two_training_patients_with_three_cells(encoded, refused, name):
    kinds = {"p0": "ABC", "p1": "ACC"}
    if name == "mil":
        with refused("one training patient", "inner folds need"):
            encoded(name, train=["p0", "p1"], **kinds)
        return
    found, _ = encoded(name, train=["p0", "p1"], **kinds)
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("name", [e for e in ENCODERS if e != "file"])
def test_all_cells_are_nobodys_limit(encoded, name):
    found, facts = encoded(name, equal_cells=False, p3="AB")
    assert np.isfinite(found.values).all()
    assert facts["cells each"] is None
    assert "fewest of" not in facts


def test_rows_of_a_file_that_are_nobodys(encoded):
    assert encoded("file")[1]["rows without cells"] == ["nobody"]


def candidate(dataset, encoder):
    results = evaluate("pca", [PATIENT], dataset=dataset, patient_encoders=[encoder], controls=["random"], n_boot=100)
    record = next(r for r in results.records if encoder in (r.patient_encoder, r.encoder) and not r.permuted)
    return record, {f.code: f for f in record.findings}


def odd_cohort():
    """Of donor D03 half of the cells are of a type that nobody else has, of D04 one cell is left."""
    kind = pd.Series(np.resize(["B", "NK", "T"], 480))
    kind[130:140] = "rare"
    dataset = cite(kind=kind.to_numpy())
    return keep(dataset, np.r_[0:161, 200:480])


@pytest.mark.parametrize("encoder", ["celltype-pseudobulk", "pilot"])
def test_a_run_says_which_types_were_left_out_and_who_has_few_cells(encoder):
    record, found = candidate(odd_cohort(), encoder)
    assert record.error == ""
    assert found["unseen-types"].severity == "warning"
    assert found["unseen-types"].evidence == "rare (10 cells)"
    assert "of 8 folds cells are left out" in found["unseen-types"].message
    assert found["few-cells"].evidence == "1 cell each, for D04 has no more"
    facts = [f["patient_encoder"] for f in record.details["folds"]]
    assert {"rare": 10} in [f["unseen types"] for f in facts]


def test_a_run_says_which_types_were_filled_in(capsys):
    kind = pd.Series(np.resize(["B", "NK", "T"], 480))
    kind[(np.arange(480) // 40 == 3) & (kind == "NK")] = "B"
    record, found = candidate(cite(kind=kind.to_numpy()), "celltype-pseudobulk:all-cells")
    assert "in 8 of 8 folds patients have no cell of a type: up to 1 patient × type" in found["filled-types"].message
    assert found["filled-types"].evidence == "patients without: NK (1)"
    assert [f["patient_encoder"]["filled types"] for f in record.details["folds"]] == [{"NK": 1}] * 8
    show_results(Results([record]), "table")
    assert (
        "warning: pca → celltype-pseudobulk:all-cells: in 8 of 8 folds patients have no cell" in capsys.readouterr().out
    )


def test_a_run_says_which_rows_of_a_file_are_nobodys(tmp_path, capsys):
    toy = cite(12, 20)
    units = [*sorted(toy.unit.unique()), "D98"]
    pd.DataFrame(RNG(1).normal(size=(len(units), 3)), units).to_csv(tmp_path / "mine.csv")
    results = evaluate(
        "pca", [PATIENT], dataset=toy, patient_encoders=[f"file:{tmp_path / 'mine.csv'}"], controls=["random"],
        n_boot=100,
    )  # fmt: skip
    (record,) = (r for r in results.records if r.patient_encoder == "mine")
    (finding,) = (f for f in record.findings if f.code == "rows-without-cells")
    assert finding.message == "1 patients of the file have no cells here and are left out (D98)"
    show_results(results, "table")
    assert "warning: mine: 1 patients of the file have no cells here" in capsys.readouterr().out
    assert finding.message in render(results)


def test_a_run_says_that_nobody_is_told_apart():
    _, found = candidate(odd_cohort(), "composition")
    assert "all patients have the same vector" in found["all-the-same"].message


def test_a_failed_row_says_why():
    record, _ = candidate(odd_cohort(), "gloscope")
    assert "1 patient has one cell (D04)" in record.error
    assert {s.status for s in record.scores} == {"failed"}


def test_messages_name_the_encoder_and_not_the_control_that_was_run_before():
    dataset = cite(n_cells=4)
    encoder = {"use": "composition", "name": "kmeans", "clusters": "kmeans", "n_clusters": 99}
    results = evaluate("pca", [PATIENT], dataset=dataset, patient_encoders=[encoder], n_boot=100)
    errors = {r.error for r in results.records if r.patient_encoder == "kmeans"}
    assert errors == {"embedding 'pca': 32 training cells are too few for 99 clusters; lower n_clusters"}


def test_a_batch_that_is_the_class_is_a_leak():
    state = np.where(np.arange(480) // 40 % 2, "ill", "well")
    _, found = candidate(cite(batch=state, state=state), "pseudobulk")
    assert found["batch-label"].severity == "leak"
    # Without one of the batches there is one class; the other split is run.
    assert "split batch-out was not run" in found["split-not-run"].message


def test_units_that_are_categories_only_are_named():
    dataset = cite()
    donors = pd.Categorical(dataset.obs["donor"], categories=[*sorted(set(dataset.obs["donor"])), "D99"])
    _, found = candidate(cite(donor=donors), "pseudobulk")
    assert found["units-without-items"].evidence == "D99"
