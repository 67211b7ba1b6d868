"""Leave out what is simple, and knowing the cancer type looks like knowing the patient."""

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import SplitSpec, get_metric, get_task, list_tasks
from mmcell.metrics.survival import harrell_c
from mmcell.plan import make_plan
from mmcell.protocols.alignment import Alignment
from mmcell.protocols.survival import Survival
from mmcell.protocols.unseen import UnseenPerturbation
from tests.toys import FLOORS, PATIENT, cite, spec
from tests.traps.worlds import dataset, headline

N, TYPES = 480, 6
TASK = Survival(
    spec(
        "pan-cancer", {"x": ("rna", "patient")},
        SplitSpec("grouped", "stratified-group-kfold", "outcome", n_splits=3, targets=("outcome",)),
        ("harrell_c",), "harrell_c", dataset="trap", controls=(*FLOORS, "stratum-only"), reference="stratum-only",
        probes=("cox",), encoders=("features",),
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort():
    """Patients of six cancer types that differ in hazard; within a type nothing is known of anybody."""
    rng = np.random.default_rng(0)
    cancer = np.arange(N) % TYPES
    hazard = np.exp(0.6 * (cancer - 2.5))
    death, censored = rng.exponential(1 / hazard), rng.exponential(2.0, N)
    ids = pd.Index([f"P{i:03d}" for i in range(N)])
    obs = pd.DataFrame(
        {
            "patient": ids, "cancer": [f"type{c}" for c in cancer], "years": np.minimum(death, censored) + 1e-4,
            "died": (death <= censored).astype(int),
        },
        index=ids,
    )  # fmt: skip
    values = np.eye(TYPES)[cancer] @ rng.normal(size=(TYPES, 12)) + 0.2 * rng.normal(size=(N, 12))
    roles = {"unit": "patient", "outcome": {"time": "years", "event": "died"}, "strata": ("cancer",)}
    return dataset(obs, roles, level="patient", rna=values)


@pytest.fixture(scope="module")
def results(cohort):
    return mmcell.evaluate("features", TASK, dataset=cohort, n_boot=200)


def test_the_naive_c_of_an_embedding_that_knows_the_type_only_is_high(results):
    found = headline(results, "features").set_index("stratum").loc["all"]
    assert found["value"] == pytest.approx(0.75, abs=0.04)
    assert found["ci_low"] > 0.65


def test_the_type_alone_reaches_the_same(cohort, results):
    assert headline(results, "stratum-only")["value"].iloc[0] == pytest.approx(0.74, abs=0.04)
    found = headline(results, "features")
    assert (found["difference_low"] < 0).all()
    assert (found["difference"] < 0.03).all()
    assert "stratum-only" in found["verdict"].iloc[0]
    assert "better than stratum-only" not in found["verdict"].iloc[0]


def test_within_types_nothing_is_left_of_the_pooled_c(cohort, results):
    (record,) = (r for r in results.records if r.role == "candidate")
    items = results.items[record.key].where(results.items[record.key].frame["stratum"] == "all")
    cancer = cohort.obs["cancer"].reindex(items.frame["item"]).to_numpy()
    # Pairs are formed inside a fold only, so a stratum in each fold is a fold of its own.
    apart = items.having({"fold": items.frame["fold"].astype(str) + "/" + cancer})
    metric = get_metric("harrell_c")
    assert metric.fn(items) > 0.7
    within = headline(results, "features").set_index("stratum").loc["within cancer"]
    assert within["value"] == pytest.approx(metric.fn(apart))
    assert within["value"] == pytest.approx(0.5, abs=0.04)
    assert within["ci_low"] < 0.5 < within["ci_high"]


def test_c_of_noise_within_types_is_one_half_by_hand():
    rng = np.random.default_rng(1)
    found = [harrell_c(rng.exponential(size=80), np.ones(80), rng.normal(size=80)) for _ in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_a_result_without_its_controls_is_incomplete_and_no_leaderboard_takes_it(cohort, refused):
    results = mmcell.evaluate("features", TASK, dataset=cohort, controls=["random"], n_boot=100)
    for record in results.records:
        assert {"technical-only", "pca"} <= set(record.missing_controls)
        assert any("stratum-only" in name for name in record.missing_controls)
        assert "random" not in record.missing_controls
    with refused("leaderboard", "features", "incomplete", "stratum-only", "technical-only"):
        results.leaderboard()


def test_with_them_it_is_taken(results):
    assert all(not r.missing_controls for r in results.records)
    assert results.leaderboard()["encoder"].tolist() == ["features"]


@pytest.mark.parametrize("left_out", ["random", "technical-only", "clinical-only", "composition", "pca"])
def test_each_of_the_strong_simple_baselines_is_required_of_a_patient_task(left_out):
    everything = ("random", "constant", "technical-only", "clinical-only", "composition", "pca", "label-permuted")
    data = cite(12, 10)
    chosen = [c for c in everything if c != left_out]
    assert make_plan(PATIENT, "features", data, controls=chosen, n_boot=100).missing == (left_out,)
    assert make_plan(PATIENT, "features", data, controls=everything, n_boot=100).missing == ()


@pytest.mark.parametrize("name", list_tasks())
def test_every_shipped_task_demands_floors_and_a_simple_baseline(name):
    demanded = {part for need in get_task(name).required for part in need.split("|")}
    floors = {"random", "constant", "technical-only", "pca"}
    if isinstance(get_task(name), UnseenPerturbation):
        # What describes a perturbation that nobody has tried was not measured in its cells.
        floors = floors - {"technical-only"} | {"no-change", "perturbed-mean"}
    assert floors <= demanded
    # How an embedding lies is asked of itself: covariates and composition are no rivals in that.
    if get_task(name).spec.slot[2] == "patient" and not isinstance(get_task(name), Alignment):
        assert {"clinical-only", "stratum-only", "composition"} <= demanded
