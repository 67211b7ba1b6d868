"""Which features of a cell's image does its transcriptome predict, beyond batch and cell type?

Intensity, texture and shape made by hand, of simulated cells by default, of the user's own with ``--dataset``.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="morphology-from-rna",
        question="Which features of its morphology does a transcriptome predict?",
        dataset="sim-cohort",
        slots={"x": ("rna", "cell"), "features": ("image", "cell")},
        partners={"features": "image-features"},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        null_within=("batch", "cell_type"),
        encoders=("pca", "hvg"),
    )
)
