"""Diffusion coordinates of a graph, in which Euclidean distance is diffusion distance summed over all times."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds

#: Graphs up to this size are decomposed densely.
_DENSE = 500
#: An eigenvalue this near to 1 is that of a stationary state; single precision, as in scib-metrics.
_STATIONARY = 2.0**-25


def diffusion(weights: csr_matrix, component: np.ndarray, n: int) -> np.ndarray:
    """Return (cells, n) coordinates ψ λ/(1 − λ) of the `n` greatest |λ| of the density-normalised transitions.

    Stationary states (λ = 1) weigh 1. Each component is decomposed for itself.

    Parameters
    ----------
    weights
        (cells, cells) symmetric, each cell with an edge.
    component
        (cells,) codes of connected components, each of two cells or more.
    n
        Coordinates, fewer than cells.

    References
    ----------
    Coifman et al.: Geometric diffusions as a tool for harmonic analysis. PNAS 102, 7426–7431 (2005).
    Haghverdi et al.: Diffusion pseudotime robustly reconstructs lineage branching. Nat Methods 13, 845–848 (2016).
    """
    values, vectors = [], []
    for c in np.unique(component):
        rows = np.flatnonzero(component == c)
        value, part = _eigen(_transitions(weights[rows][:, rows]), n)
        whole = np.zeros((len(component), len(value)))
        whole[rows] = part
        values.append(value)
        vectors.append(whole)
    value = np.concatenate(values)
    greatest = np.argsort(-np.abs(value), kind="stable")[:n]
    value = value[greatest]
    moving = value < 1 - _STATIONARY
    scale = np.where(moving, value / np.where(moving, 1 - value, 1.0), 1.0)
    coordinates: np.ndarray = np.hstack(vectors)[:, greatest] * scale
    return coordinates


def _transitions(weights: csr_matrix) -> csr_matrix:
    """Return D^(−1/2) K D^(−1/2), with K the weights divided by the density at both ends and D its row sums."""
    even = diags(1 / np.asarray(weights.sum(axis=0)).ravel())
    kernel = even @ weights @ even
    half = diags(1 / np.sqrt(np.asarray(kernel.sum(axis=0)).ravel()))
    return (half @ kernel @ half).tocsr()


def _eigen(matrix: csr_matrix, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `n` eigenvalues of the greatest size, or all if there are fewer, and (cells, n) unit vectors."""
    size = matrix.shape[0]
    if size <= max(_DENSE, n + 1):
        value, vector = np.linalg.eigh(matrix.toarray())
        greatest = np.argsort(-np.abs(value), kind="stable")[:n]
        return value[greatest], vector[:, greatest]
    # Of a symmetric matrix singular vectors are eigenvectors, and their signs tell that of the eigenvalue. PROPACK
    # needs a fraction of ARPACK's time.
    left, value, right = svds(matrix, n, solver="propack", rng=np.random.default_rng(0))
    return value * np.sign(np.einsum("ij,ji->i", right, left)), left
