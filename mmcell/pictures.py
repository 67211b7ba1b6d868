"""Small pictures of items, so that a reader can look at what a retrieval found."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from mmcell.dataset import Dataset
from mmcell.encoders.images import planes
from mmcell.errors import MmcellError

#: Longest side in pixels, and quality of the JPEG: a picture is two kilobytes or so.
_SIDE, _QUALITY = 64, 85


def pictures(dataset: Dataset, ids: Sequence[str]) -> dict[str, str]:
    """Return a ``data:`` address per id whose image was taken, in the first modality that holds images.

    The first three channels are red, green and blue. Bytes are shown as they are; other values are stretched, alike for
    all pictures, from the lowest to the 99.5th percentile of their channel.
    """
    modality = next((m for m in dataset.card.modalities if "image" in dataset.anndata(m).uns), None)
    if modality is None or not len(ids):
        return {}
    data = dataset.anndata(modality)
    at = data.obs_names.get_indexer(list(dict.fromkeys(ids)))
    shown = data[at[at >= 0]].to_memory() if data.isbacked else data[at[at >= 0]].copy()
    try:
        values = planes(shown)[:, :3]
    except MmcellError:
        # An encoder that reads these images says what is wrong with them; scores from elsewhere need no pictures.
        return {}
    if values.dtype != np.uint8 and values.size:
        low = values.min(axis=(0, 2, 3), keepdims=True)
        high = np.quantile(values, 0.995, axis=(0, 2, 3), keepdims=True)
        values = np.clip(255 * (values - low) / np.maximum(high - low, 1e-12), 0, 255).astype(np.uint8)
    return {str(name): _address(image) for name, image in zip(shown.obs_names, values, strict=True)}


def _address(image: np.ndarray) -> str:
    """Return a (channels, height, width) image of bytes as an address that holds it."""
    from PIL import Image

    channels = image if len(image) != 2 else np.concatenate([image, np.zeros_like(image[:1])])
    picture = Image.fromarray(channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1))
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
