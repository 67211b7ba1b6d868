from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from mmcell.sensitivity.confounding import (
    GRID,
    MINIMUM_CELL,
    MINIMUM_TRAINING,
    Cells,
    Levels,
    average_drop,
    integrated_loss,
    sides,
)


def rarest(label, one):
    return min(int(((label == y) & (one == g)).sum()) for y in (0, 1) for g in (True, False))


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 40))
def test_the_division_of_batches_is_the_best_of_all(seed, n_batches, n):
    rng = np.random.default_rng(seed)
    label, batch = rng.integers(0, 2, n), rng.integers(0, n_batches, n).astype(str)
    names = sorted(set(batch))
    if len(names) < 2:
        return
    chosen = sides(label, batch)
    assert 0 < len(chosen) < len(names)
    best = max(rarest(label, np.isin(batch, some)) for k in range(1, len(names)) for some in combinations(names, k))
    assert rarest(label, np.isin(batch, chosen)) == best


def test_one_batch_cannot_be_divided(refused):
    with refused("of batch 'a'", "at least two"):
        sides(np.array([0, 1]), ["a", "a"])


@given(st.integers(5, 200))
def test_sizes_are_equal_whole_and_the_largest_that_fit(fewest):
    found = Levels.of(fewest)
    assert found.total % 4 == 0
    assert found.total >= MINIMUM_TRAINING
    assert max(found.larger) <= fewest
    assert found.larger[0] == found.total // 4
    assert found.v[0] == 0
    assert (np.diff(found.v) > 0).all()
    bigger = found.total + 4
    assert max(int(bigger * (1 + v) / 4 + 1e-9) for v in GRID) > fewest
    # Each of the grid is realised as nearly from below as whole units allow.
    for v in GRID:
        below = found.v[found.v <= v + 1e-9].max()
        assert v - below < 4 / found.total + 1e-9


@given(st.integers(7, 300), st.lists(st.integers(1, 95), max_size=8, unique=True))
def test_no_training_set_is_more_confounded_than_the_grid(fewest, percents):
    grid = (0.0, *sorted(p / 100 for p in percents))
    assert Levels.of(fewest, grid).v.max() <= max(grid) + 1e-9


def test_few_units_reach_less_confounding_than_the_grid_and_say_so():
    assert Levels.of(6).total == 12
    assert Levels.of(6).v == pytest.approx([0, 1 / 3, 2 / 3])


def test_training_sets_that_are_too_small_are_refused(refused):
    assert Levels.of(MINIMUM_CELL).total == MINIMUM_TRAINING
    with refused("4 units in a cell make training sets of 8", "at least 12"):
        Levels.of(MINIMUM_CELL - 1)
    with refused("training sets of 0"):
        Levels.of(0)


def units(n=90, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"u{i}" for i in range(n)]
    return pd.Series(rng.integers(0, 2, n), index=names), pd.Series(rng.choice(list("abc"), n), index=names)


@pytest.mark.parametrize("towards", [0, 1])
def test_a_training_set_has_the_confounding_the_size_and_the_margins_that_were_asked(towards):
    label, batch = units()
    cells = Cells.of(label, batch)
    assert cells.counts.sum() == 90
    levels = Levels.of(int(cells.counts.min()))
    group = batch.isin(sides(label, batch))
    for larger, v in zip(levels.larger, levels.v, strict=True):
        train = cells.draw(larger, levels.total, towards, np.random.default_rng(1))
        table = pd.crosstab(group[train], label[train]).reindex(index=[True, False], columns=[0, 1], fill_value=0)
        assert len(train) == levels.total
        assert train.is_unique
        assert (table.sum(0) == levels.total // 2).all()
        assert (table.sum(1) == levels.total // 2).all()
        assert association(table.to_numpy(), method="cramer") == pytest.approx(v)
        if v > 0:
            assert table.to_numpy()[0, 0] == (larger if towards == 0 else levels.total // 2 - larger)


def test_a_stronger_confounding_exchanges_few_units_and_the_generator_decides_which():
    label, batch = units()
    cells = Cells.of(label, batch)
    levels = Levels.of(int(cells.counts.min()))
    drawn = [set(cells.draw(k, levels.total, 0, np.random.default_rng(1))) for k in levels.larger]
    for one, two, a, b in zip(drawn, drawn[1:], levels.larger, levels.larger[1:], strict=False):
        assert len(one - two) == 2 * (b - a)
    assert drawn[0] != set(cells.draw(levels.larger[0], levels.total, 0, np.random.default_rng(2)))


def test_a_linear_fall_to_chance_loses_half_and_no_change_nothing():
    v = np.array(GRID)
    assert integrated_loss(0.9 - 0.4 * v / v[-1], v, 0.5) == pytest.approx(-0.5)
    assert integrated_loss(np.full(7, 0.8), v, 0.5) == 0
    assert integrated_loss(0.1 + 0.4 * v / v[-1], v, 0.5, higher_is_better=False) == pytest.approx(-0.5)


def test_without_skill_there_is_no_loss_and_nan_stays_nan():
    v = np.array([0.0, 0.5, 1.0])
    assert np.isnan(integrated_loss(np.array([0.5, 0.4, 0.3]), v, 0.5))
    assert np.isnan(integrated_loss(np.array([0.9, 0.8, 0.7]), v, 0.5, higher_is_better=False))
    assert np.isnan(integrated_loss(np.array([0.9, np.nan, 0.7]), v, 0.5))
    assert np.isnan(integrated_loss(np.array([0.9, 0.8, 0.7]), v, np.nan))
    assert np.isnan(average_drop(np.array([0.0, 0.4])))


@given(st.integers(0, 1000))
def test_the_loss_is_the_area_of_its_trapezoids(seed):
    rng = np.random.default_rng(seed)
    v = np.concatenate([[0.0], np.sort(rng.uniform(0.01, 1, 4))])
    scores = rng.uniform(0.6, 1, (5, 3))
    g = [(row.mean() - scores[0].mean()) / (scores[0].mean() - 0.5) for row in scores]
    area = sum((v[i + 1] - v[i]) * (g[i] + g[i + 1]) / 2 for i in range(4))
    assert integrated_loss(scores, v, 0.5) == pytest.approx(area / v[-1])
    drop = np.mean([np.mean([scores[s, i] / scores[0, i] - 1 for s in range(1, 5)]) for i in range(3)])
    assert average_drop(scores) == pytest.approx(drop)


def test_what_is_no_curve_is_refused(refused):
    with refused("one row per V"):
        integrated_loss(np.array([0.9]), np.array([0.0]), 0.5)
    with refused("one row per V"):
        integrated_loss(np.array([0.9, 0.8]), np.array([0.0, 0.5, 1.0]), 0.5)
    with refused("rise from 0"):
        integrated_loss(np.array([0.9, 0.8]), np.array([0.1, 0.5]), 0.5)
    with refused("rise from 0"):
        integrated_loss(np.array([0.9, 0.8, 0.7]), np.array([0.0, 0.5, 0.5]), 0.5)
    with refused("one row per V"):
        average_drop(np.array([0.9]))


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(20))
def test_over_zero_to_one_these_are_the_indices_of_croma(seed):
    croma = pytest.importorskip("croma")
    rng = np.random.default_rng(seed)
    v = np.concatenate([[0.0], np.sort(rng.uniform(0.05, 0.95, 5)), [1.0]])
    scores = rng.uniform(0.55, 1, (7, 4))
    assert integrated_loss(scores, v, 0.5) == pytest.approx(croma.nipd(scores, v, 0.5), abs=1e-12)
    assert average_drop(scores) == pytest.approx(croma.apd(scores), abs=1e-12)
