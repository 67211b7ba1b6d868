"""Do a patient's untreated cells say what a treatment would do to them, in a patient never seen?

From the mean embedding of a held-out patient's control cells a probe predicts what every treatment changes, gene by
gene. The headline asks whether a prediction lies nearest to the patient it is of, among all held-out patients under
that treatment: this is what an embedding can add, and no mean can win it, for what is equal for all patients ties with
all of them. It is scored on what is particular to each patient, so that the size of the shared effect does not matter.
Beside it stand how alike predicted and measured effects are, and, in the stratum ``unit``, whether a prediction lies
nearest to the treatment it is of, among all treatments of that patient; both are what the mean effect of each
treatment, ``matching-mean``, does well.

Treatments are few and taken as given: intervals are over patients. The simulated treatments do more in the ill; with
``sim-perturbation:response_effect=0`` they do the same in everybody, and with ``treatment_effect=0`` nothing.
"""

from mmcell.protocols.perturbation import PerturbationEffect
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PerturbationEffect(
    TaskSpec(
        name="perturbation-effect",
        question="Do a patient's untreated cells say what a treatment does to them?",
        dataset="sim-perturbation",
        slots={"x": ("rna", "cell"), "effect": ("rna", "cell")},
        partners={"effect": "effects"},
        split=SplitSpec("patient-held-out", "group-kfold", n_splits=5, repeats=2, targets=("pairs",)),
        metrics=(
            "discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta",
            "pearson_delta_perturbed", "de_overlap@50",
        ),
        primary="discrimination_specific",
        controls=(
            "random", "technical-only", "cell-type-only", "no-change", "perturbed-mean", "matching-mean", "pca",
        ),
        reference="matching-mean",
        probes=("ridge",),
        more_probes=("neighbours", "mlp"),
        null_within=("perturbation",),
        encoders=("pca", "hvg"),
    )
)  # fmt: skip
