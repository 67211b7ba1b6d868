import tracemalloc

import numpy as np
import pandas as pd
import pytest

from mmcell.encoders.encode import encode_rows
from mmcell.encoders.images import planes
from mmcell.encoders.shapes import ImageFeatures
from mmcell.encoders.tiles import TileReader, tiles

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
CENTRES = np.array([[20.0, 15.0], [30.4, 20.6], [0.0, 39.0], [59.4, -0.5]])
IDS = ["a", "b", "c", "d"]


def by_hand(image, centres, side):
    """Every tile cut from an image that was mirrored on all sides."""
    image = image if image.ndim == 3 else image[..., None]
    wide = np.pad(image, ((side, side), (side, side), (0, 0)), mode="reflect")
    found = []
    for x, y in np.floor(np.asarray(centres) + 0.5).astype(int):
        top, left = y - side // 2 + side, x - side // 2 + side
        found.append(wide[top : top + side, left : left + side].transpose(2, 0, 1))
    return np.array(found)


@pytest.mark.parametrize("side", [1, 2, 5, 8])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], IMAGE / 255])
def test_tiles_are_windows_around_their_centres(image, side):
    found = tiles(image, CENTRES, side, IDS)
    expected = by_hand(image, CENTRES, side)
    np.testing.assert_array_equal(planes(found), expected)
    assert found.X.dtype == image.dtype
    assert list(found.obs_names) == IDS
    assert found.uns["image"]["shape"] == list(expected.shape[1:])
    np.testing.assert_array_equal(found.obsm["spatial"], CENTRES)


def test_x_counts_columns_and_y_rows():
    image = np.zeros((10, 20), np.uint8)
    image[3, 12] = 255
    found = planes(tiles(image, [[12, 3]], 3, ["spot"]))[0, 0]
    assert found[1, 1] == 255
    assert found.sum() == 255


def test_tiles_over_the_edge_are_counted_or_refused(refused):
    found = tiles(IMAGE, CENTRES, 8, IDS)
    assert found.obs["over_edge"].tolist() == [False, False, True, True]
    with refused("2 of 4 tiles reach over the edge (c, d)", "edge='reflect'"):
        tiles(IMAGE, CENTRES, 8, IDS, edge="error")
    inside = tiles(IMAGE, CENTRES[:2], 8, IDS[:2], edge="error")
    np.testing.assert_array_equal(inside.X, found.X[:2])


def test_a_tile_larger_than_the_image_is_mirrored_again_and_again():
    image = np.arange(3, dtype=np.uint8)[None, :] + np.zeros((1, 3), np.uint8)
    found = planes(tiles(image, [[1, 0]], 9, ["a"]))[0, 0]
    assert found.tolist() == [[1, 2, 1, 0, 1, 2, 1, 0, 1]] * 9


def test_kinds_of_images_give_the_same_tiles(tmp_path):
    expected = tiles(IMAGE, CENTRES, 6, IDS).X
    np.save(tmp_path / "image.npy", IMAGE)
    np.testing.assert_array_equal(tiles(np.load(tmp_path / "image.npy", mmap_mode="r"), CENTRES, 6, IDS).X, expected)
    zarr = pytest.importorskip("zarr")
    np.testing.assert_array_equal(tiles(zarr.array(IMAGE, chunks=(16, 16, 3)), CENTRES, 6, IDS).X, expected)
    da = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(tiles(da.from_array(IMAGE, chunks=(7, 9, 3)), CENTRES, 6, IDS).X, expected)


def test_a_dask_chunk_under_several_tiles_is_read_once():
    da = pytest.importorskip("dask.array")
    read = []
    image = da.from_array(IMAGE, chunks=(40, 60, 3)).map_blocks(
        lambda b: read.append(1) or b, dtype=np.uint8, meta=IMAGE
    )
    reader = TileReader(image, CENTRES, 6, IDS)
    read.clear()
    reader.rows(0, 4)
    assert len(read) == 1


def test_an_image_container():
    sq = pytest.importorskip("squidpy")
    expected = tiles(IMAGE, CENTRES, 6, IDS).X
    container = sq.im.ImageContainer(IMAGE, layer="stain")
    np.testing.assert_array_equal(tiles(container, CENTRES, 6, IDS).X, expected)
    container.add_img(IMAGE[..., 0], layer="dapi")
    np.testing.assert_array_equal(tiles(container, CENTRES, 6, IDS, layer="stain").X, expected)
    assert tiles(container, CENTRES, 6, IDS, layer="dapi").n_vars == 36


def test_layers_that_cannot_be_read_are_refused(refused):
    sq = pytest.importorskip("squidpy")
    container = sq.im.ImageContainer(IMAGE, layer="stain")
    with refused("no layer 'stein'; did you mean stain?"):
        tiles(container, CENTRES, 6, IDS, layer="stein")
    container.add_img(IMAGE, layer="other")
    with refused("has 2 layers (stain, other); name one: layer="):
        tiles(container, CENTRES, 6, IDS)
    deep = sq.im.ImageContainer(np.zeros((8, 8, 2, 3), np.uint8), layer="deep", dims=("y", "x", "z", "channels"))
    with refused("layer 'deep' has 2 planes along z"):
        tiles(deep, [[1, 1]], 2, ["a"])
    with refused("layer 'stain' is for an ImageContainer, this is ndarray"):
        tiles(IMAGE, CENTRES, 6, IDS, layer="stain")


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ({"image": IMAGE[None]}, ("the image has shape (1, 40, 60, 3)",)),
        ({"image": IMAGE.transpose(2, 0, 1)}, ("the image has shape (3, 40, 60)", "give (height, width)")),
        ({"image": "slide.tif"}, ("the image is str; give an array",)),
        ({"channels": ("red",)}, ("1 names for 3 channels (red)",)),
        ({"side": 0}, ("side is 0; give 1 pixel or more",)),
        ({"edge": "wrap"}, ("edge is 'wrap'; choose 'reflect' or 'error'",)),
        ({"centres": CENTRES[:3]}, ("centres have shape (3, 2) for 4 ids",)),
        ({"centres": CENTRES.ravel()}, ("centres have shape (8,) for 4 ids; give one (x, y) per id",)),
        ({"ids": ["a", "b", "a", "c"]}, ("1 ids occur more than once (a)",)),
        (
            {"centres": [[60, 0], [0, 40], [1, 1], [np.nan, 3]]},
            ("3 of 4 centres lie outside of the image of 60 × 40 pixels (a, b, d)",),
        ),
    ],
)
def test_what_makes_no_tiles_is_refused(refused, change, pieces):
    given = {"image": IMAGE, "centres": CENTRES, "side": 4, "ids": IDS} | change
    with refused("tiles: ", *pieces):
        tiles(**given)


def test_names_and_range_go_along():
    found = tiles(IMAGE.astype(np.uint16), CENTRES, 4, IDS, channels=("red", "green", "blue"), value_range=(0, 4095))
    assert found.uns["image"] == {"shape": [3, 4, 4], "channels": ["red", "green", "blue"], "range": [0, 4095]}
    assert found.var_names[0] == "red_0_0"


def test_the_reader_gives_the_same_rows_block_by_block(monkeypatch):
    pytest.importorskip("skimage")
    centres = np.random.default_rng(1).uniform(0, 39, (11, 2))
    ids = [f"s{i}" for i in range(11)]
    reader = TileReader(IMAGE, centres, 8, ids)
    whole = tiles(IMAGE, centres, 8, ids)
    part = reader.rows(3, 7)
    np.testing.assert_array_equal(part.X, whole.X[3:7])
    assert list(part.obs_names) == ids[3:7]
    assert part.obs.shape[1] == 0
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 4)
    seen = []
    values, _ = encode_rows(
        ImageFeatures(), "image-features", reader.index, reader.rows, 64, progress=lambda done, n: seen.append(done)
    )
    assert seen == [4, 8, 11]
    np.testing.assert_array_equal(values, ImageFeatures().encode(whole))


def test_the_reader_holds_a_block_and_not_all_tiles():
    n, side = 1000, 48
    reader = TileReader(IMAGE, np.tile([[20.0, 20.0]], (n, 1)), side, range(n))
    tracemalloc.start()
    for start in range(0, n, 100):
        reader.rows(start, start + 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * n * 3 * side * side


@pytest.mark.realdata
def test_neighbouring_spots_of_a_slide_look_alike(data_folder):
    pytest.importorskip("skimage")
    from PIL import Image

    folder = data_folder / "her2st"
    if not folder.is_dir():
        pytest.skip("her2st is not there")
    spots = pd.read_csv(folder / "C3_selection.tsv", sep="\t")
    with pytest.warns(Image.DecompressionBombWarning):
        slide = np.asarray(Image.open(folder / "C3_HE.jpg"))
    ids = spots["x"].astype(str) + "x" + spots["y"].astype(str)
    found = tiles(slide, spots[["pixel_x", "pixel_y"]], 96, ids, channels=("red", "green", "blue"), edge="error")
    x = ImageFeatures().encode(found)
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    away = np.linalg.norm(found.obsm["spatial"][:, None] - found.obsm["spatial"][None], axis=2)
    i, j = np.triu_indices(len(z), 1)
    alike = np.linalg.norm(z[i] - z[j], axis=1)
    near = away[i, j] < 330
    assert np.median(alike[near]) < np.median(alike[~near])
