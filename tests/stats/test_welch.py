import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_ind

from mmcell.stats.welch import FDR, differing


def of_sums(groups, base):
    """Return what `differing` finds from the sums of groups of rows."""
    mean, square = (
        np.array([f(rows) for rows in groups]) for f in (lambda r: r.mean(axis=0), lambda r: (r**2).sum(axis=0))
    )
    n = np.array([float(len(rows)) for rows in groups])
    return differing(mean, square, n, base.mean(axis=0), (base**2).sum(axis=0), float(len(base)))


@pytest.mark.parametrize("seed", range(20))
def test_features_differ_as_by_scipys_welch_test_and_benjamini_hochberg(seed):
    rng = np.random.default_rng(seed)
    shift = np.linspace(0, 4, 200)
    groups = [rng.normal(shift * k / 2, 1 + k, (5 + 6 * k, 200)) for k in range(3)]
    base = rng.normal(0, 2, (5, 200))
    p = np.array([ttest_ind(rows, base, equal_var=False).pvalue for rows in groups])
    np.testing.assert_array_equal(of_sums(groups, base), false_discovery_control(p, axis=1) <= FDR)


def test_what_does_not_vary_does_not_differ():
    rng = np.random.default_rng(0)
    group, base = rng.normal(5, 1, (20, 3)), rng.normal(0, 1, (20, 3))
    group[:, 0], base[:, 0] = 1.0, 1.0
    # Without spread on both sides there is no test, however far the two lie apart.
    group[:, 1], base[:, 1] = 2.0, 1.0
    assert of_sums([group], base).tolist() == [[False, False, True]]
