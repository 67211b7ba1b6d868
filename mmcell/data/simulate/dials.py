"""`Dials`: every number that a simulation is asked for, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

import numpy as np

from mmcell.digest import stream
from mmcell.errors import MmcellError

#: Types that live in one batch each, as many of them as are asked for. They are frequent: in one batch, too, there are
#: enough of them to fill neighbourhoods of a graph (about 90 cells) by themselves.
UNSHARED = ("Dendritic", "CD14+ Monocyte", "CD19+ B")
#: Of every card.
SOURCE = (
    "Simulated: mmcell.data.simulate; counts per cell type after pbmc68k_reduced in the scanpy wheel (Zheng et al., "
    "Nature Communications 8, 14049, 2017)"
)
#: Fields that count things, with the fewest that make sense.
_COUNTS = {"n_patients": 4, "cells_per_patient": 5, "n_batches": 1, "seed": 0, "unshared_types": 0}


@dataclass(frozen=True)
class Dials:
    """What is planted, and how strongly; `simulate_cohort` says what each dial does.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """

    n_patients: int
    cells_per_patient: int
    composition_effect: float = 0.0
    state_effect: float = 0.0
    batch_effect: float = 0.0
    survival_effect: float = 0.0
    clinical_effect: float = 0.0
    cell_count_effect: float = 0.0
    treatment_effect: float = 0.0
    coupling: float = 0.0
    confounding: float = 0.0
    censoring: float = 0.0
    n_batches: int = 1
    images: bool = False
    seed: int = 0
    severity_spread: float = 0.4
    unshared_types: int = 0
    response_effect: float = 0.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "images"):
            value = getattr(self, name)
            if name in _COUNTS:
                if not isinstance(value, Integral) or value < _COUNTS[name]:
                    raise MmcellError(f"simulate: {name} is {value!r}; give a whole number of at least {_COUNTS[name]}")
            elif not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise MmcellError(f"simulate: {name} is {value!r}; give a number of at least 0")
        if self.confounding > 1:
            raise MmcellError(f"simulate: confounding is {self.confounding}; give a share between 0 and 1")
        if self.censoring >= 1:
            raise MmcellError(f"simulate: censoring is {self.censoring}; give a share of at least 0 and less than 1")
        if 2 * self.n_batches > self.n_patients:
            raise MmcellError(
                f"simulate: n_batches is {self.n_batches} for {self.n_patients} patients; a batch needs an ill and a "
                f"well patient, give at most {self.n_patients // 2}"
            )
        if self.unshared_types > len(UNSHARED):
            raise MmcellError(f"simulate: unshared_types is {self.unshared_types}; give at most {len(UNSHARED)}")
        alone = [name for name in ("confounding", "unshared_types") if getattr(self, name) and self.n_batches == 1]
        if alone:
            raise MmcellError(f"simulate: {alone[0]} needs at least 2 batches; raise n_batches or set it to 0")

    def rng(self, *part: object) -> np.random.Generator:
        """Return the random stream of one part of the simulation: no dial but the seed reaches the others' draws."""
        return stream(self.seed, "simulate", *part)


def caveats(dials: Dials) -> tuple[str, ...]:
    """Return what a card must say: what was planted, and how strongly."""
    planted = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in vars(dials).items()
        if name.endswith("effect") or name in ("coupling", "confounding") or (name == "unshared_types" and value)
    )
    return (f"Simulated, so a score says what a method can find and nothing about patients; planted: {planted}.",)
