import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mmcell import Items, Metric, get_metric
from mmcell.stats.bootstrap import bootstrap
from mmcell.subgroups import groups, worst

AUROC = get_metric("auroc")


def worst_of(found, metric):
    return worst(found, [metric]).get(metric.name)


def items(groups, seed=0, n=60):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"item": range(n), "unit": range(n), "y_true": rng.integers(0, 2, n)})
    frame["y_pred"] = frame["y_true"] * (np.arange(n) % 3 != 0) + rng.normal(size=n) * 0.5
    return Items(frame.assign(**groups), "binary")


def test_the_worst_of_all_groups_is_named():
    i = np.arange(60)
    found = items({"by:batch": i % 3, "by:sex": np.where(i < 30, "f", "m")})
    parts = {("batch", str(k)): i % 3 == k for k in range(3)} | {("sex", s): (i < 30) == (s == "f") for s in "fm"}
    values = {k: roc_auc_score(found.frame["y_true"][m], found.frame["y_pred"][m]) for k, m in parts.items()}
    answer = worst_of(found, AUROC)
    expected = min(values, key=values.get)
    assert (answer.role, answer.name) == expected == ("batch", "0")
    assert np.isclose(answer.value, values[expected])
    assert (answer.n_units, answer.n_groups, answer.n_small) == (20, 5, 0)
    lower = Metric("low", AUROC.fn, higher_is_better=False)
    assert np.isclose(worst_of(found, lower).value, max(values.values()))


def test_small_groups_are_counted_and_not_compared():
    group = np.where(np.arange(60) < 9, "tiny", np.where(np.arange(60) < 30, "a", "b"))
    found = worst_of(items({"by:site": group}), AUROC)
    assert found.name in ("a", "b")
    assert (found.n_groups, found.n_small) == (2, 1)


def test_the_only_group_that_is_large_enough_is_no_worst():
    small = np.arange(60) // 9
    one = items({"by:site": np.where(small < 2, small, 9)})
    assert worst_of(one, AUROC) is None
    assert len(groups(one, AUROC, n_boot=100, seed=0)) == 3
    beside = items({"by:site": np.where(small < 2, small, 9), "by:sex": np.where(np.arange(60) % 2, "f", "m")})
    found = worst_of(beside, AUROC)
    assert (found.role, found.n_groups, found.n_small, found.n_undefined) == ("sex", 2, 2, 0)


def test_without_groups_there_is_none():
    assert worst_of(items({}), AUROC) is None
    assert worst_of(items({"by:site": "all"}), AUROC) is None
    assert worst_of(items({"by:site": np.arange(60)}), AUROC) is None


def test_a_group_in_which_the_metric_is_undefined_is_not_the_worst_of():
    found = items({})
    one_class = np.where(found.frame["y_true"] == 1, "cases", np.where(np.arange(60) < 30, "a", "b"))
    both = items({"by:site": np.where(np.arange(60) < 20, "x", "y"), "by:class": one_class})
    assert worst_of(both, AUROC).role == "site"


def test_of_one_class_only_its_recall_is_compared():
    i = np.arange(60)
    frame = pd.DataFrame(
        {"item": i, "unit": i, "y_true": np.where(i < 30, "B", "T"), "by:cell_type": np.where(i < 30, "B", "T")}
    )
    found = Items(frame.assign(y_pred=np.where(i % 3 == 0, "T", frame["y_true"])), "multiclass")
    assert worst_of(found, get_metric("balanced_accuracy")).name == "B"
    assert worst_of(found, get_metric("macro_f1")) is None


def test_every_group_has_the_value_and_the_interval_of_its_own_items():
    i = np.arange(60)
    found = items({"by:batch": i % 3, "by:sex": np.where(i < 30, "f", "m")})
    for group in groups(found, AUROC, n_boot=200, seed=0):
        mask = i % 3 == int(group.name) if group.role == "batch" else (i < 30) == (group.name == "f")
        part = found.where(mask)
        estimate = bootstrap(part, [AUROC], n_boot=200, seed=0)["auroc"]
        assert (group.value, group.low, group.high) == (estimate.value, estimate.low, estimate.high)
        assert (group.n_units, group.n_items, group.chance) == (mask.sum(), mask.sum(), 0.5)
    assert len(groups(found, AUROC, n_boot=200, seed=0)) == 5


def test_a_small_group_has_a_value_and_no_interval_and_one_of_one_class_neither():
    i = np.arange(60)
    found = items({})
    cases = found.frame["y_true"].to_numpy() == 1
    found = items({"by:site": np.where(i < 9, "tiny", "large"), "by:class": np.where(cases, "ill", "well")})
    of = {(g.role, g.name): g for g in groups(found, AUROC, n_boot=200, seed=0)}
    assert of["site", "tiny"].value is not None
    assert of["site", "tiny"].low is None
    assert of["site", "large"].low is not None
    assert of["class", "ill"].value is None
    assert of["class", "ill"].n_items == cases.sum()
