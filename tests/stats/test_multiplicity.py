from itertools import combinations
from string import ascii_lowercase

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mmcell.stats.multiplicity import adjusted, draws_for, letters, out_of_reach

P = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array)


@given(P)
def test_bh_is_scipys(p):
    np.testing.assert_allclose(adjusted(p, "bh"), scipy.stats.false_discovery_control(p), atol=1e-12)


@given(P)
def test_holm_steps_down(p):
    expected = [min(1.0, max((p >= q).sum() * q for q in p if q <= own)) for own in p]
    np.testing.assert_allclose(adjusted(p, "holm"), expected, atol=1e-12)


def test_an_undefined_p_stays_undefined_and_counts_for_nothing():
    found = adjusted(np.array([0.01, np.nan, 0.04]), "holm")
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04])


@given(data=st.data(), n=st.integers(1, 7))
def test_a_letter_is_shared_exactly_by_those_not_told_apart(data, n):
    names = [f"m{i}" for i in range(n)]
    apart = set(data.draw(st.lists(st.sampled_from(list(combinations(names, 2))), unique=True))) if n > 1 else set()
    found = letters(names, apart)
    for pair in combinations(names, 2):
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in apart)


def test_the_best_has_the_first_letter():
    assert letters(["x", "y", "z"], {("z", "x")}) == {"x": "a", "y": "ab", "z": "b"}


def test_after_z_letters_have_a_prime():
    names = [f"m{i:02d}" for i in range(28)]
    assert list(letters(names, set(combinations(names, 2))).values()) == [*ascii_lowercase, "a'", "b'"]


def test_only_two_adjustments_are_known(refused):
    with refused("adjust is 'fdr'", "'holm' or 'bh'"):
        adjusted(np.array([0.1]), "fdr")


@pytest.mark.parametrize(("pairs", "draws"), [(1, 1000), (25, 1000), (66, 2640), (250, 10_000), (4950, 10_000)])
def test_there_are_enough_draws_that_a_p_can_be_small_after_adjustment(pairs, draws):
    assert draws_for(pairs) == draws
    smallest = adjusted(np.array([1 / (draws + 1), *[1.0] * (pairs - 1)]), "holm")[0]
    assert out_of_reach(pairs, draws) == (smallest > 0.05) == (pairs == 4950)
