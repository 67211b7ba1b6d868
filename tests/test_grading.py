import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Split, SplitSpec, get_metric
from mmcell.grading import estimate, grade, scores_of
from tests.toys import cite

TOY = cite(24, 5)
UNITS = pd.Index([f"D{i:02d}" for i in range(24)])
AUROC = get_metric("auroc")


def fold(test=slice(0, 12), *, targets=("label",), group="", number=0):
    spec = SplitSpec("half", "group-kfold", targets=targets)
    return Split(UNITS.difference(UNITS[test]), UNITS[test], 0, number, group, spec)


def predicted(split=None, seed=0, **columns):
    split = split or fold()
    score = np.random.default_rng(seed).normal(size=len(split.test))
    return Items(pd.DataFrame({"item": split.test, "y_pred": score}).assign(**columns), "binary")


def graded(split=None, level="patient", dataset=TOY, **columns):
    split = split or fold()
    return grade(predicted(split, **columns), dataset, split, level)


def test_unit_fold_and_truth_are_attached_by_id():
    split = fold()
    items = predicted(split)
    turned = Items(items.frame.iloc[::-1], "binary")
    a, b = (grade(i, TOY, split, "patient").frame.set_index("item").sort_index() for i in (items, turned))
    pd.testing.assert_frame_equal(a, b)
    assert (a["unit"] == a.index).all()
    assert a["y_true"].to_dict() == {u: int(TOY.patients.loc[u, "state"] == "ill") for u in UNITS[:12]}
    assert set(a["split"]) == {"half"}


def test_the_truth_of_a_method_counts_for_nothing():
    assert graded(y_true=7, unit="D99").frame["y_true"].isin([0, 1]).all()
    assert set(graded(unit="D99").frame["unit"]) == set(UNITS[:12])


def test_cells_get_their_donor():
    split = fold(targets=("cell_type",))
    cells = TOY.ids[TOY.unit.isin(split.test)]
    items = Items(pd.DataFrame({"item": cells, "y_pred": "T", "target": "cell_type"}), "multiclass")
    found = grade(items, TOY, split, "cell").frame.set_index("item")
    assert found["unit"].equals(TOY.unit[cells].rename("unit").rename_axis("item"))
    assert (found["y_true"] == TOY.obs.loc[found.index, "kind"]).all()


@pytest.mark.parametrize("foreign", [UNITS[20], "stranger"])
def test_an_item_that_is_not_held_out_is_refused(refused, foreign):
    split = fold()
    frame = predicted(split).frame.assign(item=[foreign, *split.test[1:]])
    with refused(f"1 items that are not held out in this fold ({foreign})", "score only view.test"):
        grade(Items(frame, "binary"), TOY, split, "patient")


def test_items_without_truth_are_left_out_and_counted():
    state = TOY.obs["state"].where(TOY.obs["donor"] != "D03")
    toy = cite(24, 5, state=state)
    items = graded(dataset=toy)
    assert "D03" not in set(items.frame["item"])
    assert set(items.frame["y_true"]) == {0, 1}
    score = scores_of(estimate(items, [AUROC], n_boot=100, seed=0), None, [fold()], toy.units_of("patient"), "patient")[
        0
    ]
    assert (score.n_items, score.n_units, score.n_excluded) == (11, 11, 1)


def test_classes_are_text_on_both_sides():
    toy = cite(24, 5, state=TOY.obs["state"].where(TOY.obs["donor"] != "D03"))
    split = fold()
    items = Items(pd.DataFrame({"item": split.test, "y_pred": 1}), "multiclass")
    frame = grade(items, toy, split, "patient").frame
    assert set(frame["y_true"]) == {"0", "1"}
    assert set(frame["y_pred"]) == {"1"}


def test_targets_are_graded_apart():
    split = fold(targets=("label", "batch"))
    parts = [predicted(split).frame.assign(target=t) for t in ("label", "batch=b2")]
    items = grade(Items(pd.concat(parts), "binary"), TOY, split, "patient")
    found = estimate(items, [AUROC, get_metric("batch_auroc")], n_boot=100, seed=0)
    assert sorted((place[0], place[-1]) for place in found) == [("batch=b2", "batch_auroc"), ("label", "auroc")]
    wrong = items.frame[items.frame["target"] == "batch=b2"].set_index("item")["y_true"]
    assert wrong.to_dict() == {u: int(TOY.patients.loc[u, "batch"] == "b2") for u in UNITS[:12]}


def two_groups(seed=0):
    splits = [fold(slice(0, 12), group="g0"), fold(slice(12, 24), group="g1", number=1)]
    return splits, Items.concat([graded(s, group=s.group, seed=seed) for s in splits])


def test_each_group_has_its_own_row():
    splits, items = two_groups()
    found = estimate(items, [AUROC], n_boot=100, seed=0)
    scores = {s.stratum: s for s in scores_of(found, None, splits, TOY.units_of("patient"), "patient")}
    assert set(scores) == {"all", "g0", "g1"}
    assert [scores[k].n_items for k in ("all", "g0", "g1")] == [24, 12, 12]
    assert [s.n_excluded for s in scores.values()] == [0, 0, 0]
    assert scores["g0"].value == AUROC.fn(Items(items.frame[items.frame["group"] == "g0"], "binary"))


def test_a_score_says_how_far_it_is_from_the_reference():
    splits, items = two_groups()
    base = estimate(two_groups(seed=1)[1], [AUROC], n_boot=100, seed=0)
    found = estimate(items, [AUROC], n_boot=100, seed=0)
    scores = scores_of(found, base, splits, TOY.units_of("patient"), "patient")
    for score, (place, value) in zip(scores, found.items(), strict=True):
        assert score.difference.value == value[2].value - base[place][2].value
        assert score.difference.low <= score.difference.value <= score.difference.high
    assert all(s.difference is None for s in scores_of(found, None, splits, TOY.units_of("patient"), "patient"))
    assert all(s.difference is None for s in scores_of(found, {}, splits, TOY.units_of("patient"), "patient"))
