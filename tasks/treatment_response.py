"""Does the composition of a tumour say who responds to chemotherapy, in a trial that was never seen?

Cell fractions of breast tumours in 15 neoadjuvant trials, one trial held out at a time; patients are compared within
their trial only, and tumours that stand in two trials count once. The fractions are brought by the user, see `mmcell
show breast-neoadjuvant`.
"""

from mmcell.protocols.patient import PatientState
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PatientState(
    TaskSpec(
        name="treatment-response",
        version="2",
        question="Does a tumour's composition say who responds to chemotherapy in a trial never seen?",
        dataset="breast-neoadjuvant",
        slots={"x": ("*", "patient")},
        split=SplitSpec("leave-one-trial-out", "leave-one-group-out", by="batch", targets=("label",)),
        metrics=("auroc", "auprc", "balanced_accuracy", "macro_f1"),
        primary="auroc",
        more_probes=("knn", "logistic+clinical"),
        controls=("random", "constant", "technical-only", "clinical-only", "stratum-only"),
        reference="clinical-only",
        encoders=("features", "pca"),
    )
)
