"""Do a donor's CD8 T cells, measured by flow cytometry, say who has COVID-19?

About 156 cells of 16 channels a donor. The cells are brought by the user, see `mmcell show covid-cytometry`.
"""

from mmcell.protocols.patient import PatientState
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientState(
    TaskSpec(
        name="patient-severity-cytometry",
        version="2",
        question="Do a donor's CD8 T cells say who has COVID-19?",
        dataset="covid-cytometry",
        slots={"x": ("protein", "patient")},
        split=SplitSpec("grouped", "stratified-group-kfold", by="label", repeats=5, targets=("label",)),
        metrics=("auroc", "auprc", "balanced_accuracy", "macro_f1"),
        primary="auroc",
        more_probes=("knn",),
        controls=("random", "constant", "technical-only", "composition"),
        reference="composition",
        patient_encoders=("moments", "pseudobulk"),
        encoders=("features",),
    )
)
