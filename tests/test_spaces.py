import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from mmcell import Embedding
from mmcell.probes.scale import Scale
from mmcell.spaces import SPACES, Space, in_space


def rows(n=60, d=30, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_normalised_rows_have_length_one_and_a_row_of_zeros_stays():
    x = np.vstack([rows(), np.zeros(30)])
    found = Space.fit("normalise", x).transform(x)
    lengths = np.array([np.sqrt(sum(v * v for v in row)) for row in found])
    assert np.allclose(lengths[:-1], 1)
    assert lengths[-1] == 0
    assert np.allclose(found[3], x[3] / np.linalg.norm(x[3]))


def test_centre_and_standardise_are_of_the_training_rows():
    x, new = rows(), rows(seed=1)
    assert np.allclose(Space.fit("centre", x).transform(new), new - x.mean(0))
    assert np.allclose(Space.fit("standardise", x).transform(new), Scale.fit(x).transform(new))


def test_a_constant_column_becomes_zero_when_it_is_standardised():
    x = rows()
    x[:, 4] = 1e6
    found = Space.fit("standardise", x).transform(x)
    assert not found[:, 4].any()
    assert np.allclose(np.delete(found, 4, axis=1).std(0, ddof=1), 1)


@given(seed=st.integers(0, 99), d=st.integers(2, 40))
def test_whitened_training_rows_have_the_identity_as_covariance(seed, d):
    x = rows(30, d, seed)
    found = Space.fit("whiten", x).transform(x)
    rank = min(d, 29)
    assert found.shape[1] <= rank
    assert np.allclose(np.cov(found, rowvar=False), np.eye(found.shape[1]), atol=1e-5)


@pytest.mark.parametrize("k", [1, 10, 25])
def test_pca_is_that_of_scikit_learn_up_to_signs(k):
    x, new = rows(), rows(seed=1)
    found, other = Space.fit(f"pca-{k}", x).transform(new), PCA(k).fit(x).transform(new)
    signs = np.sign((found * other).sum(0))
    assert found.shape == (60, k)
    assert np.allclose(found * signs, other)


@pytest.mark.parametrize("name", SPACES)
def test_only_training_rows_are_learnt_from_and_nothing_is_changed(name):
    x = rows(60).astype(np.float32)
    kept = x.copy()
    ids = pd.Index([f"i{i}" for i in range(60)])
    one = in_space(Embedding.from_array("e", ids, x), name, ids[:40])
    other = in_space(Embedding.from_array("e", ids, np.vstack([x[:40], 9 * x[40:]])), name, ids[:40])
    assert np.array_equal(one.values[:40], other.values[:40])
    assert np.array_equal(x, kept)
    assert one.values.dtype == np.float32
    more = in_space(Embedding.from_array("e", ids, x), name, ids[:50])
    assert (name == "normalise") == np.array_equal(one.values, more.values)
    assert one.ids.equals(ids)
    assert not np.array_equal(one.values, x)


def test_columns_keep_their_names_where_they_keep_their_meaning():
    ids = pd.Index(list("abcdef"))
    embedding = Embedding.from_array("e", ids, rows(6, 3), columns=("x", "y", "z"))
    assert in_space(embedding, "standardise", ids).columns == ("x", "y", "z")
    assert in_space(embedding, "pca-2", ids).columns == ()


def test_what_cannot_be_done_is_refused(refused):
    with refused("'whitened'", "did you mean whiten"):
        Space.fit("whitened", rows())
    with refused("'pca-0'"):
        Space.fit("pca-0", rows())
    with refused("vary in 5 directions", "smaller K"):
        Space.fit("pca-10", rows(60, 5))
    with refused("do not vary"):
        Space.fit("whiten", np.ones((5, 3)))
    with refused("do not vary"):
        Space.fit("pca-1", rows(1))
