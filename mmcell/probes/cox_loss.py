"""Cox's partial likelihood as a loss of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmcell.encoders.network import need_torch
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    import torch

Ties = Literal["efron", "breslow"]


def cox_loss(time: np.ndarray, event: np.ndarray, ties: Ties = "efron") -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the loss of (n,) log hazards: −log partial likelihood, in double precision.

    Parameters
    ----------
    time, event
        (n,) outcome, in the order of the log hazards that the loss will be given.
    ties
        How events at one time share their risk set: ``efron``, or ``breslow``, where all see the whole set.

    Raises
    ------
    MmcellError
        Another way of ties.
    """
    if ties not in ("efron", "breslow"):
        raise MmcellError(f"cox loss: ties {ties!r} is not one of efron, breslow")
    lib = need_torch("cox-net")
    order = np.argsort(-time, kind="stable")
    times, died = time[order], event[order].astype(bool)
    group = np.cumsum(np.append(False, times[1:] != times[:-1]))
    # At risk is who lives as long: all up to the last of the same time.
    last = np.searchsorted(group, group, "right") - 1
    deaths = np.bincount(group, died)
    turn = np.cumsum(died) - 1 - (np.cumsum(deaths) - deaths)[group]
    share = turn[died] / deaths[group[died]] if ties == "efron" else np.zeros(died.sum())
    rows, of_died, of_last, of_group = (lib.from_numpy(v) for v in (order, np.flatnonzero(died), last, group))
    portion, n_groups = lib.from_numpy(share.astype(np.float64)), len(deaths)

    def loss(score: torch.Tensor) -> torch.Tensor:
        eta = score.double()[rows]
        eta = eta - eta.max().detach()
        risk = eta.exp()
        at_risk = risk.cumsum(0)[of_last][of_died]
        tied = lib.zeros(n_groups, dtype=lib.float64).index_add(0, of_group[of_died], risk[of_died])
        left = at_risk - portion * tied[of_group[of_died]]
        found: torch.Tensor = (left.log() - eta[of_died]).sum()
        return found

    return loss
