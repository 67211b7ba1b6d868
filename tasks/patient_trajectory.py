"""Do patients lie in the order of a state that has one: a stage, a grade, a severity?

Tumour grade in three cohorts and platforms, in folds of patients and with a cohort left out. The probe ``axis`` asks
the same of the main direction in which training patients differ, which nobody told of the grade. For a cohort of your
own set roles.ordered (and roles.order where it is text).
"""

from mmcell.protocols.order import PatientOrder
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientOrder(
    TaskSpec(
        name="patient-trajectory",
        question="Do patients' vectors follow the grade of their tumour?",
        dataset="breast-expression",
        roles={"ordered": "grade", "clinical": ("er", "node", "age")},
        slots={"x": ("*", "patient")},
        split=(
            SplitSpec("grouped", "group-kfold", repeats=5, targets=("ordered",)),
            SplitSpec("leave-one-batch-out", "leave-one-group-out", by="batch", targets=("ordered",)),
        ),
        metrics=("spearman",),
        primary="spearman",
        probes=("ridge",),
        more_probes=("axis",),
        controls=("random", "constant", "technical-only", "clinical-only"),
        reference="clinical-only",
        patient_encoders=("pseudobulk", "celltype-pseudobulk"),
        null_within=("batch",),
        encoders=("pca",),
    )
)
