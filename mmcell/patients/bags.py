"""`Bags` of cells, and gated attention over them: a small network, trained with whatever loss it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.encoders.network import need_torch, one_thread
from mmcell.errors import MmcellError
from mmcell.memory import release
from mmcell.patients.base import owners
from mmcell.probes.scale import Scale

if TYPE_CHECKING:
    import torch

#: (scores (b,), which patients (b,), positions in `Bags.patients`) -> the loss, a scalar that is to fall.
Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]

_WHO = "attention over cells"
#: Patients of a step.
BATCH = 16
#: Of each patient at most so many cells an epoch.
_MOST = 512
_RATE = 1e-2
_PATIENCE = 20


@dataclass(frozen=True, eq=False)
class Bags:
    """Cells by patient; the values are read when they are wanted, and may be a memmap.

    Attributes
    ----------
    values
        (cells, d) as they are in the embedding.
    patients
        Sorted.
    rows
        Of each patient its rows in `values`, in the order of the cells' ids: the order in a file decides nothing.
    """

    values: np.ndarray
    patients: pd.Index
    rows: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, cells: Embedding, owner: pd.Series) -> Self:
        """Sort the cells of an embedding by their owners."""
        patients, code = owners(cells, owner)
        order = np.lexsort((cells.ids.to_numpy(str), code))
        counts = np.bincount(code, minlength=len(patients))
        return cls(cells.values, patients, tuple(np.split(order, np.cumsum(counts)[:-1])))

    @cached_property
    def fewest(self) -> int:
        """The cells of the patient with the fewest, and no more than a step can take of each."""
        return min(_MOST, *(len(rows) for rows in self.rows))

    def all(self, patient: int) -> np.ndarray:
        """Return (cells, d) of one patient."""
        return self._read(self.rows[patient])

    def some(self, patient: int, rng: np.random.Generator) -> np.ndarray:
        """Return (fewest, d) random cells of one patient."""
        return self._read(rng.choice(self.rows[patient], self.fewest, replace=False))

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = self.values[rows]
        release(self.values)
        return found

    def draw(self, chosen: np.ndarray, scale: Scale, rng: np.random.Generator) -> torch.Tensor:
        """Return (chosen, cells, kept) standardised cells, equally many random ones of each chosen patient."""
        rows = np.stack([rng.choice(self.rows[p], self.fewest, replace=False) for p in chosen])
        drawn = scale.transform(self._read(rows.ravel())).astype(np.float32)
        found: torch.Tensor = need_torch(_WHO).from_numpy(drawn.reshape(*rows.shape, -1))
        return found


@dataclass(frozen=True, eq=False)
class Attention:
    """Gated attention: a patient's score is linear in the weighted mean of its standardised cells.

    a_i = softmax_i(wᵀ(tanh(V z_i) ⊙ σ(U z_i))), score = cᵀ Σ a_i z_i + c₀.

    Attributes
    ----------
    scale
        Of the cells.
    net
        ``gates`` (V and U), ``attention`` (w) and ``head`` (c).
    epochs
        Passes after which the loss of the watched patients was least; all where nobody was watched.

    References
    ----------
    Ilse, Tomczak and Welling: Attention-based deep multiple instance learning. ICML 2018.
    """

    scale: Scale
    net: torch.nn.ModuleDict
    epochs: int

    def look(self, values: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the weights of (cells, d) cells of one patient, (cells,) that sum to 1, and the patient's score."""
        torch = need_torch(_WHO)
        z = torch.from_numpy(self.scale.transform(values).astype(np.float32))
        with one_thread(), torch.inference_mode():
            score, weight = _forward(self.net, z[None])
        return weight[0].double().numpy(), float(score[0])

    def each(self, values: np.ndarray) -> np.ndarray:
        """Return the score of each of (cells, d) cells, as if it were all of its patient: (cells,).

        The score of a patient is the mean of its cells' scores, weighted by attention.
        """
        state = self.net.state_dict()
        weight, offset = (state[f"head.{part}"].double().numpy() for part in ("weight", "bias"))
        return np.asarray(self.scale.transform(values) @ weight[0] + offset[0])


def _network(width: int, hidden: int, rng: np.random.Generator) -> torch.nn.ModuleDict:
    torch = need_torch(_WHO)
    shapes = {"gates": (2 * hidden, width), "attention": (1, hidden), "head": (1, width)}
    # Made without torch's own start, which would draw from its global generator.
    net = torch.nn.ModuleDict({k: torch.nn.utils.skip_init(torch.nn.Linear, s[1], s[0]) for k, s in shapes.items()})
    with torch.no_grad():
        for name, shape in shapes.items():
            # The head says nothing at first; the gates differ, and so learn different things.
            start = rng.standard_normal(shape) / np.sqrt(shape[1]) * (name != "head")
            net[name].weight.copy_(torch.from_numpy(start.astype(np.float32)))
            net[name].bias.zero_()
    return net


def _forward(net: torch.nn.ModuleDict, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (b,) scores and (b, cells) weights of (b, cells, kept) bags."""
    torch = need_torch(_WHO)
    value, gate = net["gates"](z).chunk(2, dim=-1)
    # In double precision: the weights of a million cells must sum to 1.
    weight = torch.softmax(net["attention"](torch.tanh(value) * torch.sigmoid(gate))[..., 0].double(), dim=1)
    pooled = torch.einsum("bc,bcd->bd", weight.float(), z)
    return net["head"](pooled)[:, 0], weight


def fit_attention(
    bags: Bags,
    scale: Scale,
    train: np.ndarray,
    watched: np.ndarray,
    loss: Loss,
    *,
    n_hidden: int,
    epochs: int,
    weight_decay: float,
    rng: np.random.Generator,
    batch: int = BATCH,
) -> Attention:
    """Train on some patients and stop by others.

    Every epoch draws equally many cells of every patient anew, as many as the patient of `bags` with the fewest has
    and 512 at most, so that the number of cells is not in what is learnt. AdamW with decoupled weight decay; the
    weights of the epoch with the least loss of the watched patients are kept, and training ends 20 epochs after it. On
    one thread of a CPU, and with no generator but `rng`: the same seed gives the same bytes on machines of one kind.

    Parameters
    ----------
    bags
        Training patients' cells.
    scale
        Learnt on training cells.
    train, watched
        Positions in `bags.patients`; without anybody watched all epochs are taken.
    loss
        See `Loss`.
    n_hidden, epochs, weight_decay
        Width of the gates, passes at most, and the decay.
    rng
        Of the start and of all draws.
    batch
        Patients of a step: 16, about, who are all others than those of the epoch's other steps; or more, drawn anew for
        each of as many steps.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    MmcellError
        The loss is not finite.
    """
    torch = need_torch(_WHO)
    net = _network(int(scale.keep.sum()), n_hidden, rng)
    seen = bags.draw(watched, scale, rng) if len(watched) else None
    steps = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=weight_decay)
    best, kept, kept_epoch = np.inf, _copy(net), 0
    with one_thread(), torch.enable_grad():
        for epoch in range(1, epochs + 1):
            for some in _parts(train, batch, rng):
                score, _ = _forward(net, bags.draw(some, scale, rng))
                steps.zero_grad()
                value: Any = loss(score, torch.from_numpy(some))
                value.backward()
                steps.step()
            now = float(value.detach())
            if seen is not None:
                with torch.no_grad():
                    now = float(loss(_forward(net, seen)[0], torch.from_numpy(watched)))
            if not np.isfinite(now):
                raise MmcellError(f"{_WHO}: the loss is not finite; check the embedding for huge values")
            if seen is None or now < best:
                best, kept, kept_epoch = now, _copy(net), epoch
            elif epoch - kept_epoch == _PATIENCE:
                break
    net.load_state_dict(kept)
    return Attention(scale, net.eval(), kept_epoch)


def _parts(train: np.ndarray, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the patients of each step of an epoch."""
    order = rng.permutation(train)
    # Of one size, so that the loss of a small rest does not count as much as that of a whole one.
    parts = np.array_split(order, max(1, round(len(order) / BATCH)))
    return parts if batch <= BATCH else [rng.permutation(train)[:batch] for _ in parts]


def _copy(net: torch.nn.ModuleDict) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def deal(strata: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold, 0 to n − 1, of each row: rows of one stratum are spread over the folds as evenly as they can."""
    fold = np.empty(len(strata), dtype=int)
    given = 0
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        fold[rows] = (given + np.arange(len(rows))) % n
        given += len(rows)
    return fold
