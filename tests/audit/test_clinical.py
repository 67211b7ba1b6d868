from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import evaluate, stratify
from mmcell.audit import audit
from mmcell.audit.clinical import clinical_findings, outcome_findings
from mmcell.data.catalog import load_dataset
from mmcell.plan import make_plan
from mmcell.roles import Outcome
from tests.toys import PATIENT, RETRIEVAL, SURVIVAL, cite, survivors

OUTCOME = Outcome("years", "death")
QUICK = {"k": 2, "n_null": 19, "repeats": 2, "folds": 3, "runs": 20, "n_permutations": 99, "n_boot": 100}


def found(dataset, *targets, **more):
    return {f.code: f for f in clinical_findings(dataset, set(targets or ("outcome",)), **more)}


def planned(task, dataset):
    encoders = None if task is SURVIVAL else "pca"
    return {f.code: f for f in make_plan(task, encoders, dataset, controls=["random"]).findings}


def with_outcome(dataset, competing):
    return replace(dataset, roles=replace(dataset.roles, outcome=replace(OUTCOME, competing=competing)))


# -- missing covariates ------------------------------------------------------------------------------------------


def test_a_cohort_that_lacks_nothing_has_no_finding():
    assert found(survivors()) == {}


def test_times_without_a_unit_are_said_to_be_taken_for_one():
    data = survivors()
    bare = replace(data, card=data.card.model_copy(update={"time_unit": ""}))
    (finding,) = found(bare).values()
    assert (finding.code, finding.severity) == ("no-time-unit", "info")
    assert "all of 'years' is taken to be in one unit" in finding.message
    assert "time_unit: days" in finding.cure
    assert "no-time-unit" in planned(SURVIVAL, bare)


def test_missing_covariates_are_counted_among_those_who_are_scored():
    data = survivors(roles={"clinical": ("age", "stage")}, stage=np.resize(["I", "II"], 40))
    data.obs.loc[data.obs.index[:10], "age"] = np.nan
    data.obs.loc[data.obs.index[9:11], "stage"] = None
    data.obs.loc[data.obs.index[:2], "death"] = np.nan
    said = found(data)["covariates-missing"]
    assert said.severity == "warning"
    assert said.message.startswith("9 of 38 patients who are scored lack a clinical covariate")
    assert said.evidence == "age 8 (21 %), stage 2 (5 %)"
    few = found(data, scored=data.patients.index[9:])["covariates-missing"]
    assert (few.severity, few.evidence) == ("info", "stage 2 (6 %), age 1 (3 %)")
    one = found(data, scored=data.patients.index[10:])["covariates-missing"]
    assert one.message.startswith("1 patient who is scored lacks a clinical covariate")


def test_a_covariate_that_a_whole_batch_lacks_is_named_with_it():
    age = np.where(survivors().obs["site"] == "s1", np.nan, 60.0)
    assert found(survivors(age=age))["covariates-missing"].evidence == "age 20 (50 %); all of s1: age"


def test_a_batch_that_nobody_is_of_lacks_nothing():
    site = pd.Categorical(survivors().obs["site"], categories=["s0", "s1", "s9"])
    age = survivors().obs["age"].where(np.arange(40) > 7)
    assert found(survivors(age=age, site=site))["covariates-missing"].evidence == "age 8 (20 %)"


def test_a_run_and_an_audit_say_it_and_a_task_of_cells_does_not():
    age = survivors().obs["age"].where(np.arange(40) > 7)
    assert planned(SURVIVAL, survivors(age=age))["covariates-missing"].evidence == "age 8 (20 %)"
    assert "covariates-missing" in {f.code for f in audit(survivors(age=age), n_boot=100)}
    cells = cite(24, 10, roles={"clinical": ("age",)}, age=np.repeat(np.where(np.arange(24) > 5, 60.0, np.nan), 10))
    assert planned(PATIENT, cells)["covariates-missing"].evidence.startswith("age 6 (25 %)")
    assert "covariates-missing" not in planned(RETRIEVAL, cells)


@pytest.mark.demo
def test_what_is_shipped_lacks_what_its_cards_say():
    said = found(load_dataset("breast-expression"))["covariates-missing"]
    assert said.evidence.endswith("age 158 (40 %), er 4 (1 %); all of gse3143: node, grade, age")
    for name in ("hcc-immune", "hcc-immune-recurrence", "ovarian-expression"):
        assert found(load_dataset(name)) == {}
    assert found(load_dataset("covid-cite"), "label") == {}


@pytest.mark.realdata
def test_what_users_bring_lacks_what_it_lacks(data_folder):
    assert found(load_dataset("breast-metabric"))["covariates-missing"].evidence.startswith("stage 511 (26 %)")
    for name in ("breast-metabric", "breast-tcga", "tcga-composition", "tcga-composition-dss"):
        assert set(found(load_dataset(name))) == {"covariates-missing"}


# -- covariates that tell the outcome ----------------------------------------------------------------------------


def test_a_covariate_that_was_recorded_after_the_outcome_is_a_leak():
    plain = survivors(60)
    rng = np.random.default_rng(0)
    for column, said in (
        (-plain.obs["years"] + 0.01 * rng.normal(size=60), "concordance 0.9"),
        (np.where(plain.obs["death"] == 1, "dead", "alive"), "AUROC of the event 1.00"),
        (np.where(plain.obs["death"] == 1, "C22", None), "late missing: AUROC of the event 0.00"),
    ):
        data = survivors(60, roles={"clinical": ("age", "late")}, late=column)
        leak = planned(SURVIVAL, data)["covariate-tells-outcome"]
        assert leak.severity == "leak"
        assert said in leak.evidence
        assert "age" not in leak.evidence
    assert "covariate-tells-outcome" in {f.code for f in audit(data, n_boot=100)}


def test_a_covariate_that_is_the_label_is_a_leak():
    ward = np.where(cite(24, 10).obs["state"] == "ill", "icu", "ward")
    leak = planned(PATIENT, cite(24, 10, roles={"clinical": ("ward",)}, ward=ward))["covariate-tells-outcome"]
    assert leak.evidence == "ward: AUROC 1.00"
    assert leak.message.startswith("1 clinical covariate tells the label nearly perfectly")


# -- times and events --------------------------------------------------------------------------------------------


def times(n=90, seed=0, **factors):
    rng = np.random.default_rng(seed)
    batch = pd.Series(np.resize(list("abc"), n))
    time = (rng.exponential(30, n) + 0.5) * batch.map(factors).fillna(1.0)
    return pd.DataFrame({"time": time, "event": (rng.random(n) < 0.4).astype(int)}), batch


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (7.0, "days beside weeks"), (12.0, "months beside years"), (30.44, "days beside months"),
        (365.25, "days beside years"), (1 / 7, "weeks beside days"), (1 / 12, "years beside months"),
        (1 / 30.44, "months beside days"), (1 / 365.25, "years beside days"),
    ],
)  # fmt: skip
def test_times_in_another_unit_are_called_so(factor, said):
    frame, batch = times(300, b=factor)
    (finding,) = outcome_findings(frame, OUTCOME, batch, "months")
    assert (finding.severity, finding.code) == ("warning", "times-differ-by-batch")
    assert finding.message.startswith("times of b seem to be in another unit")
    assert finding.message.endswith("the card says months")
    assert finding.evidence.endswith(f"most like {said}")
    assert finding.evidence.startswith("median follow-up: ")


def test_cohorts_that_are_followed_a_little_longer_and_small_ones_are_let_be():
    for factors in ({}, {"b": 2.0, "c": 0.5}, {"b": 3.0}, {"c": 1 / 3}):
        assert outcome_findings(*(times(300, **factors)[0], OUTCOME, times(300)[1], "")) == []
    frame, batch = times(27, b=365.25)
    assert outcome_findings(frame, OUTCOME, batch, "") == []
    assert outcome_findings(frame, OUTCOME, None, "") == []


def test_a_batch_without_a_reached_follow_up_is_compared_by_its_times():
    frame, batch = times(300, b=30.44)
    frame.loc[batch == "a", "event"] = 1
    (finding,) = outcome_findings(frame, OUTCOME, batch, "")
    assert finding.evidence.startswith("median time: ")
    assert "b " in finding.evidence


def test_all_say_that_units_are_mixed():
    data = survivors(80)
    days = data.obs["years"] * np.where(data.obs["site"] == "s1", 365.25, 1.0)
    mixed = survivors(80, years=days)
    assert "times-differ-by-batch" in planned(SURVIVAL, mixed)
    assert "times-differ-by-batch" in {f.code for f in audit(mixed, n_boot=100)}
    assert "times-differ-by-batch" in {f.code for f in stratify(mixed, **QUICK).findings}
    assert "times-differ-by-batch" not in planned(SURVIVAL, data)


def test_a_competing_event_that_nobody_has_is_named():
    none = with_outcome(survivors(), "2")
    for codes in (
        planned(SURVIVAL, none), {f.code for f in audit(none, n_boot=100)},
        {f.code for f in stratify(none, **QUICK).findings},
    ):  # fmt: skip
        assert "no-competing-event" in codes
    death = survivors().obs["death"].where(np.arange(40) > 2, 2)
    assert "no-competing-event" not in planned(SURVIVAL, with_outcome(survivors(death=death), "2"))


def test_events_that_are_all_at_one_time_are_named_everywhere():
    last = np.where(survivors(60).obs["death"] == 1, 3.0, np.resize([0.5, 2.0], 60))
    data = survivors(60, years=last)
    assert planned(SURVIVAL, data)["events-at-one-time"].evidence == "years 3"
    assert "events-at-one-time" in {f.code for f in audit(data, n_boot=100)}
    study = stratify(data, **QUICK)
    said = {f.code: f for f in study.findings}
    assert "events-at-one-time" in said
    assert said["no-permutation"].message == "nobody outlives an event, so there is nothing to test"
    assert study.outcome.effects["reason"].eq("no patient outlives an event").all()


def test_a_run_in_which_all_times_are_the_same_ends_with_reasons():
    spec = replace(SURVIVAL.spec, metrics=("harrell_c", "uno_c", "ibs", "rmst_difference", "d_calibration"))
    found = evaluate(
        "features", type(SURVIVAL)(spec), dataset=survivors(48, years=1.0), n_boot=100, controls=["clinical-only"],
        probes=["cox"],
    )  # fmt: skip
    table = found.table()
    assert not (table["status"] == "failed").any()
    assert (table.loc[table["status"] == "undefined", "reason"] != "").all()
    assert {"uno_c", "rmst_difference"} <= set(table.loc[table["status"] == "undefined", "metric"])
    assert all("events-at-one-time" in {f.code for f in r.findings} for r in found.records)
