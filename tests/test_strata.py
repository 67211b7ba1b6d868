import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Items, Split, SplitSpec, get_metric
from mmcell.grading import estimate, grade
from mmcell.metrics.survival import harrell_c
from mmcell.splits import make_splits
from mmcell.strata import WITHIN
from tests.toys import PATIENT, SURVIVAL, cite, survivors

N = 60
RNG = np.random.default_rng(3)
ORGAN = RNG.choice(["lung", "skin", "liver"], N).astype(object)


def toy(strata=("organ",), **columns):
    return survivors(N, roles={"strata": strata}, **({"organ": ORGAN} | columns))


TOY = toy()
SPEC = {"kind": "group-kfold", "n_splits": 3, "repeats": 2, "name": "folds", "targets": ("outcome",)}
SPLITS = make_splits(TOY, **SPEC)


def answered(split, seed=0):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=len(split.test)).round(1)
    return Items(pd.DataFrame({"item": split.test, "y_pred": risk, "target": "outcome"}), "survival")


def graded(dataset=TOY, splits=SPLITS, **changed):
    parts = [grade(answered(s, i), dataset, s, "patient", splits=splits) for i, s in enumerate(splits)]
    return Items.concat(parts)


def panels(items):
    return {facts["stratum"]: panel for facts, panel in items.panels()}


def test_c_within_strata_counts_the_pairs_of_every_fold_and_stratum():
    found = panels(graded())
    assert set(found) == {"all", "within organ"}
    panel = found["within organ"]
    values = []
    for _, repeat in panel.frame.groupby("repeat"):
        top = bottom = 0.0
        for _, part in repeat.groupby(["fold", "within"]):
            time, event, risk = (part[c].to_numpy() for c in ("time", "event", "y_pred"))
            pairs = [(i, j) for i in range(len(part)) for j in range(len(part)) if _first(time, event, i, j)]
            bottom += len(pairs)
            top += sum((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]) for i, j in pairs)
        values.append(top / bottom)
    assert get_metric("harrell_c").fn(panel) == pytest.approx(np.mean(values))


def _first(time, event, i, j):
    """Whether the event of i is seen while j is known to be without it."""
    return event[i] == 1 and (time[i] < time[j] or (time[i] == time[j] and event[j] == 0))


def test_the_whole_is_as_it_was_without_strata():
    plain, strata = panels(graded(toy(())))["all"], panels(graded())["all"]
    pd.testing.assert_frame_equal(plain.frame, strata.frame.drop(columns="by:organ"))


def test_one_stratum_in_all_is_the_pooled_value():
    flat = toy(organ="lung")
    assert set(panels(graded(flat))) == {"all"}
    # A second value that no pair knows of: one patient alone in a stratum takes part in no pair.
    lonely = toy(organ=["skin", *["lung"] * (N - 1)])
    found = panels(graded(lonely))
    rest = found["all"].where(found["all"].frame["item"] != TOY.ids[0])
    for name in ("harrell_c", "uno_c"):
        assert get_metric(name).fn(found["within organ"]) == pytest.approx(get_metric(name).fn(rest))


def test_what_knows_the_stratum_alone_is_at_chance_within_it():
    # Organs differ in hazard, and the risk is the organ's: pooled it ranks, within it ties.
    rng = np.random.default_rng(0)
    rate = pd.Series({"lung": 4.0, "skin": 0.2, "liver": 1.0})
    own = rate[ORGAN].to_numpy()
    years = rng.exponential(1 / own) + 1e-3
    dataset = toy(years=years, death=1)
    parts = []
    for split in SPLITS:
        risk = pd.Series(own, index=TOY.ids)[split.test].to_numpy()
        frame = pd.DataFrame({"item": split.test, "y_pred": risk, "target": "outcome"})
        parts.append(grade(Items(frame, "survival"), dataset, split, "patient", splits=SPLITS))
    found = panels(Items.concat(parts))
    assert get_metric("harrell_c").fn(found["all"]) > 0.7
    assert get_metric("harrell_c").fn(found["within organ"]) == 0.5
    assert harrell_c(years, np.ones(N), own) > 0.7


def test_who_has_no_stratum_is_left_out_and_counted():
    organ = ORGAN.copy()
    organ[:7] = None
    found = panels(graded(toy(organ=organ)))
    assert found["all"].n_items - found["within organ"].n_items == 7
    assert not found["within organ"].frame["within"].isna().any()


def test_strata_are_named_as_text_and_each_column_has_a_copy():
    stage = np.where(RNG.random(N) < 0.2, np.nan, RNG.integers(1, 3, N))
    found = panels(graded(toy(("organ", "stage"), stage=stage)))
    assert set(found) == {"all", "within organ", "within stage"}
    assert set(found["within stage"].frame["within"]) == {"1", "2"}


@pytest.mark.parametrize("strata", [("death",), ("site",)])
def test_no_copy_of_what_is_predicted_or_the_same_in_every_fold(strata):
    dataset = toy(strata)
    splits = make_splits(dataset, "leave-one-group-out", "batch", targets=("outcome",))
    assert set(panels(graded(dataset, splits))) == {"all"}


def test_a_held_out_group_is_not_told_twice():
    splits = make_splits(TOY, "leave-one-group-out", "batch", targets=("outcome",))
    parts = []
    for split in splits:
        items = answered(split)
        parts.append(
            grade(Items(items.frame.assign(group=split.group), "survival"), TOY, split, "patient", splits=splits)
        )
    assert set(panels(Items.concat(parts))) == {"all", "s1", "s2", "within organ"}


def test_only_metrics_of_pairs_are_given_within():
    metrics = [get_metric(m) for m in ("harrell_c", "uno_c", "ibs")]
    items = graded()
    items = items.having({"brier": np.full(len(items.frame), 0.2)})
    found = estimate(items, metrics, n_boot=100, seed=0)
    assert {(place[3], place[-1]) for place in found} == {
        ("all", "harrell_c"), ("all", "uno_c"), ("all", "ibs"), ("within organ", "harrell_c"), ("within organ", "uno_c")
    }  # fmt: skip


@pytest.mark.parametrize("name", ["harrell_c", "uno_c"])
def test_the_fast_path_draws_as_repeated_items_do(name):
    panel = panels(graded())["within organ"]
    weights = np.random.default_rng(1).integers(0, 3, (5, len(panel.units)))
    metric = get_metric(name)
    np.testing.assert_allclose(metric.draws(panel, weights), [metric.fn(panel.resample(w)) for w in weights])


def labelled(kind, target):
    dataset = cite(24, 5, sex=np.repeat(np.random.default_rng(0).choice(["f", "m"], 24), 5), roles={"strata": ("sex",)})
    units = pd.Index([f"D{i:02d}" for i in range(24)])
    split = Split(units[12:], units[:12], spec=SplitSpec("half", "group-kfold", targets=(target.partition("=")[0],)))
    frame = pd.DataFrame({"item": split.test, "y_pred": np.arange(12) % 5, "target": target})
    return grade(Items(frame, kind), dataset, split, "patient")


def test_auroc_is_given_within_strata_and_leaks_are_not():
    items = labelled("binary", "label")
    panel = panels(items)["within sex"]
    top = bottom = 0.0
    for _, part in panel.frame.groupby("within"):
        ill, well = (part.loc[part["y_true"] == k, "y_pred"].to_numpy() for k in (1, 0))
        bottom += len(ill) * len(well)
        top += sum((a > b) + 0.5 * (a == b) for a in ill for b in well)
    assert get_metric("auroc").fn(panel) == pytest.approx(top / bottom)
    assert set(panels(labelled("binary", "batch=b2"))) == {"all"}
    assert set(panels(labelled("multiclass", "label"))) == {"all"}


def test_a_run_tells_and_compares_within_strata(tmp_path):
    results = mmcell.evaluate(
        "features", SURVIVAL, dataset=TOY, n_boot=100, null=19, out=tmp_path / "run", controls=["stratum-only"],
        probes=["cox"],
    )  # fmt: skip
    table = results.table()
    rows = table[(table["stratum"] == "within organ") & (table["encoder"] == "features")]
    assert set(rows["metric"]) == {"harrell_c"}
    whole = table[(table["stratum"] == "all") & (table["encoder"] == "features")]
    assert rows["p_null"].notna().all()
    assert len(rows) == len(whole[whole["metric"] != "ibs"])
    found = results.compare("harrell_c", split=rows["split"].iloc[0], stratum="within organ", n_permutations=100)
    assert found is not None
    again = mmcell.Results.read(tmp_path / "run")
    pd.testing.assert_frame_equal(again.table(), table)
    assert not results.groups()["stratum"].str.startswith(WITHIN).any()
    assert set(results.groups()["by"]) >= {"organ"}
    assert "within organ" in results.report(tmp_path / "report.html").read_text()


def test_a_task_on_cells_has_strata_of_its_donors():
    sex = np.repeat(np.where(np.arange(24) % 3 == 0, "f", "m"), 5)
    dataset = cite(24, 5, sex=sex, roles={"strata": ("sex",)})
    table = mmcell.evaluate("features", PATIENT, dataset=dataset, n_boot=100, controls=["stratum-only"]).table()
    rows = table[(table["stratum"] == "within sex") & (table["encoder"] == "stratum-only")]
    assert set(rows["metric"]) <= {"auroc", "auprc"}
    assert (rows.loc[rows["metric"] == "auroc", "value"] == 0.5).all()
