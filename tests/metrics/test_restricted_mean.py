import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from mmcell import Items, MmcellError, get_metric
from mmcell.metrics.restricted_mean import restricted_mean_variance
from mmcell.metrics.survival import (
    restricted_mean,
    restricted_mean_difference,
    restricted_mean_difference_resampled,
    restricted_mean_resampled,
)

ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 1), st.sampled_from(["low", "high"])), min_size=1, max_size=20
).map(lambda rows: tuple(map(np.array, zip(*rows, strict=True))))  # fmt: skip


@given(ROWS, st.sampled_from([0.5, 2.0, 3.5, 6.0, 9.0]))
def test_it_equals_lifelines(rows, tau):
    time, event, _ = rows
    fitted = KaplanMeierFitter().fit(time, event)
    assert restricted_mean(time, event, tau) == pytest.approx(restricted_mean_survival_time(fitted, t=tau))


@given(ROWS, st.sampled_from([0.5, 2.0, 3.5, 6.0]))
def test_its_variance_is_that_of_greenwood(rows, tau):
    time, event, _ = rows

    def area(start):
        return restricted_mean(time, event, tau) - restricted_mean(time, event, start)

    twin = 0.0
    for moment in np.unique(time[(event == 1) & (time < tau)]):
        at_risk, died = (time >= moment).sum(), ((time == moment) & (event == 1)).sum()
        twin += area(moment) ** 2 * died / (at_risk * (at_risk - died)) if at_risk > died else 0.0
    assert restricted_mean_variance(time, event, tau) == pytest.approx(twin)


def test_its_variance_is_that_of_resampled_patients():
    rng = np.random.default_rng(0)
    time, event = rng.exponential(10, 120), (rng.random(120) < 0.7).astype(int)
    draws = restricted_mean_resampled(time, event, 12.3, rng.multinomial(120, np.full(120, 1 / 120), size=2000))
    assert np.sqrt(restricted_mean_variance(time, event, 12.3)) == pytest.approx(draws.std(), rel=0.1)
    assert np.isnan(restricted_mean_variance(time[:0], event[:0], 1.0))
    with pytest.raises(MmcellError, match="give a time after 0"):
        restricted_mean_variance(time, event, 0.0)


@given(ROWS, st.integers(0, 99))
def test_draws_are_those_of_the_repeated_patients(rows, seed):
    time, event, group = rows
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(time)))
    weights[0] = 0
    again = [tuple(a.repeat(w) for a in rows) for w in weights]
    found = restricted_mean_resampled(time, event, 4.5, weights)
    np.testing.assert_allclose(found, [restricted_mean(t, e, 4.5) for t, e, _ in again])
    found = restricted_mean_difference_resampled(time, event, group, 4.5, weights)
    twin = [restricted_mean_difference(t, e, g, 4.5) for t, e, g in again]
    np.testing.assert_allclose(found, twin, atol=1e-12)
    assert np.isnan(found[0])


def test_without_censoring_it_is_the_mean_of_the_shortened_times():
    time = np.array([1.0, 3.0, 8.0])
    assert restricted_mean(time, np.ones(3), 5.0) == pytest.approx((1 + 3 + 5) / 3)


def test_low_risk_less_high_risk():
    time, event = np.array([2.0, 4.0, 8.0, 10.0]), np.ones(4)
    group = np.array(["high", "high", "low", "low"])
    assert restricted_mean_difference(time, event, group, 20.0) == pytest.approx(6.0)
    assert restricted_mean_difference(time, event, group[::-1], 20.0) == pytest.approx(-6.0)
    assert np.isnan(restricted_mean_difference(time, event, np.repeat("low", 4), 20.0))


def test_what_cannot_be_meant_is_refused(refused):
    with refused("restricted_mean: tau is 0; give a time after 0"):
        restricted_mean(np.ones(2), np.ones(2), 0)
    with refused("groups are called 'low' and 'high', not medium"):
        restricted_mean_difference(np.ones(2), np.ones(2), np.array(["low", "medium"]), 1.0)
    with refused("group has length 1 and time 2"):
        restricted_mean_difference(np.ones(2), np.ones(2), np.array(["low"]), 1.0)


@given(seed=st.integers(0, 500))
def test_of_items_folds_are_pooled_and_repeats_averaged(random_items, seed):
    items = random_items("survival", seed)
    repeats = [part for _, part in items.frame.groupby("repeat")]
    expected = [restricted_mean_difference(p["time"], p["event"], p["risk_group"], 4.0) for p in repeats]
    np.testing.assert_allclose(get_metric("rmst_difference").fn(items), np.mean(expected))


def test_where_nobody_is_followed_for_any_time_of_items_there_is_none(random_items):
    items = random_items("survival", 0)
    nobody = Items(items.frame.assign(tau=0.0), "survival")
    metric = get_metric("rmst_difference")
    assert np.isnan(metric.fn(nobody))
    assert np.isnan(metric.resampled(nobody, np.ones((3, 9)))).all()
    assert "nobody is followed" in metric.undefined
