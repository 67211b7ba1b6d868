"""Do perturbations of one target, which are different compounds, find each other on another plate?

The unit is the target: its compounds are held out, resampled and tested together. A profile ranks the mean profiles of
all other held-out compounds on the plates that it is not from. On your own table the column of targets is roles.unit; a
compound whose target nobody shares is one of those to be told from.
"""

from mmcell.protocols.mechanism import Mechanism
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Mechanism(
    TaskSpec(
        name="target-retrieval",
        question="Does a compound's profile find another compound of its target?",
        dataset="nelisa",
        slots={"x": ("*", "profile")},
        split=SplitSpec("target-held-out", "group-kfold", n_splits=2, targets=("pairs",)),
        metrics=("normalised_ap", "retrieved_share", "percentile", "recall@1", "recall@10", "mrr"),
        primary="normalised_ap",
        controls=("random", "constant", "technical-only", "pca"),
        reference="technical-only",
        encoders=("features", "pca"),
        corrections=("tvn",),
        null_within=("batch",),
    ),
    matched_by="unit",
)
