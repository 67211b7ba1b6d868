from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmcell import Items, Metric, get_metric
from mmcell.metrics.base import mean_of
from mmcell.stats.bootstrap import bootstrap, degrees_of_freedom, folded, interval, score_interval

AUROC = get_metric("auroc")
_fn, _fast = mean_of(lambda items: items.column("y_pred").astype(float))
MEAN = Metric("mean", _fn, resampled=_fast)


def binary(n=30, seed=0, *, y=None, score=None):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2) if y is None else np.asarray(y)
    score = rng.normal(y, 1.0) if score is None else score
    names = [f"u{i:03d}" for i in range(len(y))]
    return Items(pd.DataFrame({"item": names, "unit": names, "y_true": y, "y_pred": score}), "binary")


def one(items, metric=AUROC, **options):
    return bootstrap(items, [metric], **options)[metric.name]


def test_the_estimate_is_that_of_the_items_not_the_mean_of_the_draws():
    items = binary()
    found = one(items)
    assert found.value == AUROC.fn(items)
    assert found.value != found.draws.mean()
    assert (found.n_items, found.n_units, found.n_undefined) == (30, 30, 0)


def test_a_draw_is_the_metric_of_the_units_drawn():
    items = binary(12)
    weights = items.units.bootstrap(100, 3)
    expected = [AUROC.fn(items.resample(row)) for row in weights]
    np.testing.assert_allclose(one(items, n_boot=100, seed=3).draws, expected)


def test_the_jackknife_leaves_units_out():
    items = binary(12)
    expected = [AUROC.fn(items.resample(row)) for row in items.units.jackknife()]
    np.testing.assert_allclose(one(items).jackknife, expected)


def test_bca_agrees_with_scipy():
    values = np.random.default_rng(5).exponential(size=40)
    found = one(binary(y=np.arange(40) % 2, score=values), MEAN, n_boot=10000)
    # scipy's has normal quantiles: ask it for the level that Student's stand for.
    df = degrees_of_freedom(values - values.mean())
    level = 2 * scipy.stats.norm.cdf(scipy.stats.t.ppf(0.975, df)) - 1
    oracle = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10000, method="BCa", confidence_level=level, rng=np.random.default_rng(0)
    )
    spread = values.std() / np.sqrt(40)
    np.testing.assert_allclose([found.low, found.high], oracle.confidence_interval, atol=0.1 * spread)
    assert found.method == "bca"


def test_degrees_of_freedom_count_the_units_that_matter():
    rng = np.random.default_rng(0)
    even = rng.normal(size=20000)
    assert degrees_of_freedom(even) == pytest.approx(20000, rel=0.05)
    assert degrees_of_freedom(np.where(np.arange(20000) < 20, even, 0.0)) < 40
    assert degrees_of_freedom(np.array([1.0, -1.0, 1.0, -1.0])) == np.inf
    assert degrees_of_freedom(np.zeros(5)) == np.inf
    assert degrees_of_freedom(np.array([1.0] + [0.0] * 99)) >= 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.sampled_from([1e-9, 1e-3, 1e3, 1e9]))
def test_degrees_of_freedom_know_no_unit_of_measurement(values, scale):
    gaps = np.array(values) - np.mean(values)
    assume(np.ptp(gaps) > 1e-3)
    assert degrees_of_freedom(scale * gaps) == pytest.approx(degrees_of_freedom(gaps), rel=1e-3)


@given(st.integers(0, 999))
def test_bca_is_that_of_a_loop_over_draws_with_ties(seed):
    rng = np.random.default_rng(seed)
    value, draws, left_out = 2.0, rng.integers(0, 5, 60) / 1.0, rng.normal(size=12)
    assume(draws.min() < value < draws.max())
    gaps = [left_out.mean() - one for one in left_out]
    a = sum(g**3 for g in gaps) / (6 * sum(g**2 for g in gaps) ** 1.5)
    z0 = scipy.stats.norm.ppf(np.mean([1.0 if d < value else 0.5 if d == value else 0.0 for d in draws]))
    ends = []
    for tail in (0.025, 0.975):
        z = z0 + scipy.stats.t.ppf(tail, degrees_of_freedom(np.array(gaps)))
        assume(a * z < 1)
        ends.append(np.quantile(draws, scipy.stats.norm.cdf(z0 + z / (1 - a * z))))
    assert interval(value, draws, left_out) == (pytest.approx(ends[0]), pytest.approx(ends[1]), "bca")


@given(st.floats(-2, 2), st.floats(0, 2))
def test_a_folded_interval_holds_the_sizes_of_what_it_held(low, width):
    sizes = np.abs(np.append(np.linspace(low, low + width, 2001), 0.0 if low <= 0 <= low + width else low))
    np.testing.assert_allclose(folded(low, low + width), [sizes.min(), sizes.max()])


def test_an_acceleration_beyond_the_pole_ends_at_the_most_extreme_draw():
    draws = np.linspace(-1, 1, 1001)
    low, high, how = interval(0.998, draws, -np.array([10.0] + [0.0] * 9))
    assert how == "bca"
    assert high == 1.0
    assert -1 < low < 0.998


def test_percentiles_on_request():
    found = one(binary(), method="percentile")
    np.testing.assert_allclose([found.low, found.high], np.quantile(found.draws, [0.025, 0.975]))
    assert found.method == "percentile"
    assert (found.low, found.high) != (one(binary()).low, one(binary()).high)


def test_bca_falls_back_to_percentiles_and_says_so():
    draws = np.linspace(0, 1, 200)
    low, high, how = interval(2.0, draws, np.array([1.9, 2.0, 2.1]))
    assert how == "percentile"
    np.testing.assert_allclose([low, high], np.quantile(draws, [0.025, 0.975]))


@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_the_interval_is_ordered_and_inside_the_bounds(seed):
    found = one(binary(20, seed), n_boot=200)
    assert 0 <= found.low <= found.high <= 1


def test_metrics_and_encoders_share_their_draws():
    items = binary()
    double = replace(AUROC, name="double", fn=lambda i: 2 * AUROC.fn(i), resampled=lambda i, w: 2 * AUROC.draws(i, w))
    both = bootstrap(items, [AUROC, double], n_boot=200)
    np.testing.assert_array_equal(both["double"].draws, 2 * both["auroc"].draws)
    turned = Items(items.frame.assign(y_pred=-items.frame["y_pred"]), "binary")
    np.testing.assert_allclose(one(turned, n_boot=200).draws, 1 - both["auroc"].draws)


def test_the_order_of_rows_decides_nothing():
    items = binary()
    turned = Items(items.frame.iloc[::-1], "binary")
    a, b = one(items, n_boot=200), one(turned, n_boot=200)
    np.testing.assert_allclose([a.value, a.low, a.high], [b.value, b.low, b.high])


def test_cells_are_resampled_with_their_donor():
    frame = pd.concat([binary(12).frame.assign(item=lambda f, k=k: f["item"] + f"-{k}") for k in range(50)])
    many, few = one(Items(frame, "binary")), one(binary(12))
    np.testing.assert_allclose([many.low, many.high], [few.low, few.high])
    assert (many.n_items, many.n_units) == (600, 12)


@pytest.mark.parametrize(
    ("n", "status", "piece"),
    [(9, "too_few_units", "9 units"), (10, "ok", "10 units: read"), (19, "ok", "19 units: read")],
)
def test_few_units_are_said(n, status, piece):
    found = one(binary(n, 1))
    assert found.status == status
    assert piece in found.reason
    assert np.isfinite(found.value)
    assert np.isnan(found.low) == (n < 10)


def test_enough_units_need_no_remark():
    assert one(binary(20, 1)).reason == ""


def test_a_perfect_score_gets_a_one_sided_interval():
    y = np.arange(42) < 12
    found = one(binary(y=y.astype(int), score=y + 0.0))
    assert (found.value, found.high, found.status, found.method) == (1.0, 1.0, "boundary", "score")
    wilson = scipy.stats.binomtest(12, 12).proportion_ci(0.90, method="wilson")
    assert found.low == pytest.approx(wilson.low)
    # The smaller class carries it on both levels.
    assert found.two_sided[0] == pytest.approx(scipy.stats.binomtest(12, 12).proportion_ci(0.95, method="wilson").low)


@given(n=st.integers(1, 500))
def test_the_score_interval_is_wilsons(n):
    for value, successes in ((1.0, n), (0.0, 0)):
        wilson = scipy.stats.binomtest(successes, n).proportion_ci(0.90, method="wilson")
        np.testing.assert_allclose(score_interval(value, (0.0, 1.0), n), [wilson.low, wilson.high], atol=1e-9)


def test_a_constant_prediction_is_at_chance_and_has_no_interval():
    found = one(binary(score=np.zeros(30)))
    assert (found.value, found.status, found.method) == (0.5, "ok", "")
    assert np.isnan([found.low, found.high]).all()
    assert "no draw differs" in found.reason


def test_one_class_is_undefined_with_its_reason():
    found = one(binary(y=np.ones(30, int)))
    assert found.status == "undefined"
    assert "one class only (1)" in found.reason
    assert np.isnan([found.value, found.low, found.high]).all()


def test_no_interval_from_the_lucky_draws():
    found = one(binary(y=(np.arange(30) == 0).astype(int)))
    assert np.isnan(found.low)
    assert 250 < found.n_undefined < 450
    assert f"undefined in {found.n_undefined} of 1000 draws" in found.reason


def test_some_undefined_draws_are_counted():
    found = one(binary(y=(np.arange(30) < 3).astype(int), seed=2))
    assert np.isfinite(found.low)
    assert f"undefined in {np.isnan(found.draws).sum()} of 1000 draws" in found.reason


def test_too_few_draws_are_refused(refused):
    with refused("n_boot is 99", "at least 100"):
        one(binary(), n_boot=99)


def test_an_item_without_unit_is_refused(refused):
    frame = binary().frame
    frame.loc[3, "unit"] = None
    with refused("1 of them have no unit (u003)"):
        one(Items(frame, "binary"))


def test_draws_of_an_absolute_error_that_leave_the_value_out_are_no_interval():
    size = Metric("size", lambda items: abs(_fn(items)), False, resampled=lambda items, w: np.abs(_fast(items, w)))
    score = np.random.default_rng(0).normal(size=40)
    found = one(binary(40, score=score - score.mean()), size)
    assert found.status == "ok"
    assert np.isnan([found.low, found.high]).all()
    assert "no interval: the draws lie to one side of the value" in found.reason
    away = one(binary(40, score=score + 1.0), size)
    assert away.low <= away.value <= away.high
