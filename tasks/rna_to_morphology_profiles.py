"""Does what a perturbation does to expression find what it does to morphology?

Profiles of one perturbation in two assays (L1000 and Cell Painting); perturbations are held out. Where the data have
replicates, all profiles of a perturbation in the other assay are its partners. The data are the user's own: one table
an assay, see "Your cohort" in the README.
"""

from mmcell.probes.crossmodal import HEADS
from mmcell.protocols.retrieval import Retrieval
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Retrieval(
    TaskSpec(
        name="rna-to-morphology-profiles",
        question="Does a perturbation's expression profile find its morphology, and the morphology the expression?",
        dataset="",  # the user's own
        slots={"query": ("rna", "profile"), "gallery": ("morphology", "profile")},
        partners={"gallery": "features"},
        split=SplitSpec("perturbation-held-out", "group-kfold", targets=("pairs",)),
        metrics=(
            "recall@1",
            "recall@5",
            "recall@10",
            "enrichment@10",
            "mrr",
            "normalised_ap",
            "percentile",
            "median_rank",
        ),
        primary="percentile",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        more_probes=tuple(name for name in HEADS if name != "ridge"),
        null_within=("batch",),
        encoders=("pca", "features"),
    ),
    matched_by="perturbation",
)
