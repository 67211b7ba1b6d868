"""`Composition`: which cells a patient has, as centred log-ratios. The baseline that is hard to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.patients.base import known_types, owners, types_of


@dataclass
class Composition:
    """Centred log-ratio of cell-type proportions, floored at the detection limit that training patients share.

    p̃ = max(p, δ) renormalised, δ = 1 / (fewest cells of any training patient); clr(p̃) = log p̃ − mean log p̃. A
    shared floor keeps the number of a patient's cells out of the vector, which a pseudo-count does not. Types are
    those of the training patients; a type that they lack is left out.

    References
    ----------
    Aitchison: The statistical analysis of compositional data. JRSS B 44, 139–177 (1982).
    """

    reads_embedding: ClassVar[bool] = False
    types: tuple[str, ...] = field(default=(), init=False)
    floor: float = field(default=float("nan"), init=False)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the types and the detection limit from training patients."""
        _, code = owners(cells, owner)
        self.types = tuple(map(str, types_of(cells, cell_type, "composition")[0]))
        self.floor = 1.0 / int(np.bincount(code).min())
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:
        """Return (patients, types) centred log-ratios."""
        patients, code = owners(cells, owner)
        kind = known_types(cells, cell_type, self.types, "composition")
        joint, shape = (code * len(self.types) + kind)[kind >= 0], (len(patients), len(self.types))
        counts = np.bincount(joint, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
        total = counts.sum(axis=1, keepdims=True)
        # A patient whose every cell is of an unseen type has no known composition: all types at the floor.
        share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        share = np.maximum(share, self.floor)
        logs = np.log(share / share.sum(axis=1, keepdims=True))
        values = logs - logs.mean(axis=1, keepdims=True)
        return Embedding("composition", "patient", cells.modality, patients, values, cells.card, self.types)
