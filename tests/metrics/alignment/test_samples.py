import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.alignment import sample_retrieval
from tests.metrics.alignment.worlds import rotation, world


def slow_retrieval(x, state, study):
    hit, chance = [], []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if study[j] != study[i] and state[j] is not None]
        if state[i] is None or not others:
            hit.append(np.nan)
            chance.append(np.nan)
            continue
        away = [((x[i] - x[j]) ** 2).sum() for j in others]
        best = [state[j] == state[i] for j, a in zip(others, away, strict=True) if a == min(away)]
        hit.append(np.mean(best))
        chance.append(np.mean([state[j] == state[i] for j in others]))
    return np.array(hit), np.array(chance)


@given(st.integers(0, 9999), st.sampled_from([None, 1.0, 4.0]), st.integers(2, 4), st.booleans())
def test_it_is_that_of_a_loop(seed, grid, n_studies, gaps):
    x, study, state = world(seed, n=30, d=2, n_batches=n_studies, grid=grid)
    state = state.astype(object)
    if gaps:
        state[::4] = None
    if len(set(study)) < 2:
        return
    found = sample_retrieval(x, state, study)
    hit, chance = slow_retrieval(x, state, study)
    np.testing.assert_allclose(found.hit, hit)
    np.testing.assert_allclose(found.chance, chance)
    assert found.value == pytest.approx(np.nanmean(hit))
    assert found.expected == pytest.approx(np.nanmean(chance))


@given(st.integers(0, 999))
def test_names_rotation_and_order_change_nothing(seed):
    x, study, state = world(seed, n=40)
    order = np.random.default_rng(seed).permutation(40)
    renamed = np.array([9 - int(name[1]) for name in study])
    moved = sample_retrieval((x @ rotation(4, seed))[order], state[order], renamed[order])
    np.testing.assert_array_equal(moved.hit, sample_retrieval(x, state, study).hit[order])


def test_equal_points_are_at_chance():
    _, study, state = world(0)
    found = sample_retrieval(np.full((120, 2), 0.1), state, study)
    np.testing.assert_allclose(found.hit, found.chance)


def test_chance_is_what_a_random_embedding_reaches():
    _, study, state = world(0, n=2000)
    found = sample_retrieval(np.random.default_rng(1).normal(size=(2000, 5)), state, study)
    assert found.value == pytest.approx(found.expected, abs=0.04)


def test_what_cannot_be_scored(refused):
    x, study, state = world(0, n=40)
    lonely = sample_retrieval(x, np.where(study == "b0", "only here", state), study)
    assert (lonely.hit[study == "b0"] == 0).all()
    assert (lonely.chance[study == "b0"] == 0).all()
    one = sample_retrieval(x, np.where(study == "b0", state, None), study)
    assert np.isnan(one.value)
    assert np.isnan(one.expected)
    with refused("all cells are of 's'"):
        sample_retrieval(x, state, ["s"] * 40)
    with refused("state: 39 values"):
        sample_retrieval(x, state[1:], study)
