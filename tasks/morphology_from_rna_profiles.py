"""Which morphological features of a perturbation does its expression profile predict?

Perturbations measured by expression and by cell painting, which meet by what was done to the cells; whole perturbations
are held out. The data are the user's own, see "Your cohort" in the README.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="morphology-from-rna-profiles",
        question="Which features of a perturbation's morphology does its expression predict?",
        dataset="",  # the user's own
        slots={"x": ("rna", "profile"), "features": ("morphology", "profile")},
        partners={"features": "features"},
        split=SplitSpec("unit-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        null_within=("batch",),
        encoders=("pca", "features"),
    ),
    matched_by="perturbation",
)
