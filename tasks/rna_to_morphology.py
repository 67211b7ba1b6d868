"""Does a cell's transcriptome find its image, beyond batch and cell type?

Cells whose transcriptome and picture were both taken. The data are simulated: type and two latent programmes shape
both, so that there is something to find beyond the type, and what is planted is the ceiling. Image encoders take the
slot ``gallery`` (``gallery=timm:tf_efficientnet_lite0``); the default is intensity, texture and shape made by hand.
"""

from mmcell.probes.crossmodal import HEADS
from mmcell.protocols.retrieval import Retrieval
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Retrieval(
    TaskSpec(
        name="rna-to-morphology",
        question="Does a cell's transcriptome find its image, and the image the transcriptome?",
        dataset="sim-cohort",
        slots={"query": ("rna", "cell"), "gallery": ("image", "cell")},
        partners={"gallery": "image-features"},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("recall@1", "recall@5", "recall@10", "enrichment@10", "mrr", "percentile", "median_rank", "foscttm"),
        primary="percentile",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        more_probes=tuple(name for name in HEADS if name != "ridge"),
        null_within=("batch", "cell_type"),
        encoders=("pca", "hvg"),
    )
)
