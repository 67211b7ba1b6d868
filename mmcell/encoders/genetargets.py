"""gene2vec of perturbations: the pretrained vector of the gene that each is named after, and the untrained twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from mmcell.embedding import ModelCard
from mmcell.encoders.genevectors import Gene2Vec, Gene2VecUntrained
from mmcell.errors import MmcellError, first, number_of
from mmcell.targets import DESCRIPTION

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.encoders.base import Encoder


@dataclass
class Gene2VecTargets:
    """A perturbation as the pretrained vector of its target gene (see `Gene2Vec`), whose symbol is its name.

    Perturbations of other names are unknown to it; a task of perturbations leaves them out and counts them.
    """

    dim: ClassVar[int] = Gene2Vec.dim
    cheap: ClassVar[bool] = True
    rowwise: ClassVar[bool] = True
    reads_values: ClassVar[bool] = False
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = self._model.card.model_copy(update={
            "name": f"{self._model.card.name.replace('gene2vec', 'gene2vec-targets')}", "modality": DESCRIPTION,
            "preprocessing": "any", "identifiers": "any", "description": "vector of the target gene",
        })  # fmt: skip

    @property
    def _model(self) -> Gene2Vec:
        return Gene2Vec()

    def untrained(self, seed: int) -> Encoder:
        """Return the same with random vectors."""
        return Gene2VecTargetsUntrained(seed=seed)

    def knows(self, ids: pd.Index) -> np.ndarray:
        """Return (n,) whether there is a vector of each name."""
        return np.asarray(ids.isin(self._model.vocabulary))

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, 200).

        Raises
        ------
        MmcellError
            A name has no vector.
        """
        vectors = self._model.vectors
        gone = data.obs_names[~data.obs_names.isin(vectors.index)]
        if len(gone):
            raise MmcellError(
                f"encoder {self.card.name!r}: {number_of(len(gone), 'row is', 'rows are')} not called as a gene that "
                f"has a vector ({first(gone)}); give symbols of human genes"
            )
        return vectors.loc[data.obs_names].to_numpy(dtype=np.float32)


@dataclass
class Gene2VecTargetsUntrained(Gene2VecTargets):
    """The same with random gene vectors, of the same size and scale."""

    seed: int = 0

    @property
    def _model(self) -> Gene2Vec:
        return Gene2VecUntrained(seed=self.seed)
