"""`KernelMean`: the whole distribution of a patient's cells as one point, by random Fourier features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.patients.base import owners
from mmcell.patients.pooling import add_rows, blocks, check_width, scale_of

_WHO = "kernel-mean"
#: Training cells whose distances tell the bandwidth.
_SAMPLE = 1000


@dataclass
class KernelMean:
    """The mean of random Fourier features of a patient's cells: an approximate kernel mean embedding.

    With z the cells standardised on training cells (columns that do not vary are left out), the kernel is
    k(z, z') = exp(−‖z − z'‖² / 2σ²), its features are φ(z) = √(2/D) cos(Wᵀz + b) with W ~ N(0, 1/σ²) and
    b ~ U(0, 2π), and the patient is the mean of φ over its cells. The squared Euclidean distance of two patients is
    then their squared maximum mean discrepancy, with an error of order 1/√D. (The mean over few cells is the noisier:
    give everybody equally many, as is the default.)

    Attributes
    ----------
    n_features
        D.
    bandwidth
        σ, in standard deviations of training cells; None for the median distance between the cells of a sample of
        1,000 training cells.
    seed
        Of W, b and the sample.
    facts
        After `fit`: σ, D, and how many dimensions do not vary.

    References
    ----------
    Rahimi and Recht: Random features for large-scale kernel machines. NeurIPS 2007.
    Muandet et al.: Kernel mean embedding of distributions: a review and beyond. Foundations and Trends in Machine
    Learning 10, 1–141 (2017).
    """

    reads_embedding: ClassVar[bool] = True
    n_features: int = 256
    bandwidth: float | None = None
    seed: int = 0
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.n_features < 1:
            raise MmcellError(f"patient encoder {_WHO!r}: n_features is {self.n_features}; give 1 or more")
        if self.bandwidth is not None and not 0 < self.bandwidth < np.inf:
            raise MmcellError(f"patient encoder {_WHO!r}: bandwidth {self.bandwidth} is not a positive number")
        self._width = 0

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Learn the scale and the bandwidth from training cells, and draw the features.

        Raises
        ------
        MmcellError
            The cells do not vary, or so many are equal that the median distance is 0.
        """
        owners(cells, owner)
        self._scale = scale_of(cells.values)
        varying = int(self._scale.keep.sum())
        if not varying:
            raise MmcellError(f"patient encoder {_WHO!r}: embedding {cells.name!r} does not vary over training cells")
        sigma = self._median(cells) if self.bandwidth is None else float(self.bandwidth)
        rng = stream(self.seed, _WHO, "features")
        self._weights = rng.standard_normal((varying, self.n_features)) / sigma
        self._phases = rng.uniform(0, 2 * np.pi, self.n_features)
        self._width = cells.dim
        self.facts = {"bandwidth": sigma, "features": self.n_features, "constant dimensions": cells.dim - varying}
        return self

    def _median(self, cells: Embedding) -> float:
        # By id: the order of cells in a file decides nothing.
        rows = np.argsort(cells.ids.to_numpy(str), kind="stable")
        if len(rows) > _SAMPLE:
            rows = stream(self.seed, _WHO, "sample").choice(rows, _SAMPLE, replace=False)
        distances = pdist(self._scale.transform(cells.values[rows]))
        found = float(np.median(distances))
        if found == 0:
            raise MmcellError(
                f"patient encoder {_WHO!r}: embedding {cells.name!r} has so many equal cells that their median "
                "distance is 0; give a bandwidth"
            )
        return found

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return (patients, n_features) mean features, each between −√(2/D) and √(2/D).

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        check_width(cells, self._width, _WHO)
        patients, code = owners(cells, owner)
        sums = np.zeros((len(patients), self.n_features))
        for where, block in blocks(cells.values, self.n_features):
            phase = self._scale.transform(block) @ self._weights
            phase += self._phases
            add_rows(np.cos(phase, out=phase), code[where], sums)
        counts = np.bincount(code, minlength=len(patients))
        values = np.sqrt(2 / self.n_features) * sums / counts[:, None]
        return Embedding(cells.name, "patient", cells.modality, patients, values, cells.card)
