"""Do patients' cells say in which state they are, beyond batch, clinic and the number of cells?

For the user's own cohort: any data with patients, cells and a label of two classes, see "Your cohort" in the README.
"""

from mmcell.protocols.patient import PatientState
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientState(
    TaskSpec(
        name="patient-state",
        version="2",
        question="Do patients' cells say in which state they are?",
        dataset="",  # the user's own
        slots={"x": ("*", "patient")},
        split=(
            SplitSpec("grouped", "stratified-group-kfold", by="label", repeats=5, targets=("label", "batch")),
            SplitSpec("leave-one-batch-out", "leave-one-group-out", by="batch", targets=("label",)),
        ),
        metrics=("auroc", "auprc", "balanced_accuracy", "macro_f1", "batch_auroc"),
        primary="auroc",
        more_probes=("knn", "logistic+clinical"),
        controls=("random", "constant", "technical-only", "clinical-only", "composition"),
        reference="composition",
        patient_encoders=("pseudobulk", "celltype-pseudobulk"),
        null_within=("batch",),
        encoders=("pca",),
    )
)
