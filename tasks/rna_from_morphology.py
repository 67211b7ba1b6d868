"""Which genes does a cell's image predict, beyond batch and cell type?

The other way round than `morphology-from-rna`: image encoders (``timm:tf_efficientnet_lite0``) predict the genes that
vary most among training cells.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="rna-from-morphology",
        question="Which genes does a cell's morphology predict?",
        dataset="sim-cohort",
        slots={"x": ("image", "cell"), "features": ("rna", "cell")},
        partners={"features": {"use": "hvg", "n_top": 200, "by": "variance"}},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca", "image-features"),
        reference="image-features",
        probes=("ridge",),
        null_within=("batch", "cell_type"),
        encoders=("image-features",),
    )
)
