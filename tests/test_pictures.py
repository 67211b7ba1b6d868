import base64
import io

import anndata as ad
import numpy as np
import pytest
from PIL import Image

from mmcell import Dataset, Roles
from mmcell.pictures import pictures
from mmcell.roles import DatasetCard, ModalityCard


def images(values, n_channels):
    data = ad.AnnData(values.reshape(len(values), -1))
    data.obs_names = [f"c{i}" for i in range(len(values))]
    data.obs["donor"] = "d"
    data.uns["image"] = {"shape": list(values.shape[1:]), "channels": [f"k{i}" for i in range(n_channels)]}
    card = DatasetCard(name="toy", modalities={"image": ModalityCard(preprocessing="values", identifiers="other")})
    return Dataset("toy", data, Roles(unit="donor"), card)


def opened(address):
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(float)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_an_item_is_shown_as_it_is(n_channels):
    ramp = np.tile(np.linspace(0, 255, 40), (40, 1))
    values = np.stack([np.stack([ramp * (k + 1) / n_channels for k in range(n_channels)])] * 3).astype(np.uint8)
    found = pictures(images(values, n_channels), ["c1", "c0", "c1"])
    assert list(found) == ["c1", "c0"]
    shown = opened(found["c1"])
    assert shown.shape == ((40, 40) if n_channels == 1 else (40, 40, 3))
    first = shown if n_channels == 1 else shown[..., 0]
    assert np.abs(first - ramp / n_channels).mean() < 6


def test_floats_are_stretched_alike_and_large_ones_are_made_small():
    values = np.zeros((2, 1, 200, 100), dtype=np.float32)
    values[0], values[1, :, :, 50:] = 0.2, 0.4
    found = pictures(images(values, 1), ["c0", "c1"])
    dim, split = opened(found["c0"]), opened(found["c1"])
    assert dim.shape == (64, 32)
    assert dim.mean() == pytest.approx(127, abs=3)
    assert split[:, :12].mean() < 5
    assert split[:, 20:].mean() > 250


def test_what_has_no_image_has_no_picture(cohort):
    assert pictures(cohort(), ["c0"]) == {}
    toy = images(np.zeros((2, 1, 4, 4), dtype=np.uint8), 1)
    assert list(pictures(toy, ["c1", "elsewhere"])) == ["c1"]
    assert pictures(toy, []) == {}
    assert pictures(images(np.zeros((2, 1, 4, 4), dtype=bool), 1), ["c1"]) == {}
