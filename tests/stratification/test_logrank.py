import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines.statistics import multivariate_logrank_test

from mmcell.stratification.logrank import LogRank, follow_up, log_rank

ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 1), st.sampled_from("ABC"), st.integers(0, 1)), min_size=2, max_size=25
).map(lambda rows: tuple(map(np.array, zip(*rows, strict=True))))  # fmt: skip
NONE = np.random.default_rng(0)


def slow(time, event, member, stratum):
    """Return O − E and its covariance, moment by moment."""
    gap, spread = np.zeros(member.shape[1]), np.zeros((member.shape[1],) * 2)
    for s in np.unique(stratum):
        for moment in np.unique(time[(event == 1) & (stratum == s)]):
            here = (time >= moment) & (stratum == s)
            died = here & (time == moment) & (event == 1)
            n, d, share = here.sum(), died.sum(), member[here].mean(axis=0)
            gap += member[died].sum(axis=0) - d * share
            if n > 1:
                spread += d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
    return gap, spread


def members(group):
    codes = np.unique(group, return_inverse=True)[1]
    return (codes[:, None] == np.arange(codes.max() + 1)).astype(float)


@given(ROWS)
def test_events_seen_and_expected_are_those_moment_by_moment(rows):
    time, event, group, stratum = rows
    found = LogRank.of(time, event, stratum).compared(members(group))
    for one, twin in zip(found, slow(time, event, members(group), stratum), strict=True):
        np.testing.assert_allclose(one, twin, atol=1e-9)


@given(ROWS)
def test_the_order_of_rows_changes_nothing(rows):
    time, event, group, stratum = rows
    one = log_rank(time, event, group, stratum, 0, NONE)
    two = log_rank(time[::-1], event[::-1], group[::-1], stratum[::-1], 0, NONE)
    assert one == pytest.approx(two, nan_ok=True)


def patients(effect=0.5, n=120, seed=0, ends=(20, 20)):
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    time, last = rng.exponential(10 / np.exp(effect * group)).round(1) + 0.1, rng.uniform(0, np.take(ends, group)) + 0.1
    return np.minimum(time, last), (time <= last).astype(int), group


@pytest.mark.oracle
def test_it_is_that_of_lifelines_and_its_permutation_agrees():
    time, event, group = patients()
    twin = multivariate_logrank_test(time, group, event)
    found = log_rank(time, event, group, np.zeros(120), 999, np.random.default_rng(0))
    assert found["chi2"] == pytest.approx(twin.test_statistic)
    assert found["p"] == pytest.approx(twin.p_value)
    assert found["p_permutation"] == pytest.approx(twin.p_value, abs=0.02)
    three = np.arange(120) % 3
    assert log_rank(time, event, three, np.zeros(120), 0, NONE)["chi2"] == pytest.approx(
        multivariate_logrank_test(time, three, event).test_statistic
    )


def test_unlike_follow_up_costs_no_power():
    # The difference is all in the first 5 of 80 months, where the short group is still followed.
    rng, hits = np.random.default_rng(0), 0
    for _ in range(40):
        group = np.repeat([0, 1], [20, 140])
        time = rng.exponential(np.where(group == 0, 4.0, 10.0))
        last = rng.uniform(0, np.where(group == 0, 5, 80))
        p = log_rank(np.minimum(time, last), (time <= last).astype(int), group, np.zeros(160), 59, rng)
        hits += p["p_permutation"] <= 0.05
    # Where events minus expected alone are permuted, 5 of 40.
    assert hits >= 22


def test_what_differs_between_strata_only_is_no_evidence():
    stratum = np.repeat([0, 1], 60)
    group = np.where((np.arange(120) % 6 == 0) ^ (stratum == 1), 0, 1)
    time = np.random.default_rng(0).exponential(10 / np.exp(2 * stratum))
    event = np.ones(120)
    assert log_rank(time, event, group, np.zeros(120), 99, np.random.default_rng(0))["p_permutation"] == 0.01
    assert log_rank(time, event, group, stratum, 99, np.random.default_rng(0))["p_permutation"] > 0.05


@pytest.mark.parametrize("case", ["one group", "groups are strata", "no event"])
def test_no_p_where_nothing_can_be_compared(case):
    time, event, group = patients()
    group, stratum = (np.zeros(120) if case == "one group" else group), np.zeros(120)
    stratum = group if case == "groups are strata" else stratum
    event = event * 0 if case == "no event" else event
    found = log_rank(time, event, group, stratum, 99, NONE)
    assert np.isnan([found["p"], found["p_permutation"], found["chi2"]]).all()


def test_follow_up_is_that_of_who_was_lost():
    time, event, group = patients(ends=(20, 5))
    frame = pd.DataFrame({"group": np.where(group, "B", "A"), "time": time, "event": event})
    medians, p = follow_up(frame, np.zeros(120))
    assert medians["A"] > medians["B"] + 3
    assert p < 1e-3
    # A competing event is no loss.
    medians, p = follow_up(frame.assign(cause=np.where(frame["event"] == 0, 2, 1)), np.zeros(120))
    assert medians.isna().all()
    assert np.isnan(p)


def test_a_loss_at_the_time_of_an_event_is_one_of_those_who_were_there():
    # At 5 one of three is lost, for who has the event then is still there: 2/3 are left. Of the other two it were half.
    frame = pd.DataFrame({"group": "A", "time": [5.0, 5.0, 8.0], "event": [0, 1, 1]})
    assert np.isnan(follow_up(frame, np.zeros(3))[0]["A"])
    frame.loc[3] = ["A", 5.0, 0]
    assert follow_up(frame, np.zeros(4))[0]["A"] == 5.0
