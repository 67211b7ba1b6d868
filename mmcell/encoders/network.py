"""Torch networks as encoders: on a GPU where there is one, in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mmcell.code import UnknownCodeError, code_of
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
    """Return the sha256 of all parameters and buffers, by name."""
    return digest([[k, digest_array(v.detach().cpu().float().numpy())] for k, v in module.state_dict().items()])


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
    module: torch.nn.Module
    card: ModelCard
    collate: Callable[[AnnData], Any] | None = None
    batch_size: int = 256
    device: str = "auto"

    @property
    def fingerprint(self) -> str:
        """The digest of its weights and of the code of its classes; "" where code cannot be found, as at a prompt."""
        kinds = {type(m) for m in self.module.modules()}
        try:
            code = code_of(*sorted(kinds, key=repr), *([self.collate] if self.collate else []))
        except UnknownCodeError:
            return ""
        return digest(weights_digest(self.module), code, repr(self.module))

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, d) outputs."""
        device = device_of(self.device)
        module = self.module.to(device).eval()
        parts = []
        for start in range(0, data.n_obs, self.batch_size):
            rows = data[start : start + self.batch_size].copy()
            parts.append(forward(module, self.collate(rows) if self.collate else tensor_of(rows), device))
        return np.concatenate(parts)
