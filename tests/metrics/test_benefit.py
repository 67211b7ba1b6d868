import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.benefit import decision_curve, decision_curve_resampled, treated
from mmcell.metrics.classification import net_benefit, net_benefit_resampled
from mmcell.metrics.survival import kaplan_meier, survival_net_benefit, survival_net_benefit_resampled
from mmcell.probes.baseline import Baseline

SEEDS = st.integers(0, 10_000)
AT = np.array([0.1, 0.3, 0.5])
TIME = np.array([1.2, 7.5, 3.1, 9.4, 2.2, 6.0, 4.8, 8.1, 0.7, 5.5, 3.9, 10.2, 1.9, 6.6, 2.7, 11.0])
EVENT = np.array([1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0])
P = np.array([0.83, 0.12, 0.64, 0.21, 0.47, 0.58, 0.33, 0.26, 0.71, 0.44, 0.52, 0.08, 0.67, 0.39, 0.16, 0.31])


def test_it_has_the_numbers_of_dcurves():
    # dcurves 1.1.7, binary and by time 5.
    ones = np.ones(16)
    np.testing.assert_allclose(net_benefit(EVENT, P, AT), [0.451388888889, 0.241071428571, 0.125])
    np.testing.assert_allclose(net_benefit(EVENT, ones, AT), [0.513888888889, 0.375, 0.125])
    found = survival_net_benefit(TIME, EVENT, P, AT, 5.0)
    np.testing.assert_allclose(found, [0.260416666667, 0.084821428571, 0.041666666667])
    found = survival_net_benefit(TIME, EVENT, ones, AT, 5.0)
    np.testing.assert_allclose(found, [0.252136752137, 0.038461538462, -0.346153846154])


def rows(seed, n=14):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 7, n).astype(float), rng.integers(0, 3, n), rng.integers(0, 9, n) / 8


@given(SEEDS)
def test_it_is_true_positives_less_false_ones_at_the_odds(seed):
    _, event, p = rows(seed)
    y = (event == 1).astype(int)
    expected = [
        (np.sum((p >= t) & (y == 1)) - np.sum((p >= t) & (y == 0)) * t / (1 - t)) / len(y) for t in (0.0, 0.25, 0.6)
    ]
    np.testing.assert_allclose(net_benefit(y, p, [0.0, 0.25, 0.6]), expected)
    weights = np.random.default_rng(seed).integers(0, 3, (4, 14))
    weights[0] = 0
    again = [net_benefit(y.repeat(w), p.repeat(w), AT) for w in weights]
    np.testing.assert_allclose(net_benefit_resampled(y, p, AT, weights), again)


@given(SEEDS)
def test_of_survival_the_risk_is_that_of_those_treated(seed):
    time, event, p = rows(seed)
    event = np.minimum(event, 1)
    expected = []
    for t in AT:
        above = p >= t
        if not above.any():
            expected.append(0.0)
            continue
        risk = 1 - kaplan_meier(time[above], event[above]).at([3.0])[0]
        known = risk == 1 or time[above].max() >= 3
        expected.append(above.mean() * (risk - (1 - risk) * t / (1 - t)) if known else np.nan)
    np.testing.assert_allclose(survival_net_benefit(time, event, p, AT, 3.0), expected, atol=1e-12)


@given(SEEDS)
def test_draws_are_those_of_the_repeated_patients(seed):
    time, event, p = rows(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (5, 14))
    weights[0] = 0
    again = [survival_net_benefit(*(a.repeat(w) for a in (time, event, p)), AT, 3.0) for w in weights]
    found = survival_net_benefit_resampled(time, event, p, AT, 3.0, weights)
    np.testing.assert_allclose(found, again, atol=1e-12)
    assert np.isnan(found[0]).all()


def test_without_censoring_survival_is_a_binary_outcome():
    event = np.ones(16)
    found = survival_net_benefit(TIME, event, P, AT, 5.0)
    np.testing.assert_allclose(found, net_benefit(TIME <= 5, P, AT), atol=1e-12)


def test_whom_a_competing_event_took_was_treated_for_nothing():
    event = np.where(EVENT == 1, 1, 2)
    found = survival_net_benefit(TIME, event, P, AT, 20.0)
    np.testing.assert_allclose(found, net_benefit(EVENT, P, AT), atol=1e-12)


def test_treating_nobody_gains_nothing_and_whom_nobody_follows_is_unknown():
    assert survival_net_benefit(TIME, EVENT, P, [0.9], 5.0) == [0.0]
    assert np.isnan(survival_net_benefit(TIME, EVENT, P, [0.8, 0.1], 12.0)).tolist() == [False, True]


def test_what_cannot_be_meant_is_refused(refused):
    for wrong in (1.0, -0.1, np.nan):
        with refused("net_benefit: thresholds are risks from 0 on and below 1"):
            net_benefit(EVENT, P, [wrong])
    with refused("net_benefit: probability is no probability for 1 item"):
        net_benefit(np.array([0, 1]), np.array([0.2, 2.0]), AT)


def slow_curve(frame, kind, p, at):
    """By the definition, patient by patient; of survival one minus Kaplan-Meier (Aalen-Johansen) of those treated."""
    found = []
    for t in at:
        of_repeats = []
        for _, part in frame.assign(p=p).groupby("repeat"):
            chosen = part[part["p"] >= t * (1 - 1e-9)]
            if kind == "binary":
                risk = chosen["y_true"].mean() if len(chosen) else 0.0
            else:
                left, risk = 1.0, 0.0
                for u in np.unique(chosen["time"][chosen["time"] <= 3.0]):
                    now = chosen[chosen["time"] == u]
                    risk += left * (now["cause"] == 1).sum() / (chosen["time"] >= u).sum()
                    left *= 1 - (now["cause"] > 0).sum() / (chosen["time"] >= u).sum()
                risk = risk if left == 0 or not len(chosen) or chosen["time"].max() >= 3.0 else np.nan
            of_repeats.append(len(chosen) / len(part) * (risk - (1 - risk) * t / (1 - t)))
        found.append(np.mean(of_repeats))
    return np.array(found)


@pytest.mark.parametrize("kind", ["binary", "survival"])
@pytest.mark.parametrize("seed", range(6))
def test_a_curve_of_items_pools_folds_and_averages_repeats(random_items, kind, seed):
    items = random_items(kind, seed, n_units=25)
    # Some predictions are the threshold, and some but for the last digit.
    p = items.column("p_event").astype(float)
    p[::5], p[1::5] = 1 - 0.9, 0.1 + 0.2
    items = items.having({"p_event": p})
    np.testing.assert_allclose(decision_curve(items, AT), slow_curve(items.frame, kind, p, AT), atol=1e-12)
    ones = np.ones(len(p))
    everybody = decision_curve(items.having({"p_event": ones}), AT)
    np.testing.assert_allclose(everybody, slow_curve(items.frame, kind, ones, AT), atol=1e-12)
    weights = items.units.bootstrap(5, seed)
    again = []
    for row in weights:
        drawn = items.resample(row)
        again.append(slow_curve(drawn.frame, kind, drawn.column("p_event").astype(float), AT))
    np.testing.assert_allclose(decision_curve_resampled(items, AT, weights), again, atol=1e-12)
    one = items.having({"threshold": np.full(len(p), 0.3)})
    assert get_metric("net_benefit").fn(one) == pytest.approx(decision_curve(items, [0.3])[0])


def test_who_is_at_the_threshold_but_for_the_last_digit_is_treated():
    p = np.array([1 - 0.9, 0.0999])
    assert treated(p, 0.1).tolist() == [True, False]
    assert net_benefit(np.array([1, 0]), p, [0.1]) == [0.5]
    assert survival_net_benefit(np.array([1.0, 9.0]), np.array([1, 0]), p, [0.1], 5.0) == [0.5]


def test_a_curve_needs_probabilities_and_one_horizon(random_items, refused):
    items = random_items("survival")
    with refused("decision curve: the column 'horizon' is missing"):
        decision_curve(items.without(["horizon"]), AT)
    with refused("decision curve: items of kind 'regression' have no predicted risks"):
        decision_curve(Items(random_items("regression").frame.assign(p_event=0.5), "regression"), AT)
    with refused("the column 'horizon' has 2 values; one for all items is needed"):
        decision_curve(items.having({"horizon": np.arange(len(items.frame)) % 2 + 1.0}), AT)


@pytest.mark.parametrize("seed", range(3))
def test_a_risk_that_is_the_same_for_all_patients_of_a_fold_is_worth_nothing(seed):
    # At one threshold for all folds only those would be treated in which training patients had more events, which
    # leaves held-out patients with fewer.
    rng, found, common = np.random.default_rng(seed), [], []
    for _ in range(200):
        y, fold = rng.random(60) < 0.3, rng.permutation(60) % 5
        share = np.array([y[fold != k].mean() for k in range(5)])[fold]
        ids = [f"p{i}" for i in range(60)]
        frame = pd.DataFrame({"item": ids, "unit": ids, "fold": fold, "y_true": y.astype(int), "y_pred": share})
        of_fold = Items(frame.assign(p_event=share, threshold=share), "binary")
        found.append(get_metric("net_benefit").fn(of_fold))
        common.append(get_metric("net_benefit").fn(of_fold.having({"threshold": y.mean()})))
    assert abs(np.mean(found)) < 0.01
    assert np.mean(common) < -0.03


@pytest.mark.parametrize("seed", range(3))
def test_breslow_leaves_a_constant_risk_below_the_threshold_and_treating_all_is_worth_no_more(seed):
    # At the training patients' own risk nobody and everybody are worth the same.
    rng, found, everybody = np.random.default_rng(seed), [], []
    for _ in range(40):
        time, end, fold = rng.exponential(10, 100), rng.exponential(20, 100), rng.permutation(100) % 5
        event, time = (time <= end).astype(int), np.minimum(time, end)
        ids = [f"p{i}" for i in range(100)]
        frame = pd.DataFrame({"item": ids, "unit": ids, "fold": fold, "time": time, "event": event, "y_pred": 0.0})
        frame = frame.assign(horizon=5.0, p_event=0.0, threshold=0.0)
        for k in range(5):
            train, held = fold != k, fold == k
            flat = Baseline.fit(time[train], event[train], np.zeros(train.sum()))
            frame.loc[held, "p_event"] = 1 - flat.survival(np.zeros(1), np.array([5.0]))[0, 0]
            frame.loc[held, "threshold"] = 1 - kaplan_meier(time[train], event[train]).at([5.0])[0]
        items = Items(frame, "survival")
        found.append(get_metric("net_benefit").fn(items))
        everybody.append(get_metric("net_benefit").fn(items.having({"p_event": np.ones(100)})))
    assert (frame["p_event"] < frame["threshold"]).all()
    assert found == [0.0] * 40
    assert abs(np.mean(everybody)) < 0.005


def test_each_item_is_treated_by_its_own_threshold_and_all_have_one_price():
    y, p, at = np.array([1, 0, 1, 0]), np.array([0.3, 0.3, 0.3, 0.6]), np.array([0.2, 0.2, 0.4, 0.4])
    items = Items(pd.DataFrame({"item": list("abcd"), "unit": list("abcd"), "y_true": y, "y_pred": p}), "binary")
    # Treated: a and b, d; c is not. One of them ill, two not, each at the odds of 0.3.
    expected = (1 - 2 * 0.3 / 0.7) / 4
    assert get_metric("net_benefit").fn(items.having({"threshold": at, "p_event": p})) == pytest.approx(expected)
