"""What an encoder is, how a name becomes one, and the checks on what it returns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding, ModelCard
from mmcell.errors import MmcellError, did_you_mean
from mmcell.registry import Registry, load_attribute

if TYPE_CHECKING:
    from anndata import AnnData

ENCODERS = Registry(
    "encoder",
    "mmcell.encoders",
    {
        "pca": "mmcell.encoders.baselines:PCA",
        "hvg": "mmcell.encoders.baselines:HVG",
        "features": "mmcell.encoders.baselines:Features",
        "clr": "mmcell.encoders.baselines:CLR",
        "random": "mmcell.encoders.baselines:Random",
        "constant": "mmcell.encoders.baselines:Constant",
        "gene2vec": "mmcell.encoders.genevectors:Gene2Vec",
        "gene2vec-untrained": "mmcell.encoders.genevectors:Gene2VecUntrained",
    },
)


@runtime_checkable
class Encoder(Protocol):
    """Anything with a card and ``encode``.

    ``encode(data)`` gets an AnnData with X, obs_names and var_names only (no label, no batch) and returns (n, d)
    values in the order of its rows, or an `Embedding`. With ``fit(data) -> Self`` as well it is fitted anew on the
    training units of every fold. ``card.preprocessing`` says what X must hold.
    """

    card: ModelCard

    def encode(self, data: AnnData) -> np.ndarray | Embedding:
        """Return one row per row of `data`."""


def make_encoder(name: str, parameters: Mapping[str, Any] | None = None) -> Encoder:
    """Return an encoder by name or by ``module:attribute``, with parameters.

    Raises
    ------
    MmcellError
        Unknown name or parameter; an object without ``encode``.
    """
    found = load_attribute(name) if ":" in name else ENCODERS.get(name)
    if isinstance(found, type):
        try:
            found = found(**dict(parameters or {}))
        except TypeError as error:
            known = [f for f in getattr(found, "__dataclass_fields__", {}) if f != "card"]
            unknown = next((p for p in parameters or {} if p not in known), "")
            hint = did_you_mean(unknown, known) if unknown and known else str(error)
            raise MmcellError(f"encoder {name!r}: parameter {unknown!r} is not known; {hint}") from error
    elif parameters:
        raise MmcellError(f"encoder {name!r}: it is an object, not a class, and takes no parameters")
    return check_encoder(found, name)


def check_encoder(encoder: Any, name: str) -> Encoder:
    """Return `encoder` with a card, or raise when it is none.

    An object without a card gets one that holds its class name; what it reads is then taken as it is.
    """
    if not callable(getattr(encoder, "encode", None)):
        raise MmcellError(
            f"encoder {name!r}: {type(encoder).__name__} has no method encode(data); add one that returns one row per "
            "row of data.X"
        )
    if not isinstance(getattr(encoder, "card", None), ModelCard):
        encoder = copy.copy(encoder)
        encoder.card = ModelCard(name=name, description=type(encoder).__qualname__)
    return encoder  # type: ignore[no-any-return]


def fits(encoder: Encoder) -> bool:
    """Whether the encoder must be fitted, once per fold."""
    return callable(getattr(encoder, "fit", None))


def readable(encoder: Encoder, dataset: Dataset, modality: str) -> str:
    """Return "" when the encoder can read this modality of the dataset, otherwise why not."""
    if encoder.card.modality not in ("any", modality):
        return f"it reads {encoder.card.modality}, not {modality}"
    have, want = dataset.modality(modality).preprocessing, encoder.card.preprocessing
    if want in ("any", have) or (have, want) == ("counts", "log1p"):
        return ""
    return f"it needs {want}, {dataset.name} holds {have} for {modality}"


def encode(encoder: Encoder, name: str, dataset: Dataset, modality: str, train: pd.Index | None = None) -> Embedding:
    """Encode a whole modality; an encoder that fits sees the rows of the training units only while it fits.

    Parameters
    ----------
    encoder, name
        What encodes, and what results call it.
    dataset, modality
        What is encoded.
    train
        Training units; needed by an encoder that fits.

    Raises
    ------
    MmcellError
        The modality is not readable, or what comes back is not one finite row per id.
    """
    why = readable(encoder, dataset, modality)
    if why:
        raise MmcellError(f"encoder {name!r}: {why}; choose another encoder or set 'preprocessing' on the card")
    data = dataset.features(modality, encoder.card.preprocessing)
    if fits(encoder):
        if train is None:
            raise MmcellError(f"encoder {name!r} must be fitted, and no training units were given")
        fitted = copy.deepcopy(encoder)
        rows = dataset.unit.reindex(data.obs_names).isin(train).to_numpy()
        fitted = fitted.fit(data[rows].copy())  # type: ignore[attr-defined]
        if fitted is None:
            raise MmcellError(f"encoder {name!r}: fit(data) returned None; return self")
        encoder = fitted
    # A copy, so that an encoder that works in place changes nothing for the next one.
    found = encoder.encode(data.copy())
    if isinstance(found, Embedding):
        return found.align(dataset.ids)
    values = found.toarray() if hasattr(found, "toarray") else found
    if not isinstance(values, np.ndarray):
        raise MmcellError(
            f"encoder {name!r}: encode returned {type(values).__name__}; return a numpy array of one row per item"
        )
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    columns = tuple(map(str, getattr(encoder, "columns", ())))
    return Embedding.from_array(
        name, data.obs_names, values, level=dataset.card.level, modality=modality, card=encoder.card, columns=columns
    ).align(dataset.ids)
