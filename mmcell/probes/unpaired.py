"""The head that sees no pair: two clouds of points are matched by the distances inside each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from mmcell.probes.head import Head, Pairs
from mmcell.probes.linear import fit_ridge
from mmcell.probes.scale import Scale

#: Points of each side: the match costs their cube.
_POINTS = 400
#: Principal components in which distances are taken.
_COMPONENTS = 20
#: Weight of the distances inside each cloud against the known classes.
_STRUCTURE = 0.5


def fit_gromov(pairs: Pairs) -> Head:
    """Match training rows of both spaces by (fused) Gromov–Wasserstein, and fit ridge to the matches both ways.

    The two sides are drawn independently of each other, so that no pair is given away by its position. Where classes
    are known of both (cell types), they are the fused part, half of the cost; without them structure alone is matched.

    Parameters
    ----------
    pairs
        Training rows; that row i belongs to row i is not used.

    References
    ----------
    Vayer et al.: Fused Gromov–Wasserstein distance for structured objects. Algorithms 13, 212 (2020). Solver: POT.
    """
    ot: Any = import_module("ot")
    rng = np.random.default_rng([pairs.seed, 3])
    n = min(_POINTS, len(pairs.x))
    # In random order on both sides: where the solver finds two matches equal, position decides.
    left, right = (rng.choice(len(pairs.x), n, replace=False) for _ in range(2))
    inside = [_distances(values[rows]) for values, rows in ((pairs.x, left), (pairs.y, right))]
    even = np.full(n, 1.0 / n)
    if pairs.labels is None:
        plan = ot.gromov.gromov_wasserstein(*inside, even, even, "square_loss", max_iter=200)
    else:
        other = (pairs.labels[0][left][:, None] != pairs.labels[1][right][None, :]).astype(float)
        plan = ot.gromov.fused_gromov_wasserstein(
            other, *inside, even, even, "square_loss", alpha=_STRUCTURE, max_iter=200
        )
    plan = np.asarray(plan) * n
    there = fit_ridge(pairs.x[left], plan @ pairs.y[right], pairs.groups[left])
    back = fit_ridge(pairs.y[right], plan.T @ pairs.x[left], pairs.groups[right])
    details = {"points": n, "fused": pairs.labels is not None, "alpha": there.alpha, "alpha_back": back.alpha}
    return Head((there.predict, there.target), (back.predict, back.target), details)


def _distances(values: np.ndarray) -> np.ndarray:
    """Return (n, n) Euclidean distances between the leading components, the greatest one 1."""
    z = Scale.fit(values).transform(values)
    _, vectors = np.linalg.eigh(z.T @ z)
    low = z @ vectors[:, ::-1][:, :_COMPONENTS]
    found = cdist(low, low)
    return found / max(found.max(initial=0.0), 1e-12)
