"""scVI: the variational autoencoder that most of the field compares with, trained by scvi-tools."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mmcell.embedding import ModelCard
from mmcell.encoders.network import device_of, one_thread
from mmcell.errors import MissingExtraError, MmcellError, number_of

if TYPE_CHECKING:
    from anndata import AnnData

#: What scvi-tools and lightning write when they seed.
_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "XLA_FLAGS")
_LOGGERS = ("scvi", "lightning", "lightning.pytorch", "lightning.fabric")


def need_scvi() -> Any:
    """Return the package scvi.

    Raises
    ------
    MissingExtraError
        scvi-tools is not installed.
    """
    try:
        import scvi
    except ImportError as error:
        raise MissingExtraError("encoder 'scvi'", "scvi-tools", "scvi") from error
    return scvi


@contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Seed scvi-tools, which knows no other way than to seed everything, and leave everything as it was; in silence."""
    scvi = need_scvi()
    import torch

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    python, numpy, benchmark = random.getstate(), np.random.get_state(), torch.backends.cudnn.benchmark  # noqa: NPY002
    before = scvi.settings.seed
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(one_thread())
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            scvi.settings.seed = seed
            yield
        finally:
            scvi.settings.seed = before
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name, value in variables.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.backends.cudnn.benchmark = benchmark


@dataclass
class SCVI:
    """scVI (Lopez et al., Nature Methods 15, 1053 (2018)), fitted on the counts of training cells.

    The embedding is the mean of the latent distribution. No batch is given: an encoder's data come without labels, so
    this is scVI without batch correction, and a new batch needs none. Needs scvi-tools, the extra ``scvi``.

    Attributes
    ----------
    n_latent, n_hidden, n_layers
        Dimensions of the embedding, width and number of the hidden layers.
    max_epochs
        Passes over the training cells; scvi-tools would take up to 400, which few CPUs have time for.
    batch_size, seed
        Cells of a step, and of everything random.
    device
        See `device_of`.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("scvi-tools", "torch")
    n_latent: int = 30
    n_hidden: int = 128
    n_layers: int = 1
    max_epochs: int = 10
    batch_size: int = 128
    seed: int = 0
    device: str = "auto"
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        shown = ("n_latent", "n_hidden", "n_layers", "max_epochs", "batch_size", "seed")
        self.card = ModelCard(
            name="scvi",
            modality="rna",
            preprocessing="counts",
            licence="BSD-3-Clause",
            url="https://scvi-tools.org",
            parameters={name: getattr(self, name) for name in shown},
            description="fitted on training units, without batches",
        )

    @property
    def dim(self) -> int:
        """Dimensions of the embedding."""
        return self.n_latent

    def fit(self, data: AnnData) -> Self:
        """Fit on the counts of training cells.

        Raises
        ------
        MissingExtraError
            scvi-tools is not installed.
        MmcellError
            A cell has no counts.
        """
        scvi = need_scvi()
        _check_cells(data)
        self._genes = tuple(map(str, data.var_names))
        # A copy, because scvi-tools writes its registry into what it is given.
        own = data.copy()
        device = device_of(self.device)
        with _undisturbed(self.seed):
            scvi.model.SCVI.setup_anndata(own)
            model = scvi.model.SCVI(own, n_hidden=self.n_hidden, n_latent=self.n_latent, n_layers=self.n_layers)
            model.train(
                max_epochs=self.max_epochs,
                accelerator={"cuda": "gpu"}.get(device.type, device.type),
                devices=1 if device.index is None else [device.index],
                train_size=1.0,
                batch_size=self.batch_size,
                # A last batch of one cell has no variance, which the network normalises by.
                datasplitter_kwargs={"drop_last": data.n_obs % self.batch_size == 1},
                enable_progress_bar=False,
                enable_checkpointing=False,
                logger=False,
            )
        self._model = model
        return self

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_latent) means.

        Raises
        ------
        MmcellError
            The genes are not those that it was fitted on, in the same order; a cell has no counts.
        """
        if tuple(map(str, data.var_names)) != self._genes:
            raise MmcellError(
                f"encoder 'scvi': it was fitted on {number_of(len(self._genes), 'gene')}, these are other ones or in "
                "another order; "
                "give the same var_names"
            )
        _check_cells(data)
        with _undisturbed(self.seed):
            found = self._model.get_latent_representation(data.copy(), give_mean=True)
        return np.asarray(found, dtype=np.float32)


def _check_cells(data: AnnData) -> None:
    empty = np.asarray(data.X.sum(axis=1)).ravel() <= 0
    if empty.any():
        first = data.obs_names[int(np.argmax(empty))]
        raise MmcellError(
            f"encoder 'scvi': {number_of(int(empty.sum()), 'cell has', 'cells have')} no counts (first: {first}), "
            "and it takes the logarithm "
            "of their number; remove empty cells"
        )
