"""Spatial transcriptomics from plain files: counts, positions and an image a section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from mmcell.data.slide import pixels_of
from mmcell.encoders.tiles import tiles
from mmcell.errors import MmcellError, first
from mmcell.modalities import join
from mmcell.readers import existing, read_table
from mmcell.roles import SectionCard

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

#: Names of the columns of positions in pixels, and on the array, the first pair that is there.
_PIXELS = (("pixel_x", "pixel_y"), ("pxl_col_in_fullres", "pxl_row_in_fullres"))
_ARRAY = (("x", "y"), ("array_col", "array_row"))


def read_sections(sections: Mapping[str, SectionCard], side: int, folder: Path) -> tuple[MuData, tuple[str, ...]]:
    """Read sections as one dataset of spots with the modalities ``rna`` and ``image``.

    Parameters
    ----------
    sections
        Name -> its files and facts.
    side
        Pixels of the tile around a spot.
    folder
        Paths in `sections` are relative to it.

    Returns
    -------
    data : MuData
        ``rna`` (counts; genes that every section measured) and ``image`` (tiles, bytes), rows ``SECTION:SPOT``;
        ``obs`` holds ``section``, the facts and annotations; ``obsm["spatial"]`` of ``rna`` the pixels of a spot.
    caveats
        In words, which spots and genes were left out.

    Raises
    ------
    MmcellError
        A file that is not there or cannot be read, no spot that is both counted and placed, a spot outside the image,
        no gene in common.
    """
    import anndata as ad

    counts, images, about, caveats = [], [], [], []
    for name, section in sections.items():
        one = _section(name, section, side, folder)
        counts.append(one[0])
        images.append(one[1])
        about.append(one[2])
        caveats += one[3]
    genes = counts[0].var_names
    for other in counts[1:]:
        genes = genes[genes.isin(other.var_names)]
    if not len(genes):
        raise MmcellError(f"sections {first(list(sections))}: no gene is in all of them; check how genes are called")
    every = {g for part in counts for g in part.var_names}
    if len(every) > len(genes):
        caveats.append(f"{len(every) - len(genes)} of {len(every)} genes were not counted in every section: left out.")
    rna = ad.concat([part[:, genes] for part in counts])
    image = ad.concat(images)
    image.uns["image"] = images[0].uns["image"]
    return join({"rna": rna, "image": image}, pd.concat(about)), tuple(caveats)


def _section(
    name: str, section: SectionCard, side: int, folder: Path
) -> tuple[AnnData, AnnData, pd.DataFrame, list[str]]:
    import anndata as ad

    table = read_table(existing(folder / section.counts))
    table = table.set_axis(table.iloc[:, 0].astype(str), axis=0).iloc[:, 1:]
    positions = _by_spot(existing(folder / section.positions), table.index)
    if section.annotations is not None:
        extra = _by_spot(existing(folder / section.annotations), table.index)
        new = extra.columns.difference(positions.columns)
        positions = positions.join(extra[new])
    pair = next((p for p in _PIXELS if set(p) <= set(positions)), None)
    if pair is None:
        raise MmcellError(
            f"{folder / section.positions}: give the centres of spots in pixels as pixel_x and pixel_y; it has "
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
    caveats = [f"Section {name}: {lost} of {len(table)} counted spots have no position and were left out."] * (lost > 0)
    ids = name + ":" + spots
    pixels, channels = pixels_of(folder / section.image)
    image = tiles(pixels, xy.loc[spots].to_numpy(), side, ids, channels=channels)
    values = table.loc[spots].to_numpy(dtype=np.float32)
    rna = ad.AnnData(sparse.csr_matrix(values), obs=pd.DataFrame(index=ids), var=pd.DataFrame(index=table.columns))
    rna.obsm["spatial"] = xy.loc[spots].to_numpy()
    image.obs = pd.DataFrame(index=ids)
    image.obsm.clear()
    facts: dict[str, Any] = {"section": name, **section.facts}
    about = positions.loc[spots].set_axis(pd.Index(ids), axis=0).assign(**facts)
    return rna, image, about, caveats


def _by_spot(path: Path, counted: pd.Index) -> pd.DataFrame:
    """Return a table by spot: named by its first column, or by x and y of the array, whichever the counts know."""
    table = read_table(path)
    names = table.iloc[:, 0].astype(str)
    pair = next((p for p in _ARRAY if set(p) <= set(table)), None)
    numeric = pair is not None and all(pd.api.types.is_numeric_dtype(table[c]) for c in pair)
    if pair is not None and numeric and not names.isin(counted).any():
        names = table[pair[0]].astype(int).astype(str) + "x" + table[pair[1]].astype(int).astype(str)
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise MmcellError(f"{path}: {len(repeated)} spots occur more than once ({first(repeated)}); keep one row each")
    return table.set_axis(pd.Index(names), axis=0)
