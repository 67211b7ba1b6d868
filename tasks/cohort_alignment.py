"""Do tumours of three cohorts on three platforms lie by their biology, or by their cohort?

ER status is carried over to a cohort never seen, by a linear probe and by nearest neighbours; and among held-out
patients of all cohorts one neighbour graph says how cohorts are mixed and ER status kept: two axes, never one total.
Every cohort's genes are z-scored within it beforehand, without labels, so that the raw platform effect is gone;
``centre`` takes off what is left of the cohorts' means.
"""

from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="cohort-alignment",
        question="Do tumours of three cohorts lie by their ER status, or by their cohort?",
        dataset="breast-expression",
        slots={"x": ("rna", "patient")},
        split=(
            SplitSpec("leave-one-cohort-out", "leave-one-group-out", by="batch", targets=("label",)),
            SplitSpec("held-out", "stratified-group-kfold", by="batch", n_splits=2, targets=("label", "batch")),
        ),
        metrics=(*BIOLOGY, *MIXING),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        roles={"label": "er"},
        encoders=("pca", "features"),
        corrections=("centre",),
    )
)
