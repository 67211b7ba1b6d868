"""`Slide`: a large image and the centres of its cells or spots, encoded tile by tile."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.digest import digest, digest_file
from mmcell.distrust import checked, reading
from mmcell.encoders.tiles import TileReader
from mmcell.errors import MmcellError
from mmcell.readers import existing, read_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from mmcell.embedding import ModelCard

#: Names of the two columns of centres, the first pair that is there.
_CENTRES = (("x", "y"), ("pixel_x", "pixel_y"))
#: Pixels along one side of a tile: a block of larger ones fits into no memory.
LARGEST_TILE = 8192
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Slide:
    """Tiles around the centres of one image on disk.

    Attributes
    ----------
    image
        ``.npy`` (height, width) or (height, width, channels), read as a memmap; otherwise what Pillow reads (``.jpg``,
        ``.png``, ``.tif``), as red, green and blue.
    centres
        ``.csv`` or ``.parquet``: ids in the first column, then ``x`` and ``y`` (or ``pixel_x`` and ``pixel_y``): pixels
        from the left and from above.
    side
        Pixels of a tile.
    value_range
        (darkest, brightest) value of a pixel, for images that are neither bytes nor floats between 0 and 1.
    """

    image: Path
    centres: Path
    side: int = 224
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.side <= LARGEST_TILE:
            raise MmcellError(f"{self.image}: side is {self.side}; give 1 to {LARGEST_TILE} pixels")

    @cached_property
    def _tiles(self) -> TileReader:
        table = read_table(self.centres)
        names = next((pair for pair in _CENTRES if set(pair) <= set(table)), None)
        if names is None or table.columns[0] in names:
            raise MmcellError(
                f"{self.centres}: give ids in the first column, then x and y (or pixel_x and pixel_y); it has "
                f"{', '.join(map(str, table.columns[:6]))}"
            )
        xy = table[list(names)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
        pixels, channels = pixels_of(self.image)
        if self.value_range is None and pixels.dtype.kind in "ui" and pixels.dtype != np.uint8:
            raise MmcellError(
                f"{self.image}: holds {pixels.dtype} pixels, and how bright they are can only be guessed; state the "
                "darkest and the brightest value (--range 0 65535)"
            )
        ids = table.iloc[:, 0].astype(str)
        return TileReader(pixels, xy, self.side, ids, channels=channels, value_range=self.value_range)

    @property
    def ids(self) -> pd.Index:
        """The ids of the tiles."""
        return self._tiles.index

    @property
    def width(self) -> int:
        """Values of a tile."""
        return self._tiles.n_channels * self.side**2

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of image, centres, side and range."""
        stated = [] if self.value_range is None else [list(self.value_range)]
        return digest(digest_file(existing(self.image)), digest_file(existing(self.centres)), self.side, *stated)

    def reader(self, card: ModelCard) -> Callable[[int, int], AnnData]:
        """Return what cuts tiles for an encoder with this card.

        Raises
        ------
        MmcellError
            The encoder reads something else, or images of another number of channels.
        """
        if card.modality not in ("any", "image"):
            raise MmcellError(f"{self.image}: the encoder reads {card.modality}, not images; choose another one")
        if card.channels not in (None, self._tiles.n_channels):
            raise MmcellError(
                f"{self.image}: has {self._tiles.n_channels} channels, the encoder reads {card.channels}; choose "
                "another image or encoder"
            )
        return self._tiles.rows


def pixels_of(path: Path) -> tuple[Any, tuple[str, ...] | None]:
    """Return the pixels of an image, (height, width) or (height, width, channels), and the names of colours.

    Parameters
    ----------
    path
        ``.npy``, as a memmap; otherwise what Pillow reads, as red, green and blue.

    Raises
    ------
    MmcellError
        No such file, one that cannot be read, or so large that it cannot be unpacked safely.
    """
    checked(existing(path))
    from PIL import Image

    with reading(path), warnings.catch_warnings():
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), None
        # A slide is large; what is much larger still is refused below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as opened:
                return np.asarray(opened.convert("RGB")), _COLOURS
        except Image.DecompressionBombError as error:
            raise MmcellError(
                f"{path}: is too large to be unpacked safely ({error}); write its pixels to an .npy"
            ) from error
