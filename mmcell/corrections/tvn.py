"""`Tvn`: typical variation normalisation, which makes the controls of all batches alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from mmcell.corrections.base import groups_of
from mmcell.errors import MmcellError


@dataclass(eq=False)
class Tvn:
    """Typical variation normalisation: whiten by controls, then give every batch's controls one mean and covariance.

    Principal components of the training controls, each with unit variance; then in every batch its controls' mean is
    taken off and their covariance replaced by that of all training controls (CORAL). A batch without training rows is
    aligned by its own controls, which is what controls are for.

    Parameters
    ----------
    ridge
        Added to the diagonal of all covariances: 0.5 as in the published pipeline for maps of perturbations, where
        batches have few controls and whitened directions unit variance.

    References
    ----------
    Ando, McLean, Berndl: Improving phenotypic measurements in high-content imaging screens. bioRxiv 161422 (2017).
    Celik et al.: Building, benchmarking, and exploring perturbative maps of transcriptional and morphological data.
    PLoS Comput Biol 20, e1012463 (2024).
    """

    ridge: float = 0.5
    mean: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.zeros(0))
    weights: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.zeros((0, 0)))
    target: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.zeros((0, 0)))
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = field(init=False, repr=False, default_factory=dict)

    #: A direction whose variance is a smaller share of the largest one is rounding.
    RANK = 1e-6

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise MmcellError(f"correction 'tvn': ridge is {self.ridge}; give a number above 0")

    def fit(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> Self:
        """See `mmcell.corrections.Correction`.

        Raises
        ------
        MmcellError
            Fewer than three controls, controls that do not vary, or a batch with fewer than two.
        """
        if control.sum() < 3:
            raise MmcellError(
                f"correction 'tvn': {int(control.sum())} training rows are controls and at least 3 are needed; set "
                "roles.perturbation and roles.control, or choose another correction"
            )
        known = x[control]
        self.mean = known.mean(axis=0)
        variance, directions = np.linalg.eigh(np.cov(known, rowvar=False).reshape(x.shape[1], x.shape[1]))
        kept = variance > self.RANK * max(variance[-1], 0.0)
        if not kept.any():
            raise MmcellError(f"correction 'tvn': the {len(known)} training controls do not vary; use another one")
        self.weights = directions[:, kept] / np.sqrt(variance[kept])
        white = (x - self.mean) @ self.weights
        of_batch = self._moments(white, batch, control)
        # Between batches controls differ by their means, which go: the target is the spread within them.
        within = white[control] - np.stack([of_batch[str(b)][0] for b in batch[control]])
        self.target = _power(self._covariance(within), 0.5)
        self.batches = of_batch
        return self

    def transform(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> np.ndarray:
        """See `mmcell.corrections.Correction`.

        Raises
        ------
        MmcellError
            A new batch with fewer than two controls.
        """
        white = (x - self.mean) @ self.weights
        new = np.isin(batch, list(self.batches), invert=True)
        moments = {**self.batches, **self._moments(white[new], batch[new], control[new])}
        found = np.empty_like(white)
        for name, rows in groups_of(batch).items():
            mean, root = moments[name]
            found[rows] = (white[rows] - mean) @ root @ self.target
        return found

    def _moments(
        self, white: np.ndarray, batch: np.ndarray, control: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return batch -> mean of its controls, and the inverse root of their covariance."""
        found = {}
        for name, rows in groups_of(batch).items():
            own = white[rows[control[rows]]]
            if len(own) < 2:
                raise MmcellError(
                    f"correction 'tvn': batch {name!r} has {len(own)} controls and at least 2 are needed; leave the "
                    "batch out, or choose another correction"
                )
            found[name] = own.mean(axis=0), _power(self._covariance(own - own.mean(axis=0)), -0.5)
        return found

    def _covariance(self, centred: np.ndarray) -> np.ndarray:
        d = centred.shape[1]
        return np.asarray(centred.T @ centred / (len(centred) - 1) + self.ridge * np.eye(d))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Return the power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)
