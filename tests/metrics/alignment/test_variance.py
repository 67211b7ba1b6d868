import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from mmcell.metrics.alignment import batch_variance, covariate_variance, variance_comparison
from tests.metrics.alignment.worlds import rotation, world


def slow_regression(x, columns, n_components):
    """PCA, then one regression a component, weighted by its variance."""
    pca = PCA(n_components).fit(x)
    parts = pca.transform(x)
    r2 = [LinearRegression().fit(columns, part).score(columns, part) for part in parts.T]
    return np.average(r2, weights=pca.explained_variance_)


@given(st.integers(0, 999), st.sampled_from([None, 1, 3]))
def test_it_is_the_regression_of_every_component(seed, n_components):
    x, batch, _ = world(seed, n=60)
    columns = OneHotEncoder(sparse_output=False).fit_transform(batch[:, None])
    expected = slow_regression(x, columns, n_components)
    assert batch_variance(x, batch, n_components=n_components) == pytest.approx(expected)
    depth = np.random.default_rng(seed).normal(size=60) + x[:, 0]
    expected = slow_regression(x, depth[:, None], n_components)
    assert covariate_variance(x, depth, n_components=n_components) == pytest.approx(expected)


@given(st.integers(0, 999))
def test_names_rotation_scale_and_order_change_nothing(seed):
    x, batch, _ = world(seed)
    order = np.random.default_rng(seed).permutation(120)
    renamed = np.array([9 - int(name[1]) for name in batch])
    moved = batch_variance((5 * x @ rotation(4, seed) + 1e3)[order], renamed[order])
    assert moved == pytest.approx(batch_variance(x, batch))


def test_a_correction_takes_the_effect_away_or_adds_to_it():
    x, batch, _ = world(0, shift=5.0)
    centred = x - np.array([x[batch == b].mean(axis=0) for b in batch])
    assert batch_variance(x, batch) > 0.3
    assert variance_comparison(x, centred, batch) == pytest.approx(1.0)
    assert variance_comparison(world(0, shift=0.5)[0], x, batch) < 0


def test_what_does_not_vary_has_no_score(refused):
    x, batch, _ = world(0)
    assert np.isnan(batch_variance(np.full((120, 2), 0.1), batch))
    assert np.isnan(covariate_variance(x, np.ones(120)))
    assert np.isnan(variance_comparison(np.full((120, 2), 0.1), x, batch))
    assert np.isnan(variance_comparison(x, np.full((120, 2), 0.1), batch))
    with refused("5 of 4 components"):
        batch_variance(x, batch, n_components=5)
    with refused("one finite number"):
        covariate_variance(x, np.full(120, np.nan))
    with refused("all cells are of 'b'"):
        batch_variance(x, ["b"] * 120)


@pytest.mark.oracle
def test_it_equals_scib_metrics():
    metrics = pytest.importorskip("scib_metrics")
    utils = pytest.importorskip("scib_metrics.utils")
    x, batch, _ = world(0, n=300, d=6, shift=2.0)
    expected = utils.principal_component_regression(x, batch, categorical=True)
    assert batch_variance(x, batch) == pytest.approx(expected, abs=1e-3)
    depth = x[:, 0] + np.random.default_rng(0).normal(size=300)
    expected = utils.principal_component_regression(x, depth - depth.mean())
    assert covariate_variance(x, depth) == pytest.approx(expected, abs=1e-3)
    after = x - 0.7 * np.array([x[batch == b].mean(axis=0) for b in batch])
    expected = metrics.pcr_comparison(x, after, batch, categorical=True)
    assert variance_comparison(x, after, batch) == pytest.approx(expected, abs=1e-3)
