"""What an encoder is, how a name becomes one, and what it can read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mmcell.code import UnknownCodeError, code_digest, code_of
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.embedding import Embedding, ModelCard
from mmcell.encoders.broken import Broken
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
        "random-projection": "mmcell.encoders.projections:RandomProjection",
        "untrained-mlp": "mmcell.encoders.projections:UntrainedMLP",
        "scvi": "mmcell.encoders.scvi:SCVI",
        "masked-autoencoder": "mmcell.encoders.autoencoder:MaskedAutoencoder",
        "masked-autoencoder-untrained": "mmcell.encoders.autoencoder:MaskedAutoencoderUntrained",
        "gene2vec": "mmcell.encoders.genevectors:Gene2Vec",
        "gene2vec-untrained": "mmcell.encoders.genevectors:Gene2VecUntrained",
        "geneformer": "mmcell.encoders.geneformer:Geneformer",
        "image-features": "mmcell.encoders.shapes:ImageFeatures",
    },
)
#: ``prefix:MODEL`` -> what takes the model's name as its parameter ``model``.
PREFIXES: dict[str, str] = {"timm": "mmcell.encoders.vision:Timm"}


class UnmadeError(MmcellError):
    """An encoder that is known cannot be made: no mistake in a name, and no reason to stop the others."""


@runtime_checkable
class Encoder(Protocol):
    """Anything with a card and ``encode``.

    ``encode(data)`` gets an AnnData with X, obs_names and var_names only (no label, no batch; the layout of images in
    ``uns["image"]``) and returns (n, d) values in the order of its rows, or an `Embedding`. ``card`` says what X must
    hold. Further attributes are read where they are there:

    ``fit(data) -> Self``
        It is then fitted anew on the training units of every fold.
    ``rowwise`` = True
        A row's embedding depends on this row alone: data are then encoded in blocks, which can be kept and resumed.
    ``vocabulary``
        Names of the genes that it knows; how many of them the data have is recorded.
    ``untrained(seed)``
        Returns its twin without training, which then stands in every table as a control.
    ``fingerprint``
        Text that says all that decides its values beyond the card and the code, such as a digest of its weights.
        Where it is there, embeddings and results are found again in a later run.
    ``cheap`` = True
        It costs less than reading its embedding from disk, which is then not kept.
    """

    card: ModelCard

    def encode(self, data: AnnData) -> np.ndarray | Embedding:
        """Return one row per row of `data`."""


def make_encoder(name: str, parameters: Mapping[str, Any] | None = None) -> Encoder:
    """Return an encoder by name, by ``prefix:MODEL`` or by ``module:attribute``, with parameters.

    Raises
    ------
    MmcellError
        Unknown name or parameter; something that is no encoder.
    UnmadeError
        It is known and cannot be made here: weights or a package are missing.
    """
    prefix, colon, model = name.partition(":")
    given = dict(parameters or {})
    try:
        if colon and prefix in PREFIXES:
            found, given = load_attribute(PREFIXES[prefix]), {"model": model, **given}
        else:
            found = load_attribute(name) if colon else ENCODERS.get(name)
    except ImportError as error:
        # Its module is there and needs another one that is not.
        raise UnmadeError(str(Broken.of(name, error).reason)) from error
    if isinstance(found, type):
        try:
            found = found(**given)
        except TypeError as error:
            known = [f for f in getattr(found, "__dataclass_fields__", {}) if f != "card"]
            unknown = next((p for p in given if p not in known), "")
            if not (unknown and known):
                raise MmcellError(f"encoder {name!r}: cannot be made ({error}); give its parameters") from error
            hint = did_you_mean(unknown, known)
            raise MmcellError(f"encoder {name!r}: parameter {unknown!r} is not known; {hint}") from error
        except Exception as error:
            raise UnmadeError(str(Broken.of(name, error).reason)) from error
    elif given:
        raise MmcellError(f"encoder {name!r}: it is an object, not a class, and takes no parameters")
    return check_encoder(found, name)


def check_encoder(encoder: Any, name: str) -> Encoder:
    """Return `encoder` with a card; a function, a transformer or a torch module is wrapped (see `as_encoder`).

    An object without a card gets one that holds its class name; what it reads is then taken as it is.

    Raises
    ------
    MmcellError
        It is none of these.
    """
    if not callable(getattr(encoder, "encode", None)):
        from mmcell.encoders.wrap import as_encoder

        return as_encoder(encoder, name=name)
    if not isinstance(getattr(encoder, "card", None), ModelCard):
        encoder = copy.copy(encoder)
        encoder.card = ModelCard(name=name, description=type(encoder).__qualname__)
    return encoder  # type: ignore[no-any-return]


def identity(encoder: Encoder) -> str:
    """Return the digest of all that decides what an encoder returns: card, parameters, weights and code.

    Of an encoder that is registered by name these are its card, its plain attributes and its code; of another one its
    ``fingerprint`` as well. Its name in tables decides nothing.

    Returns
    -------
    str
        "" for an object that has no ``fingerprint`` and is not registered: it may hold any state, so nothing of it is
        ever found again.
    """
    kind = type(encoder)
    known = f"{kind.__module__}:{kind.__qualname__}" in {*ENCODERS.references.values(), *PREFIXES.values()}
    own = str(getattr(encoder, "fingerprint", "") or "")
    if not (known or own):
        return ""
    state = {k: v for k, v in vars(encoder).items() if isinstance(v, (str, int, float, bool, tuple, type(None)))}
    # Where mmcell runs decides nothing, and where values are the same, neither does how many go at a time.
    state = {k: v for k, v in state.items() if k not in ("device", "batch_size")}
    try:
        return digest(encoder.card.key, state if known else {}, own, code_of(kind), code_digest())
    except UnknownCodeError:
        return ""


def fits(encoder: Encoder) -> bool:
    """Whether the encoder must be fitted, once per fold."""
    return callable(getattr(encoder, "fit", None))


def readable(encoder: Encoder, dataset: Dataset, modality: str) -> str:
    """Return "" when the encoder can read this modality of the dataset, otherwise why not."""
    card = encoder.card
    if card.modality not in ("any", modality):
        return f"it reads {card.modality}, not {modality}"
    have = dataset.modality(modality).preprocessing
    if card.preprocessing not in ("any", have) and (have, card.preprocessing) != ("counts", "log1p"):
        return f"it needs {card.preprocessing}, {dataset.name} holds {have} for {modality}"
    if card.channels is not None:
        layout = dataset.anndata(modality).uns.get("image")
        if layout is None:
            return f"it reads images, and {modality} of {dataset.name} has no layout of any (uns['image'])"
        if int(layout["shape"][0]) != card.channels:
            return f"it reads images of {card.channels} channels, {dataset.name} has {int(layout['shape'][0])}"
    try:
        dataset.gene_names(modality, card.identifiers)
    except MmcellError as error:
        return str(error)
    return ""
