import numpy as np

from mmcell.proportions import floor_of, log_ratios
from tests.stratification.test_cohort import shares


def test_one_share_next_to_nothing_makes_nobody_an_outlier():
    values = shares().drop(columns="patient").to_numpy()
    spoilt = values.copy()
    spoilt[0, int(np.argmin(spoilt[0]))] = 1e-12
    one, two = (log_ratios(v, floor_of(v)) for v in (values, spoilt))
    np.testing.assert_allclose(one[1:], two[1:], atol=0.2)
    assert np.abs(two).max() < 6
    np.testing.assert_allclose(two.sum(axis=1), 0, atol=1e-9)


def test_a_table_without_zeros_is_compared_as_it_is():
    # A median of the patients' smallest shares would raise the rare type of half of them.
    rare = np.repeat([0.01, 0.04], 50)
    values = np.column_stack([rare, (1 - rare) * 0.5, (1 - rare) * 0.5])
    found = log_ratios(values, floor_of(values))
    logs = np.log(values)
    np.testing.assert_allclose(found, logs - logs.mean(axis=1, keepdims=True))
