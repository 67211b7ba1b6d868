"""The shipped tasks of survival: what they ask, and that they run on a cohort of somebody's own."""

from dataclasses import replace

import pandas as pd
import pytest

import mmcell
from mmcell import get_task
from mmcell.plan import make_plan
from mmcell.roles import Outcome
from mmcell.testing import write_cohort
from tests.toys import survivors

SHIPPED = ("hcc-recurrence", "ovarian-survival", "breast-relapse", "tcga-survival", "patient-survival")


def once(name):
    """The task with its first split, drawn once into two folds."""
    task = get_task(name)
    other = task.on(task.spec.dataset)
    other.spec = replace(task.spec, split=replace(task.spec.splits[0], repeats=1, n_splits=2))
    return other


@pytest.mark.parametrize("name", SHIPPED)
def test_each_compares_with_what_is_known_without_the_embedding(name):
    spec = get_task(name).spec
    assert (spec.name, spec.version, spec.primary) == (name, "1", "harrell_c")
    assert spec.reference == ("stratum-only" if name == "tcga-survival" else "clinical-only")
    assert spec.probes == ("cox", "cox+clinical")
    assert all(split.targets == ("outcome",) for split in spec.splits)


def test_a_cohort_of_somebodys_own(tmp_path):
    # An outcome with a competing event and strata, by way of its card.
    toy = survivors(60)
    end = toy.obs["death"].to_numpy().copy()
    end[::7] = 2
    own = survivors(60, death=end, roles={"outcome": Outcome("years", "death", "2"), "strata": ("site",)})
    card = write_cohort(tmp_path, own)
    results = mmcell.evaluate(
        "features", once("patient-survival"), dataset=card, n_boot=100, controls=["clinical-only"], probes=["cox"]
    )
    table = results.table().set_index(["encoder", "stratum", "metric"])
    assert table.loc[("features", "all", "harrell_c"), "value"] > 0.6
    assert table.loc[("features", "within site", "harrell_c"), "value"] > 0.6
    assert ("features", "within site", "ibs") not in table.index
    items = next(iter(results.items.values())).frame
    assert set(items["cause"]) == {0, 1, 2}
    assert (items["event"] == (items["cause"] == 1)).all()


def test_one_event_is_not_enough(refused):
    with refused("1 unit of outcome '1' cannot be spread over 5 folds", "add units"):
        make_plan(
            "patient-survival", "features", survivors(30, death=[1] + [0] * 29), controls=["constant"], n_boot=100
        )


def values(task):
    table = mmcell.evaluate("features", task, n_boot=100, controls=["stratum-only"], probes=["cox"]).table()
    table = table[table["metric"] == "harrell_c"]
    return pd.Series(table["value"].to_numpy(float), pd.MultiIndex.from_frame(table[["encoder", "stratum"]]))


@pytest.mark.realdata
def test_composition_says_who_relapses_also_within_a_subtype(data_folder):
    found = values(once("breast-relapse"))
    assert found["features", "all"] == pytest.approx(0.61, abs=0.03)
    assert 0.52 < found["features", "within pam50"] < found["features", "all"]
    assert found["stratum-only", "within pam50"] == 0.5


@pytest.mark.realdata
def test_across_cancers_the_cancer_is_the_shortcut(data_folder):
    found = values(once("tcga-survival"))
    assert found["stratum-only", "all"] == pytest.approx(0.70, abs=0.04)
    assert found["stratum-only", "within cancer"] == 0.5
    assert 0.5 < found["features", "within cancer"] < found["features", "all"]


def test_permuted_outcomes_are_scored_by_every_metric():
    # A repeat is one world, whose folds share a horizon.
    task = get_task("hcc-recurrence")
    own = task.on("survivors")
    own.spec = replace(
        task.spec, slots={"x": ("rna", "patient")}, split=replace(task.spec.split, repeats=2, n_splits=3)
    )
    results = mmcell.evaluate(
        "features", own, dataset=survivors(60), controls=["label-permuted"], probes=["cox"], n_boot=100
    )
    table = results.table()
    permuted = table[table["encoder"] == "label-permuted"]
    assert set(permuted["metric"]) == set(task.spec.metrics)
    assert (permuted["status"] == "ok").all()
    items = next(results.items[r.key] for r in results.records if r.permuted).frame
    assert items.groupby("repeat")[["horizon", "tau"]].nunique().eq(1).all(axis=None)
    # Another repeat has another.
    died = items.pivot_table(index="item", columns="repeat", values="time")
    assert (died[0] != died[1]).any()
