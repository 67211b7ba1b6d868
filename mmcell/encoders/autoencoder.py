"""A small transcriptome encoder that learns by guessing hidden genes, and its twin that never did."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mmcell.digest import stream
from mmcell.embedding import ModelCard
from mmcell.encoders.network import device_of, need_torch, one_thread
from mmcell.encoders.projections import feature_weights
from mmcell.errors import MmcellError, did_you_mean
from mmcell.features import TARGET_SUM

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from mmcell.encoders.base import Encoder

ACTIVATIONS = ("softplus", "relu", "rectified-sigmoid")
#: The largest log expression that a rectified sigmoid can say.
UPPER = math.log1p(1e5)
#: Rows that are encoded at once.
_BATCH = 4096


def activate(x: torch.Tensor, activation: str) -> torch.Tensor:
    """Return what a decoder says as log1p of expression per 10,000 counts, which is never negative.

    ``rectified-sigmoid`` is log1p(1e5) · ReLU(2σ(x / 2e) − 1), as published for TxFM (*Effective Biological
    Representation Learning by Masking Gene Expression*, 2026): exactly 0 where x ≤ 0, of slope about 1 above, and never
    beyond log1p(1e5), where ``relu`` and ``softplus`` have no bound.
    """
    torch = need_torch("masked-autoencoder")
    if activation == "softplus":
        return torch.nn.functional.softplus(x)
    if activation == "relu":
        return torch.relu(x)
    return UPPER * torch.relu(2 * torch.sigmoid(x / (2 * math.e)) - 1)


def rates(log_expression: torch.Tensor, library: torch.Tensor) -> torch.Tensor:
    """Return the expected counts of every gene, which together never exceed the cell's library size.

    With r = expm1(d) the predicted expression per 10,000 counts, λ_g = L · r_g / max(10,000, Σ_h r_h): what the decoder
    says is taken as it is up to the library size, and as shares of it beyond.

    Parameters
    ----------
    log_expression
        (n, genes) d, log1p of expression per 10,000 counts, not negative.
    library
        (n, 1) L, the counts of each cell over all genes.
    """
    torch = need_torch("masked-autoencoder")
    # Numerator and denominator over exp(largest d): an unbounded activation must not overflow.
    peak = log_expression.detach().amax(dim=1, keepdim=True)
    expression = torch.exp(log_expression - peak) - torch.exp(-peak)
    return library * expression / torch.maximum(TARGET_SUM * torch.exp(-peak), expression.sum(dim=1, keepdim=True))


def poisson_loss(rate: torch.Tensor, counts: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Return the mean over hidden genes of (1 + λ) − (1 + x) · log(1 + λ).

    The Poisson loss of count + 1 with rate + 1: it is least where λ is the expected count, as without the 1, and finite
    where an activation says exactly 0.

    Parameters
    ----------
    rate, counts
        (n, genes) λ and x.
    hidden
        (n, genes) 1 where a gene was hidden, otherwise 0.
    """
    torch = need_torch("masked-autoencoder")
    loss = 1 + rate - (1 + counts) * torch.log1p(rate)
    return (loss * hidden).sum() / hidden.sum().clamp(min=1)


def _log_expression(counts: torch.Tensor) -> torch.Tensor:
    return (counts * (TARGET_SUM / counts.sum(dim=1, keepdim=True).clamp(min=1))).log1p()


def _tensor(x: Any) -> torch.Tensor:
    dense = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    return need_torch("masked-autoencoder").from_numpy(np.ascontiguousarray(dense, dtype=np.float32))


def _linear(weights: np.ndarray) -> torch.nn.Linear:
    torch = need_torch("masked-autoencoder")
    # Made without torch's own start, which would draw from its global generator.
    layer = torch.nn.utils.skip_init(torch.nn.Linear, *weights.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
        layer.bias.zero_()
    return layer


def _encoder(genes: tuple[str, ...], n_hidden: int, n_latent: int, seed: int) -> torch.nn.Sequential:
    """Return the encoder before its first step; reads (n, 2 · genes): log expression, and which genes are hidden."""
    torch = need_torch("masked-autoencoder")
    who = "masked-autoencoder"
    # By name, as those of the other untrained networks: the order of genes in a file decides nothing.
    parts = [feature_weights(genes, n_hidden, seed, f"{who}:{part}") for part in ("expression", "hidden")]
    rng = stream(seed, who, "encoder")
    latent = rng.standard_normal((n_hidden, n_latent), dtype=np.float32) / np.float32(np.sqrt(n_hidden))
    return torch.nn.Sequential(
        _linear(np.concatenate(parts) / np.float32(np.sqrt(2 * len(genes)))),
        torch.nn.LayerNorm(n_hidden),
        torch.nn.GELU(),
        _linear(latent),
    )


def _decoder(bias: np.ndarray, n_hidden: int, n_latent: int, seed: int) -> torch.nn.Sequential:
    """Return the decoder before its first step: for every cell it says about what `bias` (genes,) means."""
    torch = need_torch("masked-autoencoder")
    rng = stream(seed, "masked-autoencoder", "decoder")
    wide = rng.standard_normal((n_latent, n_hidden), dtype=np.float32) / np.float32(np.sqrt(n_latent))
    last = rng.standard_normal((n_hidden, len(bias)), dtype=np.float32) / np.float32(np.sqrt(n_hidden))
    out = _linear(last)
    with torch.no_grad():
        out.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
    return torch.nn.Sequential(_linear(wide), torch.nn.GELU(), out)


def _encoded(network: torch.nn.Module, data: AnnData, device: torch.device) -> np.ndarray:
    torch = need_torch("masked-autoencoder")
    network, parts = network.to(device).eval(), []
    with one_thread(), torch.inference_mode():
        for start in range(0, data.n_obs, _BATCH):
            x = _log_expression(_tensor(data.X[start : start + _BATCH]).to(device))
            parts.append(network(torch.cat([x, torch.zeros_like(x)], dim=1)).cpu().numpy())
    return np.concatenate(parts)


@dataclass
class MaskedAutoencoder:
    """A masked autoencoder of gene expression, fitted on training cells.

    Of every cell a share of the genes is hidden at random. The encoder (one hidden layer) reads log1p of counts per
    10,000, 0 for hidden genes, and which are hidden; its output is the embedding. The decoder (one hidden layer)
    says the log expression of all genes (`activate`), which becomes expected counts within the cell's library size
    (`rates`), and is held to the counts of the hidden genes (`poisson_loss`). When cells are encoded nothing is hidden.
    Adam, one-cycle learning rate. One thread on a CPU: the same seed gives the same bytes on machines of one kind.

    Attributes
    ----------
    activation
        Of the decoder: ``softplus``, ``relu`` or ``rectified-sigmoid``.
    n_latent, n_hidden
        Dimensions of the embedding and of the hidden layers.
    mask_share
        Share of the genes that is hidden, between 0 and 1.
    epochs, batch_size, learning_rate, seed
        Passes over the training cells; cells of a step; the largest learning rate.
    device
        See `device_of`.
    """

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    activation: str = "rectified-sigmoid"
    n_latent: int = 64
    n_hidden: int = 256
    mask_share: float = 0.3
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 2e-3
    seed: int = 0
    device: str = "auto"
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise MmcellError(
                f"encoder 'masked-autoencoder': unknown activation {self.activation!r}; "
                f"{did_you_mean(str(self.activation), ACTIVATIONS)}"
            )
        if not 0 < self.mask_share < 1:
            raise MmcellError(f"encoder 'masked-autoencoder': mask_share {self.mask_share} is not between 0 and 1")
        shown = ("activation", "n_latent", "n_hidden", "mask_share", "epochs", "batch_size", "learning_rate", "seed")
        self.card = ModelCard(
            name="masked-autoencoder",
            modality="rna",
            preprocessing="counts",
            parameters={name: getattr(self, name) for name in shown},
            description="fitted on training units",
        )

    @property
    def dim(self) -> int:
        """Dimensions of the embedding."""
        return self.n_latent

    def untrained(self, seed: int) -> Encoder:
        """Return the encoder before its first step."""
        return MaskedAutoencoderUntrained(self.n_latent, self.n_hidden, seed, self.device)

    def fit(self, data: AnnData) -> Self:
        """Fit on the counts of training cells."""
        torch = need_torch("masked-autoencoder")
        device = device_of(self.device)
        self._genes = tuple(map(str, data.var_names))
        x = data.X
        encoder = _encoder(self._genes, self.n_hidden, self.n_latent, self.seed)
        decoder = _decoder(self._typical(x), self.n_hidden, self.n_latent, self.seed)
        network = torch.nn.ModuleList([encoder, decoder]).to(device).train()
        steps = self.epochs * math.ceil(data.n_obs / self.batch_size)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, max(steps, 1))
        rng = stream(self.seed, "masked-autoencoder", "training")
        self.losses: list[float] = []
        with one_thread(), torch.enable_grad():
            for _ in range(self.epochs):
                order, total = rng.permutation(data.n_obs), 0.0
                for start in range(0, data.n_obs, self.batch_size):
                    rows = np.sort(order[start : start + self.batch_size])
                    counts = _tensor(x[rows]).to(device)
                    hidden = rng.random(counts.shape, dtype=np.float32) < self.mask_share
                    loss = self._loss(encoder, decoder, counts, torch.from_numpy(hidden).to(device).float())
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                    total += float(loss.detach()) * len(rows)
                self.losses.append(total / data.n_obs)
        self._network = encoder.eval()
        return self

    def _loss(
        self, encoder: torch.nn.Module, decoder: torch.nn.Module, counts: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor:
        torch = need_torch("masked-autoencoder")
        seen = torch.cat([_log_expression(counts) * (1 - hidden), hidden], dim=1)
        said = activate(decoder(encoder(seen)), self.activation)
        return poisson_loss(rates(said, counts.sum(dim=1, keepdim=True)), counts, hidden)

    def _typical(self, x: Any) -> np.ndarray:
        """Return (genes,) what the decoder must give for every gene's share of all training counts."""
        total = np.asarray(x.sum(axis=0), dtype=np.float64).ravel()
        said = np.log1p(TARGET_SUM * total / max(total.sum(), 1.0)).clip(1e-3)
        if self.activation == "softplus":
            return np.log(np.expm1(said))
        return said if self.activation == "relu" else 4 * math.e * np.arctanh(said / UPPER)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_latent).

        Raises
        ------
        MmcellError
            The genes are not those that it was fitted on, in the same order.
        """
        if tuple(map(str, data.var_names)) != self._genes:
            raise MmcellError(
                f"encoder 'masked-autoencoder': it was fitted on {len(self._genes)} genes, these are other ones or in "
                "another order; give the same var_names"
            )
        return _encoded(self._network, data, device_of(self.device))


@dataclass
class MaskedAutoencoderUntrained:
    """The encoder of `MaskedAutoencoder` before its first step: what training has to beat."""

    rowwise: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    n_latent: int = 64
    n_hidden: int = 256
    seed: int = 0
    device: str = "auto"
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = ModelCard(
            name="masked-autoencoder-untrained",
            modality="rna",
            preprocessing="counts",
            parameters={"n_latent": self.n_latent, "n_hidden": self.n_hidden, "seed": self.seed},
            description="random weights, nothing is learnt",
        )

    @property
    def dim(self) -> int:
        """Dimensions of the embedding."""
        return self.n_latent

    def untrained(self, seed: int) -> Encoder:
        """Return itself with another seed: it has no training to lose."""
        return MaskedAutoencoderUntrained(self.n_latent, self.n_hidden, seed, self.device)

    def encode(self, data: AnnData) -> np.ndarray:
        """Return (n, n_latent)."""
        genes = tuple(map(str, data.var_names))
        return _encoded(_encoder(genes, self.n_hidden, self.n_latent, self.seed), data, device_of(self.device))
