"""`Pilot`: patients as compositions, compared by the cost of turning one into the other by optimal transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.memory import release
from mmcell.patients.base import known_types, owners, types_of
from mmcell.patients.scaling import ClassicalScaling
from mmcell.patients.transport import emd_matrix

#: Values of which a median is taken at a time.
_VALUES = 1 << 24


@dataclass
class Pilot:
    """Classical scaling of squared Wasserstein distances between patients' cell-type compositions.

    The ground cost between two types is the cosine distance between their medians over training cells, divided by the
    greatest. Where the medians do not tell types apart, as with one type only, all patients are the same.

    A composition is floored at the detection limit that training patients share, as in `Composition`: p̃ = max(p, δ)
    renormalised, δ = 1 / (fewest cells of any training patient). PILOT's own smoothing adds 0.2 × the type's share of
    the whole cohort to every count: it reads the patients that are held out, and pulls a patient the more towards the
    cohort the fewer cells it gave, so that their number is in the distance. Types that training patients lack are left
    out.

    Parameters
    ----------
    n_components
        The most components of the scaling that are kept; None keeps all.

    Attributes
    ----------
    types, floor
        After fitting: the types of training patients, and δ.
    cost
        After fitting: (types, types), between 0 and 1.
    facts
        After fitting: types, δ, components kept, negative eigenvalues and their share (`ClassicalScaling`).

    References
    ----------
    Joodaki et al.: Detection of PatIent-Level distances from single cell genomics and pathomics data with Optimal
    Transport (PILOT). Molecular Systems Biology 20, 57–74 (2024).
    """

    reads_embedding: ClassVar[bool] = True
    reads_types: ClassVar[bool] = True
    n_components: int | None = None
    types: tuple[str, ...] = field(default=(), init=False)
    floor: float = field(default=float("nan"), init=False)
    cost: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), init=False, repr=False, compare=False)
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn types, detection limit, ground cost and the scaling of the distances between training patients.

        Raises
        ------
        MmcellError
            Cells without owner or type, or fewer than two patients.
        """
        _, code = owners(cells, owner)
        names, kind = types_of(cells, cell_type, "pilot")
        self.types = tuple(map(str, names))
        self.floor = 1.0 / int(np.bincount(code).min())
        self.cost = _cost(np.stack([_median(cells.values, np.flatnonzero(kind == t)) for t in range(len(names))]))
        self._training, _ = self._shares(cells, owner, cell_type)
        self._scaling = ClassicalScaling(self.n_components).fit(emd_matrix(self._training, self.cost) ** 2)
        self.facts = {"n_types": len(self.types), "floor": self.floor, **self._scaling.facts}
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:
        """Return (patients, components) coordinates.

        Raises
        ------
        MmcellError
            It has not been fitted.
        """
        if not self.types:
            raise MmcellError("patient encoder 'pilot': not fitted; call fit with the training patients first")
        shares, patients = self._shares(cells, owner, cell_type)
        values = self._scaling.transform(emd_matrix(shares, self.cost, self._training) ** 2)
        columns = tuple(f"pilot {i + 1}" for i in range(values.shape[1]))
        return Embedding("pilot", "patient", cells.modality, patients, values, cells.card, columns)

    def _shares(self, cells: Embedding, owner: pd.Series, cell_type: pd.Series | None) -> tuple[np.ndarray, pd.Index]:
        """Return (patients, types) floored proportions."""
        patients, code = owners(cells, owner)
        kind = known_types(cells, cell_type, self.types, "pilot")
        joint, shape = (code * len(self.types) + kind)[kind >= 0], (len(patients), len(self.types))
        counts = np.bincount(joint, minlength=shape[0] * shape[1]).reshape(shape)
        # A patient whose every cell is of an unseen type has no known composition: all types at the floor.
        share = np.maximum(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), self.floor)
        return share / share.sum(axis=1, keepdims=True), patients


def _median(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the (d,) medians of these rows, some columns at a time: a type may have most of the cells."""
    step = max(1, _VALUES // len(rows))
    found = np.empty(values.shape[1])
    for start in range(0, values.shape[1], step):
        part = slice(start, start + step)
        found[part] = np.median(np.asarray(values[:, part][rows], dtype=np.float64), axis=0)
        release(values)
    return found


def _cost(medians: np.ndarray) -> np.ndarray:
    """Return (types, types) cosine distances, the greatest 1; all 0 where there is nothing to tell types apart.

    A median of zeros has no direction: it is at distance 1 from every other, and 0 from its like.
    """
    norm = np.linalg.norm(medians, axis=1)
    unit = medians / np.where(norm > 0, norm, 1)[:, None]
    # From the difference of directions, which keeps digits where 1 − cos loses them.
    cost = cdist(unit, unit, "sqeuclidean") / 2
    cost[(norm > 0)[:, None] != (norm > 0)[None, :]] = 1.0
    greatest = cost.max()
    # Two equal directions differ by rounding only.
    return cost / greatest if greatest > 1e-24 else np.zeros_like(cost)
