"""`PatientFile`: vectors of patients, or distances between them, that another tool wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pandas as pd

from mmcell.digest import digest, digest_file
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.patients.base import owners
from mmcell.patients.scaling import ClassicalScaling
from mmcell.readers import existing, read_table

Kind = Literal["vectors", "distances"]


@dataclass
class PatientFile:
    """A donor × dimension table, or a patient × patient matrix of distances, that stands for a patient encoder.

    Distances become vectors by classical scaling that is fitted on training patients; others are placed among these.

    Attributes
    ----------
    file
        ``.csv``, ``.tsv`` or ``.parquet``, a row a patient, its id first.
    kind
        ``vectors`` or ``distances``; None: distances where rows and columns are the same patients.
    squared
        Whether the distances are squared ones (a symmetric divergence counts as such).
    facts
        After `fit`: training patients, rows of the file that no cell belongs to, and for distances the negative
        eigenvalues.
    """

    reads_embedding: ClassVar[bool] = False
    reads_cells: ClassVar[bool] = False
    file: str = ""
    kind: Kind | None = None
    squared: bool = False
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.file:
            raise MmcellError(
                "patient encoder 'file' needs one: write file:PATH, or in a config {use: file, file: PATH}"
            )
        if self.kind is not None and self.kind not in get_args(Kind):
            raise MmcellError(f"patient encoder 'file': kind {self.kind!r}; {did_you_mean(self.kind, get_args(Kind))}")

    @property
    def fingerprint(self) -> str:
        """Digest of the file: what decides the vectors."""
        return digest(digest_file(existing(Path(self.file))), self.kind, self.squared)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Patient × dimension, or patient × patient.

        Raises
        ------
        MmcellError
            No such file, repeated ids, values that are no finite numbers; distances that are not square, not symmetric,
            negative, or not 0 from a patient to itself; vectors that look like distances.
        """
        path = existing(Path(self.file))
        frame = read_table(path)
        if isinstance(frame.index, pd.RangeIndex):
            frame = frame.set_index(frame.columns[0])
        frame.index, frame.columns = frame.index.astype(str), frame.columns.astype(str)
        values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
        if frame.index.has_duplicates:
            twice = frame.index[frame.index.duplicated()].unique()
            raise MmcellError(
                f"{path}: {number_of(len(twice), 'patient occurs', 'patients occur')} more than once "
                f"({first(twice)}); keep one row each"
            )
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any() or not values.size:
            raise MmcellError(
                f"{path}: {number_of(int(bad.sum()), 'patient holds', 'patients hold')} what is no finite number "
                f"({first(frame.index[bad])}); fill it "
                "in, or leave these patients out"
            )
        square = set(frame.index) == set(frame.columns)
        if self.kind == "vectors" and square:
            raise MmcellError(f"{path}: rows and columns are the same patients; say kind: distances")
        # Columns that are named as patients are no dimensions, even where one of them has no row.
        if self.kind == "vectors" or (self.kind is None and not frame.columns.isin(frame.index).any()):
            return pd.DataFrame(values, index=frame.index, columns=frame.columns)
        if not square:
            odd = frame.index.symmetric_difference(frame.columns)
            raise MmcellError(
                f"{path}: rows and columns are not the same patients ({first(odd)}); give a square matrix"
            )
        matrix = pd.DataFrame(values, index=frame.index, columns=frame.columns)[frame.index]
        d = matrix.to_numpy()
        odd_pairs = ~np.isclose(d, d.T, rtol=1e-6, atol=1e-9) | (np.eye(len(d), dtype=bool) & (np.abs(d) > 1e-9))
        if odd_pairs.any():
            i, j = np.argwhere(odd_pairs)[0]
            raise MmcellError(
                f"{path}: the distances are not symmetric, or not 0 from a patient to itself (first "
                f"{frame.index[i]} to {frame.index[j]}); give every pair the same distance both ways"
            )
        if (d < 0).any() and not self.squared:
            i, j = np.argwhere(d < 0)[0]
            raise MmcellError(
                f"{path}: distances are below 0 (first {frame.index[i]} to {frame.index[j]}); correct them, or if "
                "these are divergences, which count as squared distances, say so in a config: {use: file, file: PATH, "
                "squared: true}"
            )
        d = (d + d.T) / 2
        np.fill_diagonal(d, 0.0)
        return pd.DataFrame(d, index=matrix.index, columns=matrix.columns)

    def check(self, patients: pd.Index) -> None:
        """Read the file, so that what is wrong with it is known before anything runs; raises as `table` does.

        Parameters
        ----------
        patients
            All who will be asked for.
        """
        self._known(patients)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn, of distances, where training patients lie; nothing of vectors."""
        patients, _ = owners(cells, owner)
        self._train = self._known(patients)
        # All owners, training or not: which rows are nobody's is no knowledge of anybody.
        unused = self.table.index.difference(pd.Index(owner.dropna().astype(str).unique()))
        self.facts = {"patients": len(self._train), "rows without cells": list(unused)}
        if self._holds_distances:
            self._scaling = ClassicalScaling().fit(self._squared(self._train, self._train))
            self.facts["negative_eigenvalues"] = self._scaling.n_negative
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return the patients' vectors.

        Raises
        ------
        MmcellError
            A patient is not in the file.
        """
        patients = self._known(owners(cells, owner)[0])
        if not self._holds_distances:
            values, columns = self.table.loc[patients].to_numpy(), tuple(self.table.columns)
        else:
            values = self._scaling.transform(self._squared(patients, self._train))
            columns = tuple(f"scaling {i + 1}" for i in range(values.shape[1]))
        return Embedding(Path(self.file).stem, "patient", cells.modality, patients, values, cells.card, columns)

    @property
    def _holds_distances(self) -> bool:
        return self.table.index.equals(self.table.columns)

    def _squared(self, rows: pd.Index, columns: pd.Index) -> np.ndarray:
        found = self.table.loc[rows, columns].to_numpy()
        return found if self.squared else found**2

    def _known(self, patients: pd.Index) -> pd.Index:
        missing = patients.difference(self.table.index)
        if len(missing):
            raise MmcellError(
                f"{self.file}: {len(missing)} of {len(patients)} patients are not in it ({first(missing)}); add their "
                "rows"
            )
        return patients
