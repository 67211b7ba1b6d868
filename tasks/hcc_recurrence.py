"""Does the immune composition of a liver tumour and of the tissue around it say whose cancer comes back?

The patients and models of `hcc-survival`, with the time to recurrence instead of death. Nobody died without a
recurrence before, so there is no competing event. With 65 recurrences the intervals are wide.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="hcc-recurrence",
        question="Does immune composition say whose liver cancer comes back, beyond clinical covariates?",
        dataset="hcc-immune-recurrence",
        slots={"x": ("composition", "patient")},
        split=SplitSpec("grouped", "stratified-group-kfold", by="outcome", repeats=5, targets=("outcome",)),
        metrics=SCORES,
        primary="harrell_c",
        controls=("random", "constant", "technical-only", "clinical-only"),
        reference="clinical-only",
        probes=PROBES,
        more_probes=MORE_PROBES,
        encoders=("features",),
    )
)
