"""Images in an AnnData: planes of pixels, their brightness between 0 and 1, and another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, first

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Layout:
    """How the pixels of a row are laid out: ``uns["image"]``.

    Attributes
    ----------
    shape
        (channels, height, width); X holds them flattened in that order.
    channels
        Their names.
    value_range
        (darkest, brightest) value that a pixel can take; None where it is not stated.
    """

    shape: tuple[int, int, int]
    channels: tuple[str, ...]
    value_range: tuple[float, float] | None = None

    @classmethod
    def of(cls, data: AnnData) -> Layout:
        """Return the layout of an AnnData of images.

        Channels without names are called ``channel_1``, ``channel_2``, …

        Raises
        ------
        MmcellError
            There is none, or it does not fit X.
        """
        given = data.uns.get("image")
        if given is None or "shape" not in given:
            raise MmcellError(
                "these data have no layout of images: set uns['image'] = {'shape': [channels, height, width], "
                "'channels': [names]}"
            )
        shape = tuple(int(v) for v in np.ravel(given["shape"]))
        if len(shape) != 3 or min(shape) < 1:
            raise MmcellError(f"uns['image']['shape'] is {list(shape)}; give [channels, height, width], each 1 or more")
        if int(np.prod(shape)) != data.n_vars:
            raise MmcellError(
                f"uns['image']['shape'] is {list(shape)}, which makes {int(np.prod(shape))} pixels, and X has "
                f"{data.n_vars} columns; flatten images as (channels, height, width)"
            )
        names = tuple(map(str, np.ravel(given.get("channels", ())))) or named(shape[0])
        if len(names) != shape[0] or len(set(names)) != len(names):
            raise MmcellError(
                f"uns['image']['channels'] names {first(names)} for {shape[0]} channels; give each one name of its own"
            )
        return cls(shape, names, _range(given["range"]) if "range" in given else None)

    @property
    def uns(self) -> dict[str, Any]:
        """What ``uns["image"]`` holds."""
        stated = {} if self.value_range is None else {"range": list(self.value_range)}
        return {"shape": list(self.shape), "channels": list(self.channels), **stated}

    @property
    def pixels(self) -> pd.Index:
        """Names of the columns of X: ``channel_row_column``."""
        return _pixels(self.channels, *self.shape[1:])


def named(n: int) -> tuple[str, ...]:
    """Return names for `n` channels that have none."""
    return tuple(f"channel_{i + 1}" for i in range(n))


def _range(given: Any) -> tuple[float, float]:
    values = tuple(float(v) for v in np.ravel(given))
    if len(values) != 2 or not values[0] < values[1]:
        raise MmcellError(f"uns['image']['range'] is {list(values)}; give [darkest, brightest], the first one smaller")
    return values


@lru_cache(maxsize=4)
def _pixels(channels: tuple[str, ...], height: int, width: int) -> pd.Index:
    return pd.Index([f"{c}_{y}_{x}" for c in channels for y in range(height) for x in range(width)])


def planes(data: AnnData) -> np.ndarray:
    """Return the images as (n, channels, height, width), a view of X where X is dense.

    Raises
    ------
    MmcellError
        There is no layout, it does not fit, or X holds no numbers.
    """
    layout = Layout.of(data)
    x = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    if x.dtype.kind not in "uif":
        raise MmcellError(f"images hold {x.dtype} values; give bytes (uint8) or floats between 0 and 1")
    return x.reshape(len(x), *layout.shape)


def brightness(data: AnnData) -> np.ndarray:
    """Return the images as (n, channels, height, width) float32 between 0 (darkest) and 1 (brightest).

    Bytes span 0 to 255. Other values span what ``uns["image"]["range"]`` states, and 0 to 1 where it states nothing;
    values beyond are refused, since how bright they are can only be guessed.

    Raises
    ------
    MmcellError
        Values beyond the range, or NaN; what `planes` refuses.
    """
    found, stated = planes(data), Layout.of(data).value_range
    low, high = stated or ((0.0, 255.0) if found.dtype == np.uint8 else (0.0, 1.0))
    if not found.size:
        return found.astype(np.float32)
    least, most = float(found.min()), float(found.max())
    # Written so that NaN is refused too.
    if not (least >= low and most <= high):
        of = "stated in uns['image']['range']" if stated else "of float images"
        raise MmcellError(
            f"images hold {found.dtype} values from {least:g} to {most:g}, beyond the range {low:g} to {high:g} {of}; "
            "give bytes (uint8) or floats between 0 and 1, or state the range: uns['image']['range'] = [darkest, "
            "brightest]"
        )
    return (found.astype(np.float32) - np.float32(low)) / np.float32(high - low)


def as_anndata(values: np.ndarray, ids: Any, channels: Sequence[str], value_range: Any = None) -> AnnData:
    """Return images (n, channels, height, width) as an AnnData of rows, with their layout in ``uns["image"]``."""
    import anndata as ad

    layout = Layout(tuple(values.shape[1:]), tuple(channels), value_range)
    found = ad.AnnData(np.ascontiguousarray(values).reshape(len(values), -1))
    found.obs_names, found.var_names = pd.Index(ids).astype(str), layout.pixels
    found.uns["image"] = layout.uns
    return found


def resized(data: AnnData, side: int) -> AnnData:
    """Return the images at `side` × `side` pixels, every channel alone, bilinear and antialiased.

    Images that are not square are squeezed. Whole numbers stay whole numbers: they are rounded.

    Parameters
    ----------
    data
        Images with their layout; returned as they are when they have this size.
    side
        Pixels.

    Raises
    ------
    MmcellError
        What `planes` refuses, or a side that is no positive number.
    """
    from PIL import Image

    if side < 1:
        raise MmcellError(f"images cannot be resized to {side} pixels; give a side of 1 or more")
    layout, before = Layout.of(data), planes(data)
    if layout.shape[1:] == (side, side):
        return data
    after = np.empty((*before.shape[:2], side, side), dtype=before.dtype)
    for i in np.ndindex(before.shape[:2]):
        plane = Image.fromarray(before[i].astype(np.float32))
        found = np.asarray(plane.resize((side, side), Image.Resampling.BILINEAR))
        after[i] = np.rint(found) if before.dtype.kind in "ui" else found
    return as_anndata(after, data.obs_names, layout.channels, layout.value_range)
