import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines.utils import concordance_index

from mmcell import Items, get_metric
from mmcell.metrics.survival import harrell_c, harrell_c_resampled

PATIENTS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 1), st.integers(-2, 2)), min_size=1, max_size=25
).map(lambda rows: tuple(np.array(rows).T))  # fmt: skip


def slow_pairs(time, event, risk, weights):
    """Comparable: one had the event while the other was known to be alive, or was censored at that very time."""
    won = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            outlived = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and outlived:
                w = weights[i] * weights[j]
                pairs += w
                won += w * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return won, pairs


def slow_c(time, event, risk, weights):
    won, pairs = slow_pairs(time, event, risk, weights)
    return won / pairs if pairs else np.nan


def comparable(time, event):
    return slow_pairs(time, event, time, np.ones(len(time)))[1] > 0


@given(PATIENTS)
def test_c_counts_comparable_pairs(data):
    np.testing.assert_allclose(harrell_c(*data), slow_c(*data, np.ones(len(data[0]))))


@given(PATIENTS)
def test_c_equals_lifelines_with_the_sign_turned(data):
    time, event, risk = data
    if comparable(time, event):
        np.testing.assert_allclose(harrell_c(time, event, risk), concordance_index(time, -risk, event))


@pytest.mark.oracle
@given(PATIENTS)
def test_c_equals_scikit_survival(data):
    metrics = pytest.importorskip("sksurv.metrics")
    time, event, risk = data
    if comparable(time, event):
        expected = metrics.concordance_index_censored(event.astype(bool), time, risk)[0]
        np.testing.assert_allclose(harrell_c(time, event, risk), expected)


@given(PATIENTS, st.integers(0, 99))
def test_weighted_c_counts_weighted_pairs(data, seed):
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(data[0])))
    np.testing.assert_allclose(harrell_c_resampled(*data, weights), [slow_c(*data, row) for row in weights])


def test_c_on_a_large_cohort_equals_lifelines():
    rng = np.random.default_rng(0)
    time, event, risk = rng.exponential(10, 800).round(1) + 0.1, rng.integers(0, 2, 800), rng.normal(size=800).round(1)
    np.testing.assert_allclose(harrell_c(time, event, risk), concordance_index(time, -risk, event))


@pytest.mark.parametrize(
    ("time", "event"),
    [([1, 2, 3], [0, 0, 0]), ([1, 1], [1, 1]), ([1, 2], [0, 1]), ([4], [1]), ([], [])],
    ids=["no event", "events at one time", "last one only", "one patient", "nobody"],
)
def test_c_without_a_comparable_pair_is_undefined(time, event):
    assert np.isnan(harrell_c(np.array(time), np.array(event), np.arange(len(time))))


def test_who_is_censored_at_the_time_of_an_event_outlives_it():
    assert harrell_c(np.array([2, 2]), np.array([1, 0]), np.array([1, 0])) == 1.0
    assert harrell_c(np.array([2, 2]), np.array([0, 1]), np.array([1, 0])) == 0.0


def test_high_risk_means_short_survival():
    assert harrell_c(np.array([1, 2, 3]), np.array([1, 1, 1]), np.array([3, 2, 1])) == 1.0


@given(PATIENTS)
def test_turning_the_risk_turns_c(data):
    time, event, risk = data
    total = harrell_c(time, event, risk) + harrell_c(time, event, -risk)
    np.testing.assert_allclose(total, 1.0 if comparable(time, event) else np.nan)


@given(PATIENTS, st.sampled_from([np.exp, np.arctan, lambda r: 5 * r - 2, lambda r: r**3]))
def test_a_monotone_transform_of_the_risk_leaves_c(data, transform):
    time, event, risk = data
    np.testing.assert_array_equal(harrell_c(time, event, transform(risk.astype(float))), harrell_c(*data))


@given(PATIENTS, st.sampled_from([np.log, np.sqrt, lambda t: 30.4 * t]))
def test_the_unit_of_time_does_not_matter(data, transform):
    time, event, risk = data
    np.testing.assert_array_equal(harrell_c(transform(time), event, risk), harrell_c(*data))


@given(PATIENTS, st.randoms(use_true_random=False))
def test_c_does_not_depend_on_the_order(data, random):
    order = list(range(len(data[0])))
    random.shuffle(order)
    np.testing.assert_allclose(harrell_c(*(values[order] for values in data)), harrell_c(*data))


@given(PATIENTS)
def test_weights_of_two_leave_c(data):
    np.testing.assert_allclose(harrell_c_resampled(*data, np.full((1, len(data[0])), 2))[0], harrell_c(*data))


@given(seed=st.integers(0, 999))
def test_pairs_are_pooled_over_folds_and_averaged_over_repeats(random_items, seed):
    items = random_items("survival", seed)
    repeats = []
    for _, repeat in items.frame.groupby("repeat"):
        folds = [f[["time", "event", "y_pred"]].to_numpy().T for _, f in repeat.groupby("fold")]
        won, pairs = np.sum([slow_pairs(*f, np.ones(f.shape[1])) for f in folds], axis=0)
        repeats.append(won / pairs if pairs else np.nan)
    np.testing.assert_allclose(get_metric("harrell_c").fn(items), np.mean(repeats))


def test_a_shift_between_folds_does_not_count(random_items):
    items = random_items("survival", seed=1)
    shifted = Items(items.frame.assign(y_pred=items.frame["y_pred"] + 10.0 * items.frame["fold"]), "survival")
    assert get_metric("harrell_c").fn(shifted) == get_metric("harrell_c").fn(items)


def test_inputs_are_not_mutated():
    arrays = [np.array([3.0, 1.0, 2.0]), np.array([1, 0, 1]), np.array([0.1, 0.3, 0.2]), np.ones((2, 3))]
    before = [a.copy() for a in arrays]
    harrell_c_resampled(*arrays)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
