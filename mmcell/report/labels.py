"""`spread`: where short labels stand beside points without lying on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Half the size of a point, the width of a letter and half the height of a line, in points.
_POINT, _LETTER, _HALF = 4.5, 6.6, 5.5
#: Of a line every so many points must be kept free, with that much around it.
_STEP, _THIN = 3.0, 1.0
_DISTANCES = (11.0, 16.0, 22.0, 29.0, 37.0, 46.0)
_ANGLES = np.deg2rad([45, 135, 315, 225, 90, 0, 180, 270, 67, 22, 112, 157, 292, 337, 247, 202])


def spread(
    points: np.ndarray,
    texts: Sequence[str],
    box: tuple[float, float, float, float],
    lines: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> np.ndarray:
    """Return the middles (n, 2) of labels beside points (n, 2), as near as they lie on nothing.

    Each takes, one after another, the place that covers least of points, lines and the labels before it, and of these
    the nearest.

    Parameters
    ----------
    points
        In points, like all lengths here.
    texts
        One a point.
    box
        Left, bottom, right and top of where labels may stand.
    lines
        From where to where something else is drawn.
    """
    taken = [np.concatenate([p - _POINT, p + _POINT]) for p in points]
    for start, end in lines:
        n = int(np.hypot(*(end - start)) / _STEP) + 1
        taken += [np.concatenate([p - _THIN, p + _THIN]) for p in np.linspace(start, end, n)]
    found = np.empty((len(points), 2))
    for i, (point, text) in enumerate(zip(points, texts, strict=True)):
        half = np.array([_LETTER * len(text) / 2, _HALF])
        places = [point + r * np.array([np.cos(a), np.sin(a)]) for r in _DISTANCES for a in _ANGLES]
        costs = [_covered(place, half, taken, box) for place in places]
        found[i] = places[int(np.argmin(costs))]
        taken.append(np.concatenate([found[i] - half, found[i] + half]))
    return found


def _covered(
    place: np.ndarray, half: np.ndarray, taken: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> float:
    """Return the area of a label that lies on something, or outside."""
    low, high = place - half, place + half
    others = np.array(taken)
    sides = np.minimum(high, others[:, 2:]) - np.maximum(low, others[:, :2])
    inside = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
    outside = 4 * half.prod() - np.clip(inside, 0, None).prod()
    # Rounded, so that the first of equal places is taken on every machine.
    return round(float(np.clip(sides, 0, None).prod(axis=1).sum() + outside), 6)
