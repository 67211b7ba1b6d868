import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, get_metric
from mmcell.metrics.survival import (
    cumulative_dynamic_auc,
    cumulative_dynamic_auc_resampled,
    harrell_c,
    harrell_c_resampled,
    uno_c,
    uno_c_resampled,
)

SEEDS = st.integers(0, 10_000)


def patients(seed, n=16, m=20):
    """(time, event, risk) to score, with ties of every sort, and the outcome of training, which lasts longer."""
    rng = np.random.default_rng(seed)
    test = rng.integers(1, 7, n).astype(float), rng.integers(0, 2, n), rng.integers(0, 4, n).astype(float)
    train_time, train_event = rng.integers(1, 8, m).astype(float), rng.integers(0, 2, m)
    return test, {"train_time": np.append(train_time, 8.0), "train_event": np.append(train_event, 1)}


def remaining(train, t, *, before):
    """G(t) or G(t−) over the training patients, by its definition."""
    g = 1.0
    for u in np.unique(train["train_time"]):
        if u < t or (u == t and not before):
            there = train["train_time"] == u
            left = np.sum(there & (train["train_event"] == 0))
            watched = np.sum(train["train_time"] > u) + left
            g *= 1 - left / watched if left else 1.0
    return g


def slow_uno(time, event, risk, weights, train, tau):
    won = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            outlived = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and outlived and time[i] < tau:
                w = weights[i] * weights[j] / remaining(train, time[i], before=True) ** 2
                pairs += w
                won += w * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return won / pairs if pairs else np.nan


def slow_auc(time, event, risk, t, weights, train):
    won = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and time[i] <= t < time[j]:
                w = weights[i] * weights[j] / remaining(train, time[i], before=True)
                pairs += w
                won += w * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return won / pairs if pairs else np.nan


def default_tau(train):
    late = [t for t in np.unique(train["train_time"]) if remaining(train, t, before=False) >= 0.1 - 1e-12]
    return max(late, default=0.0)


@given(SEEDS)
def test_uno_counts_weighted_pairs_up_to_tau(seed):
    test, train = patients(seed)
    ones = np.ones(16)
    np.testing.assert_allclose(uno_c(*test, **train), slow_uno(*test, ones, train, default_tau(train)))
    for tau in (1, 3.5, 8):
        np.testing.assert_allclose(uno_c(*test, **train, tau=tau), slow_uno(*test, ones, train, tau))


@given(SEEDS)
def test_weighted_uno_counts_weighted_pairs(seed):
    test, train = patients(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, 16))
    expected = [slow_uno(*test, row, train, 5) for row in weights]
    np.testing.assert_allclose(uno_c_resampled(*test, weights, **train, tau=5), expected)


@given(SEEDS)
def test_weighted_uno_is_that_of_the_repeated_patients(seed):
    test, train = patients(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (40, 16))
    expected = [uno_c(*(a.repeat(row) for a in test), **train) for row in weights]
    np.testing.assert_allclose(uno_c_resampled(*test, weights, **train), expected)


@given(SEEDS)
def test_without_censoring_in_training_uno_is_harrell(seed):
    (time, event, risk), train = patients(seed)
    train["train_event"] = np.ones(21)
    np.testing.assert_allclose(uno_c(time, event, risk, **train), harrell_c(time, event, risk))


def continuous(seed, n=60):
    rng = np.random.default_rng(seed)
    death, left = rng.exponential(10, n), rng.exponential(15, n)
    time, event = np.minimum(death, left), (death <= left).astype(int)
    return time, event, (-np.log(death) + rng.normal(size=n)).round(1)


@pytest.mark.oracle
@given(SEEDS)
def test_uno_equals_scikit_survival(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    time, event, risk = continuous(seed)
    train_time, train_event, _ = continuous(seed + 20_000)
    tau = min(np.quantile(time, 0.8), train_time.max())
    sides = util.Surv.from_arrays(train_event > 0, train_time), util.Surv.from_arrays(event > 0, time)
    expected = metrics.concordance_index_ipcw(*sides, risk, tau=tau)[0]
    found = uno_c(time, event, risk, train_time=train_time, train_event=train_event, tau=tau)
    np.testing.assert_allclose(found, expected)


@pytest.mark.oracle
@given(SEEDS)
def test_uno_equals_scikit_survival_with_ties_once_training_censoring_is_moved_behind_events(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    (time, event, risk), train = patients(seed)
    if not np.isnan(uno_c(time, event, risk, **train, tau=7)):
        moved = train["train_time"] + 1e-3 * (1 - train["train_event"])
        sides = util.Surv.from_arrays(train["train_event"] > 0, moved), util.Surv.from_arrays(event > 0, time)
        expected = metrics.concordance_index_ipcw(*sides, risk, tau=7)[0]
        np.testing.assert_allclose(uno_c(time, event, risk, **train, tau=7), expected)


def test_an_event_that_training_says_nothing_about_is_refused(refused):
    train = {"train_time": np.array([1.0, 2.0]), "train_event": np.array([0, 1])}
    with refused("uno_c: 1 event before tau = 9", "last training patient left (2)", "smaller tau"):
        uno_c(np.array([3.0, 4.0]), np.array([1, 0]), np.array([1.0, 0.0]), **train, tau=9)
    assert np.isnan(uno_c(np.array([3.0, 4.0]), np.array([1, 0]), np.array([1.0, 0.0]), **train))


@pytest.mark.parametrize("function", [harrell_c, uno_c])
def test_a_missing_risk_is_refused(refused, function):
    train = {} if function is harrell_c else {"train_time": np.ones(2), "train_event": np.ones(2)}
    with refused("risk is NaN for 1 of 2"):
        function(np.ones(2), np.ones(2), np.array([np.nan, 1.0]), **train)


def test_more_draws_than_lanes_do_not_depend_on_each_other():
    time, event, risk = continuous(3)
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 75)
    alone = [harrell_c_resampled(time, event, risk, row[None])[0] for row in weights]
    np.testing.assert_array_equal(harrell_c_resampled(time, event, risk, weights), alone)


@given(seed=SEEDS)
def test_uno_of_items_is_pooled_over_folds_and_averaged_over_repeats(random_items, seed):
    items = random_items("survival", seed)
    repeats = []
    for _, repeat in items.frame.groupby("repeat"):
        won = pairs = 0.0
        for _, fold in repeat.groupby("fold"):
            for a in fold.itertuples():
                for b in fold.itertuples():
                    if a.event and (b.time > a.time or (b.time == a.time and not b.event)):
                        pairs += a.ipcw
                        won += a.ipcw * (1.0 if a.y_pred > b.y_pred else 0.5 if a.y_pred == b.y_pred else 0.0)
        repeats.append(won / pairs if pairs else np.nan)
    np.testing.assert_allclose(get_metric("uno_c").fn(items), np.mean(repeats))


def test_an_unknown_weight_leaves_uno_undefined(random_items):
    frame = random_items("survival").frame
    assert np.isnan(get_metric("uno_c").fn(Items(frame.assign(ipcw=np.nan), "survival")))


# -- AUC at a time -----------------------------------------------------------------------------------------------------

TIMES = np.array([0.5, 2.0, 3.5, 6.0])


@given(SEEDS)
def test_the_auc_counts_pairs_of_case_and_control(seed):
    test, train = patients(seed)
    expected = [slow_auc(*test, t, np.ones(16), train) for t in TIMES]
    np.testing.assert_allclose(cumulative_dynamic_auc(*test, TIMES, **train), expected)


@given(SEEDS)
def test_the_weighted_auc_counts_weighted_pairs(seed):
    test, train = patients(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (4, 16))
    expected = [[slow_auc(*test, t, row, train) for t in TIMES] for row in weights]
    np.testing.assert_allclose(cumulative_dynamic_auc_resampled(*test, TIMES, weights, **train), expected)


@pytest.mark.oracle
@given(SEEDS)
def test_the_auc_equals_scikit_survival(seed):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    time, event, risk = continuous(seed)
    train_time, train_event, _ = continuous(seed + 20_000, n=400)
    train_time[0], train_event[0] = 1e3, 1
    times = np.quantile(time, [0.3, 0.5, 0.7])
    sides = util.Surv.from_arrays(train_event > 0, train_time), util.Surv.from_arrays(event > 0, time)
    expected = metrics.cumulative_dynamic_auc(*sides, risk, times)[0]
    found = cumulative_dynamic_auc(time, event, risk, times, train_time=train_time, train_event=train_event)
    np.testing.assert_allclose(found, expected)


def test_an_auc_that_training_says_nothing_about_is_refused(refused):
    train = {"train_time": np.array([1.0, 2.0]), "train_event": np.array([0, 1])}
    with refused("cumulative_dynamic_auc: 1 event comes after the last training patient"):
        cumulative_dynamic_auc(np.array([3.0, 4.0]), np.array([1, 0]), np.ones(2), np.array([3.5]), **train)
