"""A large image and its centres, from disk."""

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, ModelCard
from mmcell.data.slide import Slide
from mmcell.encoders.images import brightness
from mmcell.streaming import embed

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (60, 80, 3), dtype=np.uint8)
SPOTS = pd.DataFrame({"id": ["a", "b", "c"], "x": [20.0, 40.2, 79.0], "y": [20.0, 30.0, 59.0]})


class MeanColour:
    """The mean of every channel."""

    rowwise = True
    fingerprint = "1"

    def __init__(self, **card):
        self.card = ModelCard(name="mean-colour", modality="image", **card)

    def encode(self, data):
        self.shape = tuple(data.uns["image"]["shape"])
        return np.asarray(data.X, dtype=np.float32).reshape(data.n_obs, self.shape[0], -1).mean(axis=2)


@pytest.fixture
def files(tmp_path):
    from PIL import Image

    Image.fromarray(PIXELS).save(tmp_path / "slide.png")
    np.save(tmp_path / "slide.npy", PIXELS)
    SPOTS.to_csv(tmp_path / "spots.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("name", ["slide.png", "slide.npy"])
def test_tiles_are_encoded_one_after_the_other(files, name):
    slide = Slide(files / name, files / "spots.csv", 10)
    found = Embedding.read(embed(MeanColour(), slide, files / "out.npz"))
    assert list(found.ids) == ["a", "b", "c"]
    np.testing.assert_allclose(found.values[0], PIXELS[15:25, 15:25].reshape(-1, 3).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.values[1], PIXELS[25:35, 35:45].reshape(-1, 3).mean(axis=0), rtol=1e-5)


def test_a_card_asks_for_a_size(files):
    encoder = MeanColour(image_size=4)
    embed(encoder, Slide(files / "slide.npy", files / "spots.csv", 10), files / "out.npz")
    assert encoder.shape == (3, 4, 4)


def test_everything_decides_the_fingerprint(files):
    slide = Slide(files / "slide.npy", files / "spots.csv", 10)
    assert slide.fingerprint != Slide(files / "slide.npy", files / "spots.csv", 12).fingerprint
    assert slide.fingerprint != Slide(files / "slide.png", files / "spots.csv", 10).fingerprint


def test_what_cannot_be_cut_is_refused(files, refused):
    spots = files / "spots.csv"
    with refused("has 3 channels, the encoder reads 5"):
        embed(MeanColour(channels=5), Slide(files / "slide.png", spots, 10), files / "out.npz")
    with refused("slide.jpg: no such file", "did you mean slide"):
        embed(MeanColour(), Slide(files / "slide.jpg", spots, 10), files / "out.npz")
    SPOTS.rename(columns={"x": "col"}).to_csv(spots, index=False)
    with refused("give ids in the first column, then x and y", "it has id, col, y"):
        embed(MeanColour(), Slide(files / "slide.png", spots, 10), files / "out.npz")
    SPOTS.assign(x=[1, 2, 100]).to_csv(spots, index=False)
    with refused("1 of 3 centres lie outside of the image of 80 × 60 pixels (c)"):
        embed(MeanColour(), Slide(files / "slide.png", spots, 10), files / "out.npz")
    (files / "broken.png").write_bytes(b"nothing")
    with refused("broken.png: cannot be read as .png"):
        embed(MeanColour(), Slide(files / "broken.png", spots, 10), files / "out.npz")


def test_how_bright_other_numbers_are_is_stated(files, refused):
    np.save(files / "wide.npy", PIXELS.astype(np.uint16) * 257)
    spots = files / "spots.csv"
    with refused("wide.npy: holds uint16 pixels", "--range 0 65535"):
        embed(MeanColour(), Slide(files / "wide.npy", spots, 10), files / "out.npz")
    stated = Slide(files / "wide.npy", spots, 10, (0.0, 65535.0))
    assert stated.fingerprint != Slide(files / "wide.npy", spots, 10, (0.0, 4095.0)).fingerprint
    bytes_of = Slide(files / "slide.npy", spots, 10)
    shown = [brightness(slide.reader(MeanColour().card)(0, 3)) for slide in (stated, bytes_of)]
    np.testing.assert_allclose(*shown, atol=1e-6)
