"""Does the embedding of a spot say what surrounds it, in tissue that was never seen?

The share of every cell type (or, where none are named, of every cluster of expression) among the six nearest spots of
the same section is predicted by ridge in held-out units. Like lives beside like: what the spot's own type gives away
stands beside it as `cell-type-only`, and within the type it is worth nothing.
"""

from mmcell.protocols.features import NichePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = NichePrediction(
    TaskSpec(
        name="spatial-niche",
        question="Does a spot's expression say what surrounds it?",
        dataset="",  # the user's own
        slots={"x": ("rna", "spot"), "niche": ("niche", "spot")},
        partners={"niche": "niche"},
        split=SplitSpec("unit-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca", "cell-type-only"),
        reference="pca",
        probes=("ridge",),
        null_within=("batch",),
        encoders=("pca", "hvg"),
    )
)
