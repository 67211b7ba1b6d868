from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell import Items, Metric, get_metric, list_metrics
from mmcell.metrics.base import checked, checked_probability, mean_of, n_units, weighted_mean

PAIRS = [(name, kind) for name in list_metrics() for kind in get_metric(name).kinds]
FAST = [(name, kind) for name, kind in PAIRS if get_metric(name).resampled is not None]
SEEDS = st.integers(0, 10_000)
each = pytest.mark.parametrize(("name", "kind"), PAIRS)
# Each of these runs for every metric and kind.
settings.register_profile("each", parent=settings.get_profile("mmcell"), max_examples=12)
few = settings(settings.get_profile("each"))


def random_weights(seed, n_draws, n):
    """Draws of a bootstrap, one in which nobody occurs, one in which a single unit does."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), n_draws)
    weights[0] = 0
    weights[1] = 3 * (np.arange(n) == 0)
    return weights


@pytest.mark.parametrize(("name", "kind"), FAST)
@few
@given(seed=SEEDS, n_folds=st.integers(1, 3), n_repeats=st.integers(1, 3))
def test_the_fast_path_equals_resampling_the_items(random_items, name, kind, seed, n_folds, n_repeats):
    metric = get_metric(name)
    items = random_items(kind, seed, n_units=7, n_folds=n_folds, n_repeats=n_repeats)
    weights = random_weights(seed, 8, 7)
    fast = metric.draws(items, weights)
    slow = replace(metric, resampled=None).draws(items, weights)
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-12)
    assert np.isnan(fast[0])


@pytest.mark.parametrize(("name", "kind"), FAST)
@few
@given(seed=SEEDS)
def test_the_fast_path_equals_resampling_where_units_are_missing_from_folds_and_repeats(random_items, name, kind, seed):
    metric, whole = get_metric(name), random_items(kind, seed, n_units=7, n_folds=2, n_repeats=3)
    rng = np.random.default_rng(seed)
    absent = pd.DataFrame({"unit": whole.frame["unit"], "repeat": whole.frame["repeat"]}).drop_duplicates()
    absent = pd.MultiIndex.from_frame(absent.sample(frac=0.4, random_state=seed))
    keep = ~pd.MultiIndex.from_frame(whole.frame[["unit", "repeat"]]).isin(absent)
    items = whole.where(keep)
    weights = random_weights(seed, 8, len(items.units))
    weights[2:5] *= rng.integers(0, 2, (3, len(items.units)))
    slow = replace(metric, resampled=None).draws(items, weights)
    np.testing.assert_allclose(metric.draws(items, weights), slow, rtol=1e-12, atol=1e-12)


def test_every_shipped_metric_with_an_interval_has_a_fast_path():
    assert [(name, kind) for name, kind in PAIRS if get_metric(name).interval] == FAST


@each
@few
@given(seed=SEEDS)
def test_the_estimate_is_the_draw_in_which_everybody_occurs_once(random_items, name, kind, seed):
    metric, items = get_metric(name), random_items(kind, seed)
    np.testing.assert_allclose(metric.draws(items, np.ones((1, len(items.units)), dtype=int))[0], metric.fn(items))


@each
@few
@given(seed=SEEDS)
def test_the_order_of_the_rows_does_not_matter(random_items, name, kind, seed):
    metric, items = get_metric(name), random_items(kind, seed)
    turned = Items(items.frame.sample(frac=1, random_state=seed), kind, items.arrays)
    weights = random_weights(seed, 4, len(items.units))
    np.testing.assert_allclose(metric.fn(turned), metric.fn(items))
    np.testing.assert_allclose(metric.draws(turned, weights), metric.draws(items, weights))


@each
@few
@given(seed=SEEDS)
def test_the_names_of_the_units_do_not_matter(random_items, name, kind, seed):
    metric, items = get_metric(name), random_items(kind, seed)
    new = np.random.default_rng(seed).permutation(len(items.units))
    renamed = Items(items.frame.assign(unit=[f"p{new[c]}" for c in items.codes]), kind, items.arrays)
    weights = random_weights(seed, 4, len(items.units))
    moved = np.empty_like(weights)
    moved[:, new] = weights
    np.testing.assert_allclose(metric.fn(renamed), metric.fn(items))
    np.testing.assert_allclose(metric.draws(renamed, moved), metric.draws(items, weights))


@each
@few
@given(seed=SEEDS)
def test_duplicating_every_unit_leaves_the_estimate(random_items, name, kind, seed):
    metric, items = get_metric(name), random_items(kind, seed)
    twice = np.full(len(items.units), 2)
    # A metric of pairs of cells counts a cell and its copy as one more pair.
    expected = metric.fn(items.resample(twice) if name == "ari" else items)
    np.testing.assert_allclose(metric.draws(items, twice[None])[0], expected)


@each
def test_inputs_are_not_mutated(random_items, name, kind):
    metric, items = get_metric(name), random_items(kind)
    weights = random_weights(0, 4, len(items.units))
    frame, before = items.frame.copy(), weights.copy()
    metric.fn(items)
    metric.draws(items, weights)
    metric.chance_of(items)
    assert items.frame.equals(frame)
    np.testing.assert_array_equal(weights, before)


@each
@few
@given(seed=SEEDS)
def test_values_and_chance_lie_within_the_bounds(random_items, name, kind, seed):
    metric, items = get_metric(name), random_items(kind, seed)
    low, high = metric.bounds
    draws = metric.draws(items, random_weights(seed, 6, len(items.units)))
    assert np.all(np.isnan(draws) | ((draws >= low - 1e-12) & (draws <= high + 1e-12)))
    chance = metric.chance_of(items)
    assert metric.chance is None or np.isnan(chance) or low <= chance <= high


def test_draws_do_not_depend_on_how_many_there_are(random_items):
    metric, items = get_metric("auroc"), random_items("binary")
    weights = random_weights(0, 150, len(items.units))
    np.testing.assert_array_equal(metric.draws(items, weights)[100:], metric.draws(items, weights[100:]))


def test_a_missing_number_is_refused(refused):
    with refused("mine: score is NaN for 1 of 2 items"):
        checked("mine", y=np.array([1, 0]), score=np.array([np.nan, 1.0]))
    with refused("mine: score has length 3 and y 2"):
        checked("mine", y=np.array([1, 0]), score=np.ones(3))


def test_what_is_no_probability_is_counted_and_the_first_named(refused):
    with refused("mine: p is no probability for 2 items (first: 1.5)"):
        checked_probability("mine", y=np.zeros(4), p=np.array([1.0, 1.5, 0.0, -1.0]))


def test_weighted_means_keep_further_axes():
    values, weights = np.arange(6.0).reshape(3, 2), np.array([[1, 0, 1], [0, 0, 0], [2, 1, 0]])
    np.testing.assert_allclose(weighted_mean(values, weights), [[2, 3], [np.nan, np.nan], [2 / 3, 5 / 3]])
    np.testing.assert_allclose(weighted_mean(values[:, 1], weights), [3, np.nan, 5 / 3])


def test_a_mean_of_items_is_weighted_by_unit():
    items = Items(pd.DataFrame({"item": list("abc"), "unit": ["u", "u", "v"], "y_pred": [1.0, 3.0, 8.0]}), "regression")
    fn, fast = mean_of(lambda items: items.column("y_pred"))
    assert fn(items) == 4.0
    np.testing.assert_allclose(fast(items, np.array([[1, 0], [0, 1], [1, 2], [0, 0]])), [2, 8, 5, np.nan])


def test_metrics_say_what_they_read():
    assert get_metric("batch_auroc").reads("binary", "batch=south")
    assert not get_metric("batch_auroc").reads("binary", "label")
    assert not get_metric("auroc").reads("survival", "label")
    assert get_metric("macro_f1").reads("multiclass", "cell_type")


def test_a_metric_is_left_out_where_a_column_that_it_needs_is_missing():
    uno = get_metric("uno_c")
    assert uno.reads("survival", "outcome")
    assert uno.reads("survival", "outcome", ["item", "ipcw"])
    assert not uno.reads("survival", "outcome", ["item", "time"])
    assert not uno.reads("binary", "label", ["item", "ipcw"])
    assert get_metric("harrell_c").reads("survival", "outcome", [])


def test_leaks_and_errors_are_better_low():
    low = {name for name in list_metrics() if not get_metric(name).higher_is_better}
    assert low == {
        "batch_predictability", "batch_auroc", "batch_variance", "brier", "brier@horizon",
        "calibration_intercept_error", "calibration_slope_error", "connectivity", "connectivity_p", "disease_p",
        "energy_distance", "foscttm", "ibs", "ici", "layout_ap", "median_rank", "reversal_p", "severity_p",
    }  # fmt: skip


def test_what_is_no_share_has_the_bounds_of_its_formula():
    others = {
        (-1, 1): "added_c ari connectivity feature_pearson layout_ap normalised_ap pearson_delta "
        "pearson_delta_perturbed severity_spearman spearman",
        (0, np.inf): "brier@horizon calibration_intercept_error calibration_slope_error ibs strong_enrichment",
        (-np.inf, np.inf): "energy_distance enrichment@1 enrichment@10 enrichment@5 rmst_difference",
        (-np.inf, 1): "feature_r2 net_benefit",
    }
    of = {name: get_metric(name).bounds for name in list_metrics()}
    assert {name: b for name, b in of.items() if b != (0, 1)} == {
        n: b for b, all_ in others.items() for n in all_.split()
    }


def test_a_metric_needs_no_chance(random_items):
    assert np.isnan(Metric("mine", lambda _: 1.0).chance_of(random_items("binary")))


def test_a_metric_is_returned_as_it_is():
    mine = Metric("mine", lambda _: 1.0)
    assert get_metric(mine) is mine


def test_a_registered_metric_has_its_own_name():
    assert [get_metric(name).name for name in list_metrics()] == list_metrics()


def test_a_mistyped_metric_gets_a_hint(refused):
    with refused("unknown metric 'auroce'", "did you mean auroc"):
        get_metric("auroce")


def test_sizes_count_units(random_items):
    binary, survival = random_items("binary"), random_items("survival")
    of_class = binary.frame.groupby("y_true")["unit"].nunique()
    assert get_metric("auroc").size(binary) == of_class.min()
    assert get_metric("harrell_c").size(survival) == survival.frame.query("event == 1")["unit"].nunique()
    assert n_units(binary) == 9
