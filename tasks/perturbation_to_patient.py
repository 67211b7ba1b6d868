"""Does what a treatment does to cells say how ill patients are, what would help them, and how long they live?

In one frozen embedding lie the direction of every treatment (treated cells less controls of the same unit) and the
direction of the disease (ill patients less well ones), both learnt from training patients. Three questions follow, all
of patients held out. The headline: does the place of a patient along the treatment that lies nearest to the disease,
either way, follow severity? Beside it stand the same along every treatment, and along the disease's own direction,
which needs no treatment. Second: of a patient's own treated cells, does the treatment that is known to reverse the
disease undo it most, among all? Third: does the place along the chosen treatment add to clinical covariates in
foretelling survival (C of both less C of covariates)?

A treatment that does nothing has a direction, too, by chance, and so has a disease whose labels mean nothing; intervals
are over patients, and do not know of it. The rows ``severity_p`` and ``disease_p`` say how often treatments without an
effect would order patients as well, the choice among them included; ``connectivity_p`` and ``reversal_p`` how often
labels exchanged within batches would give as much. With ``--null`` labels, severities and outcomes of patients move
together, through the whole pipeline.

Simulated, all links are known: with ``sim-chain:state_effect=0`` the disease leaves the treatments' programme alone,
and with ``treatment_effect=0`` no treatment does anything.
"""

from mmcell.protocols.chain import PerturbationToPatient
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PerturbationToPatient(
    TaskSpec(
        name="perturbation-to-patient",
        question="Does what a treatment does to cells say how ill patients are, and what would help them?",
        dataset="sim-chain",
        slots={"x": ("rna", "cell")},
        split=SplitSpec(
            "patient-held-out", "stratified-group-kfold", "label", 5, 2, targets=("label", "ordered", "outcome")
        ),
        metrics=(
            "severity_spearman", "severity_p", "disease_auroc", "disease_p", "connectivity", "connectivity_p",
            "reversal_rank", "reversal_p", "reversal@1", "combined_c", "added_c",
        ),
        primary="severity_spearman",
        controls=("random", "constant", "technical-only", "pca", "label-permuted"),
        reference="random",
        probes=("types",),
        more_probes=("whole",),
        null_within=("batch",),
        encoders=("pca", "hvg"),
    )
)  # fmt: skip
