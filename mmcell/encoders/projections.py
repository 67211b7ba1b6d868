"""Networks that never learnt: what the shape of a network, without any data, makes of the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mmcell.digest import stream
from mmcell.embedding import ModelCard

if TYPE_CHECKING:
    from anndata import AnnData


# Kept, because data come in blocks and a generator per feature takes longer than to multiply.
@lru_cache(maxsize=4)
def feature_weights(names: tuple[str, ...], width: int, seed: int, who: str) -> np.ndarray:
    """Return (features, width) standard normal weights, float32, that belong to the feature's name.

    Neither the order of the features nor which others there are changes the weights of one.

    Parameters
    ----------
    names
        Of the features.
    width
        Weights of each.
    seed, who
        Whose weights they are: another seed or another `who` draws others.
    """
    values = np.empty((len(names), width), dtype=np.float32)
    for row, name in zip(values, names, strict=True):
        stream(seed, who, name).standard_normal(out=row, dtype=np.float32)
    values.flags.writeable = False
    return values


@dataclass
class RandomProjection:
    """Gaussian random projection of the values (log values for counts, otherwise the values as they are).

    Weights are N(0, 1 / n_components), so that distances between rows are kept in expectation (Johnson and
    Lindenstrauss, 1984), and belong to the feature's name.
    """

    rowwise: ClassVar[bool] = True
    n_components: int = 50
    seed: int = 0
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="random-projection",
            parameters={"n_components": self.n_components, "seed": self.seed},
            description="Gaussian random projection, nothing is learnt",
        )

    @property
    def dim(self) -> int:
        """Dimensions of the embedding."""
        return self.n_components

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_components)."""
        weights = feature_weights(tuple(map(str, data.var_names)), self.n_components, self.seed, "random-projection")
        return np.asarray(data.X @ weights, dtype=np.float32) / np.float32(np.sqrt(self.n_components))


@dataclass
class UntrainedMLP:
    """A network of the size of a usual baseline with random weights: what its shape alone is worth.

    Two hidden layers of `n_hidden` rectified units and a linear output of `n_components`. Weights are Gaussian with
    variance 2 / fan-in and biases 0 (He et al., ICCV 2015), except for those of the first layer, which belong to the
    feature's name and have variance 2 / n_hidden, so that the number of features does not change them. Reads log values
    for counts, otherwise the values as they are.
    """

    rowwise: ClassVar[bool] = True
    n_components: int = 50
    n_hidden: int = 256
    seed: int = 0
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="untrained-mlp",
            parameters={"n_components": self.n_components, "n_hidden": self.n_hidden, "seed": self.seed},
            description="a network with random weights, nothing is learnt",
        )

    @property
    def dim(self) -> int:
        """Dimensions of the embedding."""
        return self.n_components

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_components)."""
        rng, he = stream(self.seed, "untrained-mlp"), np.float32(np.sqrt(2 / self.n_hidden))
        second = he * rng.standard_normal((self.n_hidden, self.n_hidden), dtype=np.float32)
        third = he * rng.standard_normal((self.n_hidden, self.n_components), dtype=np.float32)
        first = feature_weights(tuple(map(str, data.var_names)), self.n_hidden, self.seed, "untrained-mlp")
        hidden = np.maximum(np.asarray(data.X @ first, dtype=np.float32) * he, 0)
        return np.maximum(hidden @ second, 0) @ third
