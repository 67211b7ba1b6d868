import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.benefit import decision_curve
from mmcell.metrics.classification import net_benefit, net_benefit_resampled
from mmcell.metrics.survival import kaplan_meier, survival_net_benefit, survival_net_benefit_resampled

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
    with refused("net_benefit: probability is no probability for 1 items"):
        net_benefit(np.array([0, 1]), np.array([0.2, 2.0]), AT)


@pytest.mark.parametrize("kind", ["binary", "survival"])
def test_a_curve_of_items_pools_folds_averages_repeats_and_has_a_band(random_items, kind):
    items = random_items(kind, 4, n_units=25)
    table = decision_curve(items, AT, items.units.bootstrap(200, 0))
    assert list(table) == ["threshold", "net_benefit", "treat_all", "treat_none", "low", "high"]
    parts = [p for _, p in items.frame.groupby("repeat")]

    def mean(everybody):
        if kind == "binary":
            found = [net_benefit(p["y_true"], p["p_event"] ** (1 - everybody), AT) for p in parts]
        else:
            found = [
                survival_net_benefit(p["time"], p["cause"], p["p_event"] ** (1 - everybody), AT, 3.0) for p in parts
            ]
        return np.mean(found, axis=0)

    np.testing.assert_allclose(table["net_benefit"], mean(0))
    np.testing.assert_allclose(table["treat_all"], mean(1))
    assert (table["treat_none"] == 0).all()
    assert (table["low"] < table["net_benefit"]).all()
    assert (table["net_benefit"] < table["high"]).all()
    assert list(decision_curve(items, AT)) == ["threshold", "net_benefit", "treat_all", "treat_none"]
    at_threshold = decision_curve(items, np.array([0.375]))["net_benefit"][0]
    assert get_metric("net_benefit").fn(items) == pytest.approx(at_threshold)


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


def test_each_item_is_treated_by_its_own_threshold_and_all_have_one_price():
    y, p, at = np.array([1, 0, 1, 0]), np.array([0.3, 0.3, 0.3, 0.6]), np.array([0.2, 0.2, 0.4, 0.4])
    items = Items(pd.DataFrame({"item": list("abcd"), "unit": list("abcd"), "y_true": y, "y_pred": p}), "binary")
    # Treated: a and b, d; c is not. One of them ill, two not, each at the odds of 0.3.
    expected = (1 - 2 * 0.3 / 0.7) / 4
    assert get_metric("net_benefit").fn(items.having({"threshold": at, "p_event": p})) == pytest.approx(expected)
