"""Which surface proteins does a cell's transcriptome predict, beyond batch and cell type?

CITE-seq measures both in the same cell. Each protein (centred log-ratio of its counts) is predicted by ridge in
held-out donors, and scored by itself: over all their cells, within a batch, and within a batch and cell type.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="protein-from-rna",
        question="Which surface proteins does a cell's transcriptome predict?",
        dataset="covid-cite",
        slots={"x": ("rna", "cell"), "features": ("protein", "cell")},
        partners={"features": "clr"},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        null_within=("batch", "cell_type"),
        encoders=("pca", "hvg", "gene2vec", "gene2vec-untrained"),
    )
)
