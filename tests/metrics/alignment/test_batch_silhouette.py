import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.metrics.alignment import bras, bras_of_cells, bras_of_labels
from tests.metrics.alignment.worlds import rotation, world


def slow_bras(x, label, batch):
    out = np.full(len(x), np.nan)
    cosine = 1 - (x @ x.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))
    for i in range(len(x)):
        of_label = [j for j in range(len(x)) if label[j] == label[i] and j != i]
        own = [cosine[i, j] for j in of_label if batch[j] == batch[i]]
        others = [cosine[i, j] for j in of_label if batch[j] != batch[i]]
        if own and others:
            a, b = np.mean(own), np.mean(others)
            out[i] = 1 - abs(b - a) / max(a, b) if max(a, b) > 1e-12 else np.nan
    return out


@given(st.integers(0, 9999), st.integers(2, 5), st.integers(1, 8))
def test_bras_is_that_of_a_loop(seed, n_batches, n_types):
    x, batch, label = world(seed, n=40, n_batches=n_batches, n_types=n_types)
    found = bras_of_cells(x, label, batch)
    expected = slow_bras(x, label, batch)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    of_labels = bras_of_labels(x, label, batch)
    for name in set(label):
        own = expected[(label == name) & ~np.isnan(expected)]
        assert of_labels[name] == pytest.approx(own.mean() if len(own) else np.nan, nan_ok=True)
    assert bras(x, label, batch) == pytest.approx(of_labels.mean(), nan_ok=True)


@given(st.integers(0, 999))
def test_names_rotation_scale_and_order_change_nothing(seed):
    x, batch, label = world(seed, n=60)
    found = bras_of_cells(x, label, batch)
    order = np.random.default_rng(seed).permutation(60)
    renamed = np.array([9 - int(name[1]) for name in batch])
    moved = bras_of_cells(3 * (x @ rotation(4, seed))[order], label[order], renamed[order])
    np.testing.assert_allclose(moved, found[order], atol=1e-9)


def test_bras_falls_with_the_shift():
    values = [bras(x, label, batch) for x, batch, label in (world(4, n=500, shift=s) for s in (0.0, 1.0, 4.0))]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.85


def test_what_lies_in_one_batch_is_not_asked():
    x, batch, label = world(0)
    label = np.where(batch == "b0", "only here", label)
    found = bras_of_labels(x, label, batch)
    assert np.isnan(found["only here"])
    assert bras(x, label, batch) == pytest.approx(found.drop("only here").mean())
    assert np.isnan(bras(x, batch, batch))


def test_a_batch_of_one_cell_is_not_mixed_by_convention():
    """scib-metrics gives such a cell s = 0 and so the best score."""
    x, batch, label = world(0, n_batches=2, shift=5.0)
    cell = np.flatnonzero((batch == "b1") & (label == "t0"))
    keep = ~np.isin(np.arange(120), cell[1:])
    found = bras_of_cells(x[keep], label[keep], batch[keep])
    assert np.isnan(found[cell[0]])
    assert np.isfinite(bras(x[keep], label[keep], batch[keep]))
    # One cell of each batch: no label has a silhouette.
    assert np.isnan(bras(x[:2], ["t", "t"], ["a", "b"]))


def test_equal_points_and_rows_without_direction_have_no_score():
    x, batch, label = world(0)
    for collapsed in (np.full_like(x, 0.1), np.zeros_like(x), x[:, :1] ** 2 @ np.ones((1, 3))):
        assert np.isnan(bras_of_cells(collapsed, label, batch)).all()
        assert np.isnan(bras(collapsed, label, batch))
    x[0] = 0
    found = bras_of_cells(x, label, batch)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], bras_of_cells(x[1:], label[1:], batch[1:]), atol=1e-12)
    assert np.isnan(bras(x, label, batch))


def test_cells_without_a_label_are_left_out():
    x, batch, label = world(3)
    known = np.arange(120) % 4 > 0
    found = bras_of_cells(x, np.where(known, label, None), batch)
    assert np.isnan(found[~known]).all()
    assert bras(x, np.where(known, label, None), batch) == pytest.approx(bras(x[known], label[known], batch[known]))


def test_bad_input_is_refused(refused):
    x, batch, label = world(0)
    with refused("batch", "all cells are of 'b'"):
        bras(x, label, ["b"] * 120)
    with refused("label: 119 values"):
        bras(x, label[1:], batch)


@pytest.mark.oracle
def test_bras_equals_scib_metrics():
    metrics = pytest.importorskip("scib_metrics")
    x, batch, label = world(1, n=500, d=8)
    assert bras(x, label, batch) == pytest.approx(float(metrics.bras(x, label, batch)), abs=1e-3)
