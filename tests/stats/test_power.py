import numpy as np
import pytest
import scipy.stats

from mmcell.stats import minimum_detectable_effect


def test_it_is_28_standard_errors():
    assert minimum_detectable_effect(0.1) == pytest.approx(0.28016, rel=1e-4)


def test_a_z_test_finds_it_as_often_as_said():
    for power, alpha in ((0.8, 0.05), (0.9, 0.01)):
        effect = minimum_detectable_effect(0.3, power=power, alpha=alpha)
        critical = scipy.stats.norm.isf(alpha / 2)
        assert scipy.stats.norm.sf(critical - effect / 0.3) == pytest.approx(power)


def test_draws_give_their_standard_error():
    draws = np.random.default_rng(0).normal(0.4, 0.05, 1000)
    expected = minimum_detectable_effect(draws.std(ddof=1))
    assert minimum_detectable_effect(draws) == pytest.approx(expected)
    assert minimum_detectable_effect(np.append(draws, [np.nan] * 9)) == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.0, np.nan, np.zeros(50), np.full(50, 0.3), np.full(9, np.nan), [1.0], []])
def test_without_spread_there_is_none(spread):
    assert np.isnan(minimum_detectable_effect(spread))


@pytest.mark.parametrize("option", [{"power": 1.0}, {"power": 0}, {"alpha": 0.0}, {"alpha": 5}])
def test_a_share_is_a_share(refused, option):
    with refused(f"{next(iter(option))} is", "between 0 and 1"):
        minimum_detectable_effect(0.1, **option)
