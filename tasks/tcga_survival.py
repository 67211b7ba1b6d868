"""Does the composition of a tumour say who dies, in any of 16 cancers, beyond which cancer it is?

The cancer is the shortcut: it alone ranks patients well, and composition tells the cancer. So the reference is the
cancer itself (stratum-only), values are also given for pairs within one cancer, a second split leaves out one cancer at
a time, and a null moves outcomes within a cancer. The clinical covariates hold the cancer, too. The fractions are
brought by the user, see `mmcell show tcga-composition`.
"""

from mmcell.protocols.survival import MORE_PROBES, PROBES, SCORES, Survival
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Survival(
    TaskSpec(
        name="tcga-survival",
        question="Does a tumour's composition say who dies, beyond which cancer it is?",
        dataset="tcga-composition",
        slots={"x": ("composition", "patient")},
        split=(
            SplitSpec("grouped", "stratified-group-kfold", by="outcome", targets=("outcome",)),
            SplitSpec("leave-one-cancer-out", "leave-one-group-out", by="cancer", targets=("outcome",)),
        ),
        metrics=SCORES,
        primary="harrell_c",
        controls=("random", "constant", "technical-only", "clinical-only", "stratum-only"),
        reference="stratum-only",
        probes=PROBES,
        more_probes=MORE_PROBES,
        encoders=("features",),
        null_within=("strata",),
    )
)
