"""Cells: whose they are, of which type and in which state; then what every modality measures of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mmcell.data.simulate.dials import UNSHARED, Dials
from mmcell.data.simulate.programme import LATENTS, N_FEATURES, TREATMENTS, Programme
from mmcell.data.simulate.reference import Reference

#: Concentration of the Dirichlet noise of a patient's composition.
CONCENTRATION = 25.0
#: Standard deviation of the disease's programme between patients (whatever their disease) and between cells.
PATIENT_SPREAD, CELL_SPREAD = 0.3, 0.5
#: Standard deviation of log depth between patients, and of every feature's log mean between patients.
DEPTH_SPREAD, DONOR_SPREAD = 0.2, 0.1
#: Standard deviation of a feature's log mean between batches, at a batch effect of 1.
BATCH_SPREAD = 0.3
#: Side of the field of view and radius of a neighbourhood, in µm.
FIELD, RADIUS = 1000.0, 40.0
_PROTEIN_DISPERSION = 0.1
_NICHES, _AT_HOME = 3, 0.8
_BLOCK = 2048


@dataclass(frozen=True)
class Cells:
    """Codes and latents of N cells.

    Attributes
    ----------
    patient, batch, kind, treatment
        (N,) codes; treatments in the order of `TREATMENTS`, or of a screen's perturbations behind its controls.
    latent
        (N, L) values in the order of `LATENTS`.
    position
        (N, 2) in µm within the patient's field of view.
    """

    patient: np.ndarray
    batch: np.ndarray
    kind: np.ndarray
    treatment: np.ndarray
    latent: np.ndarray
    position: np.ndarray


def draw_cells(patients: pd.DataFrame, dials: Dials, reference: Reference, programme: Programme, what: str) -> Cells:
    """Draw the cells of every patient.

    Composition: Dirichlet(25 · q), q ∝ proportion · exp(composition_effect · severity · shift), 0 for a type that lives
    in another batch. State: the disease's programme is response · (state_effect · severity + treatment) + a patient's
    own level + a cell's own level; the other states are standard normal. Every draw is the quantile of a uniform or a
    scaled normal, so a dial moves values and does not reshuffle them.

    Parameters
    ----------
    patients
        A row a patient: severity, batch, own levels.
    dials
        Sizes of what is planted.
    reference
        Types and their expression.
    programme
        Genes of the disease, and how they respond.
    what
        ``cohort``, ``studies``, or ``perturbation``: each patient's cells are then shared out to the treatments in
        equal numbers.
    """
    from scipy.special import gammaincinv

    n = len(patients)
    patient = np.repeat(np.arange(n), patients["n_cells"])
    severity = patients["severity"].to_numpy()
    expected = reference.proportion * np.exp(dials.composition_effect * severity[:, None] * programme.shift)
    batch = patients["batch"].str.removeprefix("batch").astype(int).to_numpy() - 1
    for i, name in enumerate(UNSHARED[: dials.unshared_types]):
        expected[batch != i % dials.n_batches, reference.types.index(name)] = 0.0
    expected /= expected.sum(axis=1, keepdims=True)
    drawn = gammaincinv(CONCENTRATION * expected, dials.rng("composition").random(expected.shape))
    weight = np.where(expected > 0, drawn, 0.0)
    below = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    kind = (dials.rng(what, "kind").random(len(patient))[:, None] > below[patient, :-1]).sum(axis=1)
    treatment = np.zeros(len(patient), dtype=int)
    if what == "perturbation":
        treatment = np.concatenate([np.arange(m) % len(TREATMENTS) for m in patients["n_cells"]])
    moved = dials.treatment_effect * np.array(list(TREATMENTS.values()))[treatment]
    moved *= responses(severity, dials)[patient, None]
    latent = dials.rng(what, "latent").standard_normal((len(patient), len(LATENTS)))
    own = PATIENT_SPREAD * dials.rng("patient state").standard_normal(n)
    level = dials.state_effect * severity[patient] + moved[:, 0]
    latent[:, 0] = CELL_SPREAD * latent[:, 0] + own[patient] + programme.response[kind] * level
    latent[:, -1] = moved[:, 1]
    position = _positions(patient, kind, len(reference.types), dials, what)
    return Cells(patient, batch[patient], kind, treatment, latent, position)


def responses(severity: np.ndarray, dials: Dials) -> np.ndarray:
    """Return by how much every patient's cells answer to a treatment: 1 + response_effect · (severity − ½)."""
    return np.asarray(1.0 + dials.response_effect * (severity - 0.5))


def _positions(patient: np.ndarray, kind: np.ndarray, n_types: int, dials: Dials, what: str) -> np.ndarray:
    """Place four of five cells around one of three niches of their type, the others anywhere."""
    rng = dials.rng(what, "spatial")
    niches = rng.uniform(0, FIELD, (patient.max() + 1, n_types, _NICHES, 2))
    home = niches[patient, kind, rng.integers(0, _NICHES, len(patient))]
    near = home + RADIUS * rng.standard_normal(home.shape)
    return np.where(rng.random((len(patient), 1)) < _AT_HOME, near, rng.uniform(0, FIELD, home.shape))


def rna(
    cells: Cells, dials: Dials, reference: Reference, programme: Programme, what: str, moved: np.ndarray | None = None
) -> sp.csr_matrix:
    """Return (N, G) negative-binomial counts: mean = depth · share · exp(latents + patient + batch).

    `moved` (treatments, G) is what a treatment does to a gene's log mean beside what it does to latents.
    """
    own, batch = offsets("rna", len(reference.genes), cells, dials)
    depth = _depth("rna", *reference.log_depth, cells, dials, what)
    log_share = np.log(reference.share)

    def mean(i: slice) -> np.ndarray:
        logs = log_share[cells.kind[i]] + cells.latent[i] @ programme.genes + own[cells.patient[i]]
        if moved is not None:
            logs = logs + moved[cells.treatment[i]]
        return depth[i, None] * np.exp(logs + batch[cells.batch[i]])

    rng = dials.rng(what, "rna")
    return sp.vstack(
        [
            sp.csr_matrix(negative_binomial(mean(i), reference.dispersion[cells.kind[i]], rng).astype(np.float32))
            for i in blocks(len(cells.kind))
        ],
        format="csr",
    )


def protein(cells: Cells, dials: Dials, programme: Programme, what: str) -> np.ndarray:
    """Return (N, J) counts; depth is its own, for a depth that both modalities shared would pair them."""
    own, batch = offsets("protein", programme.level.shape[1], cells, dials)
    depth = _depth("protein", 0.0, 0.3, cells, dials, what)
    logs = np.log(programme.level)[cells.kind] + dials.coupling * cells.latent @ programme.proteins
    mean = depth[:, None] * np.exp(logs + own[cells.patient] + batch[cells.batch])
    return negative_binomial(mean, _PROTEIN_DISPERSION, dials.rng(what, "protein")).astype(np.float32)


def morphology(cells: Cells, dials: Dials, programme: Programme, what: str) -> np.ndarray:
    """Return (N, 40) features: centroid of the type + latents + patient + batch + standard normal noise."""
    own, batch = offsets("morphology", N_FEATURES, cells, dials)
    values = programme.centroid[cells.kind] + dials.coupling * cells.latent @ programme.features
    noise = dials.rng(what, "morphology").standard_normal(values.shape)
    return (values + own[cells.patient] + batch[cells.batch] + noise).astype(np.float32)


def negative_binomial(
    mean: np.ndarray, dispersion: np.ndarray | float, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return counts with the given mean and variance mean + dispersion · mean²: Poisson of a gamma rate."""
    shape = np.broadcast_to(1.0 / np.asarray(dispersion), mean.shape)
    return rng.poisson(mean * rng.standard_gamma(shape) / shape)


def offsets(modality: str, n: int, cells: Cells, dials: Dials) -> tuple[np.ndarray, np.ndarray]:
    """Return (patients, n) and (batches, n) offsets; no modality shares them with another."""
    own = DONOR_SPREAD * dials.rng(modality, "patient").standard_normal((cells.patient.max() + 1, n))
    batch = dials.batch_effect * BATCH_SPREAD * dials.rng(modality, "batch").standard_normal((dials.n_batches, n))
    return own, batch


def _depth(modality: str, centre: float, spread: float, cells: Cells, dials: Dials, what: str) -> np.ndarray:
    own = DEPTH_SPREAD * dials.rng(modality, "patient depth").standard_normal(cells.patient.max() + 1)
    return np.exp(
        centre + own[cells.patient] + spread * dials.rng(what, modality, "depth").standard_normal(len(cells.kind))
    )


def blocks(n: int) -> list[slice]:
    """Return slices that cover `n` rows, a few thousand each."""
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
