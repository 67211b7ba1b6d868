"""Does tumour expression say who relapses or dies of breast cancer in a cohort, and on a platform, never seen?

Principal components and a ridge Cox model fitted on two cohorts, read out on the third.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="breast-survival",
        question="Does tumour expression say who does worse in a cohort and on a platform never seen?",
        dataset="breast-expression",
        slots={"x": ("rna", "patient")},
        split=SplitSpec("leave-one-cohort-out", "leave-one-group-out", by="batch", targets=("outcome",)),
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
