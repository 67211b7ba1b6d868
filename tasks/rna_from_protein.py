"""Which genes do a cell's surface proteins predict, beyond batch and cell type?

The other way round than `protein-from-rna`: the genes are the 200 that vary most among training cells, as log values of
library-size-normalised counts.
"""

from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = FeaturePrediction(
    TaskSpec(
        name="rna-from-protein",
        question="Which genes do a cell's surface proteins predict?",
        dataset="covid-cite",
        slots={"x": ("protein", "cell"), "features": ("rna", "cell")},
        partners={"features": {"use": "hvg", "n_top": 200, "by": "variance"}},
        split=SplitSpec("donor-held-out", "group-kfold", targets=("pairs",)),
        metrics=("feature_pearson", "feature_r2", "features_beyond"),
        primary="feature_pearson",
        controls=("random", "constant", "technical-only", "pca"),
        reference="pca",
        probes=("ridge",),
        null_within=("batch", "cell_type"),
        encoders=("pca", "clr"),
    )
)
