"""`Centre`: every batch less its own mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from mmcell.corrections.base import groups_of


@dataclass(eq=False)
class Centre:
    """Every batch less its own mean, which is that of its training rows.

    A batch without training rows is centred by the mean of what it brings, labels unseen. Where batches differ in their
    cell types the mean takes biology with it: over-correction, which the types of one batch alone show.
    """

    means: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False)

    def fit(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> Self:  # noqa: ARG002
        """See `mmcell.corrections.Correction`."""
        self.means = {name: x[rows].mean(axis=0) for name, rows in groups_of(batch).items()}
        return self

    def transform(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """See `mmcell.corrections.Correction`."""
        found = np.empty_like(x)
        for name, rows in groups_of(batch).items():
            mean = self.means.get(name)
            found[rows] = x[rows] - (x[rows].mean(axis=0) if mean is None else mean)
        return found
