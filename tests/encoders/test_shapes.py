import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.encoders.base import identity, make_encoder
from mmcell.encoders.images import as_anndata
from mmcell.encoders.shapes import NAMES, ImageFeatures
from mmcell.errors import MissingExtraError

pytest.importorskip("skimage")


def described(values, channels=None):
    """{CHANNEL_FEATURE: (n,) values} of images (n, channels, height, width)."""
    channels = channels or [f"c{j}" for j in range(values.shape[1])]
    encoder = ImageFeatures()
    found = encoder.encode(as_anndata(values, range(len(values)), channels))
    assert len(encoder.columns) == found.shape[1] == len(channels) * len(NAMES)
    return dict(zip(encoder.columns, found.T, strict=True))


def disc(radius, side=40, at=(20, 20)):
    y, x = np.mgrid[:side, :side]
    return np.where(np.hypot(y - at[0], x - at[1]) <= radius, 200, 20).astype(np.uint8)


def test_intensity_is_that_of_its_channel():
    values = np.random.default_rng(0).integers(0, 256, (4, 2, 9, 8)).astype(np.uint8)
    found = described(values, ["dna", "er"])
    for j, name in enumerate(("dna", "er")):
        x = values[:, j].reshape(4, -1) / 255
        np.testing.assert_allclose(found[f"{name}_mean"], x.mean(1), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_sd"], x.std(1), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_q25"], np.percentile(x, 25, axis=1), rtol=1e-5)


def test_texture_against_pairs_counted_one_by_one():
    value = np.random.default_rng(1).integers(0, 256, (1, 1, 7, 6)).astype(np.uint8)
    level = np.minimum((value[0, 0] / 255 * 16).astype(int), 15)
    contrast, homogeneity, correlation = [], [], []
    for dy, dx in ((0, 1), (1, 1), (1, 0), (1, -1)):
        pairs = [
            (level[y, x], level[y + dy, x + dx]) for y in range(7) for x in range(6) if y + dy < 7 and 0 <= x + dx < 6
        ]
        a, b = np.array(pairs + [(q, p) for p, q in pairs]).T
        contrast.append(np.mean((a - b) ** 2))
        homogeneity.append(np.mean(1 / (1 + (a - b) ** 2)))
        correlation.append(np.corrcoef(a, b)[0, 1])
    found = described(value, ["x"])
    np.testing.assert_allclose(found["x_contrast"], np.mean(contrast), rtol=1e-5)
    np.testing.assert_allclose(found["x_homogeneity"], np.mean(homogeneity), rtol=1e-5)
    np.testing.assert_allclose(found["x_correlation"], np.mean(correlation), rtol=1e-4)


def test_local_sd_against_its_windows():
    value = np.random.default_rng(2).integers(0, 256, (1, 1, 6, 6)).astype(np.uint8)
    wide = np.pad(value[0, 0] / 255, 1, mode="symmetric")
    expected = np.mean([wide[y : y + 3, x : x + 3].std() for y in range(6) for x in range(6)])
    np.testing.assert_allclose(described(value, ["x"])["x_local_sd"], expected, rtol=1e-5)


def test_shape_of_discs():
    found = described(np.stack([disc(6), disc(12)])[:, None], ["x"])
    np.testing.assert_allclose(found["x_area"], np.pi * np.array([36, 144]), rtol=0.1)
    np.testing.assert_allclose(found["x_perimeter"], 2 * np.pi * np.array([6, 12]), rtol=0.1)
    np.testing.assert_allclose(found["x_foreground"], found["x_area"] / 1600, rtol=1e-6)
    assert (found["x_eccentricity"] < 0.1).all()
    assert (found["x_solidity"] > 0.9).all()
    np.testing.assert_allclose(found["x_extent"], np.pi / 4, atol=0.1)
    assert list(found["x_objects"]) == [1, 1]
    assert not found["x_empty"].any()


def test_a_long_object_is_eccentric_and_the_largest_counts():
    image = np.maximum(disc(3, at=(6, 6)), 20)
    image[30:34, 5:35] = 200
    found = described(image[None, None], ["x"])
    assert found["x_objects"] == 2
    assert found["x_eccentricity"] > 0.95
    assert 100 < found["x_area"] < 220


@pytest.mark.parametrize("level", [0, 90, 255])
def test_one_brightness_has_no_object_and_says_so(level):
    found = described(np.full((1, 1, 12, 12), level, np.uint8), ["x"])
    assert found["x_empty"] == 1
    for name in ("objects", "foreground", "area", "eccentricity", "solidity", "extent", "perimeter"):
        assert found[f"x_{name}"] == 0
    np.testing.assert_allclose(found["x_mean"], level / 255, rtol=1e-6)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 9), st.sampled_from([1, 2, 256]))
def test_every_value_is_finite(seed, height, width, levels):
    values = np.random.default_rng(seed).integers(0, levels, (3, 2, height, width)).astype(np.uint8)
    assert np.isfinite(np.array(list(described(values).values()))).all()


def test_a_row_depends_on_this_row_alone(monkeypatch):
    values = np.random.default_rng(3).integers(0, 256, (7, 2, 10, 10)).astype(np.uint8)
    data = as_anndata(values, range(7), ["a", "b"])
    before = data.X.copy()
    whole = ImageFeatures().encode(data)
    np.testing.assert_array_equal(ImageFeatures().encode(data[::-1].copy()), whole[::-1])
    monkeypatch.setattr("mmcell.encoders.shapes._ROWS", 2)
    np.testing.assert_array_equal(ImageFeatures().encode(data), whole)
    np.testing.assert_array_equal(data.X, before)


def test_bytes_and_floats_give_the_same():
    values = np.random.default_rng(4).integers(0, 256, (2, 1, 10, 10)).astype(np.uint8)
    same = described(values), described(values / 255)
    for name, found in same[0].items():
        np.testing.assert_allclose(found, same[1][name], rtol=1e-4, atol=1e-6)


def test_it_is_known_by_name_and_found_again():
    encoder = make_encoder("image-features")
    assert isinstance(encoder, ImageFeatures)
    assert encoder.rowwise
    assert encoder.card.modality == "image"
    assert identity(encoder) == identity(ImageFeatures()) != ""


def test_scikit_image_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(
        MissingExtraError, match=r"'image-features' needs the package 'scikit-image'.*mmcell\[spatial\]"
    ):
        described(np.zeros((1, 1, 4, 4), np.uint8))


def test_unknown_brightness_is_refused(refused):
    with refused("images hold float64 values from 300 to 300"):
        described(np.full((1, 1, 4, 4), 300.0))
