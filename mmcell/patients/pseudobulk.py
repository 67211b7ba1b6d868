"""`Pseudobulk` and `CellTypePseudobulk`: the mean state of a patient's cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from mmcell.embedding import Embedding
from mmcell.patients.base import owners, types_of


def _group_means(values: np.ndarray, code: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean row (n, d) and the count (n,) per code, in float64; a code without rows has NaN."""
    sums = np.zeros((n, values.shape[1]))
    for start in range(0, len(values), 65536):
        part = code[start : start + 65536]
        member = csr_array((np.ones(len(part)), (part, np.arange(len(part)))), shape=(n, len(part)))
        sums += member @ values[start : start + 65536].astype(np.float64)
    counts = np.bincount(code, minlength=n)
    return np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0), counts


@dataclass
class Pseudobulk:
    """The mean of a patient's cell embeddings."""

    reads_embedding: ClassVar[bool] = True

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn nothing."""
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return (patients, d) means."""
        patients, code = owners(cells, owner)
        means, _ = _group_means(cells.values, code, len(patients))
        return Embedding(cells.name, "patient", cells.modality, patients, means, cells.card, cells.columns)


@dataclass
class CellTypePseudobulk:
    """The mean per cell type, side by side; a type that a patient lacks gets the training mean and a flag.

    The flags say which types a patient has, so part of the composition is in this vector by design.
    """

    reads_embedding: ClassVar[bool] = True
    types: tuple[str, ...] = field(default=(), init=False)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the types of training patients and each type's mean over these patients."""
        self.types = tuple(sorted(set(types_of(cells, cell_type, "celltype-pseudobulk"))))
        means, _ = self._means(cells, owner, cell_type)
        self._default = np.nanmean(means, axis=0)
        return self

    def _means(self, cells: Embedding, owner: pd.Series, cell_type: pd.Series | None) -> tuple[np.ndarray, pd.Index]:
        patients, code = owners(cells, owner)
        kind = pd.Index(self.types).get_indexer(types_of(cells, cell_type, "celltype-pseudobulk"))
        known = kind >= 0
        joint = code[known] * len(self.types) + kind[known]
        means, _ = _group_means(cells.values[known], joint, len(patients) * len(self.types))
        return means.reshape(len(patients), len(self.types), -1), patients

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:
        """Return (patients, types × d + types): means, then one missingness flag a type."""
        means, patients = self._means(cells, owner, cell_type)
        absent = np.isnan(means[:, :, 0])
        means = np.where(absent[:, :, None], self._default[None], means)
        values = np.concatenate([means.reshape(len(patients), -1), absent.astype(float)], axis=1)
        names = cells.columns or tuple(f"d{i}" for i in range(cells.dim))
        columns = tuple(f"{t}: {c}" for t in self.types for c in names) + tuple(f"{t}: missing" for t in self.types)
        return Embedding(cells.name, "patient", cells.modality, patients, values, cells.card, columns)
