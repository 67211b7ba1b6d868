"""Torch networks as encoders: on a GPU where there is one, in batches, without gradients."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mmcell.code import PLAIN, UnknownCodeError, code_of
from mmcell.digest import digest, digest_array
from mmcell.embedding import ModelCard
from mmcell.errors import MissingExtraError, MmcellError

if TYPE_CHECKING:
    import torch
    from anndata import AnnData


def need_torch(who: str) -> Any:
    """Return torch.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(who, "torch", "deep") from error
    return torch


def device_of(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is the first GPU where there is one, otherwise the CPU.

    Raises
    ------
    MmcellError
        There is no such device here.
    """
    torch = need_torch("a network")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise MmcellError(f"device {name!r} is not here ({str(error).splitlines()[0]}); use 'auto' or 'cpu'") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sums depend on how many share them, and results must not depend on that."""
    torch = need_torch("a network")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tensor_of(data: AnnData) -> torch.Tensor:
    """Return X as a float tensor (rows, features), or images as (rows, channels, height, width)."""
    torch = need_torch("a network")
    x = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    found = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    return found.reshape(len(found), *map(int, data.uns["image"]["shape"])) if "image" in data.uns else found


def forward(module: torch.nn.Module, given: Any, device: torch.device) -> np.ndarray:
    """Call a module with a tensor, a tuple of them or a mapping, without gradients, and return (rows, d) float32.

    Raises
    ------
    MmcellError
        It does not return one tensor with a row per item.
    """
    torch = need_torch("a network")
    with torch.inference_mode():
        if isinstance(given, Mapping):
            found = module(**{k: v.to(device) if hasattr(v, "to") else v for k, v in given.items()})
        else:
            parts = given if isinstance(given, tuple) else (given,)
            found = module(*(v.to(device) if hasattr(v, "to") else v for v in parts))
    if not isinstance(found, torch.Tensor):
        raise MmcellError(
            f"the module {type(module).__name__} returned {type(found).__name__}; wrap it so that it returns one tensor"
        )
    return np.asarray(found.reshape(len(found), -1).float().cpu().numpy())


def weights_digest(module: torch.nn.Module) -> str:
    """Return the sha256 of all parameters and buffers, by name, with their types; also of buffers that are not saved.

    Raises
    ------
    UnknownCodeError
        One of them holds no values that can be read: it is sparse, quantised, without data.
    """
    both = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    return digest([[name, _tensor_digest(v)] for found in both for name, v in found])


def _tensor_digest(value: torch.Tensor) -> str:
    torch = need_torch("a network")
    unread = value.layout is not torch.strided or value.is_quantized or value.is_meta
    if unread or isinstance(value, torch.nn.parameter.UninitializedTensorMixin):
        raise UnknownCodeError(f"{type(value).__name__}: a tensor whose values cannot be read")
    # As bytes: numpy has no bfloat16.
    flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return digest(str(value.dtype), list(value.shape), digest_array(flat.numpy()))


def state_digest(module: torch.nn.Module) -> str:
    """Return the sha256 of all that decides what a module returns in evaluation mode, beside the code of its classes.

    That is, of every module in it, its class, its attributes, its hooks of the forward pass, its weights and buffers.

    Raises
    ------
    UnknownCodeError
        An attribute is neither plain (text, numbers, arrays, and containers of these) nor code that `code_of` knows.
    """
    torch = need_torch("a network")
    # What every module has beside its own attributes: weights, hooks, whether it is being trained.
    common = set(vars(torch.nn.Module()))
    parts = []
    for name, part in module.named_modules():
        own = {k: v for k, v in vars(part).items() if k not in common or (v and k.startswith("_forward"))}
        parts.append([name, repr(type(part)), sorted([k, _plain(v)] for k, v in own.items())])
    return digest(parts, weights_digest(module))


def _plain(value: Any) -> Any:
    torch = need_torch("a network")
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, (torch.dtype, torch.device)):
        return repr(value)
    if isinstance(value, weakref.ref):
        # Recurrent networks hold their own weights so.
        return _plain(value())
    if isinstance(value, torch.Tensor):
        return _tensor_digest(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcSU":
        return digest_array(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, map(_plain, value)))
    if isinstance(value, Mapping):
        return [[_plain(k), _plain(v)] for k, v in value.items()]
    return [str(getattr(value, "__qualname__", "")), code_of(value)]


@contextmanager
def evaluated(module: torch.nn.Module, device: torch.device) -> Iterator[torch.nn.Module]:
    """Give a module in evaluation mode on a device; the caller's own stays where it is, and is left in its own mode."""
    torch = need_torch("a network")
    # By a tensor, because "cuda" and "cuda:0" are one device.
    here = torch.zeros(0, device=device).device
    if any(v.device != here for v in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module).to(device)
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield module.eval()
    finally:
        for part, training in modes:
            part.training = training


@dataclass(eq=False)
class ModuleEncoder:
    """A torch module in evaluation mode.

    Attributes
    ----------
    module
        Maps a batch to a tensor with one row per item.
    card
        What it must be given.
    collate
        (rows as AnnData) -> what the module is called with; None for X as a tensor.
    batch_size, device
        Rows of a batch; see `device_of`.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    module: torch.nn.Module
    card: ModelCard
    collate: Callable[[AnnData], Any] | None = None
    batch_size: int = 256
    device: str = "auto"

    @property
    def fingerprint(self) -> str:
        """The digest of its state, its weights and its code; "" where these cannot be known (see `state_digest`)."""
        kinds = {type(m) for m in self.module.modules()}
        try:
            code = code_of(*sorted(kinds, key=repr), *([self.collate] if self.collate else []))
            return digest(state_digest(self.module), code)
        except UnknownCodeError:
            return ""

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, d) outputs; the module's mode and device are left as they were."""
        device = device_of(self.device)
        parts = []
        with evaluated(self.module, device) as module:
            for start in range(0, data.n_obs, self.batch_size):
                rows = data[start : start + self.batch_size].copy()
                parts.append(forward(module, self.collate(rows) if self.collate else tensor_of(rows), device))
        return np.concatenate(parts)
