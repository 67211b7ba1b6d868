"""Does tumour expression say who dies of ovarian cancer in a study never seen?

A ridge Cox model fitted on three of four studies, read out on the fourth; patients are compared within their study
only. The 158 genes were chosen by the makers of the set for their prognostic value, in these very studies: scores are
higher than in a new one, and the mean and spread of these genes alone (technical-only) rank patients as well as all of
them do.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="ovarian-survival",
        question="Does tumour expression say who dies of ovarian cancer in a study never seen?",
        dataset="ovarian-expression",
        slots={"x": ("rna", "patient")},
        split=SplitSpec("leave-one-study-out", "leave-one-group-out", by="batch", targets=("outcome",)),
        metrics=SCORES,
        primary="harrell_c",
        controls=("random", "constant", "technical-only", "clinical-only"),
        reference="clinical-only",
        probes=PROBES,
        more_probes=MORE_PROBES,
        null_within=("batch",),
        encoders=("pca",),
    )
)
