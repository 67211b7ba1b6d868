"""Do a donor's blood cells say whether COVID-19 is severe, beyond batch, age and the number of cells?

Donors are held out in five times five stratified folds, and whole batches one at a time. Beside the label, the same
probe is asked for the batch: an embedding that knows both may know the label through the batch.
"""

from mmcell.protocols.patient import PatientState
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientState(
    TaskSpec(
        name="patient-severity",
        version="2",
        question="Do a donor's cells say who has severe COVID-19?",
        dataset="covid-cite",
        slots={"x": ("rna", "patient")},
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
        encoders=("pca", "gene2vec", "gene2vec-untrained"),
    )
)
