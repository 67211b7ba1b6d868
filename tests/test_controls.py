from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Dataset, Roles, Split, SplitSpec
from mmcell.controls import (
    BUILDERS,
    applies,
    clinical_only,
    missing,
    names_of,
    oracle,
    stratum_only,
    technical_only,
)
from mmcell.roles import DatasetCard, Outcome
from tests.toys import COUNTS, PATIENT, RETRIEVAL, SURVIVAL, cite, survivors

TOY = cite(8, 10)
CARD = DatasetCard(name="x", modalities={"rna": COUNTS})


def half(*targets, train=4):
    units = pd.Index([f"D{i:02d}" for i in range(8)])
    return Split(units[:train], units[train:], spec=SplitSpec("half", "group-kfold", targets=targets))


def test_technical_facts_of_counts():
    found = technical_only(TOY, "rna", "cell", half("label"))
    x = TOY.anndata("rna").X
    assert (found.columns, found.modality, list(found.ids)) == (
        ("log_depth", "log_n_features"),
        "clinical",
        list(TOY.ids),
    )
    np.testing.assert_allclose(found.values, np.log1p(np.column_stack([x.sum(axis=1), (x > 0).sum(axis=1)])), rtol=1e-5)


def test_the_share_of_mitochondrial_counts():
    data = TOY.anndata("rna").copy()
    data.var_names = ["MT-ND1", "mt-co1", *data.var_names[2:]]
    data.obs["donor"] = TOY.obs["donor"]
    data.X[0] = 0
    toy = Dataset("mito", data, Roles(unit="donor"), CARD)
    found = technical_only(toy, "rna", "cell", half("label"))
    share = found.values[:, list(found.columns).index("share_mito")]
    np.testing.assert_allclose(share[1:], (data.X[1:, :2].sum(axis=1) / data.X[1:].sum(axis=1)), rtol=1e-5)
    assert share[0] == 0


def test_patients_get_means_and_the_number_of_their_cells():
    cells, patients = (technical_only(TOY, "rna", level, half("label")) for level in ("cell", "patient"))
    assert patients.columns == (*cells.columns, "log_n_items")
    expected = pd.DataFrame(cells.values, cells.ids).groupby(TOY.unit).mean()
    np.testing.assert_allclose(patients.align(expected.index).values[:, :2], expected)
    np.testing.assert_allclose(patients.values[:, 2], np.log(10))


def test_profiles_of_other_values():
    found = technical_only(survivors(), "rna", "patient", half("outcome"))
    x = survivors().anndata("rna").X
    assert found.columns == ("mean", "spread", "zeros")
    np.testing.assert_allclose(found.values, np.column_stack([x.mean(1), x.std(1), (x == 0).mean(1)]), atol=1e-6)


def test_technical_covariates_of_the_roles_are_added():
    toy = cite(8, 10, roles={"technical": ("chip",)}, chip=np.arange(80) % 5)
    assert technical_only(toy, "rna", "cell", half("label")).columns[-1] == "chip"


def test_a_missing_technical_covariate_is_refused(refused):
    toy = cite(8, 10, roles={"technical": ("chip",)}, chip=[np.nan, *range(79)])
    with refused("the technical covariate 'chip' is missing or not numeric for 1 item"):
        technical_only(toy, "rna", "cell", half("label"))


def test_without_values_the_number_of_items_remains():
    data = TOY.anndata("rna").copy()
    data.obs["donor"] = TOY.obs["donor"]
    data.X = None
    toy = Dataset("bare", data, Roles(unit="donor"), CARD)
    assert technical_only(toy, "rna", "patient", half("label")).columns == ("log_n_items",)


def test_clinical_covariates_are_learnt_on_training_units():
    age = np.repeat([30.0, 40, 50, 60, 1000, np.nan, 1000, 1000], 10)
    found = clinical_only(cite(8, 10, age=age), "rna", "patient", half("label"))
    assert found.align(pd.Index(["D05"])).values.item() == 45
    assert found.columns == ("age",)


def test_cells_get_the_covariates_of_their_donor():
    found = clinical_only(TOY, "rna", "cell", half("label"))
    np.testing.assert_array_equal(found.values[:, 0], TOY.obs["age"])


@pytest.mark.parametrize("role", ["clinical", "technical"])
@pytest.mark.parametrize(("target", "column"), [("label", "state"), ("batch=b1", "batch"), ("outcome", "code")])
def test_no_control_sees_what_is_predicted(role, target, column):
    toy = cite(8, 10, code=np.repeat(np.arange(8) % 2, 10), months=np.repeat(np.arange(8) + 1, 10))
    roles = {role: ("age", column), "outcome": Outcome("months", "code")}
    toy = Dataset("x", toy.data, replace(toy.roles, **roles), toy.card)
    assert {"age", column} <= {c for r, c in toy.roles.columns.items() if r.startswith(role)}
    names = BUILDERS[f"{role}-only"](toy, "rna", "patient", half(target)).columns
    assert "age" in names
    assert not [n for n in names if n.startswith(column)]


def test_controls_that_cannot_be_built_say_why(refused):
    bare = cite(8, 10, roles={"clinical": (), "cell_type": None})
    assert applies("clinical-only", PATIENT, bare) == "the dataset has no clinical covariates"
    assert applies("composition", PATIENT, bare) == "the dataset has no cell types"
    assert applies("composition", PATIENT, TOY) == applies("random", PATIENT, bare) == ""
    assert applies("composition", SURVIVAL, survivors()) == "there are no cells to make patients of"
    assert applies("stratum-only", PATIENT, TOY) == "the dataset has no strata"
    assert applies("oracle", PATIENT, TOY) == "the dataset is not simulated"
    assert applies("split-half", PATIENT, TOY) == "the task has no gallery"
    assert applies("split-half", RETRIEVAL, TOY) == ""


def test_a_protocol_says_what_must_stand_beside_its_results():
    everything = names_of(PATIENT)
    assert set(PATIENT.spec.controls) <= set(everything)
    assert missing(PATIENT, TOY, everything) == ()
    less = set(everything) - {"pca", "clinical-only", "stratum-only"}
    assert missing(PATIENT, TOY, less) == ("clinical-only", "pca")
    # What the data cannot show is not missing; of two that would do, one is enough.
    bare = cite(8, 10, roles={"clinical": (), "cell_type": None})
    assert missing(PATIENT, bare, less) == ("pca",)
    strata = cite(8, 10, roles={"strata": ("site",)}, site=np.repeat(list("aabbabbc"), 10))
    assert missing(PATIENT, strata, less) == ("clinical-only or stratum-only", "pca")
    assert missing(PATIENT, strata, less | {"stratum-only", "pca"}) == ()


def test_strata_are_indicators_of_training_groups():
    toy = cite(8, 10, roles={"strata": ("site", "state")}, site=np.repeat(list("aabbabbc"), 10))
    found = stratum_only(toy, "rna", "patient", half("label"))
    assert found.columns == ("site=a", "site=b")
    expected = np.array([[s == "a", s == "b"] for s in "aabbabbc"], dtype=float)
    np.testing.assert_array_equal(found.values, expected)
    np.testing.assert_array_equal(stratum_only(toy, "rna", "cell", half("label")).values, expected.repeat(10, axis=0))


def test_without_strata_there_is_no_such_control(refused):
    with refused("roles.strata is not set"):
        stratum_only(TOY, "rna", "patient", half("label"))
    with refused("no planted truth"):
        oracle(TOY, "rna", "patient", half("label"))
    with refused("roles.clinical is not set"):
        clinical_only(cite(8, 10, roles={"clinical": ()}), "rna", "patient", half("label"))
