import shutil
from dataclasses import replace

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml

from mmcell import Dataset, MethodView, Roles, Split, SplitSpec
from mmcell.data.cohort import read_cohort
from mmcell.modalities import not_pulling
from mmcell.roles import CohortCard, DatasetCard, Outcome, parse
from mmcell.splits import most_folds, splits_of
from mmcell.testing import tiny_cohort


def per_donor(values):
    return np.repeat(values, 3)


def donors(values):
    return pd.Series(values, index=pd.Index([f"d{i}" for i in range(8)], name="unit"))


# -- roles and items ---------------------------------------------------------------------------------------------------


def test_roles_know_the_columns_they_name():
    roles = Roles(unit="donor", outcome=Outcome("months", "died"), clinical=("age", "sex"))
    assert roles.columns == {
        "unit": "donor", "outcome.time": "months", "outcome.event": "died", "clinical[0]": "age", "clinical[1]": "sex"
    }  # fmt: skip


def test_units_are_text_by_item_id(cohort, cohort_adata):
    numbers = per_donor(np.arange(8))
    unit = cohort(donor=numbers).unit
    assert unit.to_dict() == cohort_adata(donor=numbers).obs["donor"].astype(str).to_dict()


def test_the_callers_data_are_not_changed(cohort_adata):
    data = cohort_adata()
    before = data.copy()
    toy = Dataset("toy", data, Roles(unit="donor", label="severity"), DatasetCard(name="toy"))
    toy.features("rna", "counts").X[:] = 0
    assert toy.patients is not None
    assert toy.truth("label", "patient") is not None
    pd.testing.assert_frame_equal(data.obs, before.obs)
    np.testing.assert_array_equal(data.X, before.X)
    assert set(data.obs.columns) == set(before.obs.columns)


def test_patients_hold_what_is_constant_within_a_unit(cohort):
    patients = cohort().patients
    assert set(patients.columns) == {"site", "severity", "months", "died", "age", "n_items"}
    assert list(patients.index) == [f"d{i}" for i in range(8)]
    assert patients["n_items"].eq(3).all()
    assert patients.loc["d3", "age"] == 43


def test_per_unit_ignores_missing_items_and_keeps_missing_units(cohort):
    age = np.repeat(np.arange(40.0, 48.0), 3)
    age[[0, 3, 4, 5]] = np.nan
    found = cohort(age=age).per_unit("age")
    pd.testing.assert_series_equal(found, donors([40, np.nan, 42, 43, 44, 45, 46, 47]), check_names=False)


def test_covariates_are_means_of_technical_and_plain_clinical_values(cohort):
    toy = cohort()
    means = toy.obs.groupby("donor")["n_genes"].mean()
    np.testing.assert_allclose(toy.covariates("technical")["n_genes"], means)
    pd.testing.assert_series_equal(toy.covariates("clinical")["age"], donors(np.arange(40, 48)), check_names=False)


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_features_carry_no_label(cohort_adata, kind):
    data = cohort_adata()
    data.X = kind(data.X)
    data.obsm["X_pca"] = np.ones((data.n_obs, 2))
    bare = Dataset("toy", data, Roles(unit="donor"), DatasetCard(name="toy")).features("rna")
    assert list(bare.obs.columns) == []
    assert not bare.obsm
    assert not bare.uns
    assert list(bare.obs_names) == list(data.obs_names)
    assert list(bare.var_names) == list(data.var_names)


def test_counts_are_scaled_to_ten_thousand_and_logged(cohort_adata):
    data = cohort_adata()
    data.X[0] = 0
    toy = Dataset("toy", data, Roles(unit="donor"), DatasetCard(name="toy"))
    depth = data.X.sum(axis=1, keepdims=True)
    expected = np.log1p(data.X / np.where(depth == 0, 1, depth) * 1e4)
    np.testing.assert_allclose(toy.features("rna", "log1p").X, expected, rtol=1e-5)
    np.testing.assert_array_equal(toy.features("rna", "counts").X, data.X)
    np.testing.assert_allclose(toy.features("rna").X, expected, rtol=1e-5)


def test_other_values_stay_as_they_are(cohort):
    toy = cohort(card={"modalities": {"rna": {"preprocessing": "log1p"}}})
    np.testing.assert_array_equal(toy.features("rna").X, toy.data.X)


def test_counts_cannot_be_made_from_log1p(cohort, refused):
    toy = cohort(card={"modalities": {"rna": {"preprocessing": "log1p"}}})
    with refused("dataset 'toy'", "modality 'rna' holds log1p", "needs counts", "'preprocessing' on the card"):
        toy.features("rna", "counts")


def test_a_modality_without_values_is_refused(cohort_adata, refused):
    data = ad.AnnData(obs=cohort_adata().obs)
    toy = Dataset("toy", data, Roles(unit="donor"), DatasetCard(name="toy"))
    with refused("dataset 'toy'", "modality 'rna' has no X", "give it values"):
        toy.features("rna")


def test_an_unknown_modality_is_refused(cohort, refused):
    with refused("dataset 'toy'", "no modality 'rnaa'", "did you mean rna?"):
        cohort().anndata("rnaa")
    with refused("no modality 'protein'"):
        cohort(card={"modalities": {"rna": {}, "protein": {}}}).modality("protein")


# -- truth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("positive", "expected"), [(None, [0, 1] * 4), ("severe", [0, 1] * 4), ("mild", [1, 0] * 4)])
def test_two_classes_become_0_and_1(cohort, positive, expected):
    truth = cohort({"positive": positive}).truth("label", "patient")
    assert truth["y_true"].to_dict() == donors(expected).to_dict()


def test_more_classes_stay_text(cohort):
    classes = list("abcabcab")
    truth = cohort(severity=per_donor(classes)).truth("label", "patient")
    assert list(truth["y_true"]) == classes


def test_truth_of_cells_is_by_cell_id(cohort):
    toy = cohort()
    assert toy.truth("cell_type", "cell")["y_true"].to_dict() == toy.data.obs["kind"].to_dict()


def test_one_batch_against_the_rest(cohort):
    assert cohort().truth("batch=south", "patient")["y_true"].to_dict() == donors([0] * 4 + [1] * 4).to_dict()


def test_units_without_a_label_are_left_out(cohort):
    severity = per_donor(np.array(["mild", "severe"] * 4, dtype=object))
    severity[:3] = None
    assert "d0" not in cohort(severity=severity).truth("label", "patient").index


@pytest.mark.parametrize(
    "died", [[0, 1] * 4, [False, True] * 4, pd.Categorical(per_donor(["0", "1"] * 4)), [0.0, 1.0] * 4]
)
def test_the_outcome_is_numbers(cohort, died):
    died = died if isinstance(died, pd.Categorical) else per_donor(died)
    truth = cohort(died=died).truth("outcome", "patient")
    assert truth["event"].to_list() == [0, 1] * 4
    assert truth["time"].to_list() == [3.0 + i for i in range(8)]
    assert truth["event"].dtype == int


def test_units_without_an_outcome_are_left_out(cohort):
    months = per_donor([np.nan, *range(1, 8)])
    assert list(cohort(months=months).truth("outcome", "patient").index) == [f"d{i}" for i in range(1, 8)]


@pytest.mark.parametrize(
    ("columns", "pieces"),
    [
        ({"severity": "mild"}, ["label 'severity' has one class only (mild)", "at least two"]),
        ({"severity": None, "roles": {"label": None}}, ["roles.label is not set", "name its column"]),
        (
            {"severity": ["mild"] + ["severe"] * 23},
            ["'severity' takes 2 values in donor 'd0'", "1 unit in all", "finer"],
        ),
        ({"roles": {"positive": "sever"}}, ["roles.positive is 'sever'", "did you mean severe"]),
    ],
)
def test_labels_that_cannot_be_scored(cohort, refused, columns, pieces):
    with refused("dataset 'toy'", *pieces):
        cohort(**columns).truth("label", "patient")


@pytest.mark.parametrize(
    ("columns", "pieces"),
    [
        ({"died": 0}, ["'died' has no events"]),
        ({"died": per_donor([0, 1] * 3 + [2, 3])}, ["'died' has values other than 0 and 1 (2, 3)", "0 = censored"]),
        ({"died": per_donor([0, 1] * 3 + [2, 2])}, ["(2)", "where 2 is a competing event", "competing: 2}"]),
        (
            {"died": per_donor([0, 1] * 3 + [2, 2]), "roles": {"outcome": Outcome("months", "died", "9")}},
            ["where 2 is a competing event", "competing: 2}, not 9, which nobody has"],
        ),
        ({"died": per_donor([1, 2] * 4)}, ["(2)", "where 2 means the event and 1 censored, subtract 1"]),
        ({"died": per_donor(["alive", "dead"] * 4)}, ["'died' is not numeric in 8 of 8 (alive, dead)", "1 = event"]),
        ({"died": per_donor(["FALSE", "TRUE"] * 4)}, ["'died' is not numeric in 8 of 8 (FALSE, TRUE)", "0 = censored"]),
        ({"died": per_donor([0, 1] * 3 + [-1, 1])}, ["values other than 0 and 1 (-1)"]),
        ({"died": None, "roles": {"outcome": Outcome("months", "dead")}}, ["names the column 'dead'", "not in obs"]),
        ({"died": per_donor([np.nan] * 8)}, ["no donor has both 'months' and 'died'", "fill them in"]),
        ({"months": per_donor(["1 year", *map(str, range(2, 9))])}, ["'months' is not numeric in 1 of 8 (1 year)"]),
        ({"months": per_donor(pd.date_range("2020", periods=8))}, ["'months' holds dates", "number of days"]),
        (
            {"months": per_donor([0, -1, *range(1, 7)])},
            ["2 values of 'months' are no times (1 zero, 1 negative), first those of d0, d1"],
        ),
        (
            {"months": per_donor([0, -1, np.inf, -2, -np.inf, *range(1, 4)])},
            ["5 values of 'months' are no times (1 zero, 3 negative, 1 infinite), first those of d0, d1, d2"],
        ),
        ({"months": per_donor([0, 0, *range(1, 7)])}, ["2 values of 'months' are zero", "correct or remove them"]),
        ({"months": per_donor([np.inf, *range(1, 8)])}, ["1 value of 'months' is infinite (d0); correct or remove it"]),
        ({"months": np.arange(1, 25)}, ["'months' takes 3 values in donor", "8 units"]),
        ({"roles": {"outcome": None}}, ["roles.outcome is not set", "time and event"]),
    ],
)
def test_outcomes_that_cannot_be_scored(cohort, refused, columns, pieces):
    with refused("dataset 'toy'", *pieces):
        cohort(**columns).truth("outcome", "patient")


COMPETING = {"outcome": Outcome("months", "died", "2")}


@pytest.mark.parametrize(
    "died", [[0, 1, 2, 1] * 2, [0.0, 1.0, 2.0, 1.0] * 2, pd.Categorical(per_donor(["0", "1", "2", "1"] * 2))]
)
def test_a_competing_event_is_no_event_and_no_mere_censoring(cohort, died):
    died = died if isinstance(died, pd.Categorical) else per_donor(died)
    truth = cohort(COMPETING, died=died).truth("outcome", "patient")
    assert truth["event"].to_list() == [0, 1, 0, 1] * 2
    assert truth["cause"].to_list() == [0, 1, 2, 1] * 2
    assert truth["cause"].dtype.kind == "i"


def test_a_competing_event_may_be_text(cohort):
    toy = cohort(
        {"outcome": Outcome("months", "died", "other death")}, died=per_donor(["0", "1", "other death", "1"] * 2)
    )
    assert toy.truth("outcome", "patient")["cause"].to_list() == [0, 1, 2, 1] * 2


def test_without_a_competing_event_there_is_no_cause(cohort):
    assert list(cohort().truth("outcome", "patient")) == ["time", "event"]


def test_a_declared_value_is_the_only_one_let_through(cohort, refused):
    with refused("values other than 0 and 1 (3)"):
        cohort(COMPETING, died=per_donor([0, 1, 2, 3] * 2)).truth("outcome", "patient")
    with refused("roles.outcome.competing is 1", "the event itself", "such as 2"):
        cohort({"outcome": Outcome("months", "died", "1")}).truth("outcome", "patient")


def test_a_number_in_a_card_names_the_competing_event():
    roles = {"unit": "u", "outcome": {"time": "t", "event": "e", "competing": 2}}
    assert parse(CohortCard, {"data": "x.h5ad", "roles": roles}, "card").roles.outcome.competing == "2"


def test_a_method_learns_time_and_event_only(cohort):
    toy = cohort(COMPETING, died=per_donor([0, 1, 2, 1] * 2))
    units = pd.Index([f"d{i}" for i in range(8)])
    spec = SplitSpec("half", "group-kfold", targets=("outcome",))
    ids, outcome = MethodView.of(toy, Split(units[:4], units[4:], spec=spec), "patient").training("outcome")
    assert list(ids) == list(units[:4])
    np.testing.assert_array_equal(outcome, [[3, 0], [4, 1], [5, 0], [6, 1]])


def test_folds_are_stratified_by_the_event_in_question(cohort):
    toy = cohort(COMPETING, died=per_donor([0, 1, 2, 1, 0, 1, 0, 1]))
    spec = SplitSpec("grouped", "stratified-group-kfold", by="outcome", n_splits=4, targets=("outcome",))
    assert most_folds(toy, spec) == 4
    events = toy.truth("outcome", "patient")["event"]
    assert [events[s.test].sum() for s in splits_of(toy, spec)] == [1, 1, 1, 1]


@pytest.mark.parametrize("role", ["technical", "positive", "control", "lable"])
def test_what_is_no_single_column_cannot_be_predicted(cohort, refused, role):
    with refused("dataset 'toy'", f"roles.{role} is not set"):
        cohort({"positive": "severe"}).truth(role, "cell")


def test_an_unknown_value_cannot_be_predicted(cohort, refused):
    with refused("dataset 'toy'", "'sooth' is not a value of the batch 'site'", "did you mean south"):
        cohort().truth("batch=sooth", "patient")


def test_a_covariate_that_differs_within_a_unit_is_refused(cohort, refused):
    with refused("'n_genes' takes 3 values in donor", "8 units"):
        cohort({"clinical": ("n_genes",)}).covariates("clinical")


def test_a_technical_covariate_is_numeric(cohort, refused):
    with refused("technical covariate 'kind' is not numeric", "give numbers"):
        cohort({"technical": ("n_genes", "kind")}).covariates("technical")


# -- what a dataset refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"severity": None}, ["roles.label names the column 'severity'", "not in obs"]),
        ({"roles": {"cell_type": "kinds"}}, ["roles.cell_type names the column 'kinds'", "did you mean kind"]),
        ({"roles": {"clinical": ("age", "bmi")}}, ["roles.clinical[1] names the column 'bmi'"]),
        ({"roles": {"outcome": Outcome("months", "dead")}}, ["roles.outcome.event names the column 'dead'"]),
        ({"donor": [None, np.nan] + ["d1"] * 22}, ["2 items have no 'donor'", "drop them or fill it in"]),
        ({"card": {"level": "patient"}}, ["at level 'patient' the column 'donor' must equal obs_names"]),
        ({"card": {"modalities": {"rna": {}, "protein": {}}}}, ["no modality 'protein'", "rna"]),
    ],
)
def test_malformed_datasets_are_refused(cohort, refused, changes, pieces):
    with refused("dataset 'toy'", *pieces):
        cohort(**changes)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_obs_names_are_refused(cohort_adata, refused):
    data = cohort_adata()
    data.obs_names = ["c0", "c0", *data.obs_names[2:]]
    with refused("dataset 'toy'", "1 obs_names occur more than once (c0)", "obs_names_make_unique()"):
        Dataset("toy", data, Roles(unit="donor"), DatasetCard(name="toy"))


@pytest.mark.parametrize(
    "changes",
    [
        {"severity": "mild"},
        {"roles": {"positive": "mild"}},
        {"card": {"licence": "CC0"}},
        {"died": 1},
    ],
)
def test_the_fingerprint_follows_the_content(cohort, changes):
    assert cohort(**changes).fingerprint != cohort().fingerprint


def test_the_fingerprint_is_the_same_for_the_same_content(cohort):
    assert cohort().fingerprint == cohort().fingerprint


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_one_changed_value_changes_the_fingerprint(cohort_adata, kind):
    def fingerprint(change):
        data = cohort_adata()
        data.X[3, 2] += change
        data.X = kind(data.X)
        return Dataset("toy", data, Roles(unit="donor"), DatasetCard(name="toy")).fingerprint

    assert fingerprint(1) != fingerprint(0)


def images(**layout):
    layout = {"shape": [1, 2, 2], "channels": ["dna"], "range": [0.0, 1.0]} | layout
    data = ad.AnnData(np.ones((4, 4), np.float32), obs=pd.DataFrame({"u": list("aabb")}, index=list("1234")))
    data.uns["image"] = layout
    card = DatasetCard(name="im", modalities={"image": {"preprocessing": "values", "identifiers": "other"}})
    return Dataset("im", data, Roles(unit="u"), card).fingerprint


@pytest.mark.parametrize("change", [{"shape": [4, 1, 1]}, {"channels": ["actin"]}, {"range": [0.0, 2.0]}])
def test_the_layout_of_images_is_content(change):
    assert images(**change) != images()
    # As it comes from a file, so it came from memory.
    assert images(channels=np.array(["dna"], dtype=object), shape=np.array([1, 2, 2])) == images()


def test_other_names_of_genes_are_content(cohort_adata):
    def fingerprint(names, column="ensembl"):
        data = cohort_adata()
        data.var[column] = names
        card = DatasetCard(name="g", modalities={"rna": {"gene_columns": {"ensembl": "ensembl"}}})
        return Dataset("g", data, Roles(unit="donor"), card).fingerprint

    one = [f"ENSG{i}" for i in range(cohort_adata().n_vars)]
    assert fingerprint(one) == fingerprint(list(one))
    assert fingerprint(one) != fingerprint(one[::-1])
    assert fingerprint(one, "note") == fingerprint(one[::-1], "note")


# -- a cohort from its card --------------------------------------------------------------------------------------------

CARD = {
    "data": "cells.h5ad",
    "roles": {"unit": "donor", "label": "severity", "outcome": {"time": "months", "event": "died"}},
}


def write_card(folder, content):
    path = folder / "card.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.fixture
def folder(tmp_path, cohort_adata):
    cohort_adata().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


@pytest.fixture
def mudata_folder(tmp_path, cohort_adata):
    rna, protein = cohort_adata(), cohort_adata()
    protein = ad.AnnData(protein.X[::-1] + 1, obs=pd.DataFrame(index=protein.obs_names[::-1]))
    protein.var_names = [f"p{i}" for i in range(5)]
    protein.obs["n_proteins"] = [int(name[1:]) for name in protein.obs_names]
    with not_pulling():
        both = mudata.MuData({"rna": rna, "protein": protein})
        both.obs["donor"] = rna.obs["donor"].reindex(both.obs_names)
        both.write(tmp_path / "both.h5mu")
    return tmp_path


def test_a_cohort_is_read_from_its_card(folder):
    toy = read_cohort(write_card(folder, CARD | {"name": "mine", "licence": "CC0", "modality": "protein"}))
    assert (toy.name, toy.card.licence, list(toy.card.modalities)) == ("mine", "CC0", ["protein"])
    assert toy.truth("outcome", "patient").shape == (8, 2)
    assert toy.modality("protein").preprocessing == "counts"


def test_the_name_defaults_to_the_file(folder):
    assert read_cohort(write_card(folder, CARD)).name == "card"


def test_a_zarr_cohort_has_a_fingerprint_of_its_content(folder, cohort_adata):
    cohort_adata().write_zarr(folder / "cells.zarr")
    toy = read_cohort(write_card(folder, CARD | {"data": "cells.zarr"}))
    assert len(toy.fingerprint) == 64


def test_the_fingerprint_of_a_zarr_cohort_follows_its_files_and_its_table_of_genes(folder, cohort_adata):
    cohort_adata().write_zarr(folder / "cells.zarr")
    card = write_card(folder, CARD | {"data": "cells.zarr", "genes": "genes.csv"})

    def fingerprint(names):
        table = {"symbol": list(map(str, cohort_adata().var_names)), "ensembl": names}
        pd.DataFrame(table).to_csv(folder / "genes.csv", index=False)
        return read_cohort(card).fingerprint

    names = [f"ENSG{i}" for i in range(cohort_adata().n_vars)]
    one = fingerprint(names)
    assert fingerprint(names) == one
    assert fingerprint(names[::-1]) != one
    shutil.rmtree(folder / "cells.zarr")
    cohort_adata(age=1).write_zarr(folder / "cells.zarr")
    assert fingerprint(names) != one


@pytest.mark.parametrize("change", [{"licence": "CC0"}, {"roles": {"unit": "donor"}}, {"preprocessing": "log1p"}])
def test_the_fingerprint_of_a_cohort_follows_its_card(folder, change):
    before = read_cohort(write_card(folder, CARD)).fingerprint
    assert read_cohort(write_card(folder, CARD | change)).fingerprint != before


def test_the_fingerprint_of_a_cohort_follows_its_file(folder, cohort_adata):
    card = write_card(folder, CARD)
    before = read_cohort(card).fingerprint
    cohort_adata(age=1).write_h5ad(folder / "cells.h5ad")
    assert read_cohort(card).fingerprint != before


def test_a_mudata_cohort_joins_the_tables_of_its_modalities_by_id(mudata_folder):
    card = {"data": "both.h5mu", "roles": {"unit": "donor", "technical": ["n_proteins"], "label": "severity"}}
    toy = read_cohort(write_card(mudata_folder, card | {"preprocessing": {"rna": "counts"}}))
    assert toy.modality("rna").preprocessing == "counts"
    assert toy.modality("protein").preprocessing == "values"
    assert toy.obs["n_proteins"].to_dict() == {name: int(name[1:]) for name in toy.ids}
    assert toy.truth("label", "patient")["y_true"].to_list() == [0, 1] * 4
    assert toy.features("protein").shape == (24, 5)


def test_preprocessing_of_an_unknown_modality_is_refused(mudata_folder, refused):
    card = {"data": "both.h5mu", "roles": {"unit": "donor"}, "preprocessing": {"protien": "values"}}
    with refused("card.yaml", "modality 'protien', which is not in both.h5mu", "did you mean protein"):
        read_cohort(write_card(mudata_folder, card))


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ({"lisence": "CC0"}, ["unknown key 'lisence'", "did you mean licence"]),
        ({"roles": {"unit": "donor", "celltype": "x"}}, ["unknown key 'roles.celltype'", "did you mean cell_type"]),
        ({"roles": {"label": "severity"}}, ["roles: 'unit' is missing", "patient or donor"]),
        ({"roles": {"units": "donor"}}, ["unknown key 'roles.units'", "did you mean unit"]),
        ({"roles": "donor"}, ["roles: input should be a dictionary"]),
        ({"roles": {"unit": "donor", "outcome": {"time": "months"}}}, ["roles.outcome.event: field required"]),
        (
            {"roles": {"unit": "donor", "outcome": {"time": "months", "event": "died", "evnt": "died"}}},
            ["unknown key 'roles.outcome.evnt'", "did you mean event"],
        ),
        ({"level": "cels"}, ["level: input should be 'cell', 'spot'", "not 'cels'; did you mean cell?"]),
        ({"preprocessing": "raw"}, ["preprocessing: input should be 'counts', ", "or 'values', not 'raw'"]),
        ({"preprocessing": "log"}, ["preprocessing: input should be 'counts', ", "not 'log'; did you mean log1p?"]),
        (
            {"preprocessing": "log", "level": "cels", "side": 1},
            ["side: input should be greater than or equal to 8; and 2 more errors (level, preprocessing)"],
        ),
        ({"roles": {"unit": "donor", "lable": "x"}}, ["unknown key 'roles.lable'; did you mean label?"]),
        ({"preprocessing": {"rna": "raw"}}, ["modalities.rna.preprocessing", "'counts'"]),
        ({"preprocessing": {"rnaa": "counts"}}, ["modality 'rnaa'", "did you mean rna?"]),
        ({"data": "card.yaml"}, ["the ending '.yaml' is not one of .h5ad, .h5mu, .zarr"]),
        ({"data": 3, "level": "x"}, ["data: input should be a valid string; and 1 more error (level)"]),
        ({"roles": {"unit": "donor", "positive": True}}, ["roles.positive: without quotes", 'quote it ("yes")']),
        ({"roles": {"unit": "donor", "control": False}}, ["roles.control: without quotes", 'quote it ("no")']),
    ],
)
def test_cards_that_are_wrong(folder, refused, change, pieces):
    content = CARD | change
    if change.get("data") == 3:
        content["data"] = ["cells.h5ad"]
    with refused("card.yaml", *pieces):
        read_cohort(write_card(folder, content))


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("", "expected a mapping of keys at the top, found NoneType"),
        ("- data", "found list"),
        ("data: [", "card.yaml: line 1: not valid YAML"),
        ("data: a\nroles: {unit: donor,\n  clinical: [age, technical: [n]}\n", "card.yaml: line 3: not valid YAML"),
        ("data: a\nroles: {unit: donor,\n  unit: run}\n", "card.yaml: line 3: the key 'unit' occurs twice"),
        ("data: a\nroles: {unit: donor}\ndata: b\n", "card.yaml: line 3: the key 'data' occurs twice"),
        ("roles: {unit: donor}", "give one of 'data' (a file), 'tables'"),
    ],
)
def test_cards_that_are_no_mapping(folder, refused, text, piece):
    with refused("card.yaml", piece):
        read_cohort(write_card(folder, text))


def test_a_card_of_bytes_is_refused(folder, refused):
    (folder / "card.yaml").write_bytes(b"\xff\xfe\x00")
    with refused("card.yaml: not valid YAML"):
        read_cohort(folder / "card.yaml")


def test_a_column_unlike_any_other_is_told_what_there_is(folder, refused):
    with refused("roles.unit names the column 'patient_id', which is not in obs; obs has donor, "):
        read_cohort(write_card(folder, CARD | {"roles": {"unit": "patient_id"}}))


def test_a_card_that_names_a_missing_column(folder, refused):
    with refused("dataset 'card'", "roles.batch names the column 'sites'", "did you mean site"):
        read_cohort(write_card(folder, CARD | {"roles": {"unit": "donor", "batch": "sites"}}))


def test_missing_files_are_named(folder, refused):
    with refused("crd.yaml: no such file", "crd.yaml"):
        read_cohort(folder / "crd.yaml")
    with refused("cell.h5ad: no such file", "did you mean cells.h5ad"):
        read_cohort(write_card(folder, CARD | {"data": "cell.h5ad"}))


@pytest.mark.parametrize("ending", [".h5ad", ".h5mu", ".zarr"])
def test_data_that_cannot_be_read(folder, refused, ending):
    (folder / f"junk{ending}").write_text("junk")
    with refused(f"junk{ending}: cannot be read as {ending}", "write the file again"):
        read_cohort(write_card(folder, CARD | {"data": f"junk{ending}"}))


def test_what_was_computed_under_other_roles_is_forgotten():
    toy = tiny_cohort()
    toy.truth("label", "patient")
    other = replace(toy, roles=replace(toy.roles, positive="well"))
    assert (other.truth("label", "patient")["y_true"] + toy.truth("label", "patient")["y_true"] == 1).all()
