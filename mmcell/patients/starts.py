"""`clusters`: where the components of a mixture begin: at labelled types, elsewhere at k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmcell.encoders.network import need_torch

if TYPE_CHECKING:
    import torch

_WHO = "patient encoder 'scope'"
#: Rounds of restarts, restarts of a round, cells that they look at, and the most steps of each.
_ROUNDS, _STARTS, _SUBSET, _STEPS = 3, 20, 5000, 50
#: Added to every variance within clusters, which is about 1 over all dimensions.
_RIDGE = 0.1


def clusters(x: torch.Tensor, y: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """Return the component of every cell: its label, or the nearest of k centres; those of labelled types are fixed.

    k-means from many starts, in rounds: the first in the space as it is, the others in the space where the best
    clusters so far are round. The best are those under which Gaussians of one covariance find the cells least
    surprising, for by distances alone rare types are hardly better clusters than halves of a frequent one.

    Parameters
    ----------
    x
        (n, d) cells of about unit variance.
    y
        (n,) labels from 0 without gaps; −1 for none.
    k
        Components, the labelled ones first.
    rng
        Of the starts.
    """
    torch = need_torch(_WHO)
    tied = int(y.max()) + 1
    loose = torch.where(y < 0)[0]
    if not len(loose):
        if k == tied:
            return y
        # Free components find no cell without a label: they begin among all cells.
        loose = torch.arange(len(y))
    points = x[loose]
    fixed = torch.stack([x[y == j].mean(dim=0) for j in range(tied)]) if tied else x[:0]
    some = points[np.sort(rng.permutation(len(points))[:_SUBSET])]
    space, best, centres = torch.eye(x.shape[1]), np.inf, fixed
    used = turned = space
    for _ in range(_ROUNDS if k > tied else 0):
        for _ in range(_STARTS):
            here, found = _lloyd(some @ space, _seeded(some @ space, fixed @ space, k, rng), tied)
            within = _within(some, found, k)
            share = torch.bincount(found, minlength=k).double() / len(some)
            surprise = float(0.5 * torch.logdet(within) - torch.xlogy(share, share).sum())
            if surprise < best:
                values, vectors = torch.linalg.eigh(within)
                best, centres, used, turned = surprise, here, space, (vectors / values.sqrt()).float()
        space = turned
    _, nearest = _lloyd(points @ used, centres, tied)
    kinds = y.clone()
    kinds[loose] = torch.where(y[loose] < 0, nearest, y[loose])
    return kinds


def _seeded(points: torch.Tensor, fixed: torch.Tensor, k: int, rng: np.random.Generator) -> torch.Tensor:
    """Return k centres by k-means++ (Arthur & Vassilvitskii, SODA 2007), the fixed ones first."""
    torch = need_torch(_WHO)
    centres = fixed
    while len(centres) < k:
        near = _distances(points, centres).amin(dim=1) if len(centres) else torch.ones(len(points))
        weight = near.double().numpy() + 1e-12
        centres = torch.cat([centres, points[[int(rng.choice(len(points), p=weight / weight.sum()))]]])
    return centres


def _lloyd(points: torch.Tensor, centres: torch.Tensor, tied: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return centres and each point's nearest; the first `tied` centres stay."""
    torch = need_torch(_WHO)
    before = torch.full((len(points),), -1)
    for _ in range(_STEPS):
        kind = _distances(points, centres).argmin(dim=1)
        if torch.equal(kind, before):
            break
        member = torch.nn.functional.one_hot(kind, len(centres)).float()
        count = member.sum(dim=0)[:, None]
        moved = torch.where(count > 0, member.T @ points / count.clamp(min=1), centres)
        centres, before = torch.cat([centres[:tied], moved[tied:]]), kind
    return centres, kind


def _within(points: torch.Tensor, kind: torch.Tensor, k: int) -> torch.Tensor:
    """Return the covariance within clusters in float64, not singular."""
    torch = need_torch(_WHO)
    member = torch.nn.functional.one_hot(kind, k).float()
    means = member.T @ points / member.sum(dim=0)[:, None].clamp(min=1)
    around = (points - means[kind]).double()
    return around.T @ around / len(points) + _RIDGE * torch.eye(points.shape[1], dtype=torch.float64)


def _distances(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return (x.square().sum(dim=1)[:, None] - 2 * x @ centres.T + centres.square().sum(dim=1)).clamp(min=0)
