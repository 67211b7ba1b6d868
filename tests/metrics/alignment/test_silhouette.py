import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from mmcell.metrics.alignment import label_asw, silhouette_of_cells
from tests.metrics.alignment.worlds import rotation, world


def slow_silhouette(x, label):
    out = []
    for i in range(len(x)):
        away = np.sqrt(((x - x[i]) ** 2).sum(axis=1))
        own = [away[j] for j in range(len(x)) if label[j] == label[i] and j != i]
        if not own:
            out.append(0.0)
            continue
        a, b = np.mean(own), min(away[label == other].mean() for other in set(label) if other != label[i])
        out.append((b - a) / max(a, b) if max(a, b) > 0 else np.nan)
    return np.array(out)


@given(st.integers(0, 9999), st.sampled_from([None, 1.0, 5.0]), st.integers(2, 9))
def test_silhouettes_are_those_of_a_loop(seed, grid, n_types):
    x, _, label = world(seed, n=50, d=2, n_types=n_types, grid=grid)
    np.testing.assert_allclose(silhouette_of_cells(x, label), slow_silhouette(x, label), atol=1e-5)


def test_silhouettes_equal_scikit_learn():
    x, _, label = world(0, n=1500, d=20)
    np.testing.assert_allclose(silhouette_of_cells(x, label), silhouette_samples(x, label), atol=1e-5)


@pytest.mark.parametrize("centre", [0.0, 1e4])
def test_near_cells_are_measured_in_double_precision(centre):
    """Two tight labels, far apart: products in float32 would put all cells of a label on one point."""
    rng = np.random.default_rng(0)
    label = np.repeat(["a", "b", "c"], 300)
    x = 1e-5 * rng.normal(size=(900, 3)) + np.repeat([[0.0] * 3, [1e-5] * 3, [1.0] * 3], 300, axis=0) + centre
    np.testing.assert_allclose(silhouette_of_cells(x, label), silhouette_samples(x - centre, label), atol=1e-3)


def test_a_row_does_not_depend_on_its_block(monkeypatch):
    x, _, label = world(0, n=200)
    whole = silhouette_of_cells(x, label)
    monkeypatch.setattr("mmcell.metrics.alignment.silhouette._BLOCK", 1)
    np.testing.assert_allclose(silhouette_of_cells(x, label), whole, atol=1e-7)


@given(st.integers(0, 999))
def test_names_rotation_scale_and_order_change_nothing(seed):
    x, _, label = world(seed, n=60)
    found = silhouette_of_cells(x, label)
    renamed = np.array([9 - int(name[1]) for name in label])
    np.testing.assert_allclose(silhouette_of_cells(3 * x @ rotation(4, seed) + 2, renamed), found, atol=1e-5)
    order = np.random.default_rng(seed).permutation(60)
    np.testing.assert_allclose(silhouette_of_cells(x[order], label[order]), found[order], atol=1e-6)


def test_equal_points_have_no_silhouette():
    _, _, label = world(0)
    x = np.full((120, 3), 0.1)
    assert np.isnan(silhouette_of_cells(x, label)).all()
    assert np.isnan(label_asw(x, label))
    points = np.array([float(name[1]) for name in label])[:, None]
    np.testing.assert_array_equal(silhouette_of_cells(points, label), 1.0)
    assert label_asw(points, label) == 1.0


def test_cells_without_a_label_and_the_only_cell_of_one():
    x, _, label = world(3, n=80)
    known = np.arange(80) % 5 > 0
    gaps = np.where(known, label, None)
    found = silhouette_of_cells(x, gaps)
    assert np.isnan(found[~known]).all()
    np.testing.assert_allclose(found[known], silhouette_of_cells(x[known], label[known]), atol=1e-6)
    assert label_asw(x, gaps) == pytest.approx((found[known].mean() + 1) / 2)
    label[0] = "alone"
    assert silhouette_of_cells(x, label)[0] == 0.0


def test_bad_input_is_refused(refused):
    x, _, label = world(0)
    with refused("label", "all cells are of 't'"):
        label_asw(x, ["t"] * 120)
    with refused("119 values for 120"):
        silhouette_of_cells(x, label[1:])


@pytest.mark.oracle
@pytest.mark.parametrize("grid", [None, 1.0])
def test_label_asw_equals_scib_metrics(grid):
    metrics = pytest.importorskip("scib_metrics")
    x, _, label = world(1, n=500, d=8, grid=grid)
    assert label_asw(x, label) == pytest.approx(float(metrics.silhouette_label(x, label)), abs=1e-3)
