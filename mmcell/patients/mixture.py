"""`fit_mixture`: a Gaussian-mixture variational autoencoder with a concept bottleneck, arrays in and arrays out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmcell.digest import stream
from mmcell.encoders.network import need_torch, one_thread
from mmcell.errors import MmcellError
from mmcell.patients.starts import clusters

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

_WHO = "patient encoder 'scope'"
#: Rows that are encoded at once.
_BATCH = 4096
#: Passes in which k-means' components count as labels: u has to tell first what k-means told from all dimensions.
_WARM = 8
#: Bounds of the log variances of a cell's posterior, of a component, and of the noise.
_LOG_VARIANCE = (-8.0, 4.0)
#: Ridge of the concept head's linear start, in cells.
_RIDGE = 10.0


@dataclass(frozen=True)
class Training:
    """How the autoencoder is trained.

    Attributes
    ----------
    n_latent, n_hidden
        Dimensions of the residual u, and of each hidden layer.
    epochs, patience
        Most passes over the cells; passes without a better loss on watched cells after which it stops.
    batch_size, learning_rate
        Cells of a step; of Adam.
    label_weight
        Weight of the cross-entropy of labelled cells.
    seed
        Of everything.
    """

    n_latent: int = 10
    n_hidden: int = 64
    epochs: int = 60
    patience: int = 6
    batch_size: int = 256
    learning_rate: float = 2e-3
    label_weight: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Mixture:
    """A fitted autoencoder.

    Attributes
    ----------
    centre, scale
        (d,) mean of the training cells, and the one number that they are divided by.
    weights
        Name -> array of every parameter.
    history
        One row of loss terms an epoch, in nats a cell; ``watched`` is the total on watched cells.
    best
        The epoch whose parameters these are, from 1.
    """

    centre: np.ndarray
    scale: float
    weights: dict[str, np.ndarray]
    history: list[dict[str, float]] = field(default_factory=list)
    best: int = 0

    def encode(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what is known of cells (n, d), in float64.

        Returns
        -------
        residual, responsibility, concepts : numpy.ndarray
            (n, n_latent) posterior means of u, (n, K) shares of the components, (n, C) predicted scores.
        """
        torch = need_torch(_WHO)
        p = {name: torch.from_numpy(w) for name, w in self.weights.items()}
        parts = []
        with torch.no_grad(), one_thread():
            for start in range(0, len(values), _BATCH):
                x = _standardised(values[start : start + _BATCH], self.centre, self.scale)
                u, _ = _residual(p, x)
                parts.append([v.double().numpy() for v in (u, torch.softmax(_joint(p, u), dim=1), _concepts(p, x))])
        residual, responsibility, concepts = (np.concatenate(v) for v in zip(*parts, strict=True))
        return residual, responsibility / responsibility.sum(axis=1, keepdims=True), concepts


def fit_mixture(
    values: np.ndarray, label: np.ndarray, concepts: np.ndarray, watched: np.ndarray, n_components: int, how: Training
) -> Mixture:
    """Fit the autoencoder.

    Of a cell x, standardised by one scale so that distances stay what they are: a residual u ~ N(μ(x), σ²(x)) and
    concepts c(x). Each of μ, c and the decoder x̂(c, u) is linear plus one hidden layer that begins at 0; the linear
    parts begin at principal components and ridge regression. p(u) = Σ_k π_k N(m_k, s_k²) begins at `clusters`: at
    labelled types, elsewhere at k-means, whose clusters count as labels in the first passes; γ_k(u) ∝
    π_k N(u; m_k, s_k²) in closed form (VaDE). The loss a cell is the sum of

    - rebuild: −log N(x; x̂(c, u), σ_x²), one learnt σ_x;
    - kl: Σ_k γ_k KL(q(u|x) ‖ N(m_k, s_k²)), and kl_component: KL(γ ‖ π); γ is the label where there is one;
    - concepts: ½ Σ (c − score)², where there is a score;
    - labels: −log γ_label(μ) of labelled cells, weighted.

    No other term reaches c, so that a concept means what its scores say and not whatever helps to rebuild x; and
    components are told by u alone, so that a cell does not change its component because a concept is active in it.

    Parameters
    ----------
    values
        (n, d) cell embeddings.
    label
        (n,) component that a cell is tied to, from 0 and without gaps; −1 for none.
    concepts
        (n, C) standardised scores, NaN where not available; C may be 0.
    watched
        (n,) cells that take no step and say when to stop; none at all: every epoch is run.
    n_components
        K, the labelled ones first.
    how
        How it is trained.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    MmcellError
        The embedding does not vary, or the loss is not finite.

    References
    ----------
    Jiang et al.: Variational deep embedding. IJCAI 2017. Koh et al.: Concept bottleneck models. ICML 2020. Kingma et
    al.: Semi-supervised learning with deep generative models. NeurIPS 2014 (labels).
    """
    torch = need_torch(_WHO)
    steps = ~watched
    centre = values[steps].mean(axis=0, dtype=np.float64)
    scale = float(np.sqrt(values[steps].var(axis=0, dtype=np.float64).mean()))
    if not scale > 0:
        raise MmcellError(f"{_WHO}: the cell embedding does not vary among training cells; give another embedding")
    x, y = _standardised(values, centre, scale), torch.from_numpy(label.astype(np.int64))
    s = torch.from_numpy(np.ascontiguousarray(concepts, dtype=np.float32))
    train, held = (torch.from_numpy(np.flatnonzero(v)) for v in (steps, watched))
    rng = stream(how.seed, "scope", "training")
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    history: list[dict[str, float]] = []
    with one_thread(), torch.enable_grad():
        first = y.clone()
        first[train] = clusters(x[train], y[train], n_components, stream(how.seed, "scope", "clusters"))
        p = _start(x[train], first[train], s[train], n_components, how)
        warm = min(_WARM, how.epochs // 4)
        for w in p.values():
            w.requires_grad_(True)
        optimizer = torch.optim.Adam(p.values(), lr=how.learning_rate)
        best, kept, epoch_kept = np.inf, {k: w.detach().clone() for k, w in p.items()}, 0
        for epoch in range(1, how.epochs + 1):
            order, total = train[torch.from_numpy(rng.permutation(len(train)))], dict.fromkeys(_TERMS, 0.0)
            # Batches of one size: a small rest would say little about covariances.
            for rows in torch.chunk(order, max(1, round(len(order) / how.batch_size))):
                told = (first if epoch <= warm else y)[rows]
                terms = _terms(p, x[rows], told, s[rows], how, torch.randn(len(rows), how.n_latent, generator=noise))
                loss = torch.stack(list(terms.values())).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                for name, value in terms.items():
                    total[name] += float(value.detach()) * len(rows) / len(order)
            row = {"epoch": float(epoch), **total, "loss": sum(total.values())}
            with torch.no_grad():
                if len(held):
                    # Without noise, so that epochs are compared and not draws.
                    found = _terms(p, x[held], y[held], s[held], how, None)
                    row["watched"] = float(torch.stack(list(found.values())).sum())
            history.append(row)
            now = row.get("watched", -float(epoch))
            if not np.isfinite(now) or not np.isfinite(row["loss"]):
                raise MmcellError(f"{_WHO}: its loss is not finite; check the embedding for huge values")
            if now < best or epoch <= warm:
                best, kept, epoch_kept = now, {k: w.detach().clone() for k, w in p.items()}, epoch
            elif epoch - epoch_kept >= how.patience:
                break
    return Mixture(centre, scale, {k: w.numpy() for k, w in kept.items()}, history, epoch_kept)


_TERMS = ("rebuild", "kl", "kl_component", "concepts", "labels")


def _standardised(values: np.ndarray, centre: np.ndarray, scale: float) -> torch.Tensor:
    torch = need_torch(_WHO)
    return torch.from_numpy(((np.asarray(values, dtype=np.float64) - centre) / scale).astype(np.float32))


def _residual(p: Tensors, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log variance of q(u|x), each (n, L)."""
    torch = need_torch(_WHO)
    hidden = torch.nn.functional.silu(x @ p["u_in"] + p["u_in_bias"])
    mean = x @ p["u_linear"] + p["u_bias"] + hidden @ p["u_out"]
    return mean, (p["u_variance_bias"] + hidden @ p["u_variance"]).clamp(*_LOG_VARIANCE)


def _concepts(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Return c (n, C)."""
    torch = need_torch(_WHO)
    hidden = torch.nn.functional.silu(x @ p["c_in"] + p["c_in_bias"])
    return x @ p["c_linear"] + p["c_bias"] + hidden @ p["c_out"]


def _rebuilt(p: Tensors, c: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    torch = need_torch(_WHO)
    both = torch.cat([c, u], dim=1)
    return both @ p["x_linear"] + p["x_bias"] + torch.nn.functional.silu(both @ p["x_in"] + p["x_in_bias"]) @ p["x_out"]


def _joint(p: Tensors, u: torch.Tensor) -> torch.Tensor:
    """Return log π_k + log N(u; m_k, s_k²) without its constant, (n, K)."""
    torch = need_torch(_WHO)
    logs = p["log_variance"].clamp(*_LOG_VARIANCE)
    away = (u[:, None] - p["mean"]) ** 2 * torch.exp(-logs)
    return torch.log_softmax(p["share"], dim=0) - 0.5 * (away + logs).sum(dim=2)


def _terms(
    p: Tensors, x: torch.Tensor, y: torch.Tensor, s: torch.Tensor, how: Training, noise: torch.Tensor | None
) -> Tensors:
    """Return the terms of the loss, each a mean over cells."""
    torch = need_torch(_WHO)
    mean, log_variance = _residual(p, x)
    u = mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise
    c = _concepts(p, x)
    log_noise = p["log_noise"].clamp(*_LOG_VARIANCE)
    rebuild = 0.5 * (((x - _rebuilt(p, c.detach(), u)) ** 2 * torch.exp(-log_noise)) + log_noise + np.log(2 * np.pi))
    known = y >= 0
    fixed = torch.nn.functional.one_hot(y.clamp(min=0), len(p["share"])).float()
    told = torch.log_softmax(_joint(p, u), dim=1)
    share = torch.where(known[:, None], fixed, told.exp())
    logs = p["log_variance"].clamp(*_LOG_VARIANCE)
    spread = log_variance.exp()[:, None] + (mean[:, None] - p["mean"]) ** 2
    kl = 0.5 * (logs + spread * torch.exp(-logs) - 1 - log_variance[:, None]).sum(dim=2)
    told = torch.where(known[:, None], torch.zeros_like(told), told)
    divergence = share * (told - torch.log_softmax(p["share"], dim=0))
    available = torch.isfinite(s)
    error = torch.where(available, c - torch.where(available, s, torch.zeros_like(s)), torch.zeros_like(s))
    said = torch.nn.functional.cross_entropy(_joint(p, mean), y.clamp(min=0), reduction="none")
    return {
        "rebuild": rebuild.sum(dim=1).mean(),
        "kl": (share * kl).sum(dim=1).mean(),
        "kl_component": divergence.sum(dim=1).mean(),
        "concepts": 0.5 * error.square().sum(dim=1).mean(),
        "labels": how.label_weight * torch.where(known, said, torch.zeros_like(said)).mean(),
    }


def _start(x: torch.Tensor, kind: torch.Tensor, s: torch.Tensor, k: int, how: Training) -> Tensors:
    """Return every parameter before the first step, with `kind` (n,) the component that each cell begins in."""
    torch = need_torch(_WHO)
    rng = stream(how.seed, "scope", "start")
    (n, d), n_concepts, n_latent, h = x.shape, s.shape[1], how.n_latent, how.n_hidden
    linear = torch.zeros(d, n_concepts)
    for j in range(n_concepts):
        seen = torch.isfinite(s[:, j])
        a, ridge = x[seen].double(), _RIDGE * torch.eye(d, dtype=torch.float64)
        linear[:, j] = torch.linalg.solve(a.T @ a + ridge, a.T @ s[seen, j].double()).float()
    values, vectors = torch.linalg.eigh((x.T @ x / n).double())
    rank = min(n_latent, d)
    top = vectors[:, -rank:].flip(1)
    # Eigenvectors have no sign of their own.
    top = top * torch.sign(top.gather(0, top.abs().argmax(dim=0, keepdim=True)))
    deviation = values[-rank:].flip(0).clamp(min=1e-8).sqrt()
    encode, decode = torch.zeros(d, n_latent), torch.zeros(n_concepts + n_latent, d)
    encode[:, :rank] = (top / deviation).float()
    decode[n_concepts : n_concepts + rank] = (top * deviation).T.float()
    u = x @ encode
    member = torch.nn.functional.one_hot(kind, k).float()
    count = member.sum(dim=0)[:, None]
    mean = member.T @ u / count.clamp(min=1)
    # A component of few cells borrows the spread within all.
    around = (u - mean[kind]) ** 2
    variance = (member.T @ around + 10 * around.mean(dim=0)) / (count + 10)
    rest = (x - u @ decode[n_concepts:]).square().mean()
    return {
        "u_in": _random(d, h, rng), "u_in_bias": torch.zeros(h), "u_linear": encode, "u_bias": torch.zeros(n_latent),
        "u_out": torch.zeros(h, n_latent), "u_variance": torch.zeros(h, n_latent),
        "u_variance_bias": torch.full((n_latent,), -2.0),
        "c_in": _random(d, h, rng), "c_in_bias": torch.zeros(h), "c_linear": linear, "c_bias": torch.zeros(n_concepts),
        "c_out": torch.zeros(h, n_concepts),
        "x_in": _random(n_concepts + n_latent, h, rng), "x_in_bias": torch.zeros(h), "x_linear": decode,
        "x_bias": torch.zeros(d), "x_out": torch.zeros(h, d), "log_noise": torch.log(rest.clamp(min=1e-3)),
        "mean": mean, "log_variance": torch.log(variance.clamp(min=1e-3)),
        "share": torch.log((count[:, 0] + 1) / (n + k)),
    }  # fmt: skip


def _random(width: int, h: int, rng: np.random.Generator) -> torch.Tensor:
    torch = need_torch(_WHO)
    return torch.from_numpy((rng.standard_normal((width, h)) / np.sqrt(width)).astype(np.float32))
