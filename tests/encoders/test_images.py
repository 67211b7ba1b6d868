import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from mmcell.encoders.images import Layout, as_anndata, brightness, planes, resized

RNG = np.random.default_rng(0)


def pictures(n=3, channels=("dna", "er"), height=6, width=5, dtype=np.uint8, **layout):
    values = RNG.integers(0, 256, (n, len(channels), height, width)).astype(dtype)
    data = as_anndata(values, [f"c{i}" for i in range(n)], channels)
    data.uns["image"] |= layout
    return data, values


def test_planes_are_channels_then_rows_then_columns():
    data, values = pictures()
    np.testing.assert_array_equal(planes(data), values)
    assert data.var_names[1 * 30 + 2 * 5 + 4] == "er_2_4"
    assert data[:, "er_2_4"].X[1, 0] == values[1, 1, 2, 4]


def test_planes_are_a_view_and_sparse_values_give_the_same():
    data, values = pictures()
    assert np.shares_memory(planes(data), data.X)
    found = ad.AnnData(sp.csr_matrix(data.X.astype(np.float32)), var=data.var, uns=dict(data.uns))
    np.testing.assert_array_equal(planes(found), values)


def test_a_layout_survives_a_file(tmp_path):
    data, values = pictures(range=[0, 300])
    data.write_h5ad(tmp_path / "images.h5ad")
    back = ad.read_h5ad(tmp_path / "images.h5ad")
    assert Layout.of(back) == Layout((2, 6, 5), ("dna", "er"), (0.0, 300.0))
    np.testing.assert_array_equal(planes(back), values)


def test_channels_without_names_get_some():
    data, _ = pictures()
    del data.uns["image"]["channels"]
    assert Layout.of(data).channels == ("channel_1", "channel_2")


@pytest.mark.parametrize(
    ("layout", "piece"),
    [
        ({"shape": [2, 30]}, "uns['image']['shape'] is [2, 30]; give [channels, height, width]"),
        ({"shape": [2, 5, 0]}, "each 1 or more"),
        ({"shape": [2, 6, 6]}, "which makes 72 pixels, and X has 60 columns"),
        ({"channels": ["dna"]}, "names dna for 2 channels"),
        ({"channels": ["dna", "dna"]}, "give each one name of its own"),
        ({"range": [5, 5]}, "uns['image']['range'] is [5.0, 5.0]; give [darkest, brightest]"),
        ({"range": [5]}, "the first one smaller"),
    ],
)
def test_a_wrong_layout_is_refused(refused, layout, piece):
    data, _ = pictures()
    data.uns["image"] |= layout
    with refused(piece):
        planes(data)


def test_a_missing_layout_is_refused(refused):
    data, _ = pictures()
    for uns in ({}, {"image": {"channels": ["dna", "er"]}}):
        with refused("no layout of images", "'shape': [channels, height, width]"):
            planes(ad.AnnData(data.X, uns=uns))


def test_values_that_are_no_numbers_are_refused(refused):
    data, _ = pictures()
    data.X = planes(data).reshape(3, -1) > 100
    with refused("images hold bool values"):
        planes(data)


def test_brightness_is_between_0_and_1():
    data, values = pictures()
    found = brightness(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values / 255, rtol=1e-6)
    as_floats, _ = pictures(dtype=np.float64)
    as_floats.X = data.X / 255.0
    np.testing.assert_allclose(brightness(as_floats), found, rtol=1e-6)
    deep, values = pictures(dtype=np.uint16, range=[0, 4095])
    np.testing.assert_allclose(brightness(deep), values / 4095, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "float32"), (np.uint16, "uint16")])
def test_brightness_is_never_guessed(refused, dtype, kind):
    data, _ = pictures(dtype=dtype)
    with refused(f"images hold {kind} values from", "beyond the range 0 to 1 of float images", "state the range"):
        brightness(data)


def test_values_beyond_the_stated_range_and_nan_are_refused(refused):
    data, _ = pictures(dtype=np.float32, range=[0, 100])
    with refused("beyond the range 0 to 100 stated in uns['image']['range']"):
        brightness(data)
    data, _ = pictures(dtype=np.float32, range=[0, 255])
    data.X[0, 0] = np.nan
    with refused("values from nan to nan"):
        brightness(data)


def test_resized_keeps_what_is_flat_and_its_type():
    data, values = pictures(n=2, height=12, width=12)
    values[:] = np.array([7, 200])[None, :, None, None]
    flat = as_anndata(values, data.obs_names, ("dna", "er"))
    found = resized(flat, 5)
    assert found.uns["image"] == {"shape": [2, 5, 5], "channels": ["dna", "er"]}
    assert list(found.obs_names) == ["c0", "c1"]
    assert found.X.dtype == np.uint8
    np.testing.assert_array_equal(planes(found), np.broadcast_to(np.array([7, 200])[None, :, None, None], (2, 2, 5, 5)))


def test_resized_is_antialiased_and_every_channel_is_alone():
    board = np.indices((16, 16)).sum(0) % 2 * 255
    values = np.stack([board, 0 * board])[None].astype(np.uint8)
    found = planes(resized(as_anndata(values, ["a"], ("dna", "er")), 4))
    # Without antialiasing a chessboard would come out black or white.
    assert abs(found[0, 0].astype(int) - 127).max() <= 2
    assert not found[0, 1].any()


def test_resized_squeezes_and_enlarges_and_changes_nothing_given():
    data, values = pictures(dtype=np.float32, range=[0, 255])
    before = data.X.copy()
    found = resized(data, 20)
    assert planes(found).shape == (3, 2, 20, 20)
    assert Layout.of(found).value_range == (0.0, 255.0)
    np.testing.assert_array_equal(data.X, before)
    assert planes(found).min() >= values.min()
    assert planes(found).max() <= values.max()


def test_resized_to_the_same_size_is_the_same():
    data, _ = pictures(height=6, width=6)
    assert resized(data, 6) is data


def test_a_size_of_nothing_is_refused(refused):
    with refused("cannot be resized to 0 pixels"):
        resized(pictures()[0], 0)
