"""Classical scaling: vectors from squared distances, for training patients and for patients that come later."""

from __future__ import annotations

from typing import Self

import numpy as np

from mmcell.errors import MmcellError, number_of

#: Eigenvalues below this share of the largest are rounding.
_ZERO = 1e-9


class ClassicalScaling:
    """Classical multidimensional scaling of training patients; later ones are added without fitting again.

    B = −½ J D J with D the squared distances and J = I − 1/n; coordinates are X = V Λ^½ over the positive eigenvalues
    of B. A patient with squared distances δ to the training patients lies at ½ Λ⁻¹ Xᵀ (diag B − δ), which for a
    training patient is its own row of X. Distances that no Euclidean space holds give negative eigenvalues; they are
    dropped and counted, and the squared distances between rows of X are then greater than those given. A positive
    eigenvalue no larger than the largest negative one is dropped and counted, too: it is of the size of what cannot be
    right, and a later patient is divided by it (on noise, such components spread later patients tenfold).

    Parameters
    ----------
    n_components
        The most components that are kept; None for all.

    Attributes
    ----------
    eigenvalues
        (k,) of the components kept, in descending order; empty where all patients are the same.
    n_negative
        Negative eigenvalues dropped.
    negative_share
        Their share of the sum of absolute eigenvalues.
    n_small
        Positive eigenvalues dropped for being no larger than the largest negative one.

    References
    ----------
    Torgerson: Multidimensional scaling: I. Psychometrika 17, 401–419 (1952). Gower: Adding a point to vector diagrams
    in multivariate analysis. Biometrika 55, 582–585 (1968).
    """

    def __init__(self, n_components: int | None = None) -> None:
        if n_components is not None and n_components < 1:
            raise MmcellError(f"classical scaling: n_components is {n_components}; give 1 or more, or None for all")
        self.n_components = n_components
        self.eigenvalues = np.zeros(0)
        self.n_negative = 0
        self.negative_share = 0.0
        self.n_small = 0

    def fit(self, squared: np.ndarray) -> Self:
        """Learn the components from (n, n) squared distances between training patients.

        Where all patients are the same there is no component, and `transform` gives one column of zeros.

        Raises
        ------
        MmcellError
            Fewer than two patients, or no symmetric matrix of finite numbers with zeros on its diagonal.
        """
        given = np.asarray(squared, dtype=np.float64)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise MmcellError(f"classical scaling: squared distances have the shape {given.shape}; give (n, n)")
        if len(given) < 2:
            raise MmcellError(
                f"classical scaling: {number_of(len(given), 'training patient')}; distances need at least 2, so give "
                "more patients"
            )
        if not np.isfinite(given).all():
            raise MmcellError("classical scaling: squared distances are NaN or infinite; leave these patients out")
        largest = np.abs(given).max()
        if np.abs(given - given.T).max() > 1e-9 * largest or np.abs(np.diag(given)).max() > 1e-9 * largest:
            raise MmcellError(
                "classical scaling: squared distances are not symmetric with zeros on the diagonal; give each pair once"
            )
        middle = given.mean(axis=0)
        inner = -0.5 * (given - middle[:, None] - middle[None, :] + middle.mean())
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        # Beside the distances themselves all eigenvalues may be rounding.
        real = np.abs(values) > max(_ZERO * np.abs(values).max(), 1e-14 * largest)
        mass = np.abs(values[real]).sum()
        self.n_negative = int((values[real] < 0).sum())
        self.negative_share = float(-values[real & (values < 0)].sum() / mass) if mass > 0 else 0.0
        large = values > max(0.0, -float(values.min()))
        self.n_small = int((real & (values > 0) & ~large).sum())
        kept = np.flatnonzero(real & large)[::-1][: self.n_components]
        self.eigenvalues, vectors = values[kept], vectors[:, kept]
        # Eigenvectors have no sign of their own: the entry farthest from 0 is made positive.
        farthest = np.abs(vectors).argmax(axis=0)
        vectors = vectors * np.sign(vectors[farthest, np.arange(len(kept))])
        self._axes = vectors / (2 * np.sqrt(self.eigenvalues))
        self._centre = np.diag(inner).copy()
        return self

    def transform(self, squared_to_training: np.ndarray) -> np.ndarray:
        """Return (m, k) coordinates from (m, n) squared distances to the training patients, in the order of fitting.

        Raises
        ------
        MmcellError
            Not fitted, or not one column per training patient.
        """
        if not hasattr(self, "_axes"):
            raise MmcellError("classical scaling: not fitted; call fit with the training patients first")
        given = np.asarray(squared_to_training, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self._centre):
            raise MmcellError(
                f"classical scaling: squared distances have the shape {given.shape}; "
                f"give a column for each of {number_of(len(self._centre), 'training patient')}"
            )
        if not len(self.eigenvalues):
            return np.zeros((len(given), 1))
        inner = self._centre - given
        # The axes are orthogonal to constants but for rounding, which a far patient would multiply.
        inner = inner - inner.mean(axis=1, keepdims=True)
        # Row by row: in one product the last digits of a row may depend on how many others there are.
        return np.array([row @ self._axes for row in inner]).reshape(len(given), -1)

    @property
    def facts(self) -> dict[str, int | float]:
        """Components kept, eigenvalues dropped, and the share of absolute eigenvalues that negative ones carry."""
        return {
            "n_components": len(self.eigenvalues),
            "n_negative": self.n_negative,
            "negative_share": self.negative_share,
            "n_small": self.n_small,
        }
