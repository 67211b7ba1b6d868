"""`kmeans`: many runs of Lloyd's algorithm, each on its own subset of the rows.

A study fits some ten thousand rules on a few hundred rows each: one compiled loop over all of them, where a call of
scikit-learn's `KMeans` for each would take longer to set up than to run.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Iterations at most; on one cluster the last ones move hardly a row.
_ITERATIONS = 50


def kmeans(x: np.ndarray, rows: np.ndarray, k: int, starts: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centres of the best of several starts, for every run.

    Parameters
    ----------
    x
        (n, d) values.
    rows
        (runs, m) the rows that each run sees, `k` or more.
    k
        Groups.
    starts
        Of each run, seeded by k-means++.
    rng
        Of the seeds.

    Returns
    -------
    numpy.ndarray
        (runs, k, d) centres; a group that loses its last row keeps its centre.

    References
    ----------
    Lloyd: Least squares quantization in PCM. IEEE Trans Inf Theory 28, 129–137 (1982).
    Arthur, Vassilvitskii: k-means++, the advantages of careful seeding. SODA (2007).
    """
    found: np.ndarray = _best(np.ascontiguousarray(x, dtype=np.float64), rows, k, rng.random((len(rows), starts, k)))
    return found


def assign(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return (runs, n) the nearest of each run's (runs, k, d) centres, for every row of (n, d) values."""
    runs, k, d = centres.shape
    near = (centres.reshape(-1, d) @ x.T).reshape(runs, k, len(x)) - (centres**2).sum(axis=2)[:, :, None] / 2.0
    found: np.ndarray = near.argmax(axis=1)
    return found


@njit(cache=True, nogil=True)
def _best(x: np.ndarray, rows: np.ndarray, k: int, draws: np.ndarray) -> np.ndarray:  # pragma: no cover
    runs, starts = draws.shape[:2]
    kept = np.empty((runs, k, x.shape[1]))
    for r in range(runs):
        own = x[rows[r]]
        least = np.inf
        for s in range(starts):
            centres = _seeds(own, draws[r, s])
            inertia = _lloyd(own, centres)
            if inertia < least:
                least = inertia
                kept[r] = centres
    return kept


@njit(cache=True, nogil=True)
def _seeds(x: np.ndarray, draws: np.ndarray) -> np.ndarray:  # pragma: no cover
    """Return (k, d) rows drawn by k-means++ from (k,) uniform draws."""
    n, d = x.shape
    centres = np.empty((len(draws), d))
    nearest = np.full(n, np.inf)
    at = min(int(draws[0] * n), n - 1)
    for j in range(len(draws)):
        if j > 0:
            total = 0.0
            for i in range(n):
                distance = 0.0
                for c in range(d):
                    distance += (x[i, c] - centres[j - 1, c]) ** 2
                nearest[i] = min(nearest[i], distance)
                total += nearest[i]
            wanted, heap, at = draws[j] * total, 0.0, n - 1
            for i in range(n):
                heap += nearest[i]
                if heap > wanted:
                    at = i
                    break
        centres[j] = x[at]
    return centres


@njit(cache=True, nogil=True)
def _lloyd(x: np.ndarray, centres: np.ndarray) -> float:  # pragma: no cover
    """Move the centres until no row changes its group; return the sum of squared distances."""
    n, d = x.shape
    k = len(centres)
    label = np.full(n, -1)
    total, count = np.empty((k, d)), np.empty(k)
    inertia = 0.0
    for _ in range(_ITERATIONS):
        moved = False
        inertia = 0.0
        total[:] = 0.0
        count[:] = 0.0
        for i in range(n):
            least, at = np.inf, 0
            for j in range(k):
                distance = 0.0
                for c in range(d):
                    distance += (x[i, c] - centres[j, c]) ** 2
                if distance < least:
                    least, at = distance, j
            if label[i] != at:
                label[i] = at
                moved = True
            inertia += least
            count[at] += 1.0
            for c in range(d):
                total[at, c] += x[i, c]
        if not moved:
            break
        for j in range(k):
            if count[j] > 0:
                for c in range(d):
                    centres[j, c] = total[j, c] / count[j]
    return inertia
