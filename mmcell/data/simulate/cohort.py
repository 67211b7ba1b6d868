"""`simulate_cohort` and `simulate_perturbation`: datasets whose truth is known, and the two that are shipped."""

from __future__ import annotations

from dataclasses import replace

from mmcell.data.entry import SIMULATED, catalogued
from mmcell.data.simulate.assemble import measure
from mmcell.data.simulate.dials import SOURCE, Dials, caveats
from mmcell.data.simulate.programme import TREATMENTS
from mmcell.dataset import Dataset
from mmcell.roles import DatasetCard


def simulate_cohort(
    n_patients: int = 60,
    cells_per_patient: int = 200,
    *,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    batch_effect: float = 0.5,
    survival_effect: float = 1.0,
    clinical_effect: float = 0.3,
    coupling: float = 1.0,
    cell_count_effect: float = 0.0,
    confounding: float = 0.0,
    censoring: float = 0.35,
    n_batches: int = 3,
    images: bool = True,
    seed: int = 0,
    severity_spread: float = 0.4,
) -> Dataset:
    """Return a cohort of patients whose cells were measured in four modalities, with a disease planted in them.

    Half of the patients are ill. Severity, which is latent, is 1 on average in the ill, 0 in the well, and varies
    within both. It shifts the composition of a patient's cells, raises a programme in the cells of some types, and
    raises the hazard of death; each has its dial, and at 0 there is nothing to be found. Patients differ in
    composition, in programme and in every gene whatever their disease, so the patient is the unit.

    Modalities, all of the same cells: ``rna`` (negative-binomial counts, see `reference`), ``protein`` (counts),
    ``morphology`` (features), ``image`` (bytes; ``uns["image"]`` holds ``shape`` and ``channels``, so
    ``X.reshape(-1, *shape)`` are the images). ``rna.obsm["spatial"]`` holds positions in µm, where types form
    neighbourhoods.

    `Dataset.planted` holds the truth: per cell the latents and the type; per patient ``severity``,
    ``composition_shift`` and ``programme_shift`` (severity times its effect) and ``log_hazard``.

    Parameters
    ----------
    n_patients, cells_per_patient
        Patients, and cells of a typical one; the number varies by patient (log-normal, 25 %).
    composition_effect
        Log-ratios of the types' shares per unit of severity, as a multiple of `programme.SHIFT`.
    state_effect
        Level of the disease's programme per unit of severity, in a type that responds fully.
    batch_effect
        Spread between batches: 0.3 in the log mean of each gene or protein, and in each feature, at 1.
    survival_effect, clinical_effect
        Log hazard ratio per unit of severity, and per stage (1 to 4), which has nothing to do with the cells.
    coupling
        How much protein, morphology and images show of the latents, relative to 1; at 0 they know type, patient and
        batch alone, and nothing else pairs a cell's modalities.
    cell_count_effect
        Log ratio of the numbers of cells of ill and well patients.
    confounding
        Share of patients who are in a batch of their own kind: 0 balances the disease over batches, 1 makes it equal
        to the batch or to a group of batches.
    censoring
        Expected share of censored patients.
    n_batches
        Batches.
    images
        Whether to draw the modality ``image``.
    seed
        Of everything. A dial leaves all that it does not govern as it is under the same seed.
    severity_spread
        Standard deviation of severity within the ill and within the well. At 0.4 the two overlap: nobody who knew the
        severity itself could tell more than nine in ten apart. Towards 0 they become two groups.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """
    dials = Dials(
        n_patients, cells_per_patient, composition_effect, state_effect, batch_effect, survival_effect, clinical_effect,
        cell_count_effect, 0.0, coupling, confounding, censoring, n_batches, images, seed, severity_spread,
    )  # fmt: skip
    card = DatasetCard(
        name="simulated-cohort",
        description=f"Simulated: {n_patients} patients, half of them ill, with about {cells_per_patient} cells each",
        source=SOURCE,
        licence="BSD-3-Clause",
        time_unit="months",
        caveats=caveats(dials),
    )
    return measure(dials, card, "cohort")


def simulate_perturbation(
    n_patients: int = 60,
    cells_per_patient: int = 200,
    *,
    treatment_effect: float = 1.0,
    response_effect: float = 0.0,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    batch_effect: float = 0.5,
    coupling: float = 1.0,
    confounding: float = 0.0,
    n_batches: int = 3,
    images: bool = False,
    seed: int = 0,
) -> Dataset:
    """Return further cells of the patients of `simulate_cohort`, cultured with treatments.

    They are a dataset of their own, because treated cells would blur every question about the patients. Equal arguments
    give the same patients, types and programmes as there. Each patient's cells are shared out to ``control`` and four
    treatments: ``reversal`` lowers the programme that the disease raises, in the types that respond; ``mimic`` raises
    it; ``unrelated`` raises a programme of its own in all types; ``inert`` does nothing.

    Parameters
    ----------
    n_patients, cells_per_patient
        Patients, and cells of a typical one over all treatments.
    treatment_effect
        Of all treatments; at 1, `reversal` undoes what one unit of severity does at a state effect of 1.
    response_effect
        How much more a treatment does in the ill: its effect is multiplied by 1 + response_effect · (severity − ½).
        At 0 all patients respond alike, and nothing about them can say how.
    composition_effect, state_effect, batch_effect, coupling, confounding, n_batches, images, seed
        As in `simulate_cohort`.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """
    dials = Dials(
        n_patients, cells_per_patient, composition_effect, state_effect, batch_effect, coupling=coupling,
        treatment_effect=treatment_effect, response_effect=response_effect, confounding=confounding,
        n_batches=n_batches, images=images, seed=seed,
    )  # fmt: skip
    card = DatasetCard(
        name="simulated-perturbation",
        description=f"Simulated: cells of {n_patients} patients under control and {len(TREATMENTS) - 1} treatments",
        source=SOURCE,
        licence="BSD-3-Clause",
        caveats=caveats(dials),
    )
    return measure(dials, card, "perturbation")


@catalogued(
    "cells of 60 patients under control and four treatments, which do more in the ill",
    SIMULATED,
    "BSD-3-Clause",
)
def load_perturbation(
    *,
    n_patients: int = 60,
    cells_per_patient: int = 250,
    treatment_effect: float = 2.0,
    response_effect: float = 1.0,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    batch_effect: float = 0.5,
    confounding: float = 0.0,
    n_batches: int = 3,
    seed: int = 0,
) -> Dataset:
    """Return ``sim-perturbation``: cells of patients under control and four treatments, which do more in the ill."""
    made = simulate_perturbation(
        n_patients, cells_per_patient, treatment_effect=treatment_effect, response_effect=response_effect,
        composition_effect=composition_effect, state_effect=state_effect, batch_effect=batch_effect,
        confounding=confounding, n_batches=n_batches, seed=seed,
    )  # fmt: skip
    return replace(made, name="sim-perturbation", card=made.card.model_copy(update={"name": "sim-perturbation"}))


@catalogued(
    "90 patients, four modalities of the same cells, a disease planted in composition, state and survival",
    SIMULATED,
    "BSD-3-Clause",
)
def load_cohort(
    *,
    n_patients: int = 90,
    cells_per_patient: int = 100,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    batch_effect: float = 0.5,
    survival_effect: float = 1.0,
    clinical_effect: float = 0.3,
    coupling: float = 1.0,
    cell_count_effect: float = 0.0,
    confounding: float = 0.0,
    censoring: float = 0.35,
    n_batches: int = 3,
    images: bool = True,
    seed: int = 0,
    severity_spread: float = 0.4,
) -> Dataset:
    """Return ``sim-cohort``: a disease in composition and state, batches, and survival; the truth is in `planted`."""
    dials = Dials(
        n_patients, cells_per_patient, composition_effect, state_effect, batch_effect, survival_effect, clinical_effect,
        cell_count_effect, 0.0, coupling, confounding, censoring, n_batches, images, seed, severity_spread,
    )  # fmt: skip
    card = DatasetCard(
        name="sim-cohort",
        description=(
            f"Simulated: {n_patients} patients in {n_batches} batches, half of them ill, with about "
            f"{cells_per_patient} cells each of 7 types; RNA, protein, morphology{' and images' if images else ''} of "
            "the same cells; the disease changes composition and state, and shortens survival"
        ),
        source=SOURCE,
        licence="BSD-3-Clause",
        time_unit="months",
        caveats=caveats(dials),
    )
    return measure(dials, card, "cohort")


@catalogued("the patients of `sim-cohort`, with nothing planted", SIMULATED, "BSD-3-Clause")
def load_null(
    *, n_patients: int = 90, cells_per_patient: int = 100, n_batches: int = 3, images: bool = True, seed: int = 0
) -> Dataset:
    """Return ``sim-null``: the same patients, in whose cells, batches and survival there is nothing to be found."""
    dials = Dials(n_patients, cells_per_patient, censoring=0.35, n_batches=n_batches, images=images, seed=seed)
    card = DatasetCard(
        name="sim-null",
        description=(
            f"Simulated: {n_patients} patients with about {cells_per_patient} cells each, as in sim-cohort, and every "
            "effect 0: disease, batch and survival are names without meaning, and a cell's modalities share its type "
            "alone"
        ),
        source=SOURCE,
        licence="BSD-3-Clause",
        time_unit="months",
        caveats=(
            "Every score but that of a cell's type is at chance here, up to luck: of twenty intervals, one misses it.",
            *caveats(dials),
        ),
    )
    return measure(dials, card, "cohort")
