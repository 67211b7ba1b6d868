"""Is a cell type where it was when it is measured in another batch, and are batches mixed within a type?

Two axes side by side, never one total. Biology: cell types carried over to a batch that the probe never saw, by a
linear discriminant and by nearest neighbours, and how pure and whole types are among the cells of held-out donors.
Mixing: whether their neighbourhoods hold all batches, and whether a probe of other donors tells the batch. Types that
live in one batch only cannot be carried over and count as missed (`known_balanced_accuracy` leaves them out,
`unknown_auroc` asks whether they are noticed), and have nobody to be mixed with: what becomes of them is
`unshared_clisi`.
"""

from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="batch-alignment",
        version="2",
        question="Do cell types stay where they are across batches, and does the batch show?",
        dataset="covid-cite",
        slots={"x": ("rna", "cell")},
        split=(
            SplitSpec("leave-one-batch-out", "leave-one-group-out", by="batch", targets=("cell_type",)),
            SplitSpec("donor-held-out", "stratified-group-kfold", "batch", 3, targets=("cell_type", "batch")),
        ),
        metrics=(*BIOLOGY, *MIXING),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        encoders=("pca", "hvg", "gene2vec", "gene2vec-untrained"),
    )
)
