import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.survival import Censoring, cumulative_dynamic_auc, integrated_auc, integrated_auc_resampled
from tests.metrics.test_concordance import continuous, default_tau, patients, slow_auc

SEEDS = st.integers(0, 10_000)


def left_beyond(time, event, weights, t):
    """Kaplan–Meier by its definition."""
    s = 1.0
    for u in np.unique(time[time <= t]):
        at_risk = weights[time >= u].sum()
        if at_risk:
            s *= 1 - weights[(time == u) & (event == 1)].sum() / at_risk
    return s


def slow_integral(time, event, risk, times, weights, train):
    total = parts = 0.0
    before = 1.0
    for t in times:
        now = left_beyond(time, event, weights, t)
        auc = slow_auc(time, event, risk, t, weights, train)
        if not np.isnan(auc):
            total += auc * (before - now)
            parts += before - now
        before = now
    return total / parts if parts else np.nan


@given(SEEDS)
def test_it_is_the_auc_weighted_by_the_drop_of_survival(seed):
    test, train = patients(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (4, 16))
    weights[0] = 0
    for times in (np.array([2.0, 3.5, 5.0]), None):
        at = np.unique(test[0][(test[1] == 1) & (test[0] < default_tau(train))]) if times is None else times
        found = integrated_auc_resampled(*test, weights, **train, times=times)
        np.testing.assert_allclose(found, [slow_integral(*test, at, w, train) for w in weights])
        once = integrated_auc(*test, **train, times=times)
        np.testing.assert_allclose(once, slow_integral(*test, at, np.ones(16), train))


@given(SEEDS)
def test_draws_are_those_of_the_repeated_patients(seed):
    test, train = patients(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (6, 16))
    expected = [integrated_auc(*(a.repeat(row) for a in test), **train) for row in weights]
    np.testing.assert_allclose(integrated_auc_resampled(*test, weights, **train), expected)


@pytest.mark.oracle
@given(SEEDS)
def test_it_equals_the_mean_of_scikit_survival(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    time, event, risk = continuous(seed)
    train_time, train_event, _ = continuous(seed + 20_000, n=400)
    train_time[0], train_event[0] = 1e3, 1
    times = np.unique(np.quantile(time, [0.3, 0.5, 0.7]))
    sides = util.Surv.from_arrays(train_event > 0, train_time), util.Surv.from_arrays(event > 0, time)
    each, mean = metrics.cumulative_dynamic_auc(*sides, risk, times)
    train = {"train_time": train_time, "train_event": train_event}
    np.testing.assert_allclose(cumulative_dynamic_auc(time, event, risk, times, **train), each)
    np.testing.assert_allclose(integrated_auc(time, event, risk, **train, times=times), mean)


@given(SEEDS)
def test_turning_the_risk_turns_it(seed):
    (time, event, risk), train = patients(seed)
    total = integrated_auc(time, event, risk, **train) + integrated_auc(time, event, -risk, **train)
    assert np.isnan(total) or total == pytest.approx(1.0)


def test_one_risk_for_all_is_a_coin_and_a_perfect_one_is_1():
    time, event, _ = continuous(3)
    train = {"train_time": time, "train_event": event}
    assert integrated_auc(time, event, np.zeros(60), **train) == 0.5
    assert integrated_auc(time, event, -time, **train) == 1.0


def test_whom_a_competing_event_took_is_no_case():
    time, event, risk = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2, 1, 1, 0]), np.array([9.0, 3.0, 2.0, 1.0])
    train = {"train_time": np.array([1.0, 2.0, 5.0]), "train_event": np.array([2, 1, 1])}
    assert integrated_auc(time, event, risk, **train) == 1.0
    assert integrated_auc(time, np.array([1, 1, 1, 0]), -risk, **train) == 0.0


def test_times_that_do_not_rise_are_refused(refused):
    test, train = patients(0)
    with refused("integrated_auc: give rising times"):
        integrated_auc(*test, **train, times=[3.0, 2.0])


def censored_beyond(part, t):
    """Kaplan–Meier of censoring up to and with t, by its definition; events come before censoring."""
    g = 1.0
    for u in np.unique(part["time"][part["time"] <= t]):
        now, there = part[part["time"] == u], (part["time"] >= u).sum()
        ended = (now["cause"] > 0).sum()
        if (now["cause"] == 0).any():
            g *= 1 - (now["cause"] == 0).sum() / (there - ended)
    return g


def slow_td_auc(part):
    """Pairs of a fold, a case at 1/G(T-) and a control at 1/G(t), over all folds of one repeat."""
    time, event, factor = (part[c].to_numpy(float) for c in ("time", "event", "ipcw"))
    total = parts = 0.0
    for t in np.unique(time):
        won = pairs = 0.0
        for _, fold in part.groupby("fold"):
            g = censored_beyond(fold, t)
            for i in fold[(fold["event"] == 1) & (fold["time"] <= t)].itertuples():
                for j in fold[fold["time"] > t].itertuples():
                    pairs += np.sqrt(i.ipcw) / g
                    won += np.sqrt(i.ipcw) / g * ((i.y_pred > j.y_pred) + 0.5 * (i.y_pred == j.y_pred))
        counted = np.sum((time == t) & (event == 1) & (factor > 0)) / np.sum(time >= t)
        drop = left_beyond(time, event, np.ones(len(time)), np.nextafter(t, 0)) * counted
        if pairs and drop:
            total += won / pairs * drop
            parts += drop
    return total / parts if parts else np.nan


@given(seed=st.integers(0, 300))
def test_of_items_pairs_are_counted_within_folds_and_times_weighed_over_all(random_items, seed):
    items = random_items("survival", seed)
    found = [slow_td_auc(part) for _, part in items.frame.groupby("repeat")]
    np.testing.assert_allclose(get_metric("td_auc").fn(items), np.mean(found))


def two_folds(n, seed, horizon=1.0):
    """A fold with little censoring that is ranked at random, and one with much in which ranks are good; and no ties."""
    rng = np.random.default_rng(seed)
    frames = []
    for fold, (rate, skill) in enumerate(((0.05, 0.0), (1.5, 2.0))):
        hazard = rng.normal(size=n)
        dies, leaves = rng.exponential(np.exp(-hazard)), rng.exponential(1 / rate, n)
        time, event = np.minimum(dies, leaves), (dies <= leaves).astype(int)
        ipcw = np.where(time < horizon, np.exp(rate * time) ** 2, 0.0)
        ids = [f"f{fold}-{i}" for i in range(n)]
        risk = skill * hazard + rng.normal(size=n)
        columns = {"item": ids, "unit": ids, "fold": fold, "time": time, "event": event, "cause": event, "ipcw": ipcw}
        frames.append(pd.DataFrame(columns | {"y_pred": risk, "dies": dies}))
    return pd.concat(frames, ignore_index=True)


def test_a_fold_with_more_censoring_counts_as_much_as_one_without():
    frame = two_folds(1500, 0)
    items = Items(frame, "survival")
    whole = frame.assign(time=frame["dies"], event=1, cause=1, ipcw=np.where(frame["dies"] < 1, 1.0, 0.0))
    truth = get_metric("td_auc").fn(Items(whole, "survival"))
    assert get_metric("td_auc").fn(items) == pytest.approx(truth, abs=0.01)
    # Both folds apart: what they are pooled from differs by far more.
    apart = [get_metric("td_auc").fn(items.where(frame["fold"] == k)) for k in (0, 1)]
    assert apart[1] - apart[0] > 0.2
    few = Items(two_folds(25, 1), "survival")
    np.testing.assert_allclose(get_metric("td_auc").fn(few), slow_td_auc(few.frame))


@pytest.mark.oracle
def test_of_items_of_one_fold_it_is_that_of_scikit_survival():
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    frame = two_folds(80, 3).query("fold == 1")
    train = two_folds(400, 4).query("fold == 1")
    sides = [util.Surv.from_arrays(f["event"] > 0, f["time"]) for f in (train, frame)]
    fitted = Censoring.fit(train["time"].to_numpy(), train["event"].to_numpy())
    items = Items(frame.assign(ipcw=fitted.ipcw(frame["time"].to_numpy(), 0.8)), "survival")
    times = np.sort(frame["time"][(frame["event"] == 1) & (frame["time"] < 0.8)].to_numpy())
    mean = metrics.cumulative_dynamic_auc(*sides, frame["y_pred"].to_numpy(), times)[1]
    np.testing.assert_allclose(get_metric("td_auc").fn(items), mean)
