from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from mmcell.metrics.kaplan_meier import median_time
from mmcell.metrics.survival import kaplan_meier

ROWS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=20
).map(lambda rows: tuple(np.array(rows).T))  # fmt: skip


@given(ROWS)
def test_it_equals_lifelines_with_numbers_at_risk(rows):
    time, event, weights = rows
    fitted = KaplanMeierFitter().fit(time, event)
    found = kaplan_meier(time, event)
    np.testing.assert_allclose(found.survival, fitted.survival_function_at_times(found.times))
    table = fitted.event_table.loc[found.times]
    np.testing.assert_array_equal(found.at_risk, table["at_risk"])
    np.testing.assert_array_equal(found.events, table["observed"])
    again, weighted = kaplan_meier(time.repeat(weights), event.repeat(weights)), kaplan_meier(time, event, weights)
    grid = np.linspace(0, 8, 17)
    np.testing.assert_allclose(weighted.at(grid), again.at(grid))
    np.testing.assert_array_equal(weighted.n_at_risk(grid), again.n_at_risk(grid))


def test_between_times_it_keeps_its_value_and_numbers_at_risk_are_those_just_before():
    found = kaplan_meier(np.array([2.0, 4.0, 4.0, 7.0]), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(found.at([0, 1.9, 2, 3, 4, 99]), [1, 1, 0.75, 0.75, 0.5, 0.5])
    np.testing.assert_array_equal(found.n_at_risk([0, 2, 2.1, 4, 7, 7.1]), [4, 4, 3, 3, 1, 0])


def test_a_competing_event_is_no_event():
    time = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        kaplan_meier(time, np.array([2, 1, 0])).survival, kaplan_meier(time, np.array([0, 1, 0])).survival
    )


def test_nobody_leaves_a_curve_of_ones():
    assert kaplan_meier(np.empty(0), np.empty(0)).at([3.0]) == [1.0]
    assert kaplan_meier(np.empty(0), np.empty(0)).n_at_risk([3.0]) == [0.0]


def test_what_does_not_fit_is_refused(refused):
    with refused("kaplan_meier: event is NaN for 1 of 2"):
        kaplan_meier(np.ones(2), np.array([1, np.nan]))
    with refused("weights have the shape (1, 3); give (draws, 2)"):
        kaplan_meier(np.ones(2), np.ones(2), np.ones(3))
    with pytest.raises(AttributeError):
        kaplan_meier(np.ones(2), np.ones(2)).times = np.ones(1)


def exact_median(time, event):
    """Return the median in fractions: a slow, obvious twin."""
    left = Fraction(1)
    for moment in sorted(set(time)):
        at_risk, died = int((time >= moment).sum()), int(((time == moment) & (event == 1)).sum())
        left *= 1 - Fraction(died, at_risk)
        if left <= Fraction(1, 2):
            return moment
    return float("nan")


def test_the_median_is_exact_with_ties_and_lifelines_but_for_its_rounding():
    rng, apart = np.random.default_rng(0), 0
    for _ in range(300):
        n = rng.integers(1, 25)
        time, event = rng.integers(1, 8, n).astype(float), (rng.random(n) < 0.5).astype(int)
        found = median_time(time, event)
        np.testing.assert_equal(found, exact_median(time, event))
        theirs = KaplanMeierFitter().fit(time, event).median_survival_time_
        apart += not (found == theirs or (np.isnan(found) and np.isinf(theirs)))
    # Where half of the patients are left, the product of their factors may be a rounding above it.
    assert apart < 12
