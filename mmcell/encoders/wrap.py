"""`as_encoder`: a function, a scikit-learn transformer or a torch module becomes an encoder as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mmcell.embedding import ModelCard
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.encoders.base import Encoder


def as_encoder(
    thing: Any,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    collate: Callable[[AnnData], Any] | None = None,
    batch_size: int = 256,
    device: str = "auto",
) -> Encoder:
    """Make an encoder of anything that turns data into rows.

    Parameters
    ----------
    thing
        An object with ``encode`` (returned as it is), a function of an AnnData, a scikit-learn transformer (one that
        has been fitted stays frozen; another is fitted on the training units of every fold), or a ``torch.nn.Module``.
    name, card
        What tables call it, and what it must be given; default: its own name, and values as they come.
    collate
        For a module: turns the rows of a batch (AnnData) into what the module is called with: a tensor, a tuple, or a
        mapping of keyword arguments. Default: X as a float tensor, images as (rows, channels, height, width).
    batch_size, device
        For a module: rows of a batch; ``auto`` uses a GPU where there is one.

    Raises
    ------
    MmcellError
        It is none of these, or an argument does not apply to it.
    """
    called = name or getattr(thing, "__name__", type(thing).__name__)
    torch = sys.modules.get("torch")
    is_module = torch is not None and isinstance(thing, torch.nn.Module)
    if collate is not None and not is_module:
        raise MmcellError(f"encoder {called!r}: collate is for torch modules, this is {type(thing).__name__}")
    card = card or getattr(thing, "card", None) or ModelCard(name=called, description=_described(thing))
    if callable(getattr(thing, "encode", None)):
        return thing  # type: ignore[no-any-return]
    if is_module:
        from mmcell.encoders.network import ModuleEncoder

        return ModuleEncoder(thing, card, collate, batch_size, device)
    if callable(getattr(thing, "transform", None)):
        if isinstance(thing, type):
            raise MmcellError(f"encoder {called!r}: it is a class; give an object: {called}()")
        return Transformer(thing, card) if _is_fitted(thing) else FittedTransformer(thing, card)
    if callable(thing) and not isinstance(thing, type):
        return Function(thing, card)
    raise MmcellError(
        f"encoder {called!r}: {type(thing).__name__} has no method encode(data); give an object with encode, a "
        "function of an AnnData, a scikit-learn transformer, or a torch module"
    )


def _described(thing: Any) -> str:
    kind = thing if isinstance(thing, type) or hasattr(thing, "__qualname__") else type(thing)
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}".strip(".")


def _is_fitted(thing: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not callable(getattr(thing, "fit", None)):
        return True
    try:
        check_is_fitted(thing)
    except NotFittedError:
        return False
    except TypeError:
        # No scikit-learn estimator: only its author can know, and to fit anew on training units is never a leak.
        return False
    return True


@dataclass(eq=False)
class Function:
    """A function of an AnnData."""

    function: Callable[[AnnData], Any]
    card: ModelCard

    def encode(self, data: AnnData) -> Any:
        """Return what the function returns."""
        return self.function(data)


@dataclass(eq=False)
class Transformer:
    """A transformer that has been fitted already: frozen."""

    transformer: Any
    card: ModelCard

    @property
    def fingerprint(self) -> str:
        """The digest of its state; "" when code other than scikit-learn's takes part, which no digest can vouch for."""
        return _state(self.transformer)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return what ``transform`` makes of X."""
        found = self.transformer.transform(data.X)
        return found.to_numpy() if hasattr(found, "to_numpy") else found


@dataclass(eq=False)
class FittedTransformer(Transformer):
    """A transformer that is fitted on the training units of every fold."""

    def fit(self, data: AnnData) -> Self:
        """Fit a clone on training rows."""
        from sklearn.base import clone

        try:
            fresh = clone(self.transformer)
        except TypeError:
            import copy

            fresh = copy.deepcopy(self.transformer)
        return type(self)(fresh.fit(data.X), self.card)


def _state(transformer: Any) -> str:
    import joblib
    import sklearn

    parts = [transformer, *(getattr(transformer, "get_params", dict)().values())]
    own = [p for p in parts if isinstance(p, type) or hasattr(type(p), "transform") or callable(p)]
    if not all(getattr(p if isinstance(p, type) else type(p), "__module__", "").startswith("sklearn.") for p in own):
        return ""
    return f"{sklearn.__version__}:{joblib.hash(transformer)}"
