import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

import mmcell
from mmcell.audit import audit
from mmcell.audit.units import positive_class
from mmcell.cli import app
from mmcell.embedding import Embedding, ModelCard
from mmcell.records import Finding, RunRecord, Score
from mmcell.results import Results
from tests.toys import PATIENT, cite, cohort_of, survivors

DONORS, CELLS = 24, 10
FEW = {"n_boot": 100}


def codes(findings):
    return {f.code: f for f in findings}


@pytest.fixture(scope="module")
def cohort():
    return cite(DONORS, CELLS, roles={"sample": "sample"}, sample=np.arange(DONORS * CELLS) // 5)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A bare file of counts with a copy of one cell in another donor."""
    data = cite(DONORS, CELLS).anndata("rna").copy()
    data.obs = cite(DONORS, CELLS).obs.copy()
    data.X[-1] = data.X[0]
    path = tmp_path_factory.mktemp("files") / "cells.h5ad"
    data.write_h5ad(path)
    return path


def test_a_dataset_is_looked_at_from_all_sides(cohort):
    found = codes(audit(cohort, **FEW))
    assert {"batch-label", "label-from-batch", "several-samples", "technical-alone", "technical-jointly",
            "batch-predictable"} <= set(found)  # fmt: skip
    assert "roles-not-given" not in found
    order = [f.severity for f in audit(cohort, **FEW)]
    assert order == sorted(order, key=["leak", "warning", "info"].index)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("value", "code"), [(np.nan, "missing-values"), (np.inf, "missing-values"),
                                             (-1.0, "negative-counts")])  # fmt: skip
def test_one_impossible_value_is_a_finding_and_the_rest_is_looked_at(value, code, sparse):
    toy = cite(12, CELLS)
    toy.anndata("rna").X[-1] = toy.anndata("rna").X[0]
    toy.anndata("rna").X[5, 3] = value
    if sparse:
        toy.data.mod["rna"].X = csr_matrix(toy.anndata("rna").X)
    found = codes(audit(toy, **FEW))
    assert "1 value (in 1 of 120 items) is" in found[code].message
    assert found["rows-left-out"].message.startswith("rna: 1 of 120 items are left out")
    assert found["rows-left-out"].evidence == "cell0005"
    assert {"exact-duplicates", "technical-alone"} <= set(found)


def test_a_modality_without_a_usable_item_stops_nothing():
    toy = cite(12, CELLS)
    toy.anndata("rna").X[:, 0] = np.nan
    found = codes(audit(toy, **FEW))
    assert "120 values (in 120 of 120 items) are NaN" in found["missing-values"].message
    assert found["rows-left-out"].message.startswith("rna: 120 of 120 items")
    assert {"batch-label", "label-from-batch"} <= set(found)


def test_patients_without_cells():
    found = codes(audit(survivors(), **FEW))
    assert "few-events" in found
    assert "technical-alone" not in found


def test_the_same_seed_gives_the_same_findings(cohort):
    assert audit(cohort, seed=3, **FEW) == audit(cohort, seed=3, **FEW)


def test_a_label_that_varies_within_units_is_a_finding_and_no_error():
    toy = cite(DONORS, CELLS)
    state = toy.obs["state"].astype(str).to_numpy().copy()
    state[[0, 15]] = "ill"
    found = codes(audit(cite(DONORS, CELLS, state=state), **FEW))
    assert found["varies-within-unit"].message.startswith("the label 'state' takes several values in 2 of 24 units")
    assert found["varies-within-unit"].evidence.startswith("D00: ill, well")
    assert "batch-label" not in found


def test_one_class_is_a_finding_and_no_error():
    found = codes(audit(cite(DONORS, CELLS, state="ill"), **FEW))
    assert "one class only" in found["unusable-label"].message


def test_events_per_variable():
    ages = {f"age{i}": np.random.default_rng(i).random(60) for i in range(4)}
    toy = survivors(60, roles={"clinical": tuple(ages)}, **ages)
    events = int(toy.obs["death"].sum())
    assert codes(audit(toy, **FEW))["few-per-variable"].message.startswith(f"{events} events for 4 clinical variables")


def test_a_bare_file_gets_what_needs_no_role_and_says_what_else_there_is(file):
    found = codes(audit(file))
    assert set(found) == {"values-look-like", "exact-duplicates", "roles-not-given"}
    assert found["exact-duplicates"].severity == "warning"
    assert "--unit: duplicates between patients" in found["roles-not-given"].evidence
    names = ad.read_h5ad(file).obs.columns
    assert len(names) <= 12
    assert found["roles-not-given"].message.endswith(f"; obs has {', '.join(names)}")


def test_the_first_dozen_columns_of_a_bare_file_are_named(file, tmp_path):
    data = ad.read_h5ad(file)
    data.obs = pd.DataFrame({f"c{i:02}": "x" for i in range(20)}, index=data.obs_names)
    data.write_h5ad(tmp_path / "wide.h5ad")
    found = codes(audit(tmp_path / "wide.h5ad"))
    assert found["roles-not-given"].message.endswith(
        "obs has c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, c10, c11 (+8 more)"
    )
    data.obs = data.obs[[]]
    data.write_h5ad(tmp_path / "bare.h5ad")
    assert codes(audit(tmp_path / "bare.h5ad"))["roles-not-given"].message.endswith("obs has no column")


def test_a_bare_file_with_roles(file):
    roles = {"unit": "donor", "batch": "batch", "label": "state", "positive": "ill", "cell_type": "kind"}
    found = codes(audit(file, roles=roles, preprocessing="counts", **FEW))
    assert found["exact-duplicates"].severity == "leak"
    assert {"batch-label", "batch-predictable", "technical-jointly"} <= set(found)
    assert "it is: sample; obs has " in found["roles-not-given"].message
    assert "donor" not in found["roles-not-given"].message
    assert "values-look-like" not in found
    assert "values-look-like" in codes(audit(file, roles={"unit": "donor"}, **FEW))
    assert "not-counts" not in found
    assert "counts-as-log" in codes(audit(file, roles={"unit": "donor"}, preprocessing="log1p", **FEW))


def test_a_card_takes_further_roles(file):
    card = file.parent / "card.yaml"
    card.write_text(yaml.safe_dump({"data": file.name, "roles": {"unit": "donor"}}))
    assert "batch-label" not in codes(audit(card, **FEW))
    assert "batch-label" in codes(audit(card, roles={"batch": "batch", "label": "state"}, **FEW))


def test_missing_units_of_a_bare_file(file, tmp_path):
    data = ad.read_h5ad(file)
    data.obs["donor"] = data.obs["donor"].astype(object).where(np.arange(data.n_obs) > 4)
    data.write_h5ad(tmp_path / "gaps.h5ad")
    found = codes(audit(tmp_path / "gaps.h5ad", roles={"unit": "donor"}, **FEW))["no-unit"]
    assert found.message.startswith("5 items have no 'donor'")
    assert found.evidence.startswith("cell0000")


def test_embeddings_and_model_cards(cohort):
    x = np.log1p(np.asarray(cohort.anndata("rna").X))
    seen = ModelCard(name="big", pretraining_datasets=("toy",))
    depth = np.repeat(np.arange(DONORS), CELLS)[:, None] * np.ones(12) + x[:, :12]
    embedding = Embedding.from_array("mine", cohort.ids[:-3], depth[:-3], card=seen)
    found = codes(audit(cohort, embeddings=[embedding], **FEW))
    assert found["pretraining-overlap"].message == "big was pretrained on toy"
    assert found["no-vector"].message.startswith("mine: 3 of 240 cells")
    assert "pretraining-overlap" in codes(audit(cohort, cards=[seen], **FEW))


def test_a_table_and_what_it_cannot_have(tmp_path, refused):
    frame = pd.DataFrame({"item": range(4), "unit": list("aabb"), "fold": [0, 1, 0, 0], "y_true": [0, 0, 1, 1],
                          "y_pred": [0.1, 0.2, 0.3, 0.4]})  # fmt: skip
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert codes(audit(tmp_path / "p.csv"))["unit-crosses-split"].severity == "leak"
    assert audit(frame) == audit(tmp_path / "p.csv")
    with refused("roles", "table"):
        audit(frame, roles={"unit": "unit"})


@pytest.mark.parametrize(
    ("source", "more", "pieces"),
    [
        ("covid-cit", {}, ["covid-cit", "covid-cite"]),
        ("nowhere.h5ad", {}, ["nowhere.h5ad", "no such file"]),
        ("FILE", {"roles": {"unit": "doner"}}, ["'doner'", "donor"]),
        ("FILE", {"roles": {"units": "donor"}}, ["'units'", "unit"]),
        ("FILE", {"roles": {"unit": "donor", "batch": "bach"}}, ["'bach'", "batch"]),
    ],
)
def test_bad_input(source, more, pieces, file, refused):
    with refused(*pieces):
        audit(str(file) if source == "FILE" else source, **more)


# -- runs ----------------------------------------------------------------------------------------------------------


def record(encoder, *, findings=(), error="", missing=(), status="ok", cards=None, role="candidate"):
    score = Score(
        metric="auroc", split="grouped", value=0.7, low=0.6, high=0.8, chance=0.5, status=status, reason="why"
    )
    return RunRecord(
        key=encoder.ljust(32, "0"), task={"name": "toy", "primary": "auroc"}, dataset="toy-data",
        dataset_fingerprint="f", split_hash="s", encoder=encoder, role=role, scores=(score,), findings=findings,
        error=error, missing_controls=missing, cards=cards or {},
    )  # fmt: skip


def test_a_run_says_each_finding_once_with_its_places():
    shared = Finding(severity="warning", code="few-units", message="19 units")
    own = Finding(severity="leak", code="technical-leak", message="depth alone")
    results = Results([record("a", findings=(shared, own)), record("b", findings=(shared,))])
    found = codes(audit(results))
    assert found["few-units"].message == "toy: 19 units"
    assert found["technical-leak"].message == "toy, a: depth alone"


def test_a_run_groups_what_many_records_have():
    def batch(value):
        text = f"knows the batch: batch_auroc {value}"
        return Finding(severity="leak", code="knows-the-batch", message=text, evidence="interval")

    results = Results([record("a", findings=(batch(0.8),)), record("b", findings=(batch(0.9),)), record("c")])
    (found,) = [f for f in audit(results) if f.code == "knows-the-batch"]
    assert found.message == "toy: these know the batch of held-out units: a, b"
    assert "a: knows the batch: batch_auroc 0.8 (interval); b: " in found.evidence


def test_a_run_tells_failures_gaps_and_overlap():
    seen = {"big": ModelCard(name="big", pretraining_datasets=("TOY-DATA",))}
    results = Results([record("a", error="no luck"), record("b", missing=("random",), status="undefined", cards=seen)])
    found = codes(audit(results))
    assert found["failed"].evidence == "no luck"
    assert "lack the required controls random" in found["incomplete"].message
    assert "b: auroc, grouped (why)" in found["undefined-scores"].evidence
    assert found["pretraining-overlap"].message == "toy, b: big was pretrained on toy-data"
    assert "no-items" in found


def test_a_run_on_disk_is_read_and_its_items_are_looked_at(tmp_path):
    toy = cite(DONORS, CELLS)
    from tests.toys import PATIENT

    mmcell.evaluate(["features"], [PATIENT], dataset=toy, controls=[], out=tmp_path / "run", n_boot=100)
    found = codes(audit(tmp_path / "run"))
    assert "incomplete" in found
    assert "unit-crosses-split" not in found
    assert "no-items" not in found


# -- command line --------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_the_command_prints_reports_and_is_strict_on_request(file):
    arguments = (file, "--unit", "donor", "--batch", "batch", "--label", "state", "--preprocessing", "counts",
                 "--n-boot", 100)  # fmt: skip
    text = run(*arguments)
    assert text.exit_code == 0
    assert "leak exact-duplicates" in text.stdout
    assert text.stdout.strip().splitlines()[-1].count(",") == 2
    rows = json.loads(run(*arguments, "--format", "json").stdout)
    assert {"severity", "code", "message", "evidence", "cure"} == set(rows[0])
    frame = pd.read_csv(pd.io.common.StringIO(run(*arguments, "--format", "csv").stdout))
    assert list(frame["code"]) == [r["code"] for r in rows]
    assert run(*arguments, "--strict").exit_code == 1


def test_strict_passes_what_has_no_leak(file):
    assert run(file, "--strict").exit_code == 0


@pytest.mark.demo
def test_what_must_be_found_in_covid_cite():
    found = audit("covid-cite", n_boot=200)
    batch = [f for f in found if f.code == "batch-predictable"]
    assert all(f.severity == "leak" and "at least as predictable as the label" in f.message for f in batch)
    assert len(batch) == 2
    by_code = codes(found)
    assert "B_Naive (B1)" in by_code["types-in-one-batch"].evidence
    assert by_code["several-samples"].message.startswith("16 of 43 units")
    assert "CD4_Naive in B3" in by_code["composition-subsampled"].evidence
    assert "AUROC 0.78 (Severe have fewer)" in by_code["cell-count-leak"].message


def test_permuted_controls_are_not_accused_of_their_permuted_truth():
    results = mmcell.evaluate(["pca"], PATIENT, dataset=cohort_of(PATIENT), **FEW)
    truths = [results.items[r.key].frame.groupby("item")["y_true"].nunique() for r in results.records if r.permuted]
    assert any(truth.max() > 1 for truth in truths)
    assert not {"truth-varies-within-item", "varies-within-unit"} & set(codes(audit(results)))


def test_the_class_that_scores_point_to_is_said_where_none_is_named():
    named, unnamed = (cite(12, 10, roles={"positive": positive}) for positive in ("ill", None))
    assert positive_class(named) == []
    (finding,) = positive_class(unnamed)
    assert "scores point to 'well' of state, the last of its classes in sorted order" in finding.message
    assert "positive-class" in codes(audit(unnamed, **FEW))


@pytest.mark.filterwarnings("error:Observation names are not unique")
def test_repeated_names_are_a_finding_and_no_warning_of_anndata(tmp_path):
    names = ["c0", "c0", "c1"]
    with pytest.warns(UserWarning, match="not unique"):
        data = ad.AnnData(np.ones((3, 2)), obs=pd.DataFrame(index=names))
    data.write_h5ad(tmp_path / "twice.h5ad")
    assert codes(audit(tmp_path / "twice.h5ad", **FEW))["repeated-names"].evidence == "c0"
