"""Do metrics of alignment say what is known to be true of simulated studies?

As `batch-alignment`, of patients in three studies whose distance is on a dial: ``--dataset
sim-studies:batch_effect=2``. Types are where they are in every study whatever the dial, and one lives in the first
study only: whoever mixes it away is over-corrected (`unshared_clisi`; with that study left out it cannot be carried
over, and `unknown_auroc` asks whether it is noticed). The ceiling is the planted truth, types and states free of any
study.
"""

from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="sim-alignment",
        question="Do simulated cell types lie where they are in every study, and does the planted study effect show?",
        dataset="sim-studies",
        slots={"x": ("rna", "cell")},
        split=(
            SplitSpec("leave-one-study-out", "leave-one-group-out", by="batch", targets=("cell_type",)),
            SplitSpec("held-out", "stratified-group-kfold", "batch", 2, targets=("cell_type", "batch")),
        ),
        metrics=(*BIOLOGY, *MIXING),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        encoders=("pca", "hvg"),
        corrections=("centre",),
    )
)
