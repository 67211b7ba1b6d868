"""`Space`: what is done to an embedding before anything is fitted on it; learnt on training rows only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean

#: What is tried by default; ``pca-K`` takes any K.
SPACES = ("normalise", "centre", "standardise", "whiten", "pca-10", "pca-25")
#: A direction whose variance is a smaller share of the largest one is rounding, and whitening would blow it up.
_RANK = 1e-6
#: A column whose spread is a smaller share of its mean is constant.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Space:
    """A linear change of space, or rows brought to length one.

    Attributes
    ----------
    name
        ``normalise``: every row divided by its ℓ2 norm, a row of zeros stays; ``centre``: less the training mean;
        ``standardise``: also divided by the training standard deviation, constant columns become 0; ``whiten``:
        principal components of the training rows with variance 1; ``pca-K``: the first K of them as they are.
    mean
        (d,) of the training rows.
    weights
        (d,) factors or (d, k) directions; None where rows are normalised.
    """

    name: str
    mean: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def fit(cls, name: str, x: np.ndarray) -> Self:
        """Learn a space.

        Parameters
        ----------
        name
            See the class.
        x
            (n, d) training rows.

        Raises
        ------
        MmcellError
            An unknown name, rows that do not vary, or so few dimensions that ``pca-K`` leaves nothing out.
        """
        kind, _, k = name.partition("-")
        if name not in SPACES and not (kind == "pca" and k.isdigit() and int(k) > 0):
            raise MmcellError(f"space {name!r} is not known; {did_you_mean(name, SPACES)}")
        x = np.asarray(x, dtype=np.float64)
        mean, d = x.mean(axis=0), x.shape[1]
        if kind == "normalise":
            return cls(name, np.zeros(d), None)
        if kind == "centre":
            return cls(name, mean, np.ones(d))
        if kind == "standardise":
            spread = x.std(axis=0, ddof=1) if len(x) > 1 else np.zeros(d)
            varies = spread > _CONSTANT * np.abs(mean)
            return cls(name, mean, np.divide(1.0, spread, out=np.zeros(d), where=varies))
        variance, directions = np.linalg.eigh(
            np.cov(x, rowvar=False, ddof=1).reshape(d, d) if len(x) > 1 else np.zeros((d, d))
        )
        variance, directions = variance[::-1], directions[:, ::-1]
        rank = int((variance > _RANK * variance[0]).sum()) if variance[0] > 0 else 0
        if rank == 0:
            raise MmcellError(f"space {name!r}: the {len(x)} training rows do not vary; leave this embedding as it is")
        if kind == "whiten":
            return cls(name, mean, directions[:, :rank] / np.sqrt(variance[:rank]))
        if rank <= int(k):
            raise MmcellError(f"space {name!r}: the training rows vary in {rank} directions only; use a smaller K")
        return cls(name, mean, directions[:, : int(k)])

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return (n, k) rows of (n, d) in this space, in float64."""
        x = np.asarray(x, dtype=np.float64)
        if self.weights is None:
            length = np.linalg.norm(x, axis=1, keepdims=True)
            return np.divide(x, length, out=np.zeros_like(x), where=length > 0)
        moved = x - self.mean
        return moved @ self.weights if self.weights.ndim == 2 else moved * self.weights


def in_space(embedding: Embedding, name: str, train: pd.Index) -> Embedding:
    """Return an embedding in another space.

    Parameters
    ----------
    embedding
        Left as it is.
    name
        See `Space`.
    train
        Ids of the training rows: the only ones that the space is learnt on.

    Raises
    ------
    MmcellError
        As `Space.fit`; a training id without a row.
    """
    space = Space.fit(name, embedding.align(train).values)
    values = space.transform(embedding.values).astype(embedding.values.dtype)
    kept = space.weights is None or space.weights.ndim == 1
    columns = embedding.columns if kept else ()
    return Embedding(
        embedding.name, embedding.level, embedding.modality, embedding.ids, values, embedding.card, columns
    )
