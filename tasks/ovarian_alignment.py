"""Do ovarian tumours of four studies lie by how they were operated on, or by their study?

As `cohort-alignment`, of 910 patients in four studies. What is known of all of them besides survival is whether tumour
was left behind (debulking): a weak biology, so that little may be kept, and the study shows how much of an embedding is
not biology.
"""

from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Alignment(
    TaskSpec(
        name="ovarian-alignment",
        question="Do ovarian tumours of four studies lie by their debulking, or by their study?",
        dataset="ovarian-expression",
        slots={"x": ("rna", "patient")},
        split=(
            SplitSpec("leave-one-study-out", "leave-one-group-out", by="batch", targets=("label",)),
            SplitSpec("held-out", "stratified-group-kfold", "batch", 2, targets=("label", "batch")),
        ),
        metrics=(*BIOLOGY, "sample_retrieval", *MIXING),
        primary="balanced_accuracy",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        null_within=("batch",),
        roles={"label": "debulking"},
        encoders=("pca", "features"),
        corrections=("centre",),
    )
)
