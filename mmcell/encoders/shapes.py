"""`image-features`: intensity, texture and shape of every channel, made by hand: what an image model has to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mmcell.embedding import ModelCard
from mmcell.encoders.images import Layout, brightness
from mmcell.errors import MissingExtraError

if TYPE_CHECKING:
    from anndata import AnnData

_QUANTILES = (5, 25, 50, 75, 95)
_LEVELS = 16
#: Angles of neighbouring pixels: right, and the three diagonals and verticals up to the left.
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_ROWS = 512
INTENSITY = ("mean", "sd", *(f"q{q:02d}" for q in _QUANTILES))
TEXTURE = ("local_sd", "contrast", "homogeneity", "correlation")
SHAPE = ("empty", "objects", "foreground", "area", "eccentricity", "solidity", "extent", "perimeter")
NAMES = (*INTENSITY, *TEXTURE, *SHAPE)


@dataclass
class ImageFeatures:
    """Nineteen features of every channel, called ``CHANNEL_FEATURE``; nothing is fitted.

    Intensity
        ``mean``, ``sd`` and the percentiles ``q05`` … ``q95`` of brightness, which lies between 0 and 1.
    Texture
        ``local_sd``, the mean standard deviation within 3 × 3 pixels; ``contrast``, ``homogeneity`` and
        ``correlation`` of neighbouring pixels in 16 levels of brightness, the same for every image (Haralick et al.,
        IEEE Trans. Syst. Man Cybern. 3, 610 (1973)), mean over four directions.
    Shape
        The image, smoothed by a mean over 3 × 3 pixels so that a noisy pixel is no object, is divided at Otsu's
        threshold. ``objects`` counts the connected bright parts, ``foreground`` is their share of the image; of the
        largest one, ``area`` and ``perimeter`` in pixels, ``eccentricity``, ``solidity`` and ``extent``, as in
        scikit-image's ``regionprops``. An image of one brightness has no object: ``empty`` is 1, and all other
        features of shape are 0.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    card: ModelCard = field(
        default_factory=lambda: ModelCard(
            name="image-features", modality="image", description="intensity, texture and shape of every channel"
        ),
        init=False,
    )

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, 19 · channels).

        Raises
        ------
        MmcellError
            Images without a layout, or of an unknown range.
        MissingExtraError
            scikit-image is not installed.
        """
        _skimage()
        layout = Layout.of(data)
        self.columns = tuple(f"{channel}_{name}" for channel in layout.channels for name in NAMES)
        found = np.empty((data.n_obs, len(self.columns)), dtype=np.float32)
        for start in range(0, data.n_obs, _ROWS):
            x = brightness(data[start : start + _ROWS]).reshape(-1, *layout.shape[1:])
            found[start : start + _ROWS] = _described(x).reshape(-1, found.shape[1])
        return found


def _skimage() -> Any:
    try:
        import skimage
    except ImportError as error:
        raise MissingExtraError("encoder 'image-features'", "scikit-image", "spatial") from error
    return skimage


def _described(x: np.ndarray) -> np.ndarray:
    """Return (n, 19) features of planes (n, height, width) between 0 and 1."""
    from scipy.ndimage import uniform_filter

    exact = x.astype(np.float64)
    window = (1, 3, 3)
    smooth = uniform_filter(exact, window, mode="reflect")
    spread = np.sqrt(np.maximum(uniform_filter(exact**2, window, mode="reflect") - smooth**2, 0.0))
    flat = exact.reshape(len(x), -1)
    intensity = np.column_stack([flat.mean(1), flat.std(1), np.percentile(flat, _QUANTILES, axis=1).T])
    levels = np.minimum((x * _LEVELS).astype(np.uint8), _LEVELS - 1)
    rest = [[s.mean(), *texture(level), *shape(m)] for s, level, m in zip(spread, levels, smooth, strict=True)]
    return np.hstack([intensity, np.array(rest).reshape(len(x), -1)])


def texture(levels: np.ndarray) -> tuple[float, float, float]:
    """Return contrast, homogeneity and correlation of neighbouring pixels.

    Parameters
    ----------
    levels
        (height, width) whole numbers from 0 to 15.
    """
    feature = _skimage().feature
    found = feature.graycomatrix(levels, [1], _ANGLES, levels=_LEVELS, symmetric=True, normed=True)
    contrast, homogeneity, correlation = (
        float(feature.graycoprops(found, p).mean()) for p in ("contrast", "homogeneity", "correlation")
    )
    return contrast, homogeneity, correlation


def shape(image: np.ndarray) -> tuple[float, ...]:
    """Return the features of shape, in the order of `SHAPE`.

    Parameters
    ----------
    image
        (height, width), smoothed.
    """
    skimage = _skimage()
    # Otsu's threshold is undefined on one brightness alone, and so are the objects.
    if np.ptp(image) < 1e-6:
        return (1.0, *[0.0] * (len(SHAPE) - 1))
    bright = image > skimage.filters.threshold_otsu(image)
    parts = skimage.measure.label(bright)
    sizes = np.bincount(parts.ravel())[1:]
    largest = skimage.measure.regionprops((parts == 1 + int(sizes.argmax())).astype(np.uint8))[0]
    measured = (largest.area, largest.eccentricity, largest.solidity, largest.extent, largest.perimeter)
    return (0.0, float(len(sizes)), float(bright.mean()), *map(float, measured))
