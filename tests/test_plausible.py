import numpy as np
import pandas as pd
import pytest

from mmcell.data.catalog import load_dataset
from mmcell.plan import make_plan
from mmcell.plausible import plausible, plausible_covariates
from tests.toys import PATIENT, RETRIEVAL, SURVIVAL, cite, survivors

AGE = survivors().obs["age"]


@pytest.mark.parametrize(
    ("age", "pieces"),
    [
        (AGE.map("{:.1f}".format).str.replace(".", ","), ["'age' is text in 40 rows", "write decimal points"]),
        (AGE.astype(object).where(np.arange(40) > 1, "unknown"), ["'age' is text in 2 rows ('unknown')", "empty"]),
        (AGE.astype(object).where(np.arange(40) > 0, "12,5"), ["'age' is text in 1 row ('12,5')", "decimal points"]),
        ([f"code {i}" for i in range(40)], ["'age' has 40 classes among 40 patients", "merge them to 10 at most"]),
        (AGE.round(2).astype(str).to_list(), ["'age' has 40 classes", "store them as numbers"]),
    ],
)
def test_a_run_refuses_covariates_that_are_no_covariates(refused, age, pieces):
    with refused("dataset 'survivors': the clinical covariate", *pieces):
        make_plan(SURVIVAL, None, survivors(age=age))


def test_what_nobody_reads_is_not_looked_at():
    columns = {"code": [f"c{i // 10}" for i in range(240)]}
    coded = cite(24, 10, roles={"clinical": ("code",)}, **columns)
    make_plan(RETRIEVAL, None, coded, controls=["random"])
    # The label is no covariate of itself.
    wide = survivors(roles={"clinical": ("age", "death")}, age=AGE)
    plausible_covariates(wide, {"death"})


def test_a_task_of_patients_reads_covariates(refused):
    coded = cite(24, 10, roles={"clinical": ("code",)}, code=[f"c{i // 10}" for i in range(240)])
    with refused("the clinical covariate 'code' has 24 classes among 24 patients"):
        make_plan(PATIENT, "pca", coded, controls=["random"])


def test_classes_numbers_and_gaps_are_let_through():
    for known in (
        pd.Series(["I", "II", "III"] * 10), pd.Series(["1", "2"] * 10), pd.Series(range(99)), pd.Series([], dtype="O"),
        pd.Series([True, False] * 9), pd.Series(["I", "II", "1"] * 10, dtype="category"),
    ):  # fmt: skip
        plausible(known, "the covariate", "who")


@pytest.mark.demo
@pytest.mark.parametrize(
    "name", ["covid-cite", "hcc-immune", "hcc-immune-recurrence", "breast-expression", "ovarian-expression"]
)
def test_nothing_that_is_shipped_is_refused(name):
    plausible_covariates(load_dataset(name))


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    ["breast-metabric", "breast-tcga", "tcga-composition", "tcga-composition-dss", "breast-neoadjuvant",
     "covid-cytometry"],
)  # fmt: skip
def test_nothing_that_users_bring_is_refused(name, data_folder):
    plausible_covariates(load_dataset(name))
