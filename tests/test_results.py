import numpy as np
import pandas as pd
import pytest

from mmcell import evaluate
from mmcell.results import Results
from mmcell.scoretable import COLUMNS, DETAILS
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, cite


@pytest.fixture(scope="module")
def patients():
    encoders = {"good": "pca", "other": "features"}
    return evaluate(encoders, PATIENT, dataset=cite(24, 10), controls=["random", "composition"], n_boot=100)


@pytest.fixture(scope="module")
def pairs():
    return evaluate("pca", RETRIEVAL, dataset=cite(12, 8), controls=["constant"], n_boot=100)


def test_text_that_does_not_apply_is_empty_and_numbers_are_missing(patients):
    table = patients.table()
    text = ["encoder", "patient_encoder", "probe", "correction", "query", "gallery", "shift", "reason"]
    assert not table[text].isna().any(axis=None)
    assert table["skill"].isna().all()
    assert str(table["value"].dtype) == "Float64"


def test_the_repr_is_a_paragraph(patients, pairs):
    text = repr(patients)
    assert text.startswith("Results: tasks toy-patient; datasets toy; ")
    assert f"{len(patients.records)} records (" in text
    assert ".table()" in text
    assert max(len(text), len(repr(pairs)), len(repr(Results([])))) < 600
    broken = Results([r.model_copy(update={"error": "no"}) for r in patients.records[:2]], notes=("left out",))
    assert "2 failed, 1 notes" in repr(broken)


def test_details_are_added_on_request(patients):
    assert list(patients.table().columns) == list(COLUMNS)
    table = patients.table(details=True)
    assert list(table.columns) == [*COLUMNS, *DETAILS]
    assert set(table.loc[table["primary"], "metric"]) == {"auroc"}
    inside = table.dropna(subset=["difference_low"])
    assert (inside["difference_low"] <= inside["difference_high"]).all()


def test_each_batch_against_the_rest_is_a_stratum(patients):
    table = patients.table()
    assert set(table.loc[table["metric"] == "batch_auroc", "stratum"]) == {"b1"}


def test_what_is_left_out_is_the_shift(patients):
    table = patients.table()
    assert table.groupby("split")["shift"].unique().map(list).to_dict() == {"grouped": [""], "batch-out": ["batch"]}


def test_retrievals_say_how_large_their_galleries_are(pairs):
    table = pairs.table(details=True)
    sizes = table.groupby("stratum")["n_gallery"].median()
    assert sizes["all"] > sizes["batch"] > sizes["batch×cell_type"]


def test_encoders_are_compared_pair_by_pair(patients):
    found = patients.compare("auroc", split="grouped", n_permutations=99)
    labels = {"good → pseudobulk", "other → pseudobulk", "random → pseudobulk", "composition"}
    assert set(found.letters) == labels
    assert len(found.table) == 6
    row = found.table.set_index(["a", "b"]).loc[("good → pseudobulk", "random → pseudobulk")]
    assert row["difference"] > 0.2
    assert row["ci_low"] > 0


def test_a_comparison_has_the_difference_of_the_table(patients):
    found = patients.compare("auroc", split="grouped", n_permutations=99).table
    row = found[found["a"].eq("composition") & found["b"].eq("random → pseudobulk")].iloc[0]
    table = (
        patients.table(details=True).query("encoder == 'random' and metric == 'auroc' and split == 'grouped'").iloc[0]
    )
    np.testing.assert_allclose(-row["difference"], table["difference"])
    np.testing.assert_allclose(
        [row["ci_low"], row["ci_high"]], [-table["difference_high"], -table["difference_low"]], atol=0.02
    )


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"metric": "auroc"}, ["'auroc' is scored in 2 places", "say which with task=, split="]),
        (
            {"metric": "auroc", "split": "groupd"},
            ["no split 'groupd' with 'auroc'; did you mean grouped?; there is batch-out, grouped"],
        ),
        ({"metric": "auroc", "split": "none", "task": "patient-stat"}, ["no task 'patient-stat' with 'auroc'"]),
        ({"metric": "auroc", "split": "grouped", "stratum": "b9"}, ["no stratum 'b9' in split 'grouped' with 'auroc'"]),
        ({"metric": "auroc", "query": "rna"}, ["no query 'rna' with 'auroc'; leave query out, it has none"]),
        ({"metric": "harrell_c"}, ["no items with 'harrell_c'"]),
        ({"metric": "aurocc"}, ["unknown metric 'aurocc'", "did you mean auroc"]),
        ({"metric": "auroc", "split": "grouped", "adjust": "fdr"}, ["adjust is 'fdr'"]),
    ],
)
def test_an_ambiguous_comparison_is_refused(patients, refused, options, pieces):
    with refused(*pieces):
        patients.compare(**options)


BOTH = [{"task": "toy-patient", "split": "grouped"}, {"task": "toy-patient", "split": "batch-out"}]


def test_a_family_is_declared_over_several_places(patients):
    found = patients.compare("auroc", tasks=BOTH, n_permutations=49)
    grouped = patients.compare("auroc", split="grouped", n_permutations=49).table
    places = list(found.table["place"].unique())
    assert len(places) == 3
    assert places[-1] == "all"
    assert all(place.startswith("toy-patient/toy/") for place in places[:-1])
    there = found.table[found.table["place"] == places[0]].reset_index(drop=True)
    unadjusted = grouped.columns.drop("p_adjusted")
    pd.testing.assert_frame_equal(there[unadjusted], grouped[unadjusted])
    assert (there["p_adjusted"] >= grouped["p_adjusted"]).all()
    assert found.absent == {}


@pytest.mark.parametrize(
    ("tasks", "pieces"),
    [
        (["toy-patient", "toy-patient"], ["'auroc' is scored in 2 places", "tasks="]),
        ([BOTH[0], BOTH[0]], ["toy-patient/toy/label/all/grouped is declared twice"]),
        ([BOTH[0], "other"], ["no task 'other' with 'auroc'"]),
        ([{"fold": "1"}], ["'fold' does not say which"]),
        ([BOTH[0]], ["at least two"]),
    ],
)
def test_a_family_that_was_not_declared_is_refused(patients, refused, tasks, pieces):
    with refused("family" if pieces == ["at least two"] else "compare", *pieces):
        patients.compare("auroc", tasks=tasks)


def test_one_task_or_several(patients, refused):
    with refused("either task= or tasks="):
        patients.compare("auroc", task="toy-patient", tasks=BOTH)


def test_a_direction_and_a_gallery_are_chosen(pairs):
    found = pairs.compare("percentile", query="rna", stratum="batch", n_permutations=49)
    assert found.rank["pca"][0] == 1


def test_results_are_read_again(tmp_path):
    first = evaluate("pca", ALIGNMENT, dataset=cite(6, 10), controls=["random"], n_boot=100, out=tmp_path)
    again = Results.read(tmp_path)
    pd.testing.assert_frame_equal(again.table(details=True), first.table(details=True))
    a, b = (r.compare("balanced_accuracy", n_permutations=49).table for r in (first, again))
    pd.testing.assert_frame_equal(a, b)


def test_records_are_in_a_fixed_order(patients):
    order = [r.order for r in patients.records]
    assert order == sorted(order)
    assert patients.failed == []
