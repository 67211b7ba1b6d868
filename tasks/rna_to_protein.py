"""Does a cell's transcriptome find its own surface proteins, beyond batch and cell type?

CITE-seq measures both in the same cell, so the correct partner is known. Donors are held out; the gallery is every
held-out cell, then those of the same batch, then those of the same batch and cell type. The last one is what the
transcriptome knows about a cell beyond its type.
"""

from mmcell.probes.crossmodal import HEADS
from mmcell.protocols.retrieval import Retrieval
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = Retrieval(
    TaskSpec(
        name="rna-to-protein",
        version="2",  # each direction has a head of its own, and proteins look for transcriptomes among transcriptomes
        question="Does a cell's transcriptome find its surface proteins, and the proteins the transcriptome?",
        dataset="covid-cite",
        slots={"query": ("rna", "cell"), "gallery": ("protein", "cell")},
        partners={"gallery": "clr"},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("recall@1", "recall@5", "recall@10", "enrichment@10", "mrr", "percentile", "foscttm"),
        primary="percentile",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        more_probes=tuple(name for name in HEADS if name != "ridge"),
        null_within=("batch", "cell_type"),
        encoders=("pca", "hvg", "gene2vec", "gene2vec-untrained"),
    )
)
