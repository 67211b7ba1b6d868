"""`as_encoder`: a function, a scikit-learn transformer or a torch module becomes an encoder as it is."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.code import PLAIN
from mmcell.embedding import ModelCard
from mmcell.errors import MmcellError, first

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.encoders.base import Encoder

_CONTAINERS = (list, tuple, set, frozenset)


def as_encoder(
    thing: Any,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    collate: Callable[[AnnData], Any] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
) -> Encoder:
    """Make an encoder of anything that turns data into rows.

    Parameters
    ----------
    thing
        A ``torch.nn.Module``, a scikit-learn transformer (one that has been fitted stays frozen; another is fitted on
        the training units of every fold), a function of an AnnData, or an object with ``encode``, which is returned as
        it is where it has a card and nothing else is given, otherwise as a copy. A module with an ``encode`` of its own
        is called as a module, unless it has a `ModelCard` as ``card``: then it is an encoder already.
    name, card
        What tables call it, and what it must be given; default: its own card, or its own name, and values as they come.
    collate
        For a module: turns the rows of a batch (AnnData) into what the module is called with: a tensor, a tuple, or a
        mapping of keyword arguments. Default: X as a float tensor, images as (rows, channels, height, width).
    batch_size, device
        For a module: rows of a batch (default 256); ``auto`` (the default) uses a GPU where there is one.

    Returns
    -------
    Encoder
        With a card and ``encode``; `thing` itself where it is one already and nothing else is given.

    Raises
    ------
    MmcellError
        It is none of these, or an argument does not apply to it.
    """
    own = getattr(thing, "card", None)
    own = own if isinstance(own, ModelCard) else None
    called = name or getattr(thing, "__name__", type(thing).__name__)
    if isinstance(thing, type):
        raise MmcellError(f"encoder {called!r}: it is a class; give an object: {thing.__name__}()")
    torch = sys.modules.get("torch")
    encodes = callable(getattr(thing, "encode", None))
    is_module = torch is not None and isinstance(thing, torch.nn.Module) and not (encodes and own)
    options: dict[str, Any] = {"collate": collate, "batch_size": batch_size, "device": device}
    options = {k: v for k, v in options.items() if v is not None}
    if options and not is_module:
        hint = "; set it on the object itself" if encodes else ""
        raise MmcellError(
            f"encoder {called!r}: {next(iter(options))} is for torch modules, this is {type(thing).__name__}{hint}"
        )
    chosen = card or own or ModelCard(name=called, description=_described(thing))
    if name is not None and chosen.name != name:
        chosen = chosen.model_copy(update={"name": name})
    if is_module:
        from mmcell.encoders.network import ModuleEncoder

        return ModuleEncoder(thing, chosen, **options)
    if encodes:
        return thing if chosen is own else _with_card(thing, chosen)  # type: ignore[no-any-return]
    if callable(getattr(thing, "transform", None)):
        return Transformer(thing, chosen) if _is_fitted(thing) else FittedTransformer(thing, chosen)
    if callable(thing):
        return Function(thing, chosen)
    raise MmcellError(
        f"encoder {called!r}: {type(thing).__name__} has no method encode(data); give an object with encode, a "
        "function of an AnnData, a scikit-learn transformer, or a torch module"
    )


def _with_card(thing: Any, card: ModelCard) -> Any:
    found = copy.copy(thing)
    try:
        found.card = card
    except AttributeError as error:
        raise MmcellError(
            f"encoder {card.name!r}: {type(thing).__name__} takes no card ({error}); give it an attribute 'card'"
        ) from error
    return found


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

    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    transformer: Any
    card: ModelCard

    @property
    def fingerprint(self) -> str:
        """The digest of its state; "" when code other than scikit-learn's takes part, which no digest can vouch for."""
        return _state(self.transformer)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return what ``transform`` makes of X; one that was fitted with names of columns gets these, in its own order.

        Raises
        ------
        MmcellError
            The data lack columns that it was fitted with.
        """
        names = getattr(self.transformer, "feature_names_in_", None)
        found = self.transformer.transform(data.X if names is None else self._named(data, list(map(str, names))))
        return found.to_numpy() if hasattr(found, "to_numpy") else found

    def _named(self, data: AnnData, names: list[str]) -> pd.DataFrame:
        where = {name: i for i, name in enumerate(data.var_names)}
        missing = [name for name in names if name not in where]
        if missing:
            raise MmcellError(
                f"encoder {self.card.name!r}: it was fitted with {len(names)} named columns, and the data lack "
                f"{len(missing)} of them ({first(missing)}; they look like {first(data.var_names)}); fit it on these "
                "features, or set 'identifiers' on its card"
            )
        x = data.X[:, [where[name] for name in names]]
        return pd.DataFrame(x.toarray() if hasattr(x, "toarray") else x, index=data.obs_names, columns=names)


@dataclass(eq=False)
class FittedTransformer(Transformer):
    """A transformer that is fitted on the training units of every fold."""

    def fit(self, data: AnnData) -> Self:
        """Fit a clone on training rows."""
        from sklearn.base import clone

        try:
            fresh = clone(self.transformer)
        except TypeError:
            fresh = copy.deepcopy(self.transformer)
        return type(self)(fresh.fit(data.X), self.card)


def _state(transformer: Any) -> str:
    import joblib

    return str(joblib.hash(transformer)) if _known(transformer, {}) else ""


def _known(value: Any, seen: dict[int, Any]) -> bool:
    """Whether a value, and all that it holds, is plain or comes from scikit-learn, numpy or scipy."""
    if isinstance(value, (*PLAIN, np.generic, np.dtype)) or id(value) in seen:
        return True
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "O" or all(_known(v, seen) for v in value.ravel())
    if isinstance(value, np.ufunc):
        # What numpy.frompyfunc makes of a user's function is a ufunc too.
        return getattr(np, value.__name__, None) is value
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return value.__module__ == "builtins" or _of_known_package(value.__module__)
    held = [*value.items()] if isinstance(value, dict) else list(value) if isinstance(value, _CONTAINERS) else []
    kind = type(value)
    known = kind in (dict, OrderedDict, defaultdict, *_CONTAINERS, slice, range) or _of_known_package(kind.__module__)
    return known and all(_known(v, seen) for v in (*held, *getattr(value, "__dict__", {}).values()))


def _of_known_package(module: str | None) -> bool:
    return str(module).partition(".")[0] in ("sklearn", "numpy", "scipy")
