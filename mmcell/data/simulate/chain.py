"""`simulate_chain`: a cohort, and cells of the same patients under treatments that act on its disease."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from mmcell.data.entry import SIMULATED, catalogued
from mmcell.data.simulate.assemble import measure
from mmcell.data.simulate.dials import SOURCE, Dials, caveats
from mmcell.data.simulate.programme import TREATMENTS
from mmcell.dataset import Dataset
from mmcell.modalities import join
from mmcell.roles import DatasetCard


@catalogued(
    "90 patients with severity and survival, and their cells under control and four treatments, one of which reverses "
    "the disease",
    SIMULATED,
    "BSD-3-Clause",
)
def simulate_chain(
    n_patients: int = 90,
    cells_per_patient: int = 100,
    treated_per_patient: int = 150,
    *,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    treatment_effect: float = 1.0,
    response_effect: float = 0.0,
    batch_effect: float = 0.5,
    survival_effect: float = 1.0,
    clinical_effect: float = 0.3,
    coupling: float = 1.0,
    confounding: float = 0.0,
    censoring: float = 0.35,
    n_batches: int = 3,
    seed: int = 0,
    severity_spread: float = 0.4,
) -> Dataset:
    """Return the patients of `simulate_cohort` with their outcome, and treated cells of `simulate_perturbation`.

    One table: cells without a treatment are the cohort's, the others were cultured with ``control`` or one of four
    treatments. ``reversal`` undoes the programme that the disease raises, ``mimic`` raises it, ``unrelated`` and
    ``inert`` have nothing to do with it, so that all three links from a perturbation to patients are known:
    with a state effect of 0 the disease leaves the programme alone, and with a treatment effect of 0 nothing is
    measured, and in either case no signature can say anything of patients.

    A column ``severity`` holds the severity that was planted, as a clinic would measure it without error.

    Parameters
    ----------
    n_patients, cells_per_patient, treated_per_patient
        Patients, cells of a typical one in the cohort, and over all treatments.
    composition_effect, state_effect, batch_effect, survival_effect, clinical_effect, coupling, confounding
        As in `simulate_cohort`.
    treatment_effect, response_effect
        As in `simulate_perturbation`.
    censoring, n_batches, seed, severity_spread
        As in `simulate_cohort`.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """
    dials = Dials(
        n_patients, cells_per_patient, composition_effect, state_effect, batch_effect, survival_effect, clinical_effect,
        treatment_effect=treatment_effect, coupling=coupling, confounding=confounding, censoring=censoring,
        n_batches=n_batches, seed=seed, severity_spread=severity_spread, response_effect=response_effect,
    )  # fmt: skip
    card = DatasetCard(
        name="sim-chain",
        description=(
            f"Simulated: {n_patients} patients, half of them ill, with about {cells_per_patient} cells each, and about "
            f"{treated_per_patient} further cells under control and {len(TREATMENTS) - 1} treatments, one of which "
            "reverses the disease; severity and survival"
        ),
        source=SOURCE,
        licence="BSD-3-Clause",
        time_unit="months",
        caveats=caveats(dials),
    )
    cohort = measure(dials, card, "cohort")
    treated = measure(replace(dials, cells_per_patient=treated_per_patient), card, "perturbation")
    return _joined(cohort, treated)


def _joined(cohort: Dataset, treated: Dataset) -> Dataset:
    """Return both as one dataset; whatever is known of a patient is known of all of their cells."""
    import anndata as ad

    obs = pd.concat([cohort.obs, treated.obs])
    patient = obs["patient"]
    assert cohort.planted is not None
    assert treated.planted is not None
    known = cohort.patients.assign(severity=cohort.planted["patients"]["severity"])
    for column in ("months", "death", "severity"):
        obs[column] = known[column].reindex(patient).to_numpy()
    parts = {name: ad.concat([d.anndata(name) for d in (cohort, treated)]) for name in cohort.card.modalities}
    data = join(parts, obs)
    # Nothing was done to the cohort's cells.
    cells = [cohort.planted["cells"].assign(unrelated=0.0), treated.planted["cells"]]
    data.uns["planted"] = {"cells": pd.concat(cells), "patients": treated.planted["patients"]}
    roles = replace(treated.roles, outcome=cohort.roles.outcome, ordered="severity", reversing=("reversal",))
    return Dataset("sim-chain", data, roles, cohort.card)
