"""What an encoder is, how a name becomes one, and what it can read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mmcell.code import UnknownCodeError, code_digest, code_of
from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_array
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
        "log-ratios": "mmcell.encoders.baselines:LogRatios",
        "random": "mmcell.encoders.baselines:Random",
        "constant": "mmcell.encoders.baselines:Constant",
        "random-projection": "mmcell.encoders.projections:RandomProjection",
        "untrained-mlp": "mmcell.encoders.projections:UntrainedMLP",
        "scvi": "mmcell.encoders.scvi:SCVI",
        "masked-autoencoder": "mmcell.encoders.autoencoder:MaskedAutoencoder",
        "masked-autoencoder-untrained": "mmcell.encoders.autoencoder:MaskedAutoencoderUntrained",
        "gene2vec": "mmcell.encoders.genevectors:Gene2Vec",
        "gene2vec-untrained": "mmcell.encoders.genevectors:Gene2VecUntrained",
        "gene2vec-targets": "mmcell.encoders.genetargets:Gene2VecTargets",
        "gene2vec-targets-untrained": "mmcell.encoders.genetargets:Gene2VecTargetsUntrained",
        "geneformer": "mmcell.encoders.geneformer:Geneformer",
        "image-features": "mmcell.encoders.shapes:ImageFeatures",
    },
)
#: ``prefix:MODEL`` -> what takes the model's name as its parameter ``model``.
PREFIXES: dict[str, str] = {"timm": "mmcell.encoders.vision:Timm"}
#: Attributes that decide no value: where it runs, rows at a time (where they do decide, they stand on the card), and
#: the names of the columns, which are known once something has been encoded.
_APART = ("card", "device", "batch_size", "columns")


class UnmadeError(MmcellError):
    """An encoder that is known cannot be made: no mistake in a name, and no reason to stop the others."""


@runtime_checkable
class Encoder(Protocol):
    """Anything with a card and ``encode``.

    ``encode(data)`` gets an AnnData with X, obs_names and var_names only (no label, no batch; the layout of images in
    ``uns["image"]``) and returns (n, d) values in the order of its rows, or an `Embedding`. ``card`` says what X must
    hold. Further attributes are read where they are there:

    ``fit(data) -> Self``
        It is then fitted anew on the training units of every fold, on 100,000 of their items at most.
    ``rowwise`` = True
        A row's embedding depends on this row alone: data are then encoded in blocks, which can be kept and resumed, and
        data on disk are never in memory as a whole.
    ``reads_values`` = False
        It looks at the names of rows and features alone, and is given zeros for values, which need not be read then.
    ``knows(ids)``
        Of one that looks at names alone: says which it can encode, (n,) truth values. A task of perturbations leaves
        the others out, names and counts them.
    ``vocabulary``
        Names of the genes that it knows; how many of them the data have is recorded.
    ``untrained(seed)``
        Returns its twin without training, which then stands in every table as a control.
    ``fingerprint``
        Text that says all that decides its values beyond the card and the code, such as a digest of its weights.
        Where it is there, embeddings and results are found again in a later run.
    ``packages``
        Names of the installed packages whose versions decide its values, such as ``("torch", "timm")``: with another
        version nothing is found again.
    ``cheap`` = True
        It costs less than reading its embedding from disk, which is then not kept; of data that stay on disk it is.
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
    """Return what has a card and ``encode`` as it is, and anything else as `as_encoder` makes an encoder of it.

    An object without a card gets one, on a copy, that holds its class name; what it reads is then taken as it is.

    Raises
    ------
    MmcellError
        Nothing can be made of it.
    """
    from mmcell.encoders.wrap import as_encoder

    # Its own card names it, whatever it was asked for by.
    return as_encoder(encoder, name=None if isinstance(getattr(encoder, "card", None), ModelCard) else name)


def identity(encoder: Encoder) -> str:
    """Return the digest of all that decides what an encoder returns: card, parameters, weights, code and versions.

    Of an encoder that ships with mmcell these are its card, its attributes, its ``fingerprint`` where it has one, its
    code and the versions of its ``packages``; of another one all of these but the attributes. Of one that fits and
    chooses a ``device`` the kind of device counts as well: training elsewhere gives other weights. Its name in tables
    decides nothing.

    Returns
    -------
    str
        "" for an object that does not ship with mmcell and has no ``fingerprint``: it may hold any state, so nothing of
        it is ever found again. "" as well where an attribute is not plain and no ``fingerprint`` speaks for it, where
        code cannot be found, and where the device is not here.
    """
    kind = type(encoder)
    name = f"{kind.__module__}:{kind.__qualname__}"
    shipped = name in {*ENCODERS.builtin.values(), *PREFIXES.values()}
    own = str(getattr(encoder, "fingerprint", "") or "")
    if not (shipped or own):
        return ""
    state = {}
    for key, value in vars(encoder).items() if shipped else ():
        if key not in _APART:
            try:
                state[key] = _plain(value)
            except TypeError:
                if not own:
                    return ""
    versions = {package: _version(package) for package in getattr(encoder, "packages", ())}
    try:
        where = _trained_on(encoder)
        return digest(encoder.card.key, name, state, own, versions, where, code_of(kind), code_digest())
    except (UnknownCodeError, MmcellError):
        return ""


def _plain(value: Any) -> Any:
    """Return an attribute as what JSON can say; an array is its digest. Raises TypeError on anything else."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return [[_plain(k), _plain(v)] for k, v in value.items()]
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcSU":
        return digest_array(np.asarray(value))
    raise TypeError(f"{type(value).__name__} is not plain")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _trained_on(encoder: Encoder) -> str:
    """Return the kind of device that an encoder is fitted on; "" for one that is not fitted or chooses none."""
    device = getattr(encoder, "device", None)
    if device is None or not fits(encoder):
        return ""
    from mmcell.encoders.network import device_of

    return str(device_of(str(device)).type)


def fits(encoder: Encoder) -> bool:
    """Whether the encoder must be fitted, once per fold."""
    return callable(getattr(encoder, "fit", None))


def has_names_alone(dataset: Dataset, modality: str) -> bool:
    """Whether a modality has items and no features."""
    return modality in dataset.card.modalities and dataset.anndata(modality).n_vars == 0


def readable(encoder: Encoder, dataset: Dataset, modality: str) -> str:
    """Return "" when the encoder can read this modality of the dataset, otherwise why not."""
    card = encoder.card
    have = dataset.modality(modality).preprocessing
    if have == "proportions" and card.preprocessing == "counts":
        return f"it needs counts, {dataset.name} holds proportions for {modality}; take log-ratios or features"
    if card.modality not in ("any", modality):
        return f"it reads {card.modality}, not {modality}"
    if card.preprocessing not in ("any", have) and (have, card.preprocessing) != ("counts", "log1p"):
        return f"it needs {card.preprocessing}, {dataset.name} holds {have} for {modality}"
    if getattr(encoder, "reads_values", True) and has_names_alone(dataset, modality):
        return f"it reads values, and {dataset.name} has names alone for {modality}"
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
