"""Small random cells, with ties and duplicates, in batches and of types."""

import numpy as np


def world(seed, n=120, d=4, n_batches=3, n_types=4, shift=1.0, grid=None):
    """(n, d) cells, batch and label; types lie apart, batches are shifted, and a grid makes ties and duplicates."""
    rng = np.random.default_rng(seed)
    batch, label = rng.integers(0, n_batches, n), rng.integers(0, n_types, n)
    x = (
        rng.normal(size=(n, d))
        + 3 * rng.normal(size=(n_types, d))[label]
        + shift * rng.normal(size=(n_batches, d))[batch]
    )
    if grid:
        x = np.round(x / grid) * grid
    return x, np.array([f"b{b}" for b in batch]), np.array([f"t{t}" for t in label])


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
