"""`CoxNet`: a Cox head that reads the whole width of an embedding, fitted with torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mmcell.encoders.network import need_torch, one_thread
from mmcell.errors import MmcellError
from mmcell.probes.baseline import Baseline
from mmcell.probes.cox_loss import Ties, cox_loss
from mmcell.probes.inner import best_setting, need_events
from mmcell.probes.inputs import Block, Patients
from mmcell.probes.scale import Scale

if TYPE_CHECKING:
    import torch

#: One fixed budget for every embedding, from weak to strong.
WEIGHT_DECAYS = (0.0001, 0.001, 0.01, 0.1, 1.0)
_STEPS = 200
#: Largest entry of a gradient that counts as none.
_SLOPE = 1e-4
#: (weights, offsets) of every layer.
Layers = tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True, eq=False)
class Widths:
    """All inputs that vary, standardised, every block divided by the root of their number.

    Blocks then have the same variance whatever their width: one grid of penalties serves all widths, and a few
    covariates do not drown beside thousands of dimensions.
    """

    scales: tuple[Scale, ...]

    @classmethod
    def fit(cls, patients: Patients) -> Self:
        """Learn from training patients."""
        return cls(tuple(Scale.fit(block.values) for block in _blocks(patients)))

    @property
    def dims(self) -> int:
        """How many inputs vary."""
        return int(sum(scale.keep.sum() for scale in self.scales))

    def transform(self, patients: Patients) -> np.ndarray:
        """Return (n, dims)."""
        parts = [s.transform(block.values) for s, block in zip(self.scales, _blocks(patients), strict=True)]
        return np.column_stack([z / np.sqrt(max(1, z.shape[1])) for z in parts])


def _blocks(patients: Patients) -> list[Block]:
    return [*patients.blocks.values(), *([] if patients.beside is None else [patients.beside])]


@dataclass(frozen=True, eq=False)
class CoxNet:
    """A fitted Cox head.

    Attributes
    ----------
    inputs
        What it sees of patients.
    layers
        One, or two with the hyperbolic tangent between them; none where no input varies, and every risk is then 0.
    cut, baseline, facts
        As of `Cox`.
    """

    inputs: Widths
    layers: Layers
    cut: float
    baseline: Baseline
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def times(self) -> np.ndarray:
        """(k,) rising times at which training patients had the event."""
        return self.baseline.times

    def risk(self, patients: Patients) -> np.ndarray:
        """Return (n,) log partial hazards: higher = riskier."""
        return _forward(self.layers, self.inputs.transform(patients))

    def survival(self, patients: Patients, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the predicted probability of being without the event beyond each of k times."""
        return self.baseline.survival(self.risk(patients), times)


def fit_cox_net(
    patients: Patients,
    time: np.ndarray,
    event: np.ndarray,
    rng: np.random.Generator,
    *,
    n_hidden: int = 0,
    ties: Ties = "efron",
    steps: int = _STEPS,
) -> CoxNet:
    """Fit a Cox head on the whole width; the weight decay is chosen by `best_setting` on training patients.

    Minimises −log partial likelihood / n + decay/2 · ‖weights‖² over all training patients at once, by L-BFGS with a
    fixed budget of steps, in double precision on one thread of a CPU and with no generator but `rng`. Without a hidden
    layer that is a ridge with one solution, and the number of steps decides nothing once it is there. With one, the
    number of steps is where training stops, and that it has not converged is no fault.

    Parameters
    ----------
    patients, time, event, rng
        As in `fit_cox`; strata are not read.
    n_hidden
        Width of a hidden layer; 0 for none.
    ties
        See `cox_loss`.
    steps
        L-BFGS iterations at most.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    MmcellError
        Fewer than two events among the training patients; an argument out of its range.
    """
    need_torch("cox-net")
    need_events(event)
    if n_hidden < 0 or steps < 1:
        raise MmcellError(f"cox-net: n_hidden is {n_hidden} and steps is {steps}; give at least 0 and 1")
    inputs = Widths.fit(patients)
    z = inputs.transform(patients)
    name = "cox-net-hidden" if n_hidden else "cox-net"
    facts = {"model": name, "dims": inputs.dims, "n_train": len(time), "events_train": int(event.sum()), "ties": ties}
    if not inputs.dims:
        facts |= {"penalty": None, "not_converged": 0, "note": "no input varies among the training patients"}
        return CoxNet(inputs, (), 0.0, Baseline.fit(time, event, np.zeros(len(time))), facts)
    start = _start(inputs.dims, n_hidden, rng)

    def risks(train: np.ndarray) -> np.ndarray:
        loss = time[train], event[train], ties
        return np.stack([_forward(_fitted(z[train], loss, start, d, steps)[0], z) for d in WEIGHT_DECAYS])

    decay = WEIGHT_DECAYS[best_setting(risks, time, event, rng)]
    layers, slope = _fitted(z, (time, event, ties), start, decay, steps)
    risk = _forward(layers, z)
    facts |= {"penalty": decay, "not_converged": int(not n_hidden and slope > _SLOPE), "n_hidden": n_hidden}
    return CoxNet(inputs, layers, float(np.median(risk)), Baseline.fit(time, event, risk), facts)


def _start(dims: int, n_hidden: int, rng: np.random.Generator) -> Layers:
    """Return where training starts: a head that says nothing, or units that differ and say little."""
    if not n_hidden:
        return ((np.zeros((dims, 1)), np.zeros(0)),)
    first, second = rng.standard_normal((dims, n_hidden)), rng.standard_normal((n_hidden, 1))
    return ((first, np.zeros(n_hidden)), (0.1 * second / np.sqrt(n_hidden), np.zeros(0)))


def _forward(layers: Layers, z: np.ndarray) -> np.ndarray:
    """Return (n,) log hazards; the last layer has no offset, which the baseline hazard would take up."""
    if not layers:
        return np.zeros(len(z))
    for weights, offsets in layers[:-1]:
        z = np.tanh(z @ weights + offsets)
    return np.asarray((z @ layers[-1][0])[:, 0])


def _fitted(
    z: np.ndarray, outcome: tuple[np.ndarray, np.ndarray, Ties], start: Layers, decay: float, steps: int
) -> tuple[Layers, float]:
    """Return the layers at the least penalised loss, and the largest entry of the gradient there."""
    lib = need_torch("cox-net")
    x, loss = lib.from_numpy(z), cox_loss(*outcome)
    tensors = [[lib.tensor(v, requires_grad=True) for v in layer] for layer in start]
    free = [v for layer in tensors for v in layer if v.numel()]
    solver = lib.optim.LBFGS(
        free, max_iter=steps, max_eval=10 * steps, tolerance_grad=1e-6, tolerance_change=1e-11, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        solver.zero_grad()
        found = x
        for weights, offsets in tensors[:-1]:
            found = lib.tanh(found @ weights + offsets)
        penalty = sum((weights * weights).sum() for weights, _ in tensors)
        value: Any = loss((found @ tensors[-1][0])[:, 0]) / len(x) + 0.5 * decay * penalty
        value.backward()
        return value

    with one_thread(), lib.enable_grad():
        solver.step(closure)
        if not np.isfinite(float(closure().detach())):
            raise MmcellError("cox-net: the loss is not finite; check the embedding for huge values")
    slope = max(float(v.grad.abs().max()) for v in free)
    return tuple((weights.detach().numpy(), offsets.detach().numpy()) for weights, offsets in tensors), slope
