"""Tiles: square windows of a large image around given centres, read as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mmcell.encoders.images import as_anndata, named
from mmcell.errors import MmcellError, did_you_mean, first

if TYPE_CHECKING:
    from anndata import AnnData

Edge = Literal["reflect", "error"]


def tiles(
    image: Any,
    centres: Any,
    side: int,
    ids: Any,
    *,
    channels: Sequence[str] | None = None,
    edge: Edge = "reflect",
    layer: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> AnnData:
    """Return all tiles as an AnnData of images.

    Parameters
    ----------
    image, centres, side, ids, channels, edge, layer, value_range
        See `TileReader`, which reads the same tiles block by block.

    Returns
    -------
    AnnData
        X (n, channels · side · side) in the image's own type; ``uns["image"]`` holds the layout, ``obsm["spatial"]``
        the centres, ``obs["over_edge"]`` which tiles reach over the edge of the image.

    Raises
    ------
    MmcellError
        See `TileReader`.
    """
    reader = TileReader(image, centres, side, ids, channels, edge, layer, value_range)
    found = reader.rows(0, reader.n)
    found.obsm["spatial"] = reader.xy.copy()
    found.obs["over_edge"] = reader.over_edge
    return found


@dataclass(frozen=True, eq=False)
class TileReader:
    """Tiles of a large image that are cut when their rows are asked for.

    `mmcell.encoders.encode.encode_rows` takes its ``rows`` and encodes them without ever holding them all.

    Attributes
    ----------
    image
        (height, width) or (height, width, channels): a numpy array, a memmap, a dask or zarr array; or a squidpy
        ``ImageContainer``.
    centres
        (n, 2) pixels as (x, y): x counts columns from the left, y rows from the top, whole numbers are the middles of
        pixels. Fractions are rounded to the nearest pixel. (As in ``obsm["spatial"]`` and in files with the columns
        ``pixel_x`` and ``pixel_y``; an array is indexed as ``image[y, x]``.)
    side
        Pixels; a tile begins ``side // 2`` pixels left of and above its centre.
    ids
        (n,) unique ids.
    channels
        Names; default ``channel_1``, ``channel_2``, … or those of the container. Name them ``red``, ``green``,
        ``blue`` where they are so.
    edge
        A tile that reaches over the edge is filled by reflection (``reflect``), or refused (``error``).
    layer
        Of the container; needed when it has several.
    value_range
        (darkest, brightest) value of a pixel, for images that are neither bytes nor floats between 0 and 1.

    Raises
    ------
    MmcellError
        Wrong shapes, duplicate ids, centres outside of the image, tiles over the edge under ``error``.
    """

    image: Any
    centres: Any
    side: int
    ids: Any
    channels: Sequence[str] | None = None
    edge: Edge = "reflect"
    layer: str | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = self._pixels.shape
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > min(shape[:2])):
            raise MmcellError(f"tiles: the image has shape {tuple(shape)}; give (height, width) or (…, channels)")
        if len(self.names) != self.n_channels:
            raise MmcellError(f"tiles: {len(self.names)} names for {self.n_channels} channels ({first(self.names)})")
        if self.side < 1:
            raise MmcellError(f"tiles: side is {self.side}; give 1 pixel or more")
        if self.edge not in ("reflect", "error"):
            raise MmcellError(f"tiles: edge is {self.edge!r}; choose 'reflect' or 'error'")
        if self.xy.ndim != 2 or self.xy.shape[1] != 2 or len(self.xy) != len(self.index):
            raise MmcellError(
                f"tiles: centres have shape {self.xy.shape} for {len(self.index)} ids; give one (x, y) per id"
            )
        repeated = self.index[self.index.duplicated()].unique()
        if len(repeated):
            raise MmcellError(f"tiles: {len(repeated)} ids occur more than once ({first(repeated)}); make them unique")
        height, width = shape[:2]
        # Written so that NaN counts as outside.
        inside = ((self.xy >= -0.5) & (self.xy < np.array([width, height]) - 0.5)).all(axis=1)
        if not inside.all():
            raise MmcellError(
                f"tiles: {int((~inside).sum())} of {self.n} centres lie outside of the image of {width} × {height} "
                f"pixels ({first(self.index[~inside])}); give (x, y) in pixels of this image"
            )
        if self.edge == "error" and self.over_edge.any():
            raise MmcellError(
                f"tiles: {int(self.over_edge.sum())} of {self.n} tiles reach over the edge "
                f"({first(self.index[self.over_edge])}); leave them out, or fill them with edge='reflect'"
            )

    @property
    def n(self) -> int:
        """The number of tiles."""
        return len(self.index)

    @cached_property
    def index(self) -> pd.Index:
        """(n,) ids as text."""
        return pd.Index(np.asarray(self.ids).astype(str), name="id")

    @cached_property
    def xy(self) -> np.ndarray:
        """(n, 2) centres."""
        return np.asarray(self.centres, dtype=np.float64)

    @property
    def n_channels(self) -> int:
        """The number of channels."""
        return int(self._pixels.shape[2]) if len(self._pixels.shape) == 3 else 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return named(self.n_channels) if self.channels is None else tuple(map(str, self.channels))

    @cached_property
    def over_edge(self) -> np.ndarray:
        """(n,) whether a tile reaches over the edge of the image."""
        end = np.array(self._pixels.shape[1::-1])
        return np.asarray(((self._corner < 0) | (self._corner + self.side > end)).any(axis=1))

    def rows(self, start: int, stop: int) -> AnnData:
        """Return the tiles `start` to `stop` as an AnnData of images without anything else."""
        height, width = self._pixels.shape[:2]
        spans = [
            (_reflected(y, self.side, height), _reflected(x, self.side, width)) for x, y in self._corner[start:stop]
        ]
        windows = [self._pixels[y.min() : y.max() + 1, x.min() : x.max() + 1] for y, x in spans]
        if windows and hasattr(windows[0], "compute"):
            dask: Any = import_module("dask")
            # At once, so that a chunk under several tiles is read once.
            windows = list(dask.compute(*windows))
        shape = (len(spans), self.n_channels, self.side, self.side)
        found = np.empty(shape, dtype=self._pixels.dtype)
        for i, ((y, x), window) in enumerate(zip(spans, windows, strict=True)):
            tile = np.asarray(window)[np.ix_(y - y.min(), x - x.min())]
            found[i] = np.moveaxis(tile.reshape(self.side, self.side, -1), 2, 0)
        return as_anndata(found, self.index[start:stop], self.names, self.value_range)

    @cached_property
    def _corner(self) -> np.ndarray:
        """(n, 2) first column and row."""
        return np.floor(self.xy + 0.5).astype(np.int64) - self.side // 2

    @cached_property
    def _pixels(self) -> Any:
        kind = type(self.image)
        if kind.__name__ == "ImageContainer" and kind.__module__.startswith("squidpy."):
            return _layer(self.image, self.layer)
        if self.layer is not None:
            raise MmcellError(f"tiles: layer {self.layer!r} is for an ImageContainer, this is {kind.__name__}")
        if not (hasattr(self.image, "shape") and hasattr(self.image, "dtype")):
            raise MmcellError(f"tiles: the image is {kind.__name__}; give an array or a squidpy ImageContainer")
        return self.image


def _layer(container: Any, layer: str | None) -> Any:
    """Return a layer of an ``ImageContainer`` as (height, width, channels), lazy where it is."""
    known = list(map(str, container))
    if layer is None and len(known) != 1:
        raise MmcellError(f"tiles: the ImageContainer has {len(known)} layers ({first(known)}); name one: layer=…")
    chosen = known[0] if layer is None else layer
    if chosen not in known:
        raise MmcellError(f"tiles: the ImageContainer has no layer {chosen!r}; {did_you_mean(chosen, known)}")
    found = container[chosen]
    if found.sizes["z"] != 1:
        raise MmcellError(f"tiles: layer {chosen!r} has {found.sizes['z']} planes along z; select one of them first")
    return found.isel(z=0).transpose("y", "x", ...).data


def _reflected(start: int, side: int, size: int) -> np.ndarray:
    """Return the positions of `side` pixels from `start` on along an axis of `size`, mirrored at its end pixels."""
    period = max(2 * (size - 1), 1)
    found = np.arange(start, start + side) % period
    return np.minimum(found, period - found) if size > 1 else np.zeros(side, dtype=np.int64)
