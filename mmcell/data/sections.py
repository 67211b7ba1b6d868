"""One section of tissue, from plain files, a Visium folder, a SpatialData store, or HEST's counts and patches."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from mmcell.data.slide import pixels_of
from mmcell.distrust import checked, reading
from mmcell.encoders.images import as_anndata
from mmcell.encoders.tiles import tiles
from mmcell.errors import MissingExtraError, MmcellError, first, number_of
from mmcell.readers import existing, read_table
from mmcell.roles import SectionCard

if TYPE_CHECKING:
    from anndata import AnnData

_COLOURS = ("red", "green", "blue")
#: Names of the columns of positions in pixels, and on the array, the first pair that is there.
_PIXELS = (("pixel_x", "pixel_y"), ("pxl_col_in_fullres", "pxl_row_in_fullres"))
_ARRAY = (("x", "y"), ("array_col", "array_row"))


@dataclass(frozen=True, eq=False)
class Spots:
    """The spots of one section.

    Attributes
    ----------
    counts
        Spots × genes, named by spot; ``obs`` what is known of a spot, ``obsm["spatial"]`` x and y in pixels.
    image
        Their tiles, in the same order.
    caveats
        In words, what was left out.
    """

    counts: AnnData
    image: AnnData
    caveats: tuple[str, ...] = ()


def read_section(name: str, section: SectionCard, side: int, folder: Path) -> Spots:
    """Read one section.

    Parameters
    ----------
    name
        Of the section.
    section
        Its files.
    side
        Pixels of the tile around a spot; HEST's patches have their own.
    folder
        Paths are relative to it.

    Raises
    ------
    MmcellError
        A file that is not there or cannot be read, no spot that is both counted and placed, a spot outside the image.
    MissingExtraError
        A Visium folder or SpatialData, and squidpy or spatialdata is not installed.
    """
    if section.visium is not None:
        found = _visium(section, side, existing(folder / section.visium), folder)
    elif section.spatialdata is not None:
        found = _spatialdata(section, side, existing(folder / section.spatialdata))
    elif section.patches is not None:
        found = _hest(existing(folder / str(section.counts)), existing(folder / section.patches))
    else:
        return _plain(name, section, side, folder)
    if section.annotations is not None:
        extra = by_spot(existing(folder / section.annotations), found.counts.obs_names)
        new = extra.columns.difference(found.counts.obs.columns)
        found.counts.obs = found.counts.obs.join(extra[new])
    return found


def _plain(name: str, section: SectionCard, side: int, folder: Path) -> Spots:
    """Read counts (spots × genes), positions in pixels and an image, each a file."""
    import anndata as ad

    table = read_table(existing(folder / str(section.counts)))
    table = table.set_axis(table.iloc[:, 0].astype(str), axis=0).iloc[:, 1:]
    positions = by_spot(existing(folder / str(section.positions)), table.index)
    if section.annotations is not None:
        extra = by_spot(existing(folder / section.annotations), table.index)
        new = extra.columns.difference(positions.columns)
        positions = positions.join(extra[new])
    pair = next((p for p in _PIXELS if set(p) <= set(positions)), None)
    if pair is None:
        raise MmcellError(
            f"{folder / str(section.positions)}: give the centres of spots in pixels as pixel_x and pixel_y; it has "
            f"{first(list(positions), 6)}"
        )
    xy = positions[list(pair)].apply(pd.to_numeric, errors="coerce")
    spots = table.index[table.index.isin(xy.dropna().index)]
    if not len(spots):
        raise MmcellError(
            f"section {name!r}: none of {len(table)} counted spots ({first(table.index)}) has a position "
            f"({first(positions.index)}); spots are matched by name, or by x and y of the array as 10x14"
        )
    lost = len(table) - len(spots)
    caveats = (f"Section {name}: {lost} of {len(table)} counted spots have no position and were left out.",) * (
        lost > 0
    )
    pixels, channels = pixels_of(folder / str(section.image))
    values = sparse.csr_matrix(table.loc[spots].to_numpy(dtype=np.float32))
    counts = ad.AnnData(values, obs=positions.loc[spots], var=pd.DataFrame(index=table.columns.astype(str)))
    counts.obsm["spatial"] = xy.loc[spots].to_numpy()
    return Spots(counts, tiles(pixels, counts.obsm["spatial"], side, spots, channels=channels), caveats)


def _visium(section: SectionCard, side: int, path: Path, folder: Path) -> Spots:
    """Read Space Ranger's folder through squidpy; the picture is `image` at full resolution, or its own hires one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from squidpy.read import visium

            # What it warns of, names that occur twice, is mended and counted below.
            counts = visium(path)
    except ImportError as error:
        raise MissingExtraError(f"{path}: a Visium folder", "squidpy", "spatial") from error
    except (OSError, KeyError, ValueError) as error:
        raise MmcellError(
            f"{path}: cannot be read as Space Ranger's output ({error}); it should hold filtered_feature_bc_matrix.h5 "
            "and spatial/ with tissue_positions, scalefactors_json.json and the hires and lowres images"
        ) from error
    about = next(iter(counts.uns["spatial"].values()))
    xy, caveats = np.asarray(counts.obsm["spatial"], dtype=float), []
    placed = np.isfinite(xy).all(axis=1)
    if not placed.all():
        caveats.append(
            f"{path.name}: {int((~placed).sum())} of {len(placed)} counted spots have no position: left out."
        )
    counts, xy = counts[placed].copy(), xy[placed]
    if section.image is not None:
        pixels, channels = pixels_of(folder / section.image)
        return _tiled(counts, xy, pixels, channels, side, caveats)
    hires = np.asarray(about["images"]["hires"])[..., :3]
    if hires.dtype.kind == "f":
        # It was read as shares of the brightest byte.
        hires = np.round(255 * hires).astype(np.uint8)
    return _tiled(counts, xy * float(about["scalefactors"]["tissue_hires_scalef"]), hires, _COLOURS, side, caveats)


def _spatialdata(section: SectionCard, side: int, path: Path) -> Spots:
    """Read the first table of a SpatialData store, its region's centres, and the first image or the one named."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import spatialdata
            from spatialdata.transformations import get_transformation
    except ImportError as error:
        raise MissingExtraError(f"{path}: a SpatialData store", "spatialdata", "spatial") from error
    try:
        data = spatialdata.read_zarr(path)
    except (OSError, KeyError, ValueError) as error:
        raise MmcellError(f"{path}: cannot be read as SpatialData ({error})") from error
    if not len(data.tables) or not len(data.images):
        raise MmcellError(f"{path}: holds {len(data.tables)} tables and {len(data.images)} images; one each is needed")
    counts = next(iter(data.tables.values()))
    image_name = section.image or next(iter(data.images))
    if image_name not in data.images:
        raise MmcellError(f"{path}: holds no image {image_name!r}; its images: {first(list(data.images))}")
    region = counts.uns["spatialdata_attrs"]["region"]
    region = region if isinstance(region, str) else region[0]
    key = counts.uns["spatialdata_attrs"]["instance_key"]
    counts = counts[(counts.obs[counts.uns["spatialdata_attrs"]["region_key"]] == region).to_numpy()].copy()
    system = next(iter(get_transformation(data[region], get_all=True)))
    centres = spatialdata.get_centroids(data[region], coordinate_system=system).compute()
    centres.index = data[region].index
    xy = centres[["x", "y"]].reindex(counts.obs[key]).to_numpy(dtype=float)
    # From the coordinate system that both share into the pixels of the image.
    image = data.images[image_name]
    if hasattr(image, "children") and image.children:
        image = next(iter(next(iter(image.children.values())).data_vars.values()))
    back = get_transformation(data.images[image_name], system).inverse().to_affine_matrix(("x", "y"), ("x", "y"))
    xy = xy @ back[:2, :2].T + back[:2, 2]
    placed = np.isfinite(xy).all(axis=1)
    caveats = [f"{path.name}: {int((~placed).sum())} of {len(placed)} counted spots have no shape: left out."]
    names = tuple(str(c) for c in np.asarray(image.coords["c"])) if "c" in image.coords else None
    pixels = np.moveaxis(np.asarray(image.transpose("c", "y", "x").data), 0, -1)
    counts = counts[placed].copy()
    counts.obs_names = counts.obs_names.astype(str)
    return _tiled(counts, xy[placed], pixels, names, side, caveats[: int(not placed.all())])


def _hest(counts_path: Path, patches: Path) -> Spots:
    """Read HEST's ``st/ID.h5ad`` and ``patches/ID.h5``: patches meet the spots by their barcode."""
    import anndata as ad
    import h5py

    checked(counts_path)
    checked(patches)
    with reading(counts_path):
        counts = ad.read_h5ad(counts_path)
    try:
        with h5py.File(patches) as file:
            images = np.asarray(file["img"])
            barcode = np.ravel(np.asarray(file["barcode"]))
            coords = np.asarray(file["coords"], dtype=float)
    except (OSError, KeyError) as error:
        raise MmcellError(
            f"{patches}: cannot be read as patches ({error}); it should hold img (n, side, side, 3), barcode and coords"
        ) from error
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise MmcellError(f"{patches}: img is {images.dtype} of shape {images.shape}; give bytes (n, side, side, 3)")
    names = pd.Index([b.decode() if isinstance(b, bytes) else str(b) for b in barcode])
    if not len(names) == len(images) == len(coords) or names.has_duplicates:
        raise MmcellError(
            f"{patches}: {len(images)} patches, {names.nunique()} different barcodes and {len(coords)} coords; give as "
            "many of each"
        )
    shared = counts.obs_names[counts.obs_names.isin(names)]
    if not len(shared):
        raise MmcellError(
            f"{patches}: none of {len(names)} barcodes ({first(names)}) is a spot of {counts_path.name} "
            f"({first(counts.obs_names)})"
        )
    at = names.get_indexer(shared)
    lost = counts.n_obs - len(shared), len(names) - len(shared)
    caveats = (f"{patches.name}: {lost[0]} spots without a patch and {lost[1]} patches without counts: left out.",)
    counts = counts[shared].copy()
    counts.obsm["spatial"] = coords[at]
    image = as_anndata(np.moveaxis(images[at], -1, 1), shared, _COLOURS)
    return Spots(counts, image, caveats if any(lost) else ())


def _tiled(
    counts: AnnData, xy: np.ndarray, pixels: Any, channels: tuple[str, ...] | None, side: int, caveats: list[str]
) -> Spots:
    """Return spots with the tiles around their centres; equal names of genes get a number."""
    if not counts.var_names.is_unique:
        caveats = [
            *caveats,
            f"{number_of(int(counts.var_names.duplicated().sum()), 'gene shares', 'genes share')} a name and got a "
            "number.",
        ]
        counts.var_names_make_unique()
    counts.obsm["spatial"] = xy
    counts.uns.clear()
    return Spots(counts, tiles(pixels, xy, side, counts.obs_names, channels=channels), tuple(caveats))


def by_spot(path: Path, counted: pd.Index) -> pd.DataFrame:
    """Return a table by spot: named by its first column, or by x and y of the array, whichever the counts know.

    Raises
    ------
    MmcellError
        The file cannot be read, or a spot occurs more than once.
    """
    table = read_table(path)
    names = table.iloc[:, 0].astype(str)
    pair = next((p for p in _ARRAY if set(p) <= set(table)), None)
    numeric = pair is not None and all(pd.api.types.is_numeric_dtype(table[c]) for c in pair)
    if pair is not None and numeric and not names.isin(counted).any():
        names = table[pair[0]].astype(int).astype(str) + "x" + table[pair[1]].astype(int).astype(str)
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise MmcellError(
            f"{path}: {number_of(len(repeated), 'spot occurs', 'spots occur')} more than once ({first(repeated)}); "
            "keep one row each"
        )
    return table.set_axis(pd.Index(names), axis=0)
