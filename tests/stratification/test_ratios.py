import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chi2
from statsmodels.api import Logit, add_constant
from statsmodels.discrete.conditional_models import ConditionalLogit

from mmcell.stratification.classes import odds_ratios
from mmcell.stratification.hazards import _constant, hazard_ratios
from mmcell.stratification.ratios import ONE_GROUP

N = 160
RNG = np.random.default_rng(0)
GROUP = pd.Series(np.where(np.arange(N) % 2, "B", "A"))
AGE = pd.Series(RNG.normal(60, 10, size=N), name="age")


def cohort(groups=GROUP, effect=0.7, seed=0):
    rng = np.random.default_rng(seed)
    rank = np.unique(groups, return_inverse=True)[1]
    time, last = (
        rng.exponential(10 / np.exp(effect * rank)).round(1) + 0.1,
        rng.exponential(20, len(groups)).round(1) + 0.1,
    )
    frame = pd.DataFrame({"group": groups, "time": np.minimum(time, last), "event": (time <= last).astype(int)})
    return frame.assign(label=np.where(rng.random(len(groups)) < 0.3 + 0.2 * rank, "yes", "no"))


def cox(frame, columns, rows=slice(None), strata=None):
    return CoxPHFitter().fit(
        frame.assign(**columns)[["time", "event", *columns]].loc[rows], "time", "event", strata=strata
    )


def adjusted(found):
    return found.effects[found.effects["model"] == "adjusted"].set_index("term")


def b(frame):
    return (frame["group"] == "B").astype(float)


@pytest.mark.parametrize("members", [2, 8])
def test_a_level_without_events_takes_no_other_ratio_with_it(members):
    frame, four = cohort(), pd.Series(np.arange(N) < members, name="stage=IV").astype(float)
    frame.loc[four == 1, "event"] = 0
    found = hazard_ratios(frame, pd.concat([AGE, four], axis=1), None)
    own = adjusted(found)
    twin = cox(frame, {"B": b(frame), "age": AGE}, four[four == 0].index)
    assert own.loc["group B", "ratio"] == pytest.approx(twin.hazard_ratios_["B"], rel=1e-4)
    assert own.loc["age", "p"] == pytest.approx(twin.summary.loc["age", "p"], rel=1e-3)
    assert own.loc["stage=IV", "reason"] == "stage=IV has no event"
    assert np.isnan(own.loc["stage=IV", "ratio"])


def test_patients_and_events_are_those_who_are_compared():
    frame, four = cohort(), pd.Series(np.arange(N) < 8, name="stage=IV").astype(float)
    frame.loc[four == 1, "event"] = 0
    effects = hazard_ratios(frame, pd.concat([AGE, four], axis=1), None).effects.set_index(["model", "term"])
    events = int(frame["event"].sum())
    assert effects.loc[("unadjusted", "group B"), ["n", "n_events"]].tolist() == [N, events]
    assert effects.loc[("adjusted", "age"), ["n", "n_events"]].tolist() == [N - 8, events]
    assert effects.loc[("adjusted", "stage=IV"), ["n", "n_events"]].isna().all()
    # A batch in which nobody has the event compares nobody.
    batch = pd.Series(np.where(np.arange(N) < 8, "tiny", np.resize(["x", "x", "y", "y"], N)))
    within = adjusted(hazard_ratios(frame, AGE.to_frame(), batch))
    assert within.loc["group B", ["n", "n_events"]].tolist() == [N - 8, events]


def test_references_are_named():
    frame = cohort()
    three = pd.Series((np.arange(N) % 3 == 0).astype(float), name="stage=III")
    effects = hazard_ratios(frame, pd.concat([AGE, three], axis=1), None, {"stage=III": "I"}).effects
    assert effects.set_index("term")["reference"].loc[["age", "stage=III"]].tolist() == ["", "I"]
    assert set(effects.loc[effects["term"] == "group B", "reference"]) == {"group A"}
    odds = odds_ratios(frame, "yes", three.to_frame(), None, {"stage=III": "I"}).effects
    assert odds.set_index("term").loc["stage=III", "reference"] == "I"


def test_nobody_who_outlives_an_event_leaves_no_ratio():
    frame = cohort().assign(time=lambda f: np.where(f["event"] == 1, 9.0, 3.0))
    found = hazard_ratios(frame, AGE.to_frame(), None)
    assert found.effects["reason"].eq("no patient outlives an event").all()
    assert found.effects["ratio"].isna().all()
    # One who is censored then was still at risk.
    frame.loc[frame.index[frame["event"] == 0][0], "time"] = 9.0
    assert hazard_ratios(frame, pd.DataFrame(index=frame.index), None).effects["reason"].eq("").all()


@pytest.mark.parametrize("kind", ["hazards", "odds"])
def test_a_group_without_events_takes_no_other_group_with_it(kind):
    frame = cohort(pd.Series(np.array(list("ABC"))[np.arange(N) % 3]))
    frame.loc[frame["group"] == "B", ["event", "label"]] = [0, "no"]
    none = pd.DataFrame(index=frame.index)
    found = hazard_ratios(frame, none, None) if kind == "hazards" else odds_ratios(frame, "yes", none, None)
    own = found.effects.set_index("term")
    assert np.isnan(own.loc["group B", "ratio"])
    assert own.loc["group B", "reason"].endswith(
        "group B has no event" if kind == "hazards" else "group B has one class"
    )
    assert np.isfinite(own.loc["group C", ["ratio", "ci_low", "ci_high", "p"]].astype(float)).all()
    # All groups together can still be told apart: where a ratio has no finite value, the likelihood has.
    assert found.p < 0.01


def test_no_ratio_is_to_a_group_without_events():
    frame = cohort(pd.Series(np.array(list("ABC"))[np.arange(N) % 3]))
    frame.loc[frame["group"] == "A", "event"] = 0
    found = adjusted(hazard_ratios(frame, AGE.to_frame(), None))
    assert found.loc[["group B", "group C"], "reason"].eq("group A has no event").all()
    twin = cox(frame, {"C": (frame["group"] == "C").astype(float), "age": AGE}, frame.index[frame["group"] != "A"])
    assert found.loc["age", "ratio"] == pytest.approx(twin.hazard_ratios_["age"], rel=1e-4)


def test_groups_are_judged_together_by_likelihood():
    frame = cohort(pd.Series(np.array(list("ABC"))[np.arange(N) % 3]))
    dummies = {g: (frame["group"] == g).astype(float) for g in "BC"}
    both, rest = cox(frame, {**dummies, "age": AGE}), cox(frame, {"age": AGE})

    twin = chi2.sf(2 * (both.log_likelihood_ - rest.log_likelihood_), 2)
    assert hazard_ratios(frame, AGE.to_frame(), None).p == pytest.approx(twin, rel=1e-4)
    alone = cox(frame, dummies)
    own = hazard_ratios(frame, pd.DataFrame(index=frame.index), None).p
    assert own == pytest.approx(alone.log_likelihood_ratio_test().p_value, rel=1e-4)


def test_the_likelihood_without_covariates_is_that_of_lifelines():
    frame, batch = cohort(), pd.Series(np.arange(N) % 3, name="s").astype(str)
    for strata in (pd.Series("", frame.index), batch):
        twin = CoxPHFitter().fit(
            frame.assign(b=b(frame), s=strata)[["time", "event", "b", "s"]], "time", "event", strata=["s"]
        )
        null = twin.log_likelihood_ - twin.log_likelihood_ratio_test().test_statistic / 2
        assert _constant(frame, strata) == pytest.approx(null)


@pytest.mark.parametrize("kind", ["hazards", "odds"])
def test_batches_that_hold_one_group_leave_no_adjusted_ratio(kind):
    frame, batch = cohort(), pd.Series(np.where(GROUP == "A", "x", "y"), name="centre")
    made = (
        hazard_ratios(frame, AGE.to_frame(), batch)
        if kind == "hazards"
        else odds_ratios(frame, "yes", AGE.to_frame(), batch)
    )
    own = adjusted(made)
    assert own.loc["group B", "reason"] == ONE_GROUP
    assert np.isfinite(own.loc["age", "ratio"])
    assert np.isnan(made.p)


def test_a_batch_with_one_class_says_nothing_and_takes_nothing():
    frame, batch = cohort(), pd.Series(np.array(list("xyz"))[np.arange(N) // 2 % 3], name="run")
    batch[:3], frame.loc[:2, "label"] = "tiny", "yes"
    own = adjusted(odds_ratios(frame, "yes", AGE.to_frame(), batch))
    rest = batch != "tiny"
    x = pd.concat([b(frame), AGE, pd.get_dummies(batch)[["y", "z"]].astype(float)], axis=1)[rest]
    twin = Logit((frame["label"] == "yes").astype(float)[rest], add_constant(x)).fit(disp=0)
    assert own.loc["group B", "ratio"] == pytest.approx(np.exp(twin.params["group"]), rel=1e-3)
    assert own.loc["age", "p"] == pytest.approx(twin.pvalues["age"], rel=1e-2)
    assert list(own.index) == ["group B", "age"]


def test_small_batches_are_conditioned_on():
    frame, batch = cohort(), pd.Series(np.arange(N) // 4, name="pair").astype(str)
    own = adjusted(odds_ratios(frame, "yes", AGE.to_frame(), batch))
    x = pd.DataFrame({"B": b(frame), "age": AGE})
    y = (frame["label"] == "yes").astype(float)
    both = y.groupby(batch).transform("nunique") > 1
    twin = ConditionalLogit(y[both].to_numpy(), x[both].to_numpy(), groups=batch[both].to_numpy()).fit(disp=0)
    assert own.loc["group B", "ratio"] == pytest.approx(np.exp(twin.params[0]), rel=1e-3)


def test_odds_are_judged_together_by_likelihood():
    frame = cohort()
    y, x = (frame["label"] == "yes").astype(float), pd.DataFrame({"age": AGE})
    rest = Logit(y, add_constant(x)).fit(disp=0)
    both = Logit(y, add_constant(x.assign(b=b(frame)))).fit(disp=0)

    twin = chi2.sf(2 * (both.llf - rest.llf), 1)
    assert odds_ratios(frame, "yes", x, None).p == pytest.approx(twin, rel=1e-4)
    null = Logit(y, np.ones(N)).fit(disp=0)
    alone = Logit(y, add_constant(b(frame))).fit(disp=0)
    twin = chi2.sf(2 * (alone.llf - null.llf), 1)
    assert odds_ratios(frame, "yes", pd.DataFrame(index=frame.index), None).p == pytest.approx(twin, rel=1e-4)


def test_what_varies_only_in_batches_with_one_class_is_left_out_by_itself():
    frame, batch = cohort(), pd.Series(np.array(list("xyz"))[np.arange(N) // 2 % 3], name="run")
    frame.loc[batch == "z", "label"] = "no"
    only = pd.Series(((batch == "z") & (np.arange(N) % 4 < 2)).astype(float), name="only")
    own = adjusted(odds_ratios(frame, "yes", pd.concat([AGE, only], axis=1), batch))
    assert np.isfinite(own.loc[["group B", "age"], "ratio"].astype(float)).all()
    assert np.isnan(own.loc["only", "ratio"])
    assert own.loc["only", "reason"]
