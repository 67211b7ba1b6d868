import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mmcell import MmcellError, stratify
from mmcell.proportions import floor_of, log_ratios
from mmcell.stratification.cohort import open_cohort
from mmcell.stratification.vectors import Vectors

from .test_study import FAST, ROLES, table

NOTHING = {"embedding": None, "patient_encoder": None, "modality": None, "preprocessing": None, "seed": 0}


def opened(frame, early="error", features=None, **roles):
    named = {"unit": "patient", "time": "months", "event": "death", "clinical": ("age",), **roles}
    return open_cohort(frame, **NOTHING, features=features, roles=named, early=early)


def of_label(frame, label, **roles):
    return opened(frame, time=None, event=None, label=label, **roles)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.assign(age=f["age"].astype(object).where(f.index > 1, "unk")), "'age' is text in 2 rows ('unk')"),
        (lambda f: f.assign(age=f["age"].astype(object).where(f.index > 0, "unk")), "'age' is text in 1 row ('unk')"),
        (lambda f: f.assign(age=f["patient"]), "'age' has 60 classes among 60 patients"),
        (lambda f: f.assign(f2=f["f2"].map("{:.2f}".format).str.replace(".", ",")), "column 'f2' is text in 60 rows"),
        (
            lambda f: f.assign(months=f["months"].where(f.index > 0, 0.0)),
            "1 value of 'months' is zero (P000); correct or remove it, or leave the outcome",
        ),
        (lambda f: f.assign(months=f["months"].where(f.index > 3, 0.0)), "4 values of 'months' are zero, first"),
        (lambda f: pd.DataFrame({";".join(f): f.astype(str).agg(";".join, axis=1)}), "separated by ';'? Save it with"),
    ],
)
def test_slips_in_a_table_are_one_line_with_a_cure(spoil, said):
    with pytest.raises(MmcellError) as error:
        opened(spoil(table()))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_that_look_like_numbers_or_are_few_are_let_through():
    frame = table().assign(age=np.resize(["1", "2", "3"], 60))
    assert opened(frame).covariates["age"].nunique() == 3
    assert opened(table().assign(age=np.resize(["I", "II", "1", None], 60))).covariates["age"].nunique() == 3


def test_the_outcome_of_patients_without_a_time_is_left_out_by_name():
    frame = table()
    frame.loc[[3, 7], "months"] = [0.0, -1.0]
    before = frame.copy()
    found = stratify(frame, **ROLES, **FAST, k=2, early="drop")
    assert (len(found.groups), len(found.outcome.frame)) == (60, 58)
    (finding,) = (f for f in found.findings if f.code == "patients-without-time")
    assert finding.evidence == "P003, P007"
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(MmcellError, match="--early drop"):
        stratify(frame, **ROLES, **FAST, k=2)
    with pytest.raises(MmcellError, match="early is 'maybe'; use error or drop"):
        stratify(frame, **ROLES, **FAST, k=2, early="maybe")


def test_one_of_several_classes_stands_against_the_rest():
    frame = table().assign(stage=np.resize(["I", "II", "III"], 60))
    assert of_label(frame, "stage").positive == ""
    assert of_label(frame, "stage", positive="III").positive == "III"
    with pytest.raises(MmcellError, match="which is not a class of 'stage'"):
        of_label(frame, "stage", positive="IV")
    ratios = stratify(frame, unit="patient", label="stage", positive="III", features="f.", **FAST, k=2).outcome.effects
    assert ratios["n_events"].tolist() == [20]


@pytest.mark.parametrize("label", ["patient", "site"])
def test_a_label_of_many_classes_is_refused(label):
    frame = table().assign(site=np.resize(list("abcdefg"), 60))
    with pytest.raises(MmcellError, match=f"the label '{label}' has .* classes among 60 patients"):
        of_label(frame, label)
    assert of_label(frame.assign(site=np.resize(list("abcdef"), 60)), "site").kind == "label"


def test_columns_of_text_that_nobody_named_are_named():
    assert set(opened(table()).passed_over) == {"sex", "response", "batch", "kind"}
    assert opened(table(), features="f.").passed_over == ()


def test_help_says_how_many_draws():
    code = "from mmcell.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "stratify", "--help"], capture_output=True, text=True, check=False
    )
    assert re.search(r"--n-boot [^\[]*\[default: 1000\]", " ".join(done.stdout.split()))


def test_a_column_that_is_an_outcome_is_a_leak():
    frame = table(40).assign(os_months=lambda f: f["months"] + 0.1)
    found = stratify(frame, **ROLES, **FAST, k=2)
    leak = found.findings[0]
    assert (leak.severity, leak.code) == ("leak", "features-tell-outcome")
    assert leak.evidence.startswith("os_months concordance 0.0")
    assert found.parameters["columns"] == [*(f"f{j}" for j in range(5)), "os_months"]
    made = table(40).assign(f0=lambda f: (f["response"] == "yes") + np.arange(40) / 100)
    label = stratify(made, unit="patient", label="response", positive="yes", features="f.", **FAST, k=2)
    assert [f.evidence for f in label.findings if f.severity == "leak"] == ["f0 AUROC 1.00"]


def shares(n=40, m=6):
    rng = np.random.default_rng(0)
    counts = rng.multinomial(
        500, np.stack([rng.dirichlet([9, *np.ones(m - 2), 1][:: 1 - 2 * (i % 2)]) for i in range(n)])
    ) * (rng.random((n, m)) > 0.1)
    values = counts / counts.sum(axis=1, keepdims=True)
    return pd.DataFrame(values, columns=[f"f{j}" for j in range(m)]).assign(patient=[f"P{i:02d}" for i in range(n)])


def test_proportions_are_grouped_by_log_ratios():
    found = stratify(shares(), unit="patient", preprocessing="proportions", **FAST, k=2)
    assert found.parameters["embedding"] == "log-ratios of proportions"
    assert found.parameters["scale"] == "centre"
    assert set(found.differences["kind"]) == {"composition"}
    plain = stratify(shares(), unit="patient", **FAST, k=2)
    assert plain.parameters["embedding"] == "features"
    # Half of the table has no sum, so that nothing is a log-ratio there.
    part = stratify(shares(), unit="patient", preprocessing="proportions", features="f[0-2]", **FAST, k=2)
    assert part.parameters["embedding"] == "features"


def test_the_floor_of_proportions_is_that_of_training_patients():
    cohort = open_cohort(
        shares(), **NOTHING | {"preprocessing": "proportions"}, features=None, roles={"unit": "patient"}
    )  # fmt: skip
    values, train = cohort.values.to_numpy(), cohort.patients[:10]
    found = Vectors(cohort, 0).of(train)
    np.testing.assert_allclose(found, log_ratios(values, floor_of(values[:10])), rtol=1e-4)
    assert floor_of(values[:10]) != floor_of(values)


def test_few_patients_without_a_whole_composition_are_named():
    table = shares()
    table.iloc[3, :6] *= 0.8
    found = stratify(table, unit="patient", preprocessing="proportions", **FAST, k=2)
    said = {f.code: f for f in found.findings}
    assert found.parameters["embedding"] == "features"
    assert "1 patients do not add up to 1" in said["proportions-not-whole"].message
    assert str(table["patient"].iloc[3]) in said["proportions-not-whole"].evidence
