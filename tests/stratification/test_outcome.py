import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chi2_contingency

from mmcell.stratification.cautions import followed_alike
from mmcell.stratification.classes import association, classes_by_group, odds_ratios
from mmcell.stratification.hazards import hazard_ratios
from mmcell.stratification.logrank import follow_up
from mmcell.stratification.outcome import Outcome, references
from mmcell.stratification.ratios import independent
from mmcell.stratification.scores import score_permutation
from mmcell.stratification.survival import survival_by_group

NONE = pd.DataFrame(index=range(120))


def patients(effect=1.0, n=120, seed=0):
    rng = np.random.default_rng(seed)
    group = np.where(np.arange(n) % 2, "B", "A")
    time = rng.exponential(10 / np.where(group == "B", np.exp(effect), 1.0)).round(1) + 0.1
    censored = rng.exponential(20, size=n).round(1) + 0.1
    return pd.DataFrame({"group": group, "time": np.minimum(time, censored), "event": (time <= censored).astype(int)})


def test_a_restricted_mean_reaches_as_far_as_ten_of_every_group_are_followed():
    frame = patients()
    until = survival_by_group(frame)["until"].iloc[0]
    assert min((frame.loc[frame["group"] == g, "time"] >= until).sum() for g in "AB") == 10
    # Whoever is followed longer than anybody else moves nothing.
    longer = frame.assign(time=frame["time"].where(frame.index != frame["time"].idxmax(), 999.0))
    assert survival_by_group(longer)["until"].iloc[0] == until
    few = frame.drop(index=frame.index[(frame["group"] == "B") & (frame.index > 12)])
    until = survival_by_group(few)["until"].iloc[0]
    assert (few.loc[few["group"] == "B", "time"] >= until).sum() == 3


def test_survival_by_group_counts_and_compares():
    frame = patients()
    found = survival_by_group(frame).set_index("group")
    assert found["n"].tolist() == [60, 60]
    assert found["n_events"].tolist() == frame.groupby("group")["event"].sum().tolist()
    assert np.isnan(found.loc["A", "difference"])
    assert found.loc["B", "ci_low"] < found.loc["B", "difference"] < found.loc["B", "ci_high"] < 0


def test_a_median_that_is_not_reached_is_not_a_number():
    frame = patients().assign(event=lambda f: f["event"].where(f.index < 10, 0))
    assert survival_by_group(frame)["median"].isna().all()


def test_permuted_scores_give_uniform_p():
    ps = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        score, group = rng.normal(size=60), np.where(np.arange(60) % 2, "B", "A")
        ps.append(score_permutation(score, group, np.arange(60) // 20, 99, rng))
    assert np.mean(np.array(ps) <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.08)


def test_what_differs_between_strata_only_is_no_evidence():
    stratum = np.repeat([0, 1], 30)
    group = np.where((np.arange(60) % 6 == 0) ^ (stratum == 1), "A", "B")
    score = stratum + np.random.default_rng(0).normal(size=60)
    assert score_permutation(score, group, np.zeros(60), 199, np.random.default_rng(0)) <= 0.01
    assert score_permutation(score, group, stratum, 199, np.random.default_rng(0)) > 0.1


@pytest.mark.parametrize("case", ["one group", "groups are strata", "one score"])
def test_no_p_where_nothing_can_be_permuted(case):
    group, stratum, score = np.array(list("AABB")), np.zeros(4), np.arange(4.0)
    group = np.array(list("AAAA")) if case == "one group" else group
    stratum = np.array([0, 0, 1, 1]) if case == "groups are strata" else stratum
    score = np.ones(4) if case == "one score" else score
    assert np.isnan(score_permutation(score, group, stratum, 99, np.random.default_rng(0)))


def test_hazard_ratios_are_those_of_lifelines():
    frame = patients()
    age = pd.DataFrame({"age": np.random.default_rng(1).normal(60, 10, size=120)})
    ratios = hazard_ratios(frame, age, None)
    found = ratios.effects
    table = frame.assign(b=(frame["group"] == "B").astype(float), age=age["age"])[["time", "event", "b", "age"]]
    twin = CoxPHFitter().fit(table, "time", "event")
    own = found.set_index(["model", "term"])
    assert own.loc[("adjusted", "group B"), "ratio"] == pytest.approx(twin.hazard_ratios_["b"], rel=1e-4)
    assert own.loc[("unadjusted", "group B"), "ci_low"] > 1
    assert ratios.notes == ()


def test_a_group_without_event_has_no_ratio_and_a_reason():
    frame = patients()
    frame.loc[frame["group"] == "B", "event"] = 0
    found = hazard_ratios(frame, NONE, None).effects
    assert found["ratio"].isna().all()
    assert found["reason"].tolist() == ["group B has no event"]


def test_batches_are_strata_of_the_adjusted_model():
    frame = patients()
    batch = pd.Series(np.arange(120) % 3, dtype=str)
    found = hazard_ratios(frame, NONE, batch).effects
    twin = CoxPHFitter().fit(
        frame.assign(b=(frame["group"] == "B").astype(float), s=batch)[["time", "event", "b", "s"]], "time", "event",
        strata=["s"],
    )  # fmt: skip
    assert found["model"].tolist() == ["unadjusted", "adjusted"]
    assert found["ratio"].iloc[1] == pytest.approx(twin.hazard_ratios_["b"], rel=1e-4)


def test_columns_that_repeat_others_are_left_out():
    x = np.random.default_rng(0).normal(size=20)
    kept, dropped = independent(pd.DataFrame({"a": x, "b": 2 * x + 1, "c": x**2, "d": np.ones(20), "e": np.zeros(20)}))
    assert list(kept) == ["a", "c"]
    assert dropped == ["b", "d", "e"]


def classes(n=120, seed=0, effect=0.4):
    rng = np.random.default_rng(seed)
    group = np.where(np.arange(n) % 2, "B", "A")
    return pd.DataFrame({"group": group, "label": np.where(rng.random(n) < 0.3 + effect * (group == "B"), "yes", "no")})


def test_odds_ratio_is_that_of_the_table():
    frame = classes()
    t = pd.crosstab(frame["group"], frame["label"])
    found = odds_ratios(frame, "yes", NONE, None).effects
    odds = t.loc["B", "yes"] * t.loc["A", "no"] / (t.loc["B", "no"] * t.loc["A", "yes"])
    assert found["ratio"].iloc[0] == pytest.approx(odds, rel=1e-4)
    assert found["n_events"].iloc[0] == t["yes"].sum()


def test_chi2_and_its_permutation_agree():
    frame = classes(effect=0.15)
    found = association(frame, np.zeros(120, dtype=int), 1999, np.random.default_rng(0))
    chi2, p, *_ = chi2_contingency(pd.crosstab(frame["group"], frame["label"]), correction=False)
    assert (found["chi2"], found["p"]) == (pytest.approx(chi2), pytest.approx(p))
    assert found["p_permutation"] == pytest.approx(found["p_fisher"], abs=0.02)


@pytest.mark.parametrize("by", ["group", "covariate"])
def test_separation_is_said_instead_of_an_infinite_ratio(by):
    frame, covariate = classes(), pd.DataFrame({"x": np.random.default_rng(0).normal(size=120)})
    if by == "group":
        frame.loc[frame["group"] == "B", "label"] = "yes"
    else:
        covariate["x"] = (frame["label"] == "yes") + 0.01 * covariate["x"]
    found = odds_ratios(frame, "yes", covariate, None).effects
    lost = found[found["model"] == "adjusted"].set_index("term").loc["group B" if by == "group" else "x"]
    assert np.isnan(lost["ratio"])
    assert lost["reason"].startswith("separation: ")


def test_shares_lie_in_their_intervals():
    found = classes_by_group(classes(), "yes")
    assert (found["ci_low"] < found["share"]).all()
    assert (found["share"] < found["ci_high"]).all()
    assert (found["n yes"] + found["n no"] == found["n"]).all()


def test_groups_that_are_not_followed_alike_are_called_so():
    frame = patients(effect=0.0).assign(event=lambda f: f["event"].where(f["time"] < 4, 0))
    frame.loc[frame["group"] == "B", "time"] = frame.loc[frame["group"] == "B", "time"].clip(upper=4.0)
    medians, p = follow_up(frame, np.zeros(120))
    test = {"p_permutation": 0.5, "p_follow_up": p}
    summary = pd.DataFrame({"group": list("AB"), "follow_up": medians.to_numpy()})
    (finding,) = followed_alike(Outcome("survival", ("time", "event"), "", frame, summary, test))
    assert finding.code == "follow-up-differs"
    assert "group B 4;" in finding.evidence
    assert not followed_alike(Outcome("survival", ("time", "event"), "", frame, summary, test | {"p_follow_up": 0.3}))


def test_the_reference_is_the_largest_class_with_events():
    stage = pd.DataFrame({"stage": np.repeat(["I", "II", "III", "missing"], [40, 30, 20, 50]), "age": 1.0})
    event = pd.Series(np.r_[np.zeros(40), np.resize([0, 1], 100)].astype(int))
    assert references(stage, event, (0,)) == {"stage": "II"}
    # Odds need patients without it, too.
    event[40:70] = 1
    assert references(stage, event, (0,)) == {"stage": "II"}
    assert references(stage, event, (0, 1)) == {"stage": "III"}
    event[:] = 0
    assert references(stage, event, (0,)) == {"stage": "missing"}
    tied = stage.iloc[::-1].replace({"III": "a"}).head(50)
    assert references(tied.assign(stage=np.resize(["b", "a"], 50)), event + 1, (0,)) == {"stage": "a"}


def test_every_class_has_a_share_where_none_is_positive():
    frame = classes().assign(label=np.resize(["I", "II", "III"], 120))
    found = classes_by_group(frame, "")
    assert (found[["share I", "share II", "share III"]].sum(axis=1) - 1).abs().max() < 1e-12
    one = classes_by_group(frame, "III")
    np.testing.assert_allclose(one["share"], one["share III"])
    assert not classes_by_group(classes(), "yes").filter(regex="^share ").shape[1]
