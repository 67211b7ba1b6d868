"""Patients: who is ill and how badly, in which batch, with which covariates, and who dies when."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.data.simulate.dials import Dials

#: Standard deviation of the log number of a patient's cells.
COUNT_SPREAD = 0.25
#: Expected months of a patient whose log hazard is 0.
MONTHS = 24.0


def draw_patients(dials: Dials) -> pd.DataFrame:
    """Return one row per patient.

    Columns: ``disease``, ``batch``, ``age``, ``sex``, ``stage``, ``months``, ``death``, and, to stay hidden,
    ``severity``, ``log_hazard`` and ``n_cells``. Ill and well alternate over the batches, so that every batch has both
    in equal numbers; `confounding` is the share of patients who are then moved to batches of their own kind.
    """
    n = dials.n_patients
    ids = pd.Index([f"P{i:0{max(3, len(str(n - 1)))}d}" for i in range(n)], name="patient")
    place = dials.rng("label").permutation(n)
    ill = place % 2
    severity = ill + dials.severity_spread * dials.rng("severity").standard_normal(n)
    clinic = dials.rng("clinical")
    age = np.round(clinic.normal(60, 10, n))
    female = clinic.random(n) < 0.5
    stage = clinic.integers(1, 5, n)
    log_hazard = dials.survival_effect * (severity - 0.5) + dials.clinical_effect * (stage - 2.5)
    time, event = _survival(log_hazard, dials)
    spread = COUNT_SPREAD * dials.rng("n_cells").standard_normal(n)
    more = dials.cell_count_effect * (ill - 0.5)
    return pd.DataFrame(
        {
            "disease": np.where(ill == 1, "ill", "well"),
            "batch": [f"batch{b + 1}" for b in _batches(place, ill, dials)],
            "age": age,
            "sex": np.where(female, "female", "male"),
            "stage": stage,
            "months": time,
            "death": event,
            "severity": severity,
            "log_hazard": log_hazard,
            "n_cells": np.maximum(np.round(dials.cells_per_patient * np.exp(spread + more)).astype(int), 1),
        },
        index=ids,
    )


def _batches(place: np.ndarray, ill: np.ndarray, dials: Dials) -> np.ndarray:
    pair = place // 2
    batch = pair % dials.n_batches
    low = dials.n_batches // 2
    own = np.where(ill == 1, low + pair % (dials.n_batches - low), pair % max(low, 1))
    moved = dials.rng("confounding").random(len(place)) < dials.confounding
    return np.where(moved, own, batch)


def _survival(log_hazard: np.ndarray, dials: Dials) -> tuple[np.ndarray, np.ndarray]:
    """Return months and events: exponential times, whose hazards are proportional, under independent censoring.

    A censoring time of rate c comes before the death of rate λ with probability c / (c + λ); c is the one rate at
    which the mean over the patients is what was asked for. It is the same for all of them.
    """
    from scipy.optimize import brentq

    rate = np.exp(log_hazard) / MONTHS
    death = dials.rng("death").standard_exponential(len(rate)) / rate
    wait = dials.rng("censoring").standard_exponential(len(rate))
    if dials.censoring == 0:
        return death, np.ones(len(rate), dtype=int)
    odds = dials.censoring / (1 - dials.censoring)
    # With c = odds·λ for the slowest and for the fastest patient, the mean lies on either side of what is asked for.
    bounds = np.log(odds * rate.min()) - 1e-6, np.log(odds * rate.max()) + 1e-6
    found = np.exp(brentq(lambda c: np.mean(np.exp(c) / (np.exp(c) + rate)) - dials.censoring, *bounds))
    censored = wait / found
    return np.minimum(death, censored), (death <= censored).astype(int)
