"""Do a glioblastoma's untreated cells say what panobinostat does to them, in a patient never seen?

Slices of five tumours with the drug and without. One patient is held out at a time, which asks how alike predicted and
measured effects are; and two or three at a time, ten times over, which asks whether a prediction lies nearer to the
patient it is of than to the others. With five patients there is no interval, and nothing here tells one embedding from
another: the task shows how the question is put to real cells. The file is brought by the user, see `mmcell show
gbm-panobinostat`.
"""

from mmcell.protocols.perturbation import PerturbationEffect
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PerturbationEffect(
    TaskSpec(
        name="gbm-effect",
        question="Do a glioblastoma's untreated cells say what panobinostat does to them?",
        dataset="gbm-panobinostat",
        slots={"x": ("rna", "cell"), "effect": ("rna", "cell")},
        partners={"effect": "effects"},
        split=(
            SplitSpec("patient-held-out", "group-kfold", n_splits=5, targets=("pairs",)),
            SplitSpec("half-held-out", "group-kfold", n_splits=2, repeats=10, targets=("pairs",)),
        ),
        metrics=(
            "discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta",
            "pearson_delta_perturbed", "de_overlap@50",
        ),
        primary="discrimination_specific",
        controls=("random", "technical-only", "no-change", "perturbed-mean", "matching-mean", "pca"),
        reference="matching-mean",
        probes=("ridge",),
        more_probes=("neighbours", "mlp"),
        null_within=("perturbation",),
        encoders=("pca", "hvg"),
    )
)  # fmt: skip
