"""`simulate_studies`: patients of several studies, whose cells lie apart as far as a dial says."""

from __future__ import annotations

from mmcell.data.entry import SIMULATED, catalogued
from mmcell.data.simulate.assemble import measure
from mmcell.data.simulate.dials import SOURCE, UNSHARED, Dials, caveats
from mmcell.dataset import Dataset
from mmcell.errors import number_of
from mmcell.roles import DatasetCard


@catalogued(
    "30 patients of three studies, whose distance is on a dial, and a cell type that one study has for itself",
    SIMULATED,
    "BSD-3-Clause",
)
def simulate_studies(
    n_patients: int = 30,
    cells_per_patient: int = 60,
    *,
    batch_effect: float = 1.0,
    unshared_types: int = 1,
    composition_effect: float = 1.0,
    state_effect: float = 1.0,
    confounding: float = 0.0,
    n_batches: int = 3,
    seed: int = 0,
) -> Dataset:
    """Return patients of several studies, for metrics of alignment whose right answer is known.

    A study shifts the log mean of every gene, in all of its cells alike: that is what a correction may take away. Types
    and states are the same in all studies (`Dataset.planted` holds them, free of any study), but for types that live in
    one study only: these must not be mixed with others, and an embedding that does it is over-corrected.

    Ill and well patients are spread evenly over studies, and studies are of equal size. A type that one study has for
    itself leaves fewer cells to its other types (the dendritic cells, of which there are most, a third fewer), so that
    even at a batch effect of 0 studies differ by composition: a share of the variance lies between them, and the batch
    of these cells can be told. That is biology, and the reason why no metric of mixing has its ideal value at 0.

    Modalities are ``rna``, ``protein`` and ``morphology`` of the same cells, as in `simulate_cohort`.

    Parameters
    ----------
    n_patients, cells_per_patient
        Patients of all studies, and cells of a typical one. Fewer than about 90 cells of a type among those that are
        compared do not fill a neighbourhood, whatever the embedding.
    batch_effect
        Spread between studies: 0.3 in the log mean of each gene or protein, and in each feature, at 1.
    unshared_types
        Types that live in one study each: at 1 the dendritic cells in the first; at 2 also the monocytes in the second;
        at 3 also the B cells in the third.
    composition_effect, state_effect, confounding, seed
        As in `simulate_cohort`.
    n_batches
        Studies.

    Raises
    ------
    MmcellError
        A value that cannot be simulated.
    """
    dials = Dials(
        n_patients, cells_per_patient, composition_effect, state_effect, batch_effect, coupling=1.0,
        confounding=confounding, n_batches=n_batches, seed=seed, unshared_types=unshared_types,
    )  # fmt: skip
    own = "; ".join(f"{name} in study{i % n_batches + 1}" for i, name in enumerate(UNSHARED[:unshared_types]))
    card = DatasetCard(
        name="sim-studies",
        description=(
            f"Simulated: {n_patients} patients in {number_of(n_batches, 'study', 'studies')} with about "
            f"{cells_per_patient} cells each of 7 types; RNA, protein and morphology of the same cells, which every "
            f"study shifts"
        ),
        source=SOURCE,
        licence="BSD-3-Clause",
        caveats=(*caveats(dials), *((f"Types that live in one study only: {own}.",) if own else ())),
    )
    return measure(dials, card, "studies")
