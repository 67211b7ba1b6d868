"""`Harmony`: soft clusters that are mixed in batches; through harmonypy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError


@dataclass(eq=False)
class Harmony:
    """Harmony (harmonypy, the extra ``harmony``): clusters that favour mixed batches, and a shift a cluster and batch.

    It has no rule for a new row, so it is fitted on held-out rows, too: transductive. It sees no label.

    Parameters
    ----------
    theta
        How strongly clusters are mixed; 2 as in the original.
    seed
        Of its k-means.

    References
    ----------
    Korsunsky et al.: Fast, sensitive and accurate integration of single-cell data with Harmony. Nat Methods 16,
    1289–1296 (2019).
    """

    transductive: ClassVar[bool] = True
    theta: float = 2.0
    seed: int = 0
    corrected: np.ndarray = field(init=False, repr=False, default_factory=lambda: np.zeros((0, 0)))

    def fit(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> Self:  # noqa: ARG002
        """See `mmcell.corrections.Correction`.

        Raises
        ------
        MmcellError
            harmonypy is not installed, or rows do not vary.
        """
        try:
            from harmonypy import run_harmony
        except ImportError as error:
            raise MmcellError(
                "correction 'harmony' needs harmonypy: python -m pip install 'mmcell[harmony]'"
            ) from error
        # It divides every row by its length: a row of zeros, and columns that are constant, have none.
        if (x.std(axis=0) == 0).all() or not np.linalg.norm(x, axis=1).all():
            raise MmcellError("correction 'harmony': rows are all the same, or zero; leave this embedding as it is")
        done = run_harmony(
            x, pd.DataFrame({"batch": batch.astype(str)}), ["batch"], theta=self.theta, random_state=self.seed,
            verbose=False, ncores=1,
        )  # fmt: skip
        self.corrected = np.asarray(done.Z_corr)
        return self

    def transform(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the rows that were fitted; others are refused.

        Raises
        ------
        MmcellError
            Not the rows of `fit`.
        """
        if len(x) != len(self.corrected):
            raise MmcellError("correction 'harmony' cannot place new rows: fit it on all of them")
        return self.corrected
