"""Do untreated cells say what a treatment would do to them, in a patient and a type of cells never seen treated?

A context is a patient's cells of one type. What every treatment changes in it is predicted from its control cells, by
probes that were fitted on other patients' cells of all other types. The headline asks whose effect it is, among the
held-out patients in the same type under the same treatment, where every mean ties with all of them. The stratum
``unit×cell_type`` asks which treatment it is of, among those of the same patient and type: what ``matching-mean``, the
mean effect of the treatment in the other types, does well wherever types respond alike. The worst type is named, for a
good mean may hide types that do not respond as the others do. Encoders that are fitted read the training patients'
cells of every type, without labels.

What is planted in ``sim-perturbation`` says what is possible. ``unrelated`` moves all types, ``mimic`` and ``reversal``
monocytes, dendritic and cytotoxic T cells alone, ``inert`` nothing; whom a treatment moves more is seen in the
untreated cells of these three types, and of no other. Measured with ridge, alike for PCA and variable genes: whose
effect it is, is found in monocytes (0.63 and 0.65) and dendritic cells (0.60 and 0.63; chance 0.55), not in B cells
(0.55), over all types 0.05 beyond every mean; which treatment it is, neither says better than the mean does (0.89).
"""

from mmcell.protocols.perturbation import PerturbationEffect
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PerturbationEffect(
    TaskSpec(
        name="perturbation-type",
        question="Do untreated cells say what a treatment does to a type of cells never seen treated?",
        dataset="sim-perturbation",
        slots={"x": ("rna", "cell"), "effect": ("rna", "cell")},
        partners={"effect": "effects-by-type"},
        split=SplitSpec("patient-held-out", "group-kfold", n_splits=5, repeats=2, targets=("pairs",)),
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
    ),
    unseen_types=True,
)  # fmt: skip
