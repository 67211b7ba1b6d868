"""Do a donor's cells say how old they are, beyond batch and the disease?

The donors of `patient-severity`, another label: 60 years or older. The disease is the clinical covariate here.
"""

from mmcell.protocols.patient import PatientState
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientState(
    TaskSpec(
        name="patient-age",
        version="2",
        question="Do a donor's cells say who is 60 or older?",
        dataset="covid-cite",
        roles={"label": "Age_interval", "positive": ">=60", "clinical": ("cond_group",)},
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
