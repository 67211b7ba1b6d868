import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from mmcell.metrics.censoring import Censoring, common_tau

PATIENTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1)), min_size=1, max_size=25).map(
    lambda rows: tuple(np.array(rows).T)
)


def slow(time, event, t, *, strict):
    """G by its definition: who has the event at a time is gone before anybody is censored at that time."""
    g = 1.0
    for u in sorted(set(time)):
        if u < t or (u == t and not strict):
            left = sum(time[i] == u and not event[i] for i in range(len(time)))
            watched = sum(time[i] > u or (time[i] == u and not event[i]) for i in range(len(time)))
            g *= 1 - left / watched if left else 1.0
    return g


@given(PATIENTS)
def test_it_is_the_product_over_times_of_censoring(data):
    fitted = Censoring.fit(*data)
    at = np.arange(0, fitted.last + 0.25, 0.5)
    np.testing.assert_allclose(fitted.at(at), [slow(*data, t, strict=False) for t in at], atol=1e-12)
    np.testing.assert_allclose(fitted.before(at), [slow(*data, t, strict=True) for t in at], atol=1e-12)


@given(PATIENTS)
def test_it_is_lifelines_estimate_of_the_time_to_censoring(data):
    time, event = data
    # lifelines lets nobody leave before an event at the same time, so censoring is moved behind it.
    turned = KaplanMeierFitter().fit(time + 0.25 * (1 - event), 1 - event)
    at = np.unique(time)
    np.testing.assert_allclose(Censoring.fit(time, event).at(at), np.ravel(turned.predict(at + 0.25)), atol=1e-9)


@pytest.mark.oracle
@given(PATIENTS)
def test_it_equals_scikit_survival(data):
    nonparametric, util = pytest.importorskip("sksurv.nonparametric"), pytest.importorskip("sksurv.util")
    time, event = data
    if event.any():
        outcome = util.Surv.from_arrays(event > 0, time.astype(float))
        oracle = nonparametric.CensoringDistributionEstimator().fit(outcome)
        np.testing.assert_allclose(Censoring.fit(time, event).at(time), oracle.predict_proba(time.astype(float)))


def test_beyond_the_last_training_time_nothing_is_known():
    fitted = Censoring.fit([2, 3, 5], [1, 0, 1])
    np.testing.assert_allclose(fitted.at([1, 2, 3, 5, 5.1]), [1, 1, 0.5, 0.5, np.nan])
    np.testing.assert_allclose(fitted.before([1, 2, 3, 5, 5.1]), [1, 1, 1, 0.5, np.nan])


@pytest.mark.parametrize(
    ("time", "event", "tau"),
    [
        (np.arange(1, 11), np.zeros(10), 9),
        (np.arange(1, 11), np.ones(10), 10),
        (np.arange(1, 12), np.zeros(11), 9),
        ([3, 3], [0, 0], 0),
        ([3, 4, 4], [0, 0, 1], 3),
    ],
    ids=["a tenth left", "nobody censored", "less than a tenth left", "all at once", "nobody left"],
)
def test_tau_is_the_last_time_at_which_a_tenth_is_under_observation(time, event, tau):
    assert Censoring.fit(time, event).tau == tau


def test_a_common_tau_holds_in_every_fold():
    folds = [(np.arange(1, 11), np.ones(10)), (np.arange(1, 11), np.zeros(10)), (np.arange(2, 30), np.ones(28))]
    assert common_tau(folds) == 9


def test_weights_end_at_tau():
    fitted = Censoring.fit([1, 2, 3, 4], [0, 1, 0, 1])
    np.testing.assert_allclose(fitted.ipcw([1, 2, 3, 4], 4), [1, (4 / 3) ** 2, (4 / 3) ** 2, 0])
    np.testing.assert_allclose(fitted.ipcw([1, 2, 3, 4], 2), [1, 0, 0, 0])


def test_nobody_to_estimate_it_from(refused):
    with refused("censoring: no training patients"):
        Censoring.fit([], [])
    with refused("train_time is NaN for 1 of 2"):
        Censoring.fit([1, np.nan], [0, 1])
