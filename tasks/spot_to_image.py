"""Does a patch of tissue find the expression of its spot?

Spatial transcriptomics with an H&E image: the image around each spot is encoded, and looks for the spot's expression in
all held-out spots and within its own section. Patients are held out; with sections as units, sections are. The data are
the user's own: counts, positions and an image a section, see "Your cohort" in the README.
"""

from mmcell.probes.crossmodal import HEADS
from mmcell.protocols.retrieval import Retrieval
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Retrieval(
    TaskSpec(
        name="spot-to-image",
        question="Does the image around a spot find its expression, and the expression the image?",
        dataset="",  # the user's own
        slots={"query": ("image", "spot"), "gallery": ("rna", "spot")},
        partners={"gallery": "pca"},
        split=SplitSpec("unit-held-out", "group-kfold", targets=("pairs",)),
        metrics=("recall@1", "recall@5", "recall@10", "enrichment@10", "mrr", "percentile", "median_rank", "foscttm"),
        primary="percentile",
        controls=("random", "constant", "technical-only", "pca", "image-features"),
        reference="image-features",
        probes=("ridge",),
        more_probes=tuple(name for name in HEADS if name != "ridge"),
        null_within=("batch",),
        encoders=("image-features",),
    )
)
