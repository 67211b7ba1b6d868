"""`Pseudobulk` and `CellTypePseudobulk`: the mean state of a patient's cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.patients.base import known_types, learns_nothing, owners, types_of
from mmcell.patients.pooling import group_means


@dataclass
class Pseudobulk:
    """The mean of a patient's cell embeddings."""

    reads_embedding: ClassVar[bool] = True
    blockwise: ClassVar[bool] = True

    @learns_nothing
    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn nothing."""
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return (patients, d) means."""
        patients, code = owners(cells, owner)
        means, _ = group_means(cells.values, code, len(patients))
        return Embedding(cells.name, "patient", cells.modality, patients, means, cells.card, cells.columns)


@dataclass
class CellTypePseudobulk:
    """The mean per cell type, side by side; a type that a patient lacks gets the training mean and a flag.

    The flags say which types a patient has, so part of the composition is in this vector by design.
    """

    reads_embedding: ClassVar[bool] = True
    blockwise: ClassVar[bool] = True
    reads_types: ClassVar[bool] = True
    types: tuple[str, ...] = field(default=(), init=False)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the types of training patients and each type's mean over these patients."""
        self.types = tuple(map(str, types_of(cells, cell_type, "celltype-pseudobulk")[0]))
        means, _ = self._means(cells, owner, cell_type)
        self._default = np.nanmean(means, axis=0)
        return self

    def _means(self, cells: Embedding, owner: pd.Series, cell_type: pd.Series | None) -> tuple[np.ndarray, pd.Index]:
        patients, code = owners(cells, owner)
        kind = known_types(cells, cell_type, self.types, "celltype-pseudobulk")
        joint = np.where(kind >= 0, code * len(self.types) + kind, -1)
        means, _ = group_means(cells.values, joint, len(patients) * len(self.types))
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

    def filled(self, vectors: Embedding) -> dict[str, int]:
        """Return type -> patients who lack it, of vectors that `transform` returned, for types that some lack."""
        counts = vectors.values[:, -len(self.types) :].sum(axis=0).astype(int)
        return {t: int(n) for t, n in zip(self.types, counts, strict=True) if n}
