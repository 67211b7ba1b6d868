"""Baselines: what a foundation model has to beat, and the floors that show what a score is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from mmcell.digest import digest_ids, stream
from mmcell.embedding import ModelCard
from mmcell.errors import MmcellError, number_of
from mmcell.proportions import floor_of, log_ratios

if TYPE_CHECKING:
    from anndata import AnnData

#: Values that are made dense at most, a gigabyte.
_DENSE = 1 << 28
#: Rows of noise that are drawn at once.
_DRAWN = 1 << 16


def _dense(data: AnnData) -> np.ndarray:
    values = data.X
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float32)


@dataclass
class PCA:
    """Principal components of the training items (log values for counts, otherwise the values as they are)."""

    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    rowwise: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    n_components: int = 50
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="pca", description="fitted on training units", parameters={"n_components": self.n_components}
        )

    def fit(self, data: AnnData) -> Self:
        """Fit on training rows; with fewer rows or features than components, as many as there are.

        Of sparse values that would be too many as dense ones the components are found by Lanczos iterations.

        Raises
        ------
        MmcellError
            Fewer than two training rows, or no feature.
        """
        from sklearn import decomposition

        n = min(self.n_components, data.n_obs - 1, data.n_vars)
        if n < 1:
            raise MmcellError(f"encoder 'pca': {data.n_obs} training rows are too few")
        if hasattr(data.X, "indptr") and data.n_obs * data.n_vars > _DENSE:
            self._model = decomposition.PCA(n, svd_solver="arpack", random_state=0).fit(data.X)
        else:
            solver = "covariance_eigh" if data.n_obs >= data.n_vars else "full"
            self._model = decomposition.PCA(n, svd_solver=solver).fit(_dense(data))
        return self

    @property
    def components(self) -> np.ndarray:
        """(n_components, features) what each component is of, once fitted."""
        return np.asarray(self._model.components_)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_components) scores."""
        return np.asarray(self._model.transform(_dense(data)), dtype=np.float32)


@dataclass
class HVG:
    """The features that vary most among training items, as they are.

    By ``dispersion`` as in Seurat (relative to features of a like mean, which also finds rare ones), or by
    ``variance`` (which leaves out what is hardly measured).
    """

    packages: ClassVar[tuple[str, ...]] = ("scanpy",)
    rowwise: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    n_top: int = 200
    by: str = "dispersion"
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        if self.by not in ("dispersion", "variance"):
            raise MmcellError(f"encoder 'hvg': by is {self.by!r}; use dispersion or variance")
        parameters = {"n_top": self.n_top, "by": self.by}
        self.card = ModelCard(name="hvg", description="selected on training units", parameters=parameters)

    def fit(self, data: AnnData) -> Self:
        """Select features on training rows; dispersion is of non-negative values, others are selected by variance."""
        n = min(self.n_top, data.n_vars)
        lowest = data.X.min()
        if self.by == "dispersion" and lowest >= 0 and data.n_vars > n:
            import scanpy as sc

            table = sc.pp.highly_variable_genes(data, n_top_genes=n, flavor="seurat", inplace=False)
            # Ranked here: a cut-off would let in every feature that ties with the last one.
            spread = table["dispersions_norm"].fillna(-np.inf).to_numpy()
        else:
            spread = np.asarray(_dense(data).var(axis=0, dtype=np.float64))
        self._keep = np.sort(np.argsort(-spread, kind="stable")[:n])
        self.columns = tuple(map(str, data.var_names[self._keep]))
        return self

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_top) selected values."""
        return _dense(data[:, self._keep])


@dataclass
class Features:
    """All values of the modality as they are."""

    rowwise: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    card: ModelCard = field(default_factory=lambda: ModelCard(name="features"), init=False)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, features)."""
        self.columns = tuple(map(str, data.var_names))
        return _dense(data)


@dataclass
class CLR:
    """Centred log-ratio of counts + 1 within each item: the usual scale for surface proteins."""

    rowwise: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    card: ModelCard = field(
        default_factory=lambda: ModelCard(name="clr", modality="protein", preprocessing="counts"), init=False
    )

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, features)."""
        self.columns = tuple(map(str, data.var_names))
        logs = np.log1p(_dense(data))
        return logs - logs.mean(axis=1, keepdims=True)


@dataclass
class LogRatios:
    """Centred log-ratio of proportions within each item: how many times as much of each part as of the usual one.

    Parts below the floor count as the floor, for a part of 0 has no logarithm: by default that of
    `mmcell.proportions.floor_of` among the training items, as `mmcell stratify` takes it, or else `floor`.
    """

    rowwise: ClassVar[bool] = True
    cheap: ClassVar[bool] = True
    floor: float | None = None
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        if self.floor is not None and not 0 < self.floor < 1:
            raise MmcellError(f"encoder 'log-ratios': floor is {self.floor}; give a proportion above 0 and below 1")
        given = {} if self.floor is None else {"floor": self.floor}
        self.card = ModelCard(name="log-ratios", preprocessing="proportions", parameters=given)

    def fit(self, data: AnnData) -> Self:
        """Find the floor among training rows, where none was given."""
        if self.floor is None:
            self._floor = floor_of(_shares(data))
        return self

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, features)."""
        values = _shares(data)
        self.columns = tuple(map(str, data.var_names))
        return log_ratios(values, self._floor if self.floor is None else self.floor).astype(np.float32)


def _shares(data: AnnData) -> np.ndarray:
    values = _dense(data)
    if (values < 0).any():
        raise MmcellError(
            f"encoder 'log-ratios': {number_of(int((values < 0).sum()), 'proportion is', 'proportions are')} "
            "negative; say what the values are "
            "(preprocessing: values) and use 'features'"
        )
    return values.astype(np.float64)


@dataclass
class Random:
    """Gaussian noise drawn per id: the floor that still has dimensions."""

    # Not rowwise: what an id gets depends on its place among all ids.
    reads_values: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    n_components: int = 50
    seed: int = 0
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        parameters = {"n_components": self.n_components, "seed": self.seed}
        self.card = ModelCard(name="random", parameters=parameters, description="knows nothing")

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_components) noise that belongs to the id, not to the row; other features give other noise."""
        order = np.argsort(data.obs_names.to_numpy(), kind="stable")
        values = np.empty((data.n_obs, self.n_components), dtype=np.float32)
        rng = stream(self.seed, "random", digest_ids(data.var_names))
        for start in range(0, len(order), _DRAWN):
            some = order[start : start + _DRAWN]
            values[some] = rng.standard_normal((len(some), self.n_components), dtype=np.float32)
        return values


@dataclass
class Constant:
    """The same vector for everything: a collapsed embedding, which must win nothing."""

    rowwise: ClassVar[bool] = True
    reads_values: ClassVar[bool] = False
    cheap: ClassVar[bool] = True
    card: ModelCard = field(
        default_factory=lambda: ModelCard(name="constant", description="the same vector for everything"), init=False
    )

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, 2) ones."""
        return np.ones((data.n_obs, 2), dtype=np.float32)
