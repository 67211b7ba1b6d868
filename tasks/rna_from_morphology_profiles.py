"""Which genes does a perturbation's morphological profile predict?

The other way round than `morphology-from-rna-profiles`.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="rna-from-morphology-profiles",
        question="Which genes does a perturbation's morphology predict?",
        dataset="",  # the user's own
        slots={"x": ("morphology", "profile"), "features": ("rna", "profile")},
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
