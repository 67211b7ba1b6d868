"""Is a cell type where it was when it is measured in another batch, and does the embedding show the batch?

Two scores side by side, never one total: cell types carried over to a batch that the probe never saw, and the batch of
held-out donors, which a well aligned embedding does not show. Types that live in one batch only cannot be carried
over and count as missed.
"""

from mmcell.protocols.alignment import Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="batch-alignment",
        question="Do cell types stay where they are across batches, and does the batch show?",
        dataset="covid-cite",
        slots={"x": ("rna", "cell")},
        split=(
            SplitSpec("leave-one-batch-out", "leave-one-group-out", by="batch", targets=("cell_type",)),
            SplitSpec("donor-held-out", "group-kfold", targets=("batch",)),
        ),
        metrics=("macro_f1", "balanced_accuracy", "batch_predictability"),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        encoders=("pca", "hvg", "gene2vec", "gene2vec-untrained"),
    )
)
