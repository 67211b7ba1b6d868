"""`simulate_screen`: a screen of knockdowns in one kind of cell, and a description of each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
import pandas as pd

from mmcell.data.entry import SIMULATED, catalogued
from mmcell.data.simulate.assemble import as_anndata
from mmcell.data.simulate.cells import Cells, draw_cells, rna
from mmcell.data.simulate.dials import SOURCE, Dials
from mmcell.data.simulate.patients import draw_patients
from mmcell.data.simulate.programme import LATENTS, Programme
from mmcell.data.simulate.reference import Reference, reference
from mmcell.dataset import Dataset
from mmcell.errors import MmcellError
from mmcell.modalities import join
from mmcell.roles import DatasetCard, ModalityCard, Roles

#: What controls are called.
CONTROL = "control"
#: The kind of cell that is screened, and whose cultures are pooled.
LINE = "CD14+ Monocyte"
CULTURES = 4
#: Controls for every cell of one perturbation.
CONTROLS = 12
#: Width of a description, and the standard deviation of its own noise.
N_DESCRIPTION, DESCRIPTION_NOISE = 30, 0.3
#: Log mean of the target that is left at an effect of 1, and genes that a perturbation moves which nothing describes.
_KNOCKDOWN, _OWN_GENES, _OWN_SIZE = -1.5, 15, 0.6
#: Size of the effect on a second programme, relative to that on the target's.
_SECOND = 0.5


@dataclass(frozen=True, eq=False)
class Screen:
    """What the perturbations are.

    Attributes
    ----------
    targets
        P symbols of the genes that are knocked down, which are the names of the perturbations.
    acts
        (P, L) change of each latent, see `LATENTS`; the last one is what all perturbations do alike.
    own
        (P, G) change of each gene's log mean that no latent carries, the target's among them.
    described
        (P, N_DESCRIPTION) what describes a perturbation.
    """

    targets: tuple[str, ...]
    acts: np.ndarray
    own: np.ndarray
    described: np.ndarray

    @classmethod
    def draw(
        cls, n: int, effect: float, own_effect: float, shared_effect: float, described: float, active: float,
        dials: Dials, ref: Reference, genes: np.ndarray,
    ) -> Screen:  # fmt: skip
        """Draw targets among the genes of every programme in turn; a programme falls when a gene that is up in it does.

        A perturbation acts on the programme of its target by ½ to 1½ effects, and on another one by half as much; all
        raise the last programme, which has no targets. A description is a fixed random projection of √described · acts
        + √(1 − described) · acts of nobody, with noise.
        """
        rng = dials.rng("screen")
        members = [rng.permutation(np.flatnonzero(row)) for row in genes[:-1]]
        latent = np.arange(n) % len(members)
        target = np.array([members[k][i // len(members)] for i, k in enumerate(latent)])
        acts = _acts(rng, latent, -np.sign(genes[latent, target]))
        nobody = _acts(rng, rng.permutation(latent), rng.choice([-1.0, 1.0], n))
        own = np.zeros((n, genes.shape[1]))
        for row in own:
            row[rng.choice(len(row), _OWN_GENES, replace=False)] = _OWN_SIZE * rng.choice([-1.0, 1.0], _OWN_GENES)
        own[np.arange(n), target] = _KNOCKDOWN
        works = dials.rng("screen", "active").random(n) < active
        acts[~works], own[~works] = 0.0, 0.0
        shown = math.sqrt(described) * acts + math.sqrt(1.0 - described) * nobody
        projection = rng.standard_normal((len(LATENTS), N_DESCRIPTION))
        noise = DESCRIPTION_NOISE * rng.standard_normal((n, N_DESCRIPTION))
        # Of what all share a description has nothing to tell.
        acts[works, -1] = shared_effect
        return cls(
            tuple(ref.genes[g] for g in target), effect * acts, effect * own_effect * own, shown @ projection + noise
        )


def _acts(rng: np.random.Generator, latent: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return (n, L) changes: of one latent with its sign, half as much of another one, and none of the last."""
    found = np.zeros((len(latent), len(LATENTS)))
    rows = np.arange(len(latent))
    found[rows, latent] = sign * rng.uniform(0.5, 1.5, len(rows))
    n = len(LATENTS) - 1
    other = (latent + rng.integers(1, n, len(rows))) % n
    found[rows, other] = _SECOND * rng.choice([-1.0, 1.0], len(rows)) * rng.uniform(0.5, 1.5, len(rows))
    return found


@catalogued(
    "60 knockdowns in one line, controls, and a description of every knockdown that tells as much as a dial says",
    SIMULATED,
    "BSD-3-Clause",
)
def simulate_screen(
    n_perturbations: int = 60,
    cells_per_perturbation: int = 40,
    *,
    effect: float = 0.8,
    described: float = 0.7,
    own_effect: float = 1.0,
    shared_effect: float = 1.0,
    active: float = 1.0,
    seed: int = 0,
) -> Dataset:
    """Return ``sim-screen``: cells of one line, in each of which one gene is knocked down, and controls.

    Modality ``rna`` holds counts of the cells (negative binomial, see `reference`; all are monocytes, from four
    cultures that are alike in which perturbations they had). Modality ``description`` holds one row per perturbation,
    by its name, which is the symbol of the target: what is known of it before anybody perturbs it. The unit is the
    perturbation, and folds hold perturbations out.

    Every perturbation moves the programme that its target belongs to (one of five, 30 genes each), half as much another
    one, and genes of its own, its target among them, of which nothing tells beforehand. These programmes vary in
    unperturbed cells as well, so that genes which vary together tell something. A sixth, which rests in unperturbed
    cells, rises alike under every perturbation: the mean of all perturbations knows it, and it tells none from another.

    `Dataset.planted` holds the truth: of ``cells`` their latents and, by the name of a perturbation, what it does to
    these; of ``patients``, which are perturbations here, the same as ``…_shift``.

    Parameters
    ----------
    n_perturbations, cells_per_perturbation
        Perturbations, and cells of each of them (as many of all); of controls there are twelve times as many.
    effect
        Of all perturbations, on log means; at 0 there is nothing to be found.
    described
        Share of the description's variance that is due to what a perturbation does to programmes: at 0 it is that of
        one which does not exist, and tells nothing; at 1 it is the truth, up to noise.
    own_effect, shared_effect
        Sizes of what is particular to a perturbation and of what all share, relative to that on programmes.
    active
        Expected share of perturbations that do anything: the others have cells like controls, and the description of
        what does nothing.
    seed
        Of everything. A dial leaves all that it does not govern as it is under the same seed.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """
    ref = reference()
    planted = {"effect": effect, "described": described, "own_effect": own_effect, "shared_effect": shared_effect}
    _check(n_perturbations, cells_per_perturbation, {**planted, "active": active})
    if active != 1:
        planted["active"] = active
    n_cells = cells_per_perturbation * (n_perturbations + CONTROLS)
    dials = Dials(CULTURES, max(5, n_cells // CULTURES), seed=seed)
    programme = Programme.draw(dials, ref)
    most = int((programme.genes[:-1] != 0).sum())
    if n_perturbations > most:
        raise MmcellError(f"simulate: n_perturbations is {n_perturbations}; programmes have {most} genes, give fewer")
    screen = Screen.draw(
        n_perturbations, effect, own_effect, shared_effect, described, active, dials, ref, programme.genes
    )  # fmt: skip
    names = np.array([CONTROL, *screen.targets])
    # Which cell had which perturbation has nothing to do with its culture.
    arm = np.concatenate([np.zeros(CONTROLS, dtype=int), 1 + np.arange(n_perturbations)])
    arm = dials.rng("screen", "arms").permutation(np.tile(arm, cells_per_perturbation))
    patients = draw_patients(dials)
    patients["n_cells"] = np.bincount(np.arange(n_cells) % CULTURES, minlength=CULTURES)
    drawn = draw_cells(patients, dials, ref, programme, "screen")
    acts = np.vstack([np.zeros(len(LATENTS)), screen.acts])
    own = np.vstack([np.zeros(len(ref.genes)), screen.own])
    cells = replace(drawn, kind=np.full(n_cells, ref.types.index(LINE)), treatment=arm, latent=drawn.latent + acts[arm])
    obs = pd.DataFrame(
        {"perturbation": names[arm], "culture": [f"culture{c + 1}" for c in cells.patient]},
        index=[f"screened-{i:05d}" for i in range(n_cells)],
    )
    counts = rna(cells, dials, ref, programme, "screen", own)
    return _dataset(screen, cells, obs, counts, ref, _card(n_perturbations, cells_per_perturbation, planted))


def _dataset(
    screen: Screen, cells: Cells, obs: pd.DataFrame, counts: object, ref: Reference, card: DatasetCard
) -> Dataset:
    of_targets = pd.DataFrame({"perturbation": screen.targets}, index=list(screen.targets))
    columns = [f"description_{i + 1}" for i in range(N_DESCRIPTION)]
    data = join(
        {
            "rna": as_anndata(counts, obs.index, ref.genes),
            "description": as_anndata(screen.described.astype(np.float32), of_targets.index, columns),
        },
        pd.concat([obs, of_targets]),
    )
    acts = pd.DataFrame(screen.acts, index=of_targets.index, columns=list(LATENTS))
    latent = pd.DataFrame(cells.latent, index=obs.index, columns=list(LATENTS))
    data.uns["planted"] = {"cells": pd.concat([latent, acts]), "patients": acts.add_suffix("_shift")}
    roles = Roles(unit="perturbation", perturbation="perturbation", control=CONTROL, contextual=("culture",))
    return Dataset(card.name, data, roles, card)


def _card(n: int, cells: int, dials: Mapping[str, float]) -> DatasetCard:
    planted = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in dials.items())
    return DatasetCard(
        name="sim-screen",
        description=f"Simulated: {n} knockdowns in {cells} cells each of one line, {CONTROLS * cells} controls, and a "
        "description of every knockdown",
        source=SOURCE,
        licence="BSD-3-Clause",
        modalities={
            "rna": ModalityCard(preprocessing="counts", identifiers="symbol", description="genes of blood cells"),
            "description": ModalityCard(
                preprocessing="values", identifiers="other", description="one row per perturbation, by its name"
            ),
        },
        caveats=(f"Simulated, so a score says what a method can find and nothing about genes; planted: {planted}.",),
    )


def _check(n: int, cells: int, dials: Mapping[str, float]) -> None:
    for name, count, least in (("n_perturbations", n, 2), ("cells_per_perturbation", cells, 1)):
        if not isinstance(count, Integral) or count < least:
            raise MmcellError(f"simulate: {name} is {count!r}; give a whole number of at least {least}")
    for name, value in dials.items():
        if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise MmcellError(f"simulate: {name} is {value!r}; give a number of at least 0")
    for name in ("described", "active"):
        if dials[name] > 1:
            raise MmcellError(f"simulate: {name} is {dials[name]}; give a share between 0 and 1")
