import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, MethodView, Split, SplitSpec, Task, TaskSpec, get_task, list_tasks

SPEC = TaskSpec(
    name="mine",
    question="Is it severe?",
    dataset="toy",
    slots={"patient": ("rna", "patient")},
    split=SplitSpec("donors", "group-kfold"),
    metrics=("auroc", "macro_f1"),
    primary="auroc",
)


class Mine(Task):
    spec = SPEC

    def run(self, view, embeddings, split, rng):
        return Items(pd.DataFrame({"item": view.test, "y_pred": 0.5}), "binary")


def split(*targets):
    spec = SplitSpec("half", "group-kfold", targets=targets)
    return Split(pd.Index([f"d{i}" for i in range(6)]), pd.Index(["d6", "d7"]), spec=spec)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a.equals(b) if hasattr(a, "equals") else a == b


# -- what a method may see ---------------------------------------------------------------------------------------------

TRUTHS = {
    "label": {"severity": "severe"},
    "outcome": {"months": 99.0, "died": 1},
    "cell_type": {"kind": "B"},
    "batch": {"site": "north"},
    "batch=south": {"site": "north"},
}


@pytest.mark.parametrize("level", ["cell", "patient"])
@pytest.mark.parametrize("target", TRUTHS)
def test_the_view_does_not_depend_on_the_truth_of_test_units(cohort, cohort_adata, level, target):
    if (target, level) == ("cell_type", "patient"):
        level = "spot"
    plain = cohort_adata().obs
    tested = plain["donor"].isin(["d6", "d7"])
    changed = {c: plain[c].mask(tested, v).reindex([f"c{i}" for i in range(24)]) for c, v in TRUTHS[target].items()}
    toys = [cohort(), cohort(**changed)]
    assert not toys[0].obs.equals(toys[1].obs)
    views = [MethodView.of(toy, split(target), level) for toy in toys]
    assert all(same(getattr(views[0], f.name), getattr(views[1], f.name)) for f in fields(MethodView))


@pytest.mark.parametrize(
    ("target", "roles"),
    [
        ("label", {"clinical": ("age", "severity")}),
        ("label", {"sample": "severity"}),
        ("label", {"perturbation": "severity"}),
        ("outcome", {"clinical": ("age", "died", "months")}),
        ("outcome", {"label": "died"}),
        ("batch=south", {"clinical": ("age", "site"), "sample": "site"}),
    ],
)
def test_what_is_predicted_is_hidden_under_every_other_role_too(cohort, target, roles):
    view = MethodView.of(cohort(roles), split(target), "patient")
    hidden = {"label": {"severity"}, "outcome": {"months", "died"}, "batch=south": {"site"}}[target]
    assert list(view.clinical.columns) == ["age"]
    assert hidden.isdisjoint(series.name for _, series in view.columns.items())
    assert set(view.columns) == {"label", "batch"} - set(target.split("=")[:1]) - (set(roles) & {"label"})


def test_labels_are_of_training_ids_only(cohort):
    view = MethodView.of(cohort(), split("label", "outcome", "pairs"), "patient")
    assert set(view.labels) == {"label", "outcome"}
    for truth in view.labels.values():
        assert list(truth.index) == [f"d{i}" for i in range(6)]


def test_a_further_target_is_left_out_where_its_role_is_not_set(cohort):
    view = MethodView.of(cohort({"label": None}), split("outcome", "batch=south", "label"), "patient")
    assert set(view.labels) == {"outcome", "batch=south"}


def test_items_follow_their_unit(cohort):
    toy = cohort()
    view = MethodView.of(toy, split("label"), "cell")
    assert set(toy.unit[view.train]) == {f"d{i}" for i in range(6)}
    assert set(toy.unit[view.test]) == {"d6", "d7"}
    assert len(view.train) + len(view.test) == 24


def test_roles_that_are_not_predicted_are_seen(cohort):
    toy = cohort()
    assert MethodView.of(toy, split("label"), "cell").role("batch").to_dict() == toy.obs["site"].to_dict()
    assert list(MethodView.of(toy, split("outcome"), "patient").role("label")) == ["mild", "severe"] * 4
    assert list(MethodView.of(toy, split("label"), "patient").columns) == ["batch"]


@pytest.mark.parametrize(
    ("target", "name", "why"),
    [
        ("label", "label", "'label' is what this split predicts"),
        ("batch=south", "batch", "'batch' is what this split predicts"),
        ("label", "sample", "'sample' is not set in the dataset's roles"),
    ],
)
def test_a_role_that_cannot_be_seen(cohort, refused, target, name, why):
    with refused(why, "a method cannot see it"):
        MethodView.of(cohort(), split(target), "cell").role(name)


def test_training_gives_ids_and_values(cohort):
    view = MethodView.of(cohort(), split("label", "outcome"), "patient")
    ids, y = view.training("label")
    assert list(ids) == [f"d{i}" for i in range(6)]
    assert list(y) == [0, 1] * 3
    ids, y = view.training("outcome")
    np.testing.assert_array_equal(y, [[3 + i, i % 2] for i in range(6)])


def test_training_leaves_out_what_has_no_label(cohort):
    severity = np.array(["mild", "severe"] * 4, dtype=object)
    severity[1] = None
    view = MethodView.of(cohort(severity=np.repeat(severity, 3)), split("label"), "patient")
    ids, y = view.training("label")
    assert list(ids) == ["d0", "d2", "d3", "d4", "d5"]
    assert list(y) == [0, 0, 1, 0, 1]


def test_the_view_leaves_the_dataset_unchanged(cohort):
    toy = cohort()
    before = toy.obs.copy()
    view = MethodView.of(toy, split("label"), "cell")
    view.columns.iloc[:, 0] = "changed"
    view.labels["label"]["y_true"] = -1
    pd.testing.assert_frame_equal(toy.obs, before)


def test_an_outcome_needs_its_columns(cohort, refused):
    with refused("roles.outcome is not set"):
        MethodView.of(cohort({"outcome": None}), split("outcome"), "patient")


# -- the facts of a task -----------------------------------------------------------------------------------------------


def test_splits_are_always_a_tuple():
    other = SplitSpec("sites", "leave-one-group-out", "batch")
    assert SPEC.splits == (SPEC.split,)
    assert replace(SPEC, split=(SPEC.split, other)).splits == (SPEC.split, other)


def test_the_first_slot_takes_the_encoder():
    spec = replace(SPEC, slots={"query": ("*", "cell"), "gallery": ("protein", "cell")})
    assert spec.slot == ("query", "*", "cell")


def test_facts_can_be_written_as_json():
    facts = json.loads(json.dumps(SPEC.facts()))
    assert facts["split"]["kind"] == "group-kfold"
    assert facts["slots"] == {"patient": ["rna", "patient"]}


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"primary": "aurocc"}, ["primary 'aurocc' is not among its metrics", "did you mean auroc"]),
        ({"reference": "oracle"}, ["reference 'oracle' must be one of its controls"]),
    ],
)
def test_inconsistent_facts_are_refused(refused, changes, pieces):
    with refused("task 'mine'", *pieces):
        replace(SPEC, **changes)


def test_on_another_dataset_is_another_task():
    task = Mine()
    assert task.on("ours").spec.dataset == "ours"
    assert task.spec.dataset == Mine.spec.dataset == "toy"


def test_using_another_probe_is_another_task():
    task = Mine()
    assert task.using("linear").probe == "linear"
    assert task.probe == "default"


def test_a_task_must_say_how_it_runs():
    with pytest.raises(TypeError, match="run"):
        Task()


def test_shipped_tasks_are_listed():
    assert {"rna-to-protein", "batch-alignment", "patient-severity", "hcc-survival", "breast-survival"} <= set(
        list_tasks()
    )


def test_a_task_is_found_by_reference():
    assert isinstance(get_task(f"{__name__}:Mine"), Mine)


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("hcc-survial", ["unknown task 'hcc-survial'", "did you mean hcc-survival"]),
        ("json:dumps", ["task 'json:dumps'", "function is not a mmcell.Task", "derive it from Task"]),
        ("json:JSONEncoder", ["JSONEncoder is not a mmcell.Task"]),
    ],
)
def test_what_is_no_task_is_refused(refused, name, pieces):
    with refused(*pieces):
        get_task(name)
