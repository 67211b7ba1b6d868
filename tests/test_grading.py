from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Split, SplitSpec, get_metric
from mmcell.grading import Beside, estimate, grade, scores_of
from mmcell.plan import make_plan
from mmcell.roles import Outcome
from tests.toys import PATIENT, cite

TOY = cite(24, 5)
UNITS = pd.Index([f"D{i:02d}" for i in range(24)])
AUROC = get_metric("auroc")


def scored(found, splits, beside=None, dataset=TOY, nulls=None, headline=False):
    plan = replace(make_plan(PATIENT, "features", dataset, controls=[]), splits=splits)
    return scores_of(plan, found, beside or Beside(), nulls or {}, headline=headline)


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
    with refused(f"1 item that is not held out in this fold ({foreign})", "score only view.test"):
        grade(Items(frame, "binary"), TOY, split, "patient")


def test_items_without_truth_are_left_out_and_counted():
    state = TOY.obs["state"].where(TOY.obs["donor"] != "D03")
    toy = cite(24, 5, state=state)
    items = graded(dataset=toy)
    assert "D03" not in set(items.frame["item"])
    assert set(items.frame["y_true"]) == {0, 1}
    score = scored(estimate(items, [AUROC], n_boot=100, seed=0), [fold()], dataset=toy)[0]
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


@pytest.mark.parametrize(
    ("batches", "scored"), [(["b1", "b2"], {"batch=b1"}), (["b1", "b2", "b3"], {"batch=b1", "batch=b2", "batch=b3"})]
)
def test_of_two_batches_one_is_told_from_the_other_once(batches, scored):
    toy = cite(24, 5, batch=np.repeat(np.resize(batches, 24), 5))
    split = fold(targets=("label", "batch"))
    parts = [predicted(split, y_pred=0.5).frame.assign(target=f"batch={value}") for value in batches]
    items = grade(Items(pd.concat(parts), "binary"), toy, split, "patient")
    assert set(items.frame["target"]) == scored


def two_groups(seed=0):
    splits = [fold(slice(0, 12), group="g0"), fold(slice(12, 24), group="g1", number=1)]
    return splits, Items.concat([graded(s, group=s.group, seed=seed) for s in splits])


def test_each_group_has_its_own_row():
    splits, items = two_groups()
    found = estimate(items, [AUROC], n_boot=100, seed=0)
    scores = {s.stratum: s for s in scored(found, splits)}
    assert set(scores) == {"all", "g0", "g1"}
    assert [scores[k].n_items for k in ("all", "g0", "g1")] == [24, 12, 12]
    assert [s.n_excluded for s in scores.values()] == [0, 0, 0]
    assert scores["g0"].value == AUROC.fn(Items(items.frame[items.frame["group"] == "g0"], "binary"))


def test_a_score_says_how_far_it_is_from_the_reference():
    splits, items = two_groups()
    base = estimate(two_groups(seed=1)[1], [AUROC], n_boot=100, seed=0)
    found = estimate(items, [AUROC], n_boot=100, seed=0)
    scores = scored(found, splits, Beside(base))
    for score, (place, value) in zip(scores, found.items(), strict=True):
        assert score.difference.value == value[2].value - base[place][2].value
        assert score.difference.low <= score.difference.value <= score.difference.high
    assert all(s.difference is None for s in scored(found, splits))
    assert all(s.difference is None for s in scored(found, splits, Beside({})))


def test_a_headline_is_compared_with_every_control_and_put_into_words():
    splits, _ = two_groups()
    found, one, two = (estimate(two_groups(seed=k)[1], [AUROC], n_boot=100, seed=0) for k in range(3))
    beside = Beside(one, "composition", None, {"composition": one, "random": two})
    for score, place in zip(scored(found, splits, beside, headline=True), found, strict=True):
        assert [v.control for v in score.versus] == ["composition", "random"]
        assert score.versus[1].value == found[place][2].value - two[place][2].value
        assert dict(score.difference) == {k: v for k, v in dict(score.versus[0]).items() if k != "control"}
        assert "composition" in score.verdict
    assert all(s.versus == () and s.verdict == "" for s in scored(found, splits, beside))


def planted(quality, seed=0):
    """Items whose scores follow the truth as closely as `quality` says."""
    _, items = two_groups(seed=seed)
    noise = np.random.default_rng(seed).normal(size=len(items.frame))
    return estimate(items.having({"y_pred": quality * items.column("y_true") + noise}), [AUROC], n_boot=300, seed=0)


def test_skill_only_where_the_ceiling_is_told_apart_from_the_reference():
    splits, _ = two_groups()
    low, middle, high = planted(0.0), planted(1.0), planted(5.0)
    place = next(iter(low))
    score = scored(middle, splits, Beside(low, "random", high))[0]
    values = [e[place][2].value for e in (low, middle, high)]
    assert score.skill == pytest.approx((values[1] - values[0]) / (values[2] - values[0]))
    assert scored(middle, splits, Beside(low, "random", planted(0.0, seed=4)))[0].skill is None
    assert scored(middle, splits, Beside(low, "random", None))[0].skill is None


def test_the_null_gives_p_with_the_one_added():
    splits, _ = two_groups()
    found = planted(1.0)
    place = next(iter(found))
    value = found[place][2].value
    null = np.array([value, value - 0.1, value + 0.1, np.nan])
    score = scored(found, splits, nulls={place: null})[0]
    assert score.p_null == pytest.approx(3 / 4)
    assert score.n_null == 3
    assert score.null_mean == pytest.approx(value)
    assert scored(found, splits)[0].p_null is None


def test_subgroups_are_attached_by_id():
    frame = graded().frame.set_index("item")
    assert frame["by:batch"].equals(
        TOY.patients.loc[frame.index, "batch"].astype(str).rename("by:batch").rename_axis("item")
    )
    assert "by:cell_type" not in frame
    cells = TOY.ids[TOY.unit.isin(UNITS[:12])]
    items = Items(pd.DataFrame({"item": cells, "y_pred": "T", "target": "cell_type"}), "multiclass")
    found = grade(items, TOY, fold(targets=("cell_type",)), "cell").frame.set_index("item")
    assert (found["by:cell_type"] == TOY.obs.loc[found.index, "kind"]).all()


def test_crossed_units_are_attached():
    toy = cite(24, 5, roles={"perturbation": "drug"}, drug=np.tile(list("abcde"), 24))
    cells = toy.ids[toy.unit.isin(UNITS[:12])]
    items = Items(pd.DataFrame({"item": cells, "y_pred": "T", "target": "cell_type"}), "multiclass")
    found = grade(items, toy, fold(targets=("cell_type",)), "cell", "unit×perturbation").frame.set_index("item")
    assert (found["crossed"] == toy.obs.loc[found.index, "drug"]).all()


def test_the_cause_of_a_competing_event_reaches_the_items():
    n = 24
    cause = np.arange(n) % 3
    toy = cite(24, 5, months=np.repeat(np.arange(n) + 1.0, 5), died=np.repeat(cause, 5),
               roles={"outcome": Outcome("months", "died", "2")})  # fmt: skip
    split = fold(targets=("outcome",))
    answered = Items(pd.DataFrame({"item": split.test, "y_pred": 0.0, "target": "outcome"}), "survival")
    found = grade(answered, toy, split, "patient").frame.set_index("item")
    assert found["cause"].to_list() == cause[:12].tolist()
    assert found["event"].to_list() == (cause[:12] == 1).astype(int).tolist()


def test_probabilities_are_scored_at_the_prevalence_among_the_training_patients_of_their_fold():
    splits = [fold(slice(0, 11)), fold(slice(12, 20), number=1)]
    ill = TOY.patients["state"] == "ill"
    expected = [ill[list(s.train)].mean() for s in splits]
    assert expected[0] != expected[1]
    for split, share in zip(splits, expected, strict=True):
        found = grade(predicted(split, p_event=0.4), TOY, split, "patient", splits=splits)
        assert set(found.frame["threshold"]) == {share}
    assert "threshold" not in graded().frame


def test_competing_events_among_training_patients_are_no_censoring(cohort, monkeypatch):
    toy = cohort()
    units = toy.patients.index
    split = Split(units[:4], units[4:], 0, 0, "", SplitSpec("half", "group-kfold", targets=("outcome",)))
    cause = pd.Series([0, 1, 2, 1, 2, 1, 2, 1], units)
    truth = pd.DataFrame({"time": 3.0 + np.arange(8), "event": (cause == 1).astype(int), "cause": cause}, units)
    monkeypatch.setattr(type(toy), "truth", lambda *_: truth)
    items = Items(pd.DataFrame({"item": split.test, "target": "outcome", "y_pred": 0.5}), "survival")
    found = grade(items, toy, split, "patient").frame
    assert list(found["cause"]) == list(cause[split.test])
    # Nobody left early: everybody counts once, up to the last of them.
    tau = truth["time"][split.train].max()
    np.testing.assert_array_equal(found["ipcw"], np.where(truth["time"][split.test] < tau, 1.0, 0.0))


def test_numbers_of_one_target_do_not_change_the_text_of_another():
    # One target is 0 or 1, the other a number with missing values: in one column they would be 0.0 and 1.0.
    grade_of = TOY.unit.map({u: float(i % 3) for i, u in enumerate(TOY.patients.index)})
    toy = cite(24, 5, roles={"ordered": "grade"}, grade=grade_of.where(TOY.obs["donor"] != "D03").to_numpy())
    split = fold(targets=("label", "ordered"))
    truth = toy.truth("label", "patient")["y_true"]
    parts = [
        pd.DataFrame({"item": split.test, "target": "label", "y_pred": truth.reindex(split.test).to_numpy()}),
        pd.DataFrame({"item": split.test, "target": "ordered", "y_pred": 1.0}),
    ]
    frame = grade(Items(pd.concat(parts), "multiclass"), toy, split, "patient").frame
    label = frame[frame["target"] == "label"]
    assert set(label["y_true"]) == {"0", "1"}
    assert (label["y_true"] == label["y_pred"]).all()
    assert set(frame.loc[frame["target"] == "ordered", "y_true"]) == {"0", "1", "2"}
