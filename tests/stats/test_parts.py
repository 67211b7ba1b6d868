"""Draws that lack a class are no draws of a mean over classes."""

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, get_metric
from mmcell.stats import bootstrap, compare, compare_across
from mmcell.stats.parts import drawn, thin

OVER_CLASSES = ("balanced_accuracy", "macro_f1", "knn_balanced_accuracy", "knn_macro_f1", "known_balanced_accuracy")


def cells(few, n=30, *, seed=0, told=0.0, **columns):
    """Cells of donors: classes a and b in all and told in most; c in `few` donors, where a share `told` is."""
    rng = np.random.default_rng(seed)
    kinds = [["a", "b", "c"] if d < few else ["a", "b"] for d in range(n)]
    frame = pd.DataFrame(
        [(f"d{d:02d}", kind) for d, there in enumerate(kinds) for kind in there for _ in range(4)],
        columns=["unit", "y_true"],
    )
    right = rng.random(len(frame)) < np.where(frame["y_true"] == "c", told, 0.9)
    frame["y_pred"] = np.where(right, frame["y_true"], np.where(frame["y_true"] == "a", "b", "a"))
    return Items(frame.assign(item=np.arange(len(frame)), **columns), "multiclass")


def slow(metric, items, weights):
    """Whatever a draw lacks of the classes of a repeat, by looking at the resampled rows."""
    observed = set(zip(items.frame["repeat"], items.frame["y_true"], strict=True))
    values = []
    for row in weights:
        again = items.resample(row)
        there = set(zip(again.frame["repeat"], again.frame["y_true"], strict=True))
        values.append(metric.fn(again) if there == observed else np.nan)
    return np.array(values)


@pytest.mark.parametrize("name", OVER_CLASSES[:2])
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_a_draw_without_an_observed_class_is_undefined(random_items, name, kind):
    metric, items = get_metric(name), random_items(kind, seed=3, n_units=25)
    weights = np.random.default_rng(0).poisson(0.15, (60, len(items.units)))
    found = drawn(metric, items, weights)
    assert 5 < np.isnan(found).sum() < 55
    np.testing.assert_allclose(found, slow(metric, items, weights))


@pytest.mark.parametrize("name", [*OVER_CLASSES, "batch_predictability"])
def test_every_mean_over_classes_knows_its_classes(name):
    items = cells(30, y_knn="a", in_reference=True)
    part = get_metric(name).parts(items)
    expected = items.frame.groupby("y_true").ngroup()
    np.testing.assert_array_equal(part, expected)


def test_what_is_no_mean_over_classes_is_drawn_as_it_is(random_items):
    metric, items = get_metric("auroc"), random_items("binary")
    weights = items.units.bootstrap(50, 0)
    np.testing.assert_array_equal(drawn(metric, items, weights), metric.draws(items, weights))
    assert thin(metric, items) is None


def test_draws_do_not_jump_to_the_mean_over_the_others():
    items = cells(3, told=0.0)
    metric = get_metric("balanced_accuracy")
    found = bootstrap(items, [metric], n_boot=1000)["balanced_accuracy"]
    assert found.value == pytest.approx(0.6, abs=0.05)  # (0.9 + 0.9 + 0) / 3
    assert np.nanmax(found.draws) < 2 / 3 + 1e-12
    assert np.nanmax(metric.draws(items, items.units.bootstrap(1000, 0))) > 0.85
    assert found.high < 2 / 3
    # (27 / 30)^30 = 4 % of the draws hold none of the three.
    assert 20 < found.n_undefined < 70
    assert f"undefined in {found.n_undefined} of 1000 draws" in found.reason


@pytest.mark.parametrize(("few", "words"), [(1, "1 unit;"), (2, "2 units;")])
def test_a_class_of_one_or_two_units_leaves_a_value_without_an_interval(few, words):
    found = bootstrap(cells(few, told=0.5), [get_metric("macro_f1")], n_boot=200)["macro_f1"]
    assert (found.status, found.method) == ("ok", "")
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()
    assert f"no interval: a class has {words}" in found.reason
    assert "at least 3" in found.reason


def test_labels_that_training_units_lack_need_not_be_drawn():
    items = cells(1)
    known = items.having({"in_reference": (items.frame["y_true"] != "c").to_numpy()})
    both = [get_metric("balanced_accuracy"), get_metric("known_balanced_accuracy")]
    found = bootstrap(known, both, n_boot=200)
    assert np.isnan(found["balanced_accuracy"].low)
    assert np.isfinite(found["known_balanced_accuracy"].low)
    assert found["known_balanced_accuracy"].n_undefined == 0
    none = known.having({"in_reference": np.zeros(len(known.frame), dtype=bool)})
    assert thin(both[1], none) is None
    assert np.isnan(drawn(both[1], none, np.ones((2, 30)))).all()


def test_of_crossed_units_the_fewer_levels_count():
    items = cells(12, 12)
    drug = np.arange(len(items.frame)) % 12
    spread = Items(items.frame.assign(crossed=drug), "multiclass")
    drug = np.where(items.frame["y_true"] == "c", drug % 2, drug)
    gathered = Items(items.frame.assign(crossed=drug), "multiclass")
    metric = get_metric("balanced_accuracy")
    assert thin(metric, spread) is None
    assert thin(metric, gathered) == 2


def test_predictors_are_not_compared_by_draws_that_lack_a_class():
    metric = get_metric("balanced_accuracy")
    for few, there in ((2, False), (4, True)):
        pair = {"x": cells(few, seed=1, told=0.2), "y": cells(few, seed=2, told=0.8)}
        row = compare(pair, metric, n_boot=200, n_permutations=49).table.iloc[0]
        assert np.isfinite(row["ci_low"]) == there
        assert np.isfinite(row["p"])
        places = dict.fromkeys(("one", "two"), pair)
        across = compare_across(places, metric, datasets={"one": "o", "two": "t"}, n_boot=200, n_permutations=49).table
        assert (across["ci_low"].notna() == there).all()
