import numpy as np
import pytest
from scipy.stats import ttest_ind

from mmcell.stats.contrasts import contrasts

RNG = np.random.default_rng


def cohort(n=40, m=6, shift=0.0, seed=0):
    rng = RNG(seed)
    y = np.arange(n) % 3 == 0
    x = rng.normal(size=(n, m))
    x[y, 0] += shift
    return x, y, [f"c{i}" for i in range(m)]


def test_the_effect_is_hedges_g():
    x, y, names = cohort(shift=1.0)
    found = contrasts(x, y, names, rng=RNG(0), n_boot=200, n_permutations=200)
    n, m = y.sum(), (~y).sum()
    t = ttest_ind(x[y], x[~y]).statistic
    expected = t * np.sqrt(1 / n + 1 / m) * (1 - 3 / (4 * (n + m) - 9))
    np.testing.assert_allclose(found["effect"], expected)
    assert (found["ci_low"] < found["effect"]).all()
    assert (found["effect"] < found["ci_high"]).all()


def test_what_was_planted_is_found_and_noise_is_not():
    x, y, names = cohort(n=80, m=20, shift=1.5)
    found = contrasts(x, y, names, rng=RNG(0), n_boot=200)
    assert found["q"].iloc[0] < 0.02
    assert (found["q"].iloc[1:] > 0.05).mean() > 0.9
    assert found["ci_low"].iloc[0] > 0.5


def test_p_is_uniform_without_an_effect():
    p = np.concatenate([contrasts(*cohort(seed=s), rng=RNG(s), n_boot=100, n_permutations=199)["p"] for s in range(30)])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


def test_a_batch_that_goes_with_the_group_is_no_effect_within_batches():
    rng = RNG(0)
    batch = np.repeat([0, 1], 40)
    y = rng.random(80) < np.where(batch == 1, 0.8, 0.2)
    x = (3.0 * batch + rng.normal(size=80))[:, None]
    free = contrasts(x, y, ["b"], rng=RNG(0), n_boot=100, n_permutations=500)
    within = contrasts(x, y, ["b"], strata=batch, rng=RNG(0), n_boot=100, n_permutations=500)
    assert free["p"].item() < 0.01
    assert within["p"].item() > 0.05


def test_what_does_not_vary_is_undefined_and_few_units_have_no_interval():
    x, y, names = cohort(n=9)
    x[:, 1] = 2.0
    found = contrasts(x, y, names, rng=RNG(0), n_boot=100, n_permutations=50)
    assert np.isnan(found.loc[1, ["effect", "p", "q", "ci_low"]].to_numpy(float)).all()
    assert found["reason"].tolist()[:2] == ["too few units for an interval", "does not vary within the groups"]
    assert found["ci_low"].isna().all()


def test_the_same_seed_gives_the_same_table_and_inputs_are_left_alone():
    x, y, names = cohort()
    before = x.copy()
    first = contrasts(x, y, names, rng=RNG(1), n_boot=100, n_permutations=100)
    assert first.equals(contrasts(x, y, names, rng=RNG(1), n_boot=100, n_permutations=100))
    np.testing.assert_array_equal(x, before)


def test_a_group_of_one_is_refused(refused):
    with refused("the groups have 1 and 3 units"):
        contrasts(np.ones((4, 1)), np.arange(4) == 0, ["a"], rng=RNG(0))
