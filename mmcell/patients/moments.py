"""`Moments`: how a patient's cells are spread in every dimension, not only where their middle is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first
from mmcell.memory import Picked, release
from mmcell.patients.base import owners
from mmcell.patients.pooling import check_width, group_means, group_variances, names_of

_WHO = "moments"


@dataclass
class Moments:
    """Mean, variance and quantiles of every dimension of a patient's cells.

    The variance has n − 1 in the denominator, so that on average it is the same for few cells as for many. Quantiles
    have no such correction (those of few cells lie nearer to the median): give everybody equally many cells, as is
    the default. A patient with one cell has no variance: it gets the mean variance of the training patients, and a 1 in
    the column ``var missing``. Its mean and its quantiles are those of the one cell.

    Attributes
    ----------
    quantiles
        Which, each from 0 to 1; interpolated linearly between cells.
    facts
        After `fit`: how many training patients there are, and which of them have no variance.
    """

    reads_embedding: ClassVar[bool] = True
    blockwise: ClassVar[bool] = True
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.quantiles = tuple(float(q) for q in self.quantiles)
        wrong = [q for q in self.quantiles if not 0 <= q <= 1]
        if wrong:
            raise MmcellError(f"patient encoder {_WHO!r}: quantiles {first(wrong)} are not between 0 and 1")
        if len(set(self.quantiles)) < len(self.quantiles):
            raise MmcellError(f"patient encoder {_WHO!r}: quantiles {first(self.quantiles)} repeat; name each once")
        self._usual = np.zeros(0)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the mean variance of training patients.

        Raises
        ------
        MmcellError
            No training patient has two cells.
        """
        patients, code = owners(cells, owner)
        means, counts = group_means(cells.values, code, len(patients))
        variances = group_variances(cells.values, code, means, counts)
        alone = counts < 2
        if alone.all():
            raise MmcellError(
                f"patient encoder {_WHO!r}: none of {len(patients)} training patients has two cells, so no variance is "
                "known; use 'pseudobulk'"
            )
        self._usual = variances[~alone].mean(axis=0)
        self.facts = {"patients": len(patients), "without variance": list(map(str, patients[alone]))}
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return (patients, d × (2 + quantiles) + 1): means, variances, each quantile, whether variances are imputed.

        Memory is one block of cells, or the cells of the largest patient.

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        check_width(cells, len(self._usual), _WHO)
        patients, code = owners(cells, owner)
        means, counts = group_means(cells.values, code, len(patients))
        variances = group_variances(cells.values, code, means, counts)
        alone = counts < 2
        variances[alone] = self._usual
        parts = [means, variances, *self._quantiles(cells.values, code, counts), alone[:, None].astype(float)]
        labels = ["mean", "var", *(f"q{q:g}" for q in self.quantiles)]
        columns = (*(f"{label} {name}" for label in labels for name in names_of(cells)), "var missing")
        values = np.concatenate(parts, axis=1)
        return Embedding(cells.name, "patient", cells.modality, patients, values, cells.card, columns)

    def _quantiles(self, values: np.ndarray | Picked, code: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return (quantiles, patients, d)."""
        found = np.empty((len(self.quantiles), len(counts), values.shape[1]))
        if not self.quantiles:
            return found
        rows = np.split(np.argsort(code, kind="stable"), np.cumsum(counts)[:-1])
        for patient, own in enumerate(rows):
            found[:, patient] = np.quantile(values[own].astype(np.float64), self.quantiles, axis=0)
            release(values)
        return found
