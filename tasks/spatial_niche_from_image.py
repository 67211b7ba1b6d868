"""Does the image around a spot say what surrounds it, in tissue that was never seen?

As `spatial-niche`, from the picture; a tile that is wider than the distance of spots shows the neighbours themselves.
"""

from mmcell.protocols.features import NichePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = NichePrediction(
    TaskSpec(
        name="spatial-niche-from-image",
        question="Does the image around a spot say what surrounds it?",
        dataset="",  # the user's own
        slots={"x": ("image", "spot"), "niche": ("niche", "spot")},
        partners={"niche": "niche"},
        split=SplitSpec("unit-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca", "image-features", "cell-type-only"),
        reference="image-features",
        probes=("ridge",),
        null_within=("batch",),
        encoders=("image-features",),
    )
)
