"""The contrastive head: two projections, learnt so that partners are nearer than all others of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmcell.encoders.network import need_torch, one_thread
from mmcell.errors import MmcellError
from mmcell.probes.head import Head, Map, Pairs
from mmcell.probes.scale import Scale

if TYPE_CHECKING:
    import torch

_WIDTH = 64
_BATCH = 256
_RATE = 3e-3
_EPOCHS, _PATIENCE = 30, 4
#: Where similarities begin, and the sharpest that they may become.
_SHARPNESS, _SHARPEST = 1 / 0.07, 100.0
#: One unit in so many is kept out of the steps and says when to stop.
_WATCHED = 5
#: And no fewer than so many, for a loss needs others to tell partners from.
_FEWEST = 3


def fit_contrastive(pairs: Pairs, decay: float, *, hidden: int) -> Head:
    """Fit two projections with the symmetric InfoNCE loss.

    Parameters
    ----------
    pairs
        Training pairs. Rows that belong together crosswise are never each other's negatives.
    decay
        Decoupled weight decay.
    hidden
        Width of one hidden layer; 0 for none.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    MmcellError
        A space does not vary.

    References
    ----------
    Radford et al.: Learning transferable visual models from natural language supervision. ICML 2021.
    """
    torch = need_torch("the contrastive head")
    scales = Scale.fit(pairs.x), Scale.fit(pairs.y)
    if not all(s.keep.any() for s in scales):
        return Head.shared(lambda x: np.zeros((len(x), 1)), lambda y: np.zeros((len(y), 1)), epochs=0)
    a, b = (
        torch.from_numpy(s.transform(v).astype(np.float32)) for s, v in zip(scales, (pairs.x, pairs.y), strict=True)
    )
    same = torch.from_numpy(np.unique(pairs.same, return_inverse=True)[1])
    train, watched = _sides(pairs)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(pairs.seed)
        nets = [_projection(v.shape[1], hidden) for v in (a, b)]
        sharpness = torch.nn.Parameter(torch.tensor(float(np.log(_SHARPNESS))))
        weights = [p for net in nets for p in net.parameters()]
        steps = torch.optim.AdamW(
            [{"params": weights, "weight_decay": decay}, {"params": [sharpness], "weight_decay": 0.0}], lr=_RATE
        )
        best, kept, waited, best_epoch = np.inf, [p.detach().clone() for p in weights], 0, 0
        for epoch in range(1, _EPOCHS + 1):
            order = train[torch.randperm(len(train))]
            # Batches of one size, so that the loss of a small rest does not count as much as that of a whole one.
            for batch in torch.chunk(order, max(1, round(len(order) / _BATCH))):
                steps.zero_grad()
                loss: Any = _loss(nets, a[batch], b[batch], same[batch], sharpness)
                loss.backward()
                steps.step()
            with torch.no_grad():
                now = float(_loss(nets, a[watched], b[watched], same[watched], sharpness))
            if not np.isfinite(now):
                raise MmcellError("the contrastive head: its loss is not finite; check the embeddings for huge values")
            if now < best:
                best, kept, waited, best_epoch = now, [p.detach().clone() for p in weights], 0, epoch
            else:
                waited += 1
            if waited == _PATIENCE:
                break
        with torch.no_grad():
            for parameter, value in zip(weights, kept, strict=True):
                parameter.copy_(value)
    left, right = (_map(net, scale) for net, scale in zip(nets, scales, strict=True))
    return Head.shared(left, right, decay=decay, epochs=best_epoch)


def _projection(width: int, hidden: int) -> torch.nn.Module:
    torch = need_torch("the contrastive head")
    if not hidden:
        return torch.nn.Linear(width, _WIDTH, bias=False)
    return torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, _WIDTH))


def _map(net: torch.nn.Module, scale: Scale) -> Map:
    torch = need_torch("the contrastive head")

    def apply(values: np.ndarray) -> np.ndarray:
        with torch.no_grad(), one_thread():
            found: np.ndarray = net(torch.from_numpy(scale.transform(values).astype(np.float32))).numpy()
        return found

    return apply


def _loss(
    nets: list[torch.nn.Module], a: torch.Tensor, b: torch.Tensor, same: torch.Tensor, sharpness: torch.Tensor
) -> torch.Tensor:
    torch = need_torch("the contrastive head")
    left, right = (
        torch.nn.functional.normalize(net(v), dim=1) for net, v in zip(nets, (a, b), strict=True)
    )  # fmt: skip
    logits = left @ right.T * sharpness.exp().clamp(max=_SHARPEST)
    target = torch.arange(len(same))
    if len(torch.unique(same)) < len(same):
        twin = (same[:, None] == same[None, :]) & (target[:, None] != target[None, :])
        logits = logits.masked_fill(twin, float("-inf"))
    cross = torch.nn.functional.cross_entropy
    return (cross(logits, target) + cross(logits.T, target)) / 2


def _sides(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows to learn from and rows to watch, of different units where there are enough."""
    torch = need_torch("the contrastive head")
    rng = np.random.default_rng([pairs.seed, 2])
    units, everybody = np.unique(pairs.groups), np.arange(len(pairs.x))
    held = rng.permutation(units)[: max(_FEWEST, len(units) // _WATCHED)]
    watched = np.flatnonzero(np.isin(pairs.groups, held))
    rest = np.setdiff1d(everybody, watched)
    if len(units) < 2 * _FEWEST or len(np.unique(pairs.same[watched])) < _FEWEST:
        # Too few to say when to stop: all steps are taken.
        watched = rest = everybody
    # As many at once as a batch holds: the loss depends on how many negatives there are.
    if len(watched) > _BATCH:
        watched = np.sort(rng.choice(watched, _BATCH, replace=False))
    return torch.from_numpy(rest), torch.from_numpy(watched)
