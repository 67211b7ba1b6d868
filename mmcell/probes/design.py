"""`ClinicalDesign`: covariates as numbers, with everything learnt on training patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class ClinicalDesign:
    """Turns a table of covariates into a matrix.

    Numbers: a missing one becomes the training mean. Classes: one column for each but the reference, by default the
    most frequent one in training; a missing or unseen class has 0 in all of them.

    Attributes
    ----------
    means
        Training mean of each numeric covariate.
    levels
        Classes with a column, per covariate.
    columns
        Names of the matrix's columns.
    references
        Column of a class -> the class that it is compared with.
    """

    means: dict[str, float]
    levels: dict[str, tuple[str, ...]]
    columns: tuple[str, ...]
    references: dict[str, str]

    @classmethod
    def fit(cls, frame: pd.DataFrame, references: Mapping[str, str] | None = None) -> Self:
        """Learn from one row per training patient; `references` are classes that others are compared with."""
        means, levels = {}, {}
        against: dict[str, str] = {}
        for column in frame:
            values = frame[column]
            if pd.api.types.is_numeric_dtype(values):
                mean = float(values.mean())
                means[column] = mean if np.isfinite(mean) else 0.0
            else:
                known = list(map(str, values.dropna().astype(str).value_counts().index))
                reference = (references or {}).get(str(column), known[0] if known else "")
                levels[column] = tuple(level for level in known if level != reference)
                against |= {f"{column}={level}": reference for level in levels[column]}
        names = [*means, *(f"{c}={level}" for c, found in levels.items() for level in found)]
        return cls(means, levels, tuple(names), against)

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return (patients, columns)."""
        numeric = [frame[c].astype(float).fillna(mean).to_numpy() for c, mean in self.means.items()]
        classes = [
            (frame[c].astype(str) == level).to_numpy(float) for c, found in self.levels.items() for level in found
        ]
        return np.column_stack([*numeric, *classes]) if numeric or classes else np.zeros((len(frame), 0))
