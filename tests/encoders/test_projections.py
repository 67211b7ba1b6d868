import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from mmcell.digest import stream
from mmcell.encoders.projections import RandomProjection, UntrainedMLP, feature_weights

RNG = np.random.default_rng(0)
X = RNG.gamma(1.0, 1.0, (30, 12)).astype(np.float32) * (RNG.random((30, 12)) < 0.5)
BOTH = pytest.mark.parametrize("make", [RandomProjection, UntrainedMLP])


def table(x=X, names=None):
    data = ad.AnnData(x)
    data.var_names = names or [f"g{i}" for i in range(data.n_vars)]
    return data


DATA = table()


def test_a_projection_by_hand():
    weights = np.vstack(
        [stream(3, "random-projection", g).standard_normal(7, dtype=np.float32) for g in DATA.var_names]
    )
    found = RandomProjection(7, seed=3).encode(DATA)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, X @ weights / np.sqrt(7), rtol=1e-5, atol=1e-5)


def test_a_projection_keeps_distances():
    found = RandomProjection(4000).encode(DATA)
    true, kept = (np.linalg.norm(v[:15] - v[15:], axis=1) for v in (X, found))
    np.testing.assert_allclose(kept, true, rtol=0.1)


def test_the_untrained_network_by_hand():
    encoder = UntrainedMLP(3, n_hidden=5, seed=2)
    rng = stream(2, "untrained-mlp")
    second, third = rng.standard_normal((5, 5), dtype=np.float32), rng.standard_normal((5, 3), dtype=np.float32)
    first = feature_weights(tuple(DATA.var_names), 5, 2, "untrained-mlp")
    hidden = np.maximum(X @ first * np.sqrt(2 / 5), 0)
    expected = np.maximum(hidden @ second * np.sqrt(2 / 5), 0) @ third * np.sqrt(2 / 5)
    np.testing.assert_allclose(encoder.encode(DATA), expected, rtol=1e-4, atol=1e-5)


def test_the_untrained_network_is_no_projection():
    encoder = UntrainedMLP(4)
    assert not np.allclose(
        encoder.encode(table(X[:15] + X[15:])), encoder.encode(DATA[:15]) + encoder.encode(DATA[15:])
    )


def test_weights_belong_to_the_name():
    names = tuple(f"g{i}" for i in range(200))
    whole = feature_weights(names, 40, 0, "x")
    np.testing.assert_array_equal(feature_weights(names[::-1][:7], 40, 0, "x"), whole[::-1][:7])
    assert not np.array_equal(feature_weights(names, 40, 1, "x"), whole)
    assert not np.array_equal(feature_weights(names, 40, 0, "y"), whole)
    assert abs(whole.mean()) < 0.05
    assert abs(whole.std() - 1) < 0.05


def test_weights_that_are_kept_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        feature_weights(("a", "b"), 2, 0, "x")[0] = 0


@BOTH
def test_the_order_of_features_and_features_without_values_decide_nothing(make):
    expected = make(6).encode(DATA)
    np.testing.assert_allclose(make(6).encode(DATA[:, ::-1]), expected, rtol=1e-4, atol=1e-4)
    wider = table(np.hstack([X, np.zeros((30, 3), np.float32)]), [*DATA.var_names, "a", "b", "c"])
    np.testing.assert_allclose(make(6).encode(wider), expected, rtol=1e-4, atol=1e-4)


@BOTH
def test_rows_do_not_depend_on_each_other(make):
    assert make.rowwise
    assert not hasattr(make, "fit")
    order = RNG.permutation(30)
    whole = make(6).encode(DATA)
    np.testing.assert_allclose(make(6).encode(DATA[order]), whole[order], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(make(6).encode(DATA[:1]), whole[:1], rtol=1e-5, atol=1e-5)


@BOTH
def test_the_same_seed_gives_the_same_bytes_and_nothing_is_changed(make):
    before = DATA.X.copy()
    one, two, other = make(6).encode(DATA), make(6).encode(DATA), make(6, seed=1).encode(DATA)
    assert one.tobytes() == two.tobytes()
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(DATA.X, before)


@BOTH
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.csc_matrix])
def test_sparse_values_give_the_same(make, kind):
    found = make(6).encode(table(kind(X)))
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, make(6).encode(DATA), rtol=1e-5, atol=1e-5)


@BOTH
def test_dimensions_are_known_before(make):
    assert make(6).dim == make(6).encode(DATA).shape[1] == 6


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (RandomProjection(), RandomProjection(7)),
        (RandomProjection(), RandomProjection(seed=1)),
        (UntrainedMLP(), UntrainedMLP(7)),
        (UntrainedMLP(), UntrainedMLP(n_hidden=7)),
        (UntrainedMLP(), UntrainedMLP(seed=1)),
    ],
)
def test_parameters_are_part_of_the_key(one, two):
    assert one.card.key != two.card.key
    assert one.encode(DATA).shape != two.encode(DATA).shape or not np.allclose(one.encode(DATA), two.encode(DATA))
