import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from mmcell.metrics.alignment import (
    clisi,
    clisi_of_cells,
    ilisi,
    ilisi_mixed,
    ilisi_of_cells,
    lisi,
    neighbors,
    shared,
)
from tests.metrics.alignment.oracle import theirs
from tests.metrics.alignment.worlds import rotation, world


def slow_lisi(found, values, perplexity):
    """β by a root finder, shares by a dict; ties at the least distance share evenly where no β has the entropy."""
    out = []
    for where, distance in zip(found.indices, found.distances, strict=True):
        if distance[-1] == 0:
            out.append(np.nan)
            continue
        away = distance - distance[0]

        def entropy(log_beta, away=away):
            w = np.exp(-np.exp(log_beta) * away)
            w = w[w > 1e-300] / w.sum()
            return -(w * np.log(w)).sum() - np.log(perplexity)

        if (away == 0).sum() >= perplexity:
            weight = (away == 0).astype(float)
        else:
            weight = np.exp(-np.exp(brentq(entropy, -30, 30)) * away)
        share = {}
        for j, w in zip(where, weight / weight.sum(), strict=True):
            if values[j] is not None:
                share[values[j]] = share.get(values[j], 0) + w
        total = sum(share.values())
        out.append(total**2 / sum(s**2 for s in share.values()) if total else np.nan)
    return np.array(out)


@given(st.integers(0, 999), st.sampled_from([None, 1.0, 4.0]), st.booleans())
def test_lisi_is_that_of_a_loop(seed, grid, gaps):
    x, batch, _ = world(seed, n=60, d=2, grid=grid)
    found = neighbors(x, 18)
    values = [None if gaps and i % 3 == 0 else b for i, b in enumerate(batch)]
    np.testing.assert_allclose(lisi(found, values, perplexity=6), slow_lisi(found, values, 6), rtol=1e-4)


def test_lisi_counts_kinds_alike():
    """On a ring of cells whose neighbours are equally far, weights are even."""
    x = np.eye(12)
    found = neighbors(x, 11)
    batch = np.array(["a", "b", "c"] * 4)
    # Of the 11 others three are of the own batch and four of each other one.
    np.testing.assert_allclose(lisi(found, batch, perplexity=5), 121 / (9 + 16 + 16))


@given(st.integers(0, 999))
def test_names_rotation_scale_and_order_change_nothing(seed):
    x, batch, label = world(seed, n=70)
    found = neighbors(x, 24)
    one = ilisi_of_cells(found, batch, perplexity=8), clisi_of_cells(found, label, perplexity=8)
    moved = neighbors(7 * x @ rotation(4, seed) - 2.0, 24)
    renamed = np.array([{"b0": "z", "b1": "y", "b2": "x"}[b] for b in batch])
    np.testing.assert_allclose(ilisi_of_cells(moved, renamed, perplexity=8), one[0], atol=1e-4)
    order = np.random.default_rng(seed).permutation(70)
    shuffled = neighbors(x[order], 24)
    np.testing.assert_allclose(clisi_of_cells(shuffled, label[order], perplexity=8), one[1][order], atol=1e-4)
    for value in (ilisi(found, batch, perplexity=8), clisi(found, label, perplexity=8)):
        assert 0 <= value <= 1


def test_the_scores_move_with_the_shift():
    def scores(shift):
        x, batch, label = world(5, n=600, d=6, shift=shift)
        found = neighbors(x, 90)
        return ilisi(found, batch), clisi(found, label)

    low, mid, high = (scores(s) for s in (0.0, 1.0, 10.0))
    assert low[0] > mid[0] > high[0]
    assert low[0] > 0.8
    assert high[0] < 0.05
    assert high[1] > 0.9


def test_batches_of_different_size_are_mixed_below_one():
    rng = np.random.default_rng(0)
    batch = np.where(rng.random(2000) < 0.05, "small", "large")
    found = neighbors(rng.normal(size=(2000, 5)), 90)
    mixed = ilisi_mixed(batch)
    share = (batch == "small").mean()
    assert mixed == pytest.approx(1 / (share**2 + (1 - share) ** 2) - 1)
    assert np.mean(ilisi_of_cells(found, batch)) == pytest.approx(mixed, abs=0.03)
    assert ilisi_mixed(["a", "b"] * 10) == pytest.approx(1.0)


def test_a_collapsed_embedding_has_no_score():
    _, batch, label = world(0)
    found = neighbors(np.full((120, 3), 0.3), 90)
    assert np.isnan(ilisi_of_cells(found, batch)).all()
    assert np.isnan(ilisi(found, batch))
    assert np.isnan(clisi(found, label))


def test_cells_of_lonely_labels_are_scored_apart():
    x, batch, label = world(2, n=200, shift=3.0)
    label = np.where(batch == "b0", "only here", label)
    mixed = shared(label, batch)
    np.testing.assert_array_equal(mixed, batch != "b0")
    found = neighbors(x, 40)
    of_cells = ilisi_of_cells(found, batch, perplexity=10)
    assert ilisi(found, batch, perplexity=10, cells=mixed) == np.median(of_cells[mixed])
    assert not shared([None, "a", "a"], ["x", "x", "y"])[0]


def test_bad_input_is_refused(refused):
    x, batch, label = world(0, n=50)
    found = neighbors(x, 20)
    with refused("perplexity", "20"):
        ilisi(found, batch)
    with refused("all cells are of 'one'"):
        ilisi(found, ["one"] * 50, perplexity=6)
    with refused("label", "all cells are of 't'"):
        clisi(found, ["t"] * 50, perplexity=6)
    with refused("2 of 50 cells have none"):
        ilisi(found, [None, None, *batch[2:]], perplexity=6)
    with refused("leaves no cell"):
        clisi(found, label, perplexity=6, cells=np.zeros(50, dtype=bool))
    with refused("one bool a cell"):
        clisi(found, label, perplexity=6, cells=np.arange(50))


@pytest.mark.oracle
@pytest.mark.parametrize("grid", [None, 0.5])
def test_lisi_equals_scib_metrics(grid):
    metrics = pytest.importorskip("scib_metrics")
    x, batch, label = world(3, n=400, d=5, grid=grid)
    found = neighbors(x, 90)
    assert ilisi(found, batch) == pytest.approx(metrics.ilisi_knn(theirs(found), batch, perplexity=30), abs=1e-3)
    assert clisi(found, label) == pytest.approx(metrics.clisi_knn(theirs(found), label, perplexity=30), abs=1e-3)
    np.testing.assert_allclose(lisi(found, label), metrics.lisi_knn(theirs(found), label, perplexity=30), atol=1e-3)
