import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mmcell import MmcellError, stratify
from mmcell.stratification.cohort import open_cohort

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
            "1 patient has a time in 'months' that is not",
        ),
        (lambda f: f.assign(months=f["months"].where(f.index > 3, 0.0)), "4 patients have times in 'months' that are"),
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
