"""Sections of tissue from the folders and files of other tools, written here as these tools write them."""

import json

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

import mmcell
from mmcell import MmcellError

SIDE = 16
SPOTS = [(x, y) for x in range(1, 6) for y in range(1, 5)]
BARCODES = [f"AAAC{i:02d}-1" for i in range(len(SPOTS))]
XY = np.array(SPOTS, dtype=float) * SIDE


def truth(seed=0):
    """Brightness around every spot, its counts (the first gene is the brightness), and the picture of all."""
    rng = np.random.default_rng(seed)
    level = rng.integers(1, 200, len(SPOTS))
    counts = np.column_stack([level, rng.poisson(3, (len(SPOTS), 3))]).astype(np.float32)
    pixels = np.zeros((SIDE * 6, SIDE * 7, 3), dtype=np.uint8)
    for (x, y), value in zip(SPOTS, level, strict=True):
        pixels[y * SIDE - 8 : y * SIDE + 8, x * SIDE - 8 : x * SIDE + 8] = value
    return level, counts, pixels


def visium(folder, seed=0, names="ABCD", scale=0.5):
    from PIL import Image

    level, counts, pixels = truth(seed)
    (folder / "spatial").mkdir(parents=True)
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
        matrix, part = file.create_group("matrix"), sparse.csr_matrix(counts)
        for name, values in (("data", part.data.astype(np.int32)), ("indices", part.indices), ("indptr", part.indptr)):
            matrix[name] = values
        matrix["shape"] = np.array(counts.shape[::-1])
        matrix["barcodes"] = np.array(BARCODES, dtype="S")
        genes = {"id": list("wxyz"), "name": list(names), "feature_type": ["Gene Expression"] * 4, "genome": ["g"] * 4}
        for name, values in genes.items():
            matrix[f"features/{name}"] = np.array(values, dtype="S")
        file.attrs["library_ids"] = np.array([b"lib"])
    table = pd.DataFrame(
        {"in_tissue": 1, "array_row": range(20), "array_col": range(20), "row": XY[:, 1], "col": XY[:, 0]},
        index=pd.Index(BARCODES, name="barcode"),
    )
    table.columns = ["in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
    table.to_csv(folder / "spatial" / "tissue_positions.csv")
    whole = Image.fromarray(pixels)
    whole.save(folder / "full.png")
    small = whole.resize((int(whole.width * scale), int(whole.height * scale)), Image.Resampling.NEAREST)
    small.save(folder / "spatial" / "tissue_hires_image.png")
    small.save(folder / "spatial" / "tissue_lowres_image.png")
    factors = {"tissue_hires_scalef": scale, "tissue_lowres_scalef": scale, "spot_diameter_fullres": 10}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    return level, counts


def spatialdata_store(path, seed=0, factor=2.0):
    """A store whose image has half the pixels of the coordinates, so that positions must be carried over."""
    import geopandas
    import spatialdata
    from shapely import Point
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    level, counts, pixels = truth(seed)
    image = Image2DModel.parse(
        np.moveaxis(pixels, -1, 0), dims=("c", "y", "x"), c_coords=["red", "green", "blue"],
        transformations={"global": Scale([factor, factor], axes=("x", "y"))},
    )  # fmt: skip
    frame = geopandas.GeoDataFrame({"radius": 3.0, "geometry": [Point(*p) for p in XY * factor]}, index=range(100, 120))
    shapes = ShapesModel.parse(frame, transformations={"global": Identity()})
    table = ad.AnnData(counts, obs=pd.DataFrame({"spot": range(100, 120), "region": "spots"}, index=BARCODES))
    table.obs["region"] = table.obs["region"].astype("category")
    table.var_names = list("ABCD")
    table = TableModel.parse(table, region="spots", region_key="region", instance_key="spot")
    spatialdata.SpatialData(images={"he": image}, shapes={"spots": shapes}, tables={"table": table}).write(path)
    return level, counts


def hest(folder, seed=0):
    level, counts, pixels = truth(seed)
    table = ad.AnnData(counts, obs=pd.DataFrame(index=BARCODES))
    table.var_names = list("ABCD")
    table.write_h5ad(folder / "ID.h5ad")
    order = np.random.default_rng(1).permutation(len(SPOTS))[:-2]
    with h5py.File(folder / "ID.h5", "w") as file:
        patches = [pixels[int(y) - 8 : int(y) + 8, int(x) - 8 : int(x) + 8] for x, y in XY]
        file["img"] = np.stack(patches)[order]
        file["coords"] = XY[order]
        file["barcode"] = np.array(BARCODES, dtype="S")[order][:, None]
    return level, counts, order


def card(folder, sections, **change):
    content = {
        "name": "tissue", "level": "spot", "preprocessing": {"rna": "counts", "image": "values"}, "side": SIDE,
        "roles": {"unit": "section", "batch": "section"}, "sections": sections,
    }  # fmt: skip
    (folder / "tissue.yaml").write_text(yaml.safe_dump(content | change))
    return folder / "tissue.yaml"


def shows(data, level):
    """Tiles are as bright as was drawn, and the first gene counts the same."""
    x = data.anndata("image").X
    found = np.asarray(x).reshape(len(x), 3, -1).mean(axis=(1, 2))
    rna = data.anndata("rna").to_df()
    np.testing.assert_allclose(rna.iloc[:, 0], level)
    np.testing.assert_allclose(found, level, atol=1)


@pytest.mark.parametrize("image", [None, "full.png"])
def test_a_visium_folder(tmp_path, image):
    pytest.importorskip("squidpy")
    level, _ = visium(tmp_path / "outs")
    section = {"visium": "outs", "facts": {"patient": "p"}} | ({"image": f"outs/{image}"} if image else {})
    data = mmcell.load_dataset(card(tmp_path, {"S": section}, side=8 if image is None else SIDE))
    assert list(data.ids) == [f"S:{b}" for b in BARCODES]
    shows(data, level)
    assert list(data.anndata("rna").var_names) == list("ABCD")
    assert (data.obs["patient"] == "p").all()


def test_genes_of_one_name_get_a_number_and_a_caveat(tmp_path):
    pytest.importorskip("squidpy")
    visium(tmp_path / "outs", names="ABBD")
    data = mmcell.load_dataset(card(tmp_path, {"S": {"visium": "outs"}}, side=8))
    assert list(data.anndata("rna").var_names) == ["A", "B", "B-1", "D"]
    assert any("1 gene shares a name" in c for c in data.card.caveats)


def test_a_spatialdata_store_whose_image_lies_in_another_frame(tmp_path):
    pytest.importorskip("spatialdata")
    level, _ = spatialdata_store(tmp_path / "s.zarr")
    data = mmcell.load_dataset(card(tmp_path, {"S": {"spatialdata": "s.zarr"}}))
    shows(data, level)
    np.testing.assert_allclose(data.anndata("rna").obsm["spatial"], XY)
    with pytest.raises(MmcellError, match="no image 'other'; its images: he"):
        mmcell.load_dataset(card(tmp_path, {"S": {"spatialdata": "s.zarr", "image": "other"}}))


def test_hests_counts_and_patches_meet_by_barcode(tmp_path):
    level, _, order = hest(tmp_path)
    data = mmcell.load_dataset(card(tmp_path, {"S": {"counts": "ID.h5ad", "patches": "ID.h5"}}))
    kept = np.sort(order)
    assert list(data.ids) == [f"S:{BARCODES[i]}" for i in kept]
    shows(data, level[kept])
    assert any("2 spots without a patch" in c for c in data.card.caveats)


def test_patches_that_are_none_are_refused(tmp_path):
    hest(tmp_path)
    where = card(tmp_path, {"S": {"counts": "ID.h5ad", "patches": "ID.h5"}})
    with h5py.File(tmp_path / "ID.h5", "a") as file:
        values = file["img"][:]
        del file["img"]
        file["img"] = values.astype(np.float32)
    with pytest.raises(MmcellError, match=r"img is float32 .* give bytes \(n, side, side, 3\)"):
        mmcell.load_dataset(where)
    with h5py.File(tmp_path / "ID.h5", "a") as file:
        del file["img"]
        file["img"] = values
        del file["barcode"]
        file["barcode"] = np.array([f"other{i}" for i in range(len(values))], dtype="S")
    with pytest.raises(MmcellError, match="none of 18 barcodes"):
        mmcell.load_dataset(where)
    with h5py.File(tmp_path / "ID.h5", "a") as file:
        del file["coords"]
    with pytest.raises(MmcellError, match="cannot be read as patches"):
        mmcell.load_dataset(where)


def test_what_is_no_folder_of_visium_is_refused(tmp_path):
    pytest.importorskip("squidpy")
    (tmp_path / "outs").mkdir()
    with pytest.raises(MmcellError, match="should hold filtered_feature_bc_matrix"):
        mmcell.load_dataset(card(tmp_path, {"S": {"visium": "outs"}}))
    with pytest.raises(MmcellError, match="give 'counts', 'positions' and 'image', or 'visium'"):
        mmcell.load_dataset(card(tmp_path, {"S": {"visium": "outs", "positions": "x.csv"}}))


def test_sections_of_different_images_are_refused(tmp_path):
    hest(tmp_path)
    (tmp_path / "b").mkdir()
    hest(tmp_path / "b", 1)
    with h5py.File(tmp_path / "b" / "ID.h5", "a") as file:
        values = file["img"][:, ::2, ::2]
        del file["img"]
        file["img"] = values
    of = {name: {"counts": f"{at}ID.h5ad", "patches": f"{at}ID.h5"} for name, at in (("S", ""), ("T", "b/"))}
    with pytest.raises(MmcellError, match=r"section 'T': its images are \[3, 8, 8\]"):
        mmcell.load_dataset(card(tmp_path, of))
