"""Does the immune composition of a liver tumour and of the tissue around it say who survives, beyond the clinic?

Ridge Cox models in five times five folds: clinical covariates, composition, and both. The gain of both over clinical
is paired patient by patient. With 45 deaths the intervals are wide.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="hcc-survival",
        question="Does immune composition say who survives liver cancer, beyond clinical covariates?",
        dataset="hcc-immune",
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
