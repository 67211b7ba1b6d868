"""`Vectors`: what every patient looks like when everything is learnt on some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmcell.concepts import concept_scores
from mmcell.digest import digest_ids, stream
from mmcell.embedding import Embedding
from mmcell.encoders.base import fits
from mmcell.encoders.encode import encode
from mmcell.errors import MmcellError
from mmcell.patients.base import encode_patients
from mmcell.proportions import floor_of, log_ratios
from mmcell.stratification.cohort import Cohort
from mmcell.untreated import of_patients

#: A column with fewer values is a class rather than a number.
FEW_VALUES = 6


def coarse(x: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the names of those columns of (n, d) values that vary, but over fewer than `FEW_VALUES` values."""
    counts = [len(np.unique(column)) for column in x.T]
    return [str(name) for name, n in zip(names, counts, strict=True) if 1 < n < FEW_VALUES]


@dataclass
class Vectors:
    """Vectors of all patients, from encoders that are fitted on training patients only.

    Attributes
    ----------
    cohort
        Whose patients.
    seed
        Of the cells that are drawn.
    """

    cohort: Cohort
    seed: int
    _frozen: Embedding | None = field(default=None, init=False, repr=False)

    def of(self, train: pd.Index) -> np.ndarray:
        """Return (patients, d) vectors, in the cohort's order.

        Parameters
        ----------
        train
            On whom encoder and patient encoder are fitted.

        Raises
        ------
        MmcellError
            What the encoders raise.
        """
        cohort, dataset = self.cohort, self.cohort.dataset
        read = self._read(train)
        if cohort.pooling is None:
            values = np.asarray(read.align(cohort.patients).values, dtype=np.float64)
            if cohort.plain and cohort.whole:
                return log_ratios(values, floor_of(values[cohort.patients.isin(train)]))
            return values
        cell_type = dataset.obs[dataset.roles.cell_type] if dataset.roles.cell_type else None
        found = encode_patients(
            cohort.pooling.encoder, of_patients(read, dataset), dataset.unit, train, cell_type=cell_type,
            rng=stream(self.seed, "cells", dataset.fingerprint, digest_ids(train)),
            concepts=concept_scores(dataset, train) if cohort.pooling.reads_concepts else None,
            equal_cells=cohort.pooling.equal_cells,
        )  # fmt: skip
        return found.vectors.align(cohort.patients).values

    def _read(self, train: pd.Index) -> Embedding:
        """Return the embedding of all rows; what is not fitted is computed once."""
        source, cohort = self.cohort.source, self.cohort
        if isinstance(source, Embedding):
            return source
        if fits(source):
            return encode(source, source.card.name, cohort.dataset, cohort.modality, train)
        if self._frozen is None:
            self._frozen = encode(source, source.card.name, cohort.dataset, cohort.modality)
        return self._frozen


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of training patients.

    Attributes
    ----------
    mean, scale
        (d,) of training patients; the scale of a column that does not vary is infinite, so that it counts for nothing.
    directions
        (d, axes) orthonormal, each with its largest weight positive.
    share
        (axes,) share of the variance.
    """

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    share: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, most: int, standardise: bool) -> Axes:
        """Learn the axes of (n, d) vectors, at most `most` of them.

        Raises
        ------
        MmcellError
            The patients do not differ.
        """
        mean, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
        flat = spread <= 1e-9 * np.maximum(np.abs(mean), 1.0)
        if flat.all():
            raise MmcellError("stratify: the embedding is the same for every patient; there is nothing to group by")
        scale = np.where(flat, np.inf, spread if standardise else 1.0)
        _, s, vt = np.linalg.svd((x - mean) / scale, full_matrices=False)
        keep = min(most, int((s > 1e-6 * s[0]).sum()))
        vt = vt[:keep]
        signs = np.sign(vt[np.arange(keep), np.abs(vt).argmax(axis=1)])
        return cls(mean, scale, (vt * signs[:, None]).T, (s**2 / (s**2).sum())[:keep])

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return (n, axes) scores."""
        found: np.ndarray = ((x - self.mean) / self.scale) @ self.directions
        return found
