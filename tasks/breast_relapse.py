"""Does the composition of a breast tumour say who relapses, beyond the clinic?

Cell fractions of METABRIC's tumours, estimated from bulk expression: ridge Cox models in five times five folds of
clinical covariates, composition, and both. Also within PAM50 subtypes, which fractions and relapse both go with. The
fractions are brought by the user, see `mmcell show breast-metabric`.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="breast-relapse",
        question="Does a tumour's composition say who relapses, beyond clinical covariates?",
        dataset="breast-metabric",
        slots={"x": ("composition", "patient")},
        split=SplitSpec("grouped", "stratified-group-kfold", by="outcome", repeats=5, targets=("outcome",)),
        metrics=SCORES,
        primary="harrell_c",
        controls=("random", "constant", "technical-only", "clinical-only", "stratum-only"),
        reference="clinical-only",
        probes=PROBES,
        more_probes=MORE_PROBES,
        encoders=("features",),
    )
)
