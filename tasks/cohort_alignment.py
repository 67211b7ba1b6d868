"""Do tumours of three cohorts on three platforms lie by their biology, or by their cohort?

Patients instead of cells. ER status and grade are carried over to a cohort never seen, by a linear probe and by nearest
neighbours; and among held-out patients of all cohorts one neighbour graph says how cohorts are mixed and how ER status
and grade are kept: two axes, never one total. `sample_retrieval` asks whether a patient's nearest neighbour in another
cohort shares them. One cohort has no grade: its patients count for ER alone. Every cohort's genes are z-scored within
it beforehand, without labels, so that the raw platform effect is gone; ``centre`` takes off what is left of the
cohorts' means.
"""

from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="cohort-alignment",
        question="Do tumours of three cohorts lie by their ER status and grade, or by their cohort?",
        dataset="breast-expression",
        slots={"x": ("rna", "patient")},
        split=(
            SplitSpec("leave-one-cohort-out", "leave-one-group-out", by="batch", targets=("label", "ordered")),
            SplitSpec("held-out", "stratified-group-kfold", "batch", 2, targets=("label", "ordered", "batch")),
        ),
        metrics=(*BIOLOGY, "sample_retrieval", *MIXING),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        null_within=("batch",),
        roles={"label": "er", "ordered": "grade"},
        encoders=("pca", "features"),
        corrections=("centre",),
    )
)
