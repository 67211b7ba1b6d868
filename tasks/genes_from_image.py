"""Which genes does a patch of tissue predict?

Spatial transcriptomics with an H&E image: the image around a spot predicts the 50 genes that vary most among training
spots, over all held-out spots and within their section. Patients are held out; with sections as units, sections are.
The data are the user's own, see "Your cohort" in the README. Figures published for such data (HEST-Bench and others)
rest on other genes, patches and splits, and are not comparable.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="genes-from-image",
        question="Which genes does the image around a spot predict?",
        dataset="",  # the user's own
        slots={"x": ("image", "spot"), "features": ("rna", "spot")},
        partners={"features": {"use": "hvg", "n_top": 50, "by": "variance"}},
        split=SplitSpec("unit-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca", "image-features"),
        reference="image-features",
        probes=("ridge",),
        null_within=("batch",),
        encoders=("image-features",),
    )
)
