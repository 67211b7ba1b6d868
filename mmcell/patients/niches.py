"""`NicheComposition`: in which surroundings a patient's cells live, beside how many of each type there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmcell.patients.composition import Composition, Kinds


@dataclass
class NicheComposition(Composition):
    """Centred log-ratio of the shares of niches: `Composition` of clusters of what surrounds each cell.

    A run gives it, instead of the cell embedding, the share of every cell type among each cell's nearest neighbours in
    its section (`mmcell.niche`, squidpy); niches are clusters of these, learnt on training patients. What cells the
    neighbours are is known of all patients, or learnt without labels. Plain composition is in it, for a type that is
    frequent is a frequent neighbour: what space adds is the difference from ``composition``.

    Attributes
    ----------
    clusters, n_clusters, resolution, n_types, seed
        As in `Composition`; ``kmeans`` or ``leiden``.
    reads_niche
        True: a run gives it niches.

    References
    ----------
    Schürch et al.: Coordinated cellular neighborhoods orchestrate antitumoral immunity at the colorectal cancer
    invasive front. Cell 182, 1341–1359 (2020).
    """

    clusters: Kinds = "kmeans"
    n_clusters: int = 8
    reads_niche: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # Neither the embedding of cells nor, by itself, their types: both were read where niches were made.
        self.reads_embedding = self.reads_types = False
