"""`Programme`: what a seed plants, the same in every experiment made with that seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcell.data.simulate.dials import Dials
from mmcell.data.simulate.reference import Reference

#: Log-ratio by which one unit of severity changes a type's share, at a composition effect of 1.
SHIFT = {"CD14+ Monocyte": 0.6, "CD19+ B": 0.3, "CD56+ NK": -0.5, "CD8+ Cytotoxic T": -0.6, "Dendritic": -0.5}
#: How far a type answers to the disease, and to treatments that act on the disease's programme.
RESPONSE = {"CD14+ Monocyte": 1.0, "CD8+ Cytotoxic T": 0.8, "Dendritic": 0.8}
#: Treatment -> what it does to the disease's programme and to the programme of its own.
TREATMENTS = {
    "control": (0.0, 0.0), "reversal": (-1.0, 0.0), "mimic": (1.0, 0.0), "unrelated": (0.0, 1.0), "inert": (0.0, 0.0),
}  # fmt: skip
#: Latent variables of a cell: the disease's programme, four states that every type has, and the unrelated programme.
LATENTS = ("programme", "state_1", "state_2", "state_3", "state_4", "unrelated")
N_FEATURES = 40
_GENES_PER_LATENT = 30
_PROTEINS_PER_TYPE = 4
_PROTEINS_PER_LATENT = 8
_BACKGROUND, _BRIGHTEST = 5.0, 120.0


@dataclass(frozen=True)
class Programme:
    """Effects per type and per feature.

    Attributes
    ----------
    shift, response
        (K,) see `SHIFT` and `RESPONSE`; 0 for the other types.
    genes
        (L, G) change of a gene's log mean per unit of each latent.
    antibodies
        Names of the J proteins: the genes that mark the types best.
    level
        (K, J) expected protein counts.
    proteins
        (L, J) change of a protein's log mean.
    centroid
        (K, 40) mean of the morphology features.
    features
        (L, 40) change of the features.
    """

    shift: np.ndarray
    response: np.ndarray
    genes: np.ndarray
    antibodies: tuple[str, ...]
    level: np.ndarray
    proteins: np.ndarray
    centroid: np.ndarray
    features: np.ndarray

    @classmethod
    def draw(cls, dials: Dials, reference: Reference) -> Programme:
        """Draw the features that each latent moves, from the seed alone."""
        rng = dials.rng("programme")
        pooled = reference.proportion @ reference.share
        expressed = np.argsort(-pooled, kind="stable")[: len(pooled) // 2]
        genes = _loadings(rng, expressed, len(pooled), _GENES_PER_LATENT, 1.0)
        markers = _markers(reference)
        share = reference.share[:, markers]
        level = _BACKGROUND + _BRIGHTEST * share / share.max(axis=0)
        proteins = np.stack(
            [_loadings(rng, np.arange(len(markers)), len(markers), _PROTEINS_PER_LATENT, 0.7, 1)[0] for _ in LATENTS]
        )
        return cls(
            shift=np.array([SHIFT.get(t, 0.0) for t in reference.types]),
            response=np.array([RESPONSE.get(t, 0.0) for t in reference.types]),
            genes=genes,
            antibodies=tuple(f"ADT_{reference.genes[g]}" for g in markers),
            level=level,
            proteins=proteins,
            centroid=rng.standard_normal((len(reference.types), N_FEATURES)),
            features=0.3 * rng.standard_normal((len(LATENTS), N_FEATURES)),
        )


def _loadings(
    rng: np.random.Generator, among: np.ndarray, n: int, per_latent: int, largest: float, latents: int = len(LATENTS)
) -> np.ndarray:
    """Return (latents, n) loadings on disjoint features, half of them up and half down, so that depth stays."""
    found = np.zeros((latents, n))
    chosen = rng.permutation(among)[: latents * per_latent].reshape(latents, per_latent)
    size = rng.uniform(0.5, 1.0, chosen.shape) * largest
    sign = np.where(np.arange(per_latent) % 2, -1.0, 1.0)
    np.put_along_axis(found, chosen, size * sign, axis=1)
    return found


def _markers(reference: Reference) -> list[int]:
    """Return the genes with the highest log share over the mean of the other types; four a type, none twice."""
    logs = np.log(reference.share)
    n = len(reference.types)
    contrast = (logs - logs.mean(axis=0)) * n / (n - 1)
    # A gene that is rare everywhere marks a type by chance.
    contrast[:, reference.share.max(axis=0) < 5e-4] = -np.inf
    found: list[int] = []
    for row in contrast:
        best = (int(g) for g in np.argsort(-row, kind="stable") if g not in found)
        found += [next(best) for _ in range(_PROTEINS_PER_TYPE)]
    return found
