"""`Fusion`: one Cox model for every block of numbers, and a small one on what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcell.errors import UnaskableError, number_of
from mmcell.probes.baseline import Baseline
from mmcell.probes.cox import PENALTIES, ridge_setting
from mmcell.probes.inner import best_setting, inner_folds, need_events
from mmcell.probes.inputs import Patients, Reduction
from mmcell.probes.partial_likelihood import newton_cox


@dataclass(frozen=True, eq=False)
class Voice:
    """What one block says of patients: a ridge Cox model in units of its own training patients' risks.

    Attributes
    ----------
    inputs, beta, penalty
        As of `fit_cox`; of a block that does not vary there is no penalty, and it says 0.
    mean, spread
        Of the risks of the patients that it was fitted to.
    """

    inputs: Reduction
    beta: np.ndarray
    penalty: float | None
    mean: float
    spread: float

    def __call__(self, block: Patients) -> np.ndarray:
        """Return (n,) standardised risks."""
        return np.asarray((np.vecdot(self.inputs.transform(block), self.beta) - self.mean) / self.spread)


@dataclass(frozen=True, eq=False)
class Fusion:
    """A fitted late fusion: the weighted sum of what the blocks say.

    Attributes
    ----------
    voices
        Block -> its model of all training patients.
    weights
        (blocks,) log hazard ratios per standard deviation of a block's risk; they may be negative.
    cut
        The median fused risk of training patients, each from models that have not seen it.
    baseline
        Hazard of a patient of risk 0, from the same risks: models know the patients that they were fitted to.
    facts
        See `SurvivalModel`.
    """

    voices: Mapping[str, Voice]
    weights: np.ndarray
    cut: float
    baseline: Baseline
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def times(self) -> np.ndarray:
        """(k,) rising times at which training patients had the event."""
        return self.baseline.times

    def risk(self, patients: Patients) -> np.ndarray:
        """Return (n,) log partial hazards: higher = riskier."""
        blocks = patients.apart()
        return np.vecdot(np.column_stack([voice(blocks[name]) for name, voice in self.voices.items()]), self.weights)

    def survival(self, patients: Patients, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the predicted probability of being without the event beyond each of k times."""
        return self.baseline.survival(self.risk(patients), times)


def fit_fusion(patients: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> Fusion:
    """Fit one ridge Cox model a block, and a small one on their out-of-fold risks.

    A block is the vectors of a slot, or the covariates. In inner folds every block's model is fitted (components,
    penalty and all) to the other folds and speaks of the patients held out: no risk of a patient that its own model has
    seen is fused. Models of different folds are made comparable by the mean and the spread of their risks of the
    patients that they were fitted to. The weights are those of a ridge Cox model of these risks, and nothing keeps them
    from being negative. The final risk takes models of all training patients.

    Parameters
    ----------
    patients, time, event, rng
        As in `fit_cox`; strata are not read.

    Raises
    ------
    UnaskableError
        Fewer than four events among the training patients, which inner folds within inner folds need.
    MmcellError
        More covariates than one model may have inputs.
    """
    need_events(event)
    if event.sum() < _EVENTS:
        raise UnaskableError(
            f"late fusion: {number_of(int(event.sum()), 'event')} among {number_of(len(event), 'training patient')}; "
            "its folds within folds need "
            f"{_EVENTS} or more"
        )
    blocks = patients.apart()
    held_out = out_of_fold(blocks, time, event, rng)
    voices = {name: voice_of(block, time, event, rng) for name, block in blocks.items()}

    def risks(train: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.vecdot(held_out, newton_cox(held_out[train], time[train], event[train], p)) for p in PENALTIES]
        )

    penalty = PENALTIES[best_setting(risks, time, event, rng)]
    weights = newton_cox(held_out, time, event, penalty)
    risk = np.vecdot(held_out, weights)
    facts = {
        "model": "late-fusion", "penalty": penalty, "dims": len(blocks), "n_train": len(time),
        "events_train": int(event.sum()), "not_converged": 0,
        "weights": {name: round(float(w), 6) for name, w in zip(blocks, weights, strict=True)},
        "blocks": {n: {"penalty": v.penalty, "dims": len(v.inputs.names)} for n, v in voices.items()},
    }  # fmt: skip
    return Fusion(voices, weights, float(np.median(risk)), Baseline.fit(time, event, risk), facts)


def out_of_fold(
    blocks: Mapping[str, Patients], time: np.ndarray, event: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return (n, blocks) standardised risks of patients, each by models that have not seen it."""
    found = np.empty((len(time), len(blocks)))
    for train, held in inner_folds(event, rng):
        for i, block in enumerate(blocks.values()):
            voice = voice_of(block.rows(train), time[train], event[train], rng)
            found[held, i] = voice(block.rows(held))
    return found


def voice_of(block: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> Voice:
    """Return the model of one block; its penalty is chosen on inner folds of the patients given."""
    # A generator of its own: what one block draws, or does not, is nothing to the others.
    own = np.random.default_rng(int(rng.integers(2**31 - 1)))
    inputs, penalty = ridge_setting(block, time, event, own)
    if penalty is None:
        return Voice(inputs, np.zeros(0), None, 0.0, 1.0)
    z = inputs.transform(block)
    beta = newton_cox(z, time, event, penalty)
    risk = z @ beta
    spread = float(risk.std(ddof=1))
    return Voice(inputs, beta, penalty, float(risk.mean()), spread if spread > 0 else 1.0)


#: With fewer events inner folds would leave fewer than two to the inner folds in them.
_EVENTS = 4
