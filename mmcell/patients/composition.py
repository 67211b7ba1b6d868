"""`Composition`: which cells a patient has, as centred log-ratios. The baseline that is hard to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean
from mmcell.patients.base import known_types, owners, types_of
from mmcell.patients.clusters import Clusters
from mmcell.patients.pooling import check_width

Kinds = Literal["labels", "kmeans", "leiden"]
_WHO = "composition"


@dataclass
class Composition:
    """Centred log-ratio of cell-type proportions, floored at the detection limit that training patients share.

    p̃ = max(p, δ) renormalised, δ = 1 / (fewest cells of any training patient); clr(p̃) = log p̃ − mean log p̃. A
    shared floor keeps the number of a patient's cells out of the vector, which a pseudo-count does not. Types are
    those of the training patients; a type that they lack is left out. Where a training patient has one cell, δ is 1 and
    all vectors are 0 (`facts` holds δ).

    With `n_types`, only the types whose clr varies most over training patients are kept, and the log-ratios are centred
    over these: clr of the floored proportions of the kept types. This is what scECODA does for a given number of highly
    variable cell types (its default is the fewest that hold half of the variance, and its zeros are imputed otherwise).
    Equally variable types are taken in the order of their names.

    Attributes
    ----------
    clusters
        What counts as a type: ``labels``, the cell types; or ``kmeans`` or ``leiden``, clusters of training cells in
        the embedding as it is, to which every cell is assigned by the nearest centroid (see `Clusters`). Leiden needs
        the extra ``leiden``.
    n_clusters
        Of k-means.
    resolution
        Of Leiden.
    n_types
        How many highly variable types are kept, 2 or more (all where there are fewer); None for all.
    seed
        Of the clusters.
    reads_embedding, reads_types
        False and True with ``labels``, the reverse with clusters.
    types, floor
        After `fit`: the columns, and δ.
    facts
        After `fit`: δ, the fewest cells of a training patient, types that `n_types` left out, and the share of training
        cells that are nearest to the centroid of the cluster they were in.

    References
    ----------
    Aitchison: The statistical analysis of compositional data. JRSS B 44, 139–177 (1982).
    Halter, Andreatta and Carmona: scECODA, single-cell exploratory compositional data analysis. Bioconductor 3.23.
    """

    clusters: Kinds = "labels"
    n_clusters: int = 20
    resolution: float = 1.0
    n_types: int | None = None
    seed: int = 0
    reads_embedding: bool = field(default=False, init=False)
    reads_types: bool = field(default=True, init=False)
    types: tuple[str, ...] = field(default=(), init=False)
    floor: float = field(default=float("nan"), init=False)
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.clusters not in get_args(Kinds):
            raise MmcellError(
                f"patient encoder {_WHO!r}: clusters {self.clusters!r} are not known; "
                f"{did_you_mean(str(self.clusters), get_args(Kinds))}"
            )
        for name, least in (("n_clusters", 2), ("n_types", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise MmcellError(f"patient encoder {_WHO!r}: {name} is {value}; log-ratios need {least} or more")
        if not self.resolution > 0:
            raise MmcellError(f"patient encoder {_WHO!r}: resolution {self.resolution} is not greater than 0")
        self.reads_embedding = self.clusters != "labels"
        self.reads_types = not self.reads_embedding
        self._found: Clusters | None = None
        self._all: tuple[str, ...] = ()

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the types and the detection limit from training patients.

        Raises
        ------
        MmcellError
            Cells without owner or type; too few cells for the clusters; variable types are wanted of one patient.
        MissingExtraError
            Leiden without igraph.
        """
        _, code = owners(cells, owner)
        if self.clusters == "labels":
            self._all = tuple(map(str, types_of(cells, cell_type, _WHO)[0]))
        else:
            self._found = Clusters.fit(
                cells, self.clusters, n_clusters=self.n_clusters, resolution=self.resolution, seed=self.seed
            )
            self._all = tuple(f"cluster {k}" for k in range(len(self._found.centres)))
        fewest = int(np.bincount(code).min())
        self.floor = 1.0 / fewest
        self.types = self._all
        if self.n_types is not None:
            self.types = self._variable(self._logs(cells, owner, cell_type)[0])
        left_out = [t for t in self._all if t not in self.types]
        self.facts = {"floor": self.floor, "fewest cells": fewest, "types left out": left_out}
        if self._found is not None:
            self.facts["agreement"] = self._found.agreement
        return self

    def _variable(self, logs: np.ndarray) -> tuple[str, ...]:
        """Return the types whose clr varies most over the rows of (patients, types) `logs`."""
        if len(logs) < 2:
            raise MmcellError(f"patient encoder {_WHO!r}: n_types needs two training patients or more, here is one")
        spread = (logs - logs.mean(axis=1, keepdims=True)).var(axis=0, ddof=1)
        keep = np.sort(np.argsort(-spread, kind="stable")[: self.n_types])
        return tuple(self._all[k] for k in keep)

    def _kinds(self, cells: Embedding, cell_type: pd.Series | None) -> np.ndarray:
        """Return each cell's position among all types of training; −1 for a type they lack."""
        if not self._all:
            raise MmcellError(f"patient encoder {_WHO!r} is not fitted; call fit on training patients first")
        if self._found is None:
            return known_types(cells, cell_type, self._all, _WHO)
        check_width(cells, self._found.centres.shape[1], _WHO)
        return self._found.assign(cells.values)

    def _logs(self, cells: Embedding, owner: pd.Series, cell_type: pd.Series | None) -> tuple[np.ndarray, pd.Index]:
        """Return (patients, all types) logarithms of floored proportions, and the patients."""
        patients, code = owners(cells, owner)
        kind = self._kinds(cells, cell_type)
        joint, shape = (code * len(self._all) + kind)[kind >= 0], (len(patients), len(self._all))
        counts = np.bincount(joint, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
        total = counts.sum(axis=1, keepdims=True)
        # A patient whose every cell is of an unseen type has no known composition: all types at the floor.
        share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        share = np.maximum(share, self.floor)
        return np.log(share / share.sum(axis=1, keepdims=True)), patients

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:
        """Return (patients, types) centred log-ratios."""
        logs, patients = self._logs(cells, owner, cell_type)
        logs = logs if self.types == self._all else logs[:, np.isin(self._all, self.types)]
        values = logs - logs.mean(axis=1, keepdims=True)
        return Embedding(_WHO, "patient", cells.modality, patients, values, cells.card, self.types)
