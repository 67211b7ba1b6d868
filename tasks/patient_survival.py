"""Do patients' cells, or vectors of patients, say who does worse, beyond the clinic and the number of cells?

For the user's own cohort: any data with patients and a right-censored outcome, see "Your cohort" in the README.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="patient-survival",
        question="Do patients' cells say who does worse?",
        dataset="",  # the user's own
        slots={"x": ("*", "patient")},
        split=SplitSpec("grouped", "stratified-group-kfold", by="outcome", repeats=5, targets=("outcome",)),
        metrics=SCORES,
        primary="harrell_c",
        controls=("random", "constant", "technical-only", "clinical-only"),
        reference="clinical-only",
        patient_encoders=("pseudobulk", "celltype-pseudobulk"),
        probes=PROBES,
        more_probes=MORE_PROBES,
        encoders=("pca",),
        null_within=("batch",),
    )
)
