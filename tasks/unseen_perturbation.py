"""Does what is known of a perturbation beforehand say what it does, when it was never tried?

From a vector of a held-out perturbation (of its target gene, its structure, a text about it) a probe predicts what it
changes, gene by gene. The headline asks whether a prediction lies nearest to the effect of the perturbation it is of,
among those held out with it, on what is particular to each: the mean effect of all others, and no change, tie with
everything. Few are held out together (a fifth of all), so that chance stands beside every score. Beside it stand how
alike predicted and measured changes are, from controls, where the mean effect of other perturbations already does well,
and from the mean of those held out, where it cannot; and whether trying the largest predicted effects first would have
found the strong ones (ten significant genes or more) sooner than chance.

The vectors are those of the modality ``description``, or a table of one's own whose rows are called as perturbations:
``--embedding vectors.csv --dataset screen.yaml``, with ``roles: {unit: gene, perturbation: gene, control: NAME}``. What
the table lacks is left out and counted. Simulated descriptions tell seven tenths of what perturbations do to programmes
of genes, and nothing of what each has for itself; with ``sim-screen:described=0`` they tell nothing.
"""

from mmcell.protocols.unseen import UnseenPerturbation
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = UnseenPerturbation(
    TaskSpec(
        name="unseen-perturbation",
        question="Does what is known of a perturbation say what it does, when it was never tried?",
        dataset="sim-screen",
        slots={"x": ("description", "profile"), "effect": ("*", "profile")},
        partners={"effect": "effects"},
        split=SplitSpec("perturbation-held-out", "group-kfold", n_splits=5, repeats=2, targets=("pairs",)),
        metrics=(
            "discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta",
            "pearson_delta_perturbed", "de_overlap@50", "strong_auroc", "strong_enrichment",
        ),
        primary="discrimination_specific",
        controls=("random", "no-change", "perturbed-mean", "pca", "target-pca"),
        reference="perturbed-mean",
        probes=("ridge",),
        more_probes=("neighbours", "mlp"),
        encoders=("pca", "features"),
    )
)  # fmt: skip
