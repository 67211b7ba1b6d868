import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import get_metric
from mmcell.metrics.survival import cause_specific_c, cause_specific_c_resampled, harrell_c, uno_c
from tests.metrics.test_concordance import default_tau, patients, remaining

SEEDS = st.integers(0, 10_000)


def competing(seed, n=16):
    """(time, cause, risk) to score, with ties of every sort, and the outcome of training, which lasts longer."""
    rng = np.random.default_rng(seed)
    (time, _, risk), train = patients(seed, n)
    cause = rng.integers(0, 3, n)
    events = train.pop("train_event")
    train["train_cause"] = np.where(events == 1, rng.integers(1, 3, len(events)), 0)
    return (time, cause, risk), train


def slow_c(time, cause, risk, weights, train=None, tau=np.inf):
    """Wolbers: the event of one, and the other either later, or taken before by the competing event."""
    won = pairs = 0.0
    for i in range(len(time)):
        if cause[i] != 1 or time[i] >= tau:
            continue
        own = 1.0 if train is None else remaining(train, time[i], before=True)
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and cause[j] != 1)
            taken = cause[j] == 2 and time[j] < time[i]
            if later or taken:
                other = own if later or train is None else remaining(train, time[j], before=True)
                w = weights[i] * weights[j] / (own * other)
                pairs += w
                won += w * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return won / pairs if pairs else np.nan


@given(SEEDS)
def test_concordance_counts_whom_the_competing_event_took_as_outliving(seed):
    test, train = competing(seed)
    slow = {"train_time": train["train_time"], "train_event": train["train_cause"]}
    weights = np.random.default_rng(seed).integers(0, 3, (5, 16))
    weights[0] = 0
    np.testing.assert_allclose(cause_specific_c(*test), slow_c(*test, np.ones(16)))
    np.testing.assert_allclose(cause_specific_c(*test, tau=4), slow_c(*test, np.ones(16), tau=4))
    np.testing.assert_allclose(cause_specific_c_resampled(*test, weights), [slow_c(*test, w) for w in weights])
    tau = default_tau(slow)
    np.testing.assert_allclose(cause_specific_c(*test, **train), slow_c(*test, np.ones(16), slow, tau))
    found = cause_specific_c_resampled(*test, weights, **train, tau=5)
    np.testing.assert_allclose(found, [slow_c(*test, w, slow, 5) for w in weights])


@given(SEEDS)
def test_without_competing_events_it_is_harrell_or_uno(seed):
    (time, event, risk), train = patients(seed)
    np.testing.assert_allclose(cause_specific_c(time, event, risk), harrell_c(time, event, risk))
    renamed = {"train_time": train["train_time"], "train_cause": train["train_event"]}
    np.testing.assert_allclose(cause_specific_c(time, event, risk, **renamed), uno_c(time, event, risk, **train))


@given(SEEDS)
def test_it_is_harrell_where_competing_patients_live_for_ever(seed):
    (time, cause, risk), _ = competing(seed)
    for_ever = np.where(cause == 2, 99.0, time)
    np.testing.assert_allclose(cause_specific_c(time, cause, risk), harrell_c(for_ever, cause == 1, risk))


@given(SEEDS)
def test_harrell_and_uno_take_a_competing_event_for_censoring_of_those_scored_only(seed):
    (time, cause, risk), train = competing(seed)
    event = (cause == 1).astype(int)
    np.testing.assert_array_equal(harrell_c(time, cause, risk), harrell_c(time, event, risk))
    watched = {"train_time": train["train_time"], "train_event": (train["train_cause"] > 0).astype(int)}
    codes = {"train_time": train["train_time"], "train_event": train["train_cause"]}
    np.testing.assert_array_equal(uno_c(time, cause, risk, **codes), uno_c(time, event, risk, **watched))


@given(seed=st.integers(0, 300))
def test_of_items_pairs_are_those_of_a_fold(random_items, seed):
    items = random_items("survival", seed, n_folds=1, n_repeats=1)
    frame = items.frame
    kept = frame[(frame["cause"] != 2) | (frame["ipcw"] > 0)]
    factor = np.sqrt(kept["ipcw"].to_numpy())
    time, cause, risk = (kept[c].to_numpy() for c in ("time", "cause", "y_pred"))
    won = pairs = 0.0
    for i in np.flatnonzero(cause == 1):
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and cause[j] != 1):
                w = factor[i] ** 2
            elif cause[j] == 2 and time[j] < time[i]:
                w = factor[i] * factor[j]
            else:
                continue
            pairs += w
            won += w * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    found = get_metric("cause_specific_c").fn(items.where(frame.index.isin(kept.index)))
    np.testing.assert_allclose(found, won / pairs if pairs else np.nan)


def test_what_cannot_be_meant_is_refused(refused):
    with refused("cause_specific_c: cause has the values 3", "2 = competing"):
        cause_specific_c(np.ones(2), np.array([1, 3]), np.ones(2))
    with refused("give both train_time and train_cause, or neither"):
        cause_specific_c(np.ones(2), np.ones(2), np.ones(2), train_time=np.ones(2))
    with refused("1 event before tau = 9", "last training patient left (2)", "smaller tau"):
        train = {"train_time": np.array([1.0, 2.0]), "train_cause": np.array([0, 1])}
        cause_specific_c(np.array([3.0, 4.0]), np.array([1, 0]), np.ones(2), **train, tau=9)


def test_inputs_are_not_mutated():
    arrays = [np.array([3.0, 1.0, 2.0]), np.array([1, 2, 1]), np.array([0.1, 0.3, 0.2]), np.ones((2, 3))]
    before = [a.copy() for a in arrays]
    cause_specific_c_resampled(*arrays)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_three_patients_by_hand():
    # The event at 2 is told from who lives until 3, not from whom the competing event took at 1; nor is that at 3.
    time, cause, risk = np.array([3.0, 1.0, 2.0]), np.array([1, 2, 1]), np.array([0.1, 0.3, 0.2])
    assert cause_specific_c(time, cause, risk) == pytest.approx(1 / 3)
    assert harrell_c(time, cause, risk) == 1.0
