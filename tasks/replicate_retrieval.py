"""Does a perturbation look alike on another plate, and unlike the controls and all others?

Profiles of one perturbation are sought on the plates that a profile is not from: among everything there, and among
controls alone, which asks whether the perturbation does anything. Replicates often share their position on the plate:
`layout_ap` is how well control wells of one position find each other, to be read beside the controls. With studies for
plates (roles.batch) the same condition is sought in another study. Perturbations are held out, for encoders and
corrections that are fitted. On your own table name perturbations, plates and controls in the card (roles
`perturbation`, `batch`, `control`), and give control wells units of their own.
"""

from mmcell.protocols.mechanism import Mechanism
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Mechanism(
    TaskSpec(
        name="replicate-retrieval",
        question="Does a perturbation's profile find its replicates on other plates?",
        dataset="nelisa",
        slots={"x": ("*", "profile")},
        split=SplitSpec("perturbation-held-out", "group-kfold", n_splits=2, targets=("pairs",)),
        metrics=("normalised_ap", "retrieved_share", "layout_ap", "percentile", "recall@1", "recall@10", "mrr"),
        primary="normalised_ap",
        controls=("random", "constant", "technical-only", "pca"),
        reference="technical-only",
        encoders=("features", "pca"),
        corrections=("tvn",),
        null_within=("batch",),
    )
)
