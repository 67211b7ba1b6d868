"""Small fluorescence images of cells, drawn from type and latents: a nucleus, a cytoplasm, granules."""

from __future__ import annotations

import numpy as np

from mmcell.data.simulate.cells import Cells, blocks, offsets
from mmcell.data.simulate.dials import Dials
from mmcell.data.simulate.programme import LATENTS

CHANNELS = ("nucleus", "cytoplasm", "granules")
SIDE = 24
_GRANULES = 5
_SHARPNESS = 6.0
_BACKGROUND, _NOISE = 15.0, 6.0


def images(cells: Cells, n_types: int, dials: Dials, what: str) -> np.ndarray:
    """Return (N, 3 · 24 · 24) bytes: channels, then rows, then columns, flattened in that order.

    A type has its own size of nucleus and of cell, its own elongation and granularity. Of the latents, the disease's
    programme brightens the granules, state 1 widens the nucleus, state 2 brightens the cytoplasm, and the unrelated
    programme enlarges the cell. Every channel has a gain per patient and per batch; position and angle are random.
    Values saturate at 255, as a camera's do.
    """
    profile = dials.rng("image", "types")
    nucleus = profile.permutation(np.linspace(2.5, 4.5, n_types))
    cell = nucleus + profile.permutation(np.linspace(1.5, 4.5, n_types))
    elongation = profile.permutation(np.linspace(1.0, 1.35, n_types))
    granular = profile.permutation(np.linspace(25.0, 150.0, n_types))
    own, batch = offsets("image", len(CHANNELS), cells, dials)
    gain = np.exp(own[cells.patient] + batch[cells.batch])
    latent = dict(zip(LATENTS, dials.coupling * cells.latent.T, strict=True))
    rng = dials.rng(what, "image")
    found = np.empty((len(cells.kind), len(CHANNELS) * SIDE * SIDE), dtype=np.uint8)
    for i in blocks(len(found)):
        kind, n = cells.kind[i], len(cells.kind[i])
        centre = (SIDE - 1) / 2 + rng.uniform(-1.5, 1.5, (n, 2))
        angle = rng.uniform(0, np.pi, n)
        inner = nucleus[kind] * np.exp(0.12 * latent["state_1"][i])
        outer = cell[kind] * np.exp(0.1 * latent["unrelated"][i])
        stretch = np.sqrt(elongation[kind])
        body = _ellipse(centre, angle, outer * stretch, outer / stretch)
        core = _ellipse(centre, angle, inner * stretch, inner / stretch)
        planes = np.stack([core, body, _spots(centre, outer, rng) * body], axis=1)
        bright = np.stack(
            [
                np.full(n, 180.0),
                90.0 * np.exp(0.25 * latent["state_2"][i]),
                granular[kind] * np.exp(0.35 * latent["programme"][i]),
            ]
        )
        planes *= (bright.T * gain[i]).astype(np.float32)[:, :, None, None]
        planes += _BACKGROUND + _NOISE * rng.standard_normal(planes.shape, np.float32)
        found[i] = np.clip(np.round(planes), 0, 255).astype(np.uint8).reshape(n, -1)
    return found


def _ellipse(centre: np.ndarray, angle: np.ndarray, long: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Return (n, 24, 24) values: 1 inside, 0 outside, soft at the edge."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    cy, cx, turn, a, b = (v.astype(np.float32)[:, None, None] for v in (*centre.T, angle, long, short))
    dy, dx, cos, sin = y - cy, x - cx, np.cos(turn), np.sin(turn)
    away = np.hypot((cos * dx + sin * dy) / a, (cos * dy - sin * dx) / b)
    return 1.0 / (1.0 + np.exp(_SHARPNESS * (away - 1.0)))


def _spots(centre: np.ndarray, radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n, 24, 24) values: five granules at random places within the radius."""
    shape = (len(centre), _GRANULES)
    angle, away = rng.uniform(0, 2 * np.pi, shape), radius[:, None] * np.sqrt(rng.random(shape))
    place = centre[:, None] + np.stack([away * np.sin(angle), away * np.cos(angle)], axis=2)
    # A round spot is the product of its profiles along the rows and the columns.
    profile = np.exp(-((np.arange(SIDE) - place[..., None]) ** 2) / 2.0).astype(np.float32)
    return profile[:, :, 0].transpose(0, 2, 1) @ profile[:, :, 1]
