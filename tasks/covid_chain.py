"""Does raising a programme's genes in healthy cells lead the way from healthy donors to severe COVID-19?

As far as these data allow. Nobody treated a cell: in copies of healthy donors' cells the genes of a concept are raised
fourfold, which stands for a stimulus and is none (see `mmcell show covid-in-silico`). Severity is two classes, so that
the headline is how well a donor's place along the chosen programme tells severe from healthy; no outcome was measured,
and no treatment is known to reverse, so that neither can be asked. What remains is whether programmes point the way
of the disease: ``connectivity`` of each, beside directions that chance alone gives. Batch B1 can be told from the cells
as well as the disease can, and a direction from healthy to severe donors may be one between batches in part.
"""

from mmcell.protocols.chain import PerturbationToPatient
from mmcell.splits import SplitSpec
from mmcell.task import TaskSpec

task = PerturbationToPatient(
    TaskSpec(
        name="covid-chain",
        question="Does raising a programme in healthy cells lead the way to severe COVID-19?",
        dataset="covid-in-silico",
        slots={"x": ("rna", "cell")},
        split=SplitSpec("donor-held-out", "stratified-group-kfold", "label", 5, 2, targets=("label",)),
        metrics=("disease_auroc", "disease_p", "connectivity", "connectivity_p"),
        primary="disease_auroc",
        controls=("random", "constant", "technical-only", "pca", "label-permuted"),
        reference="random",
        probes=("types",),
        more_probes=("whole",),
        null_within=("batch",),
        encoders=("pca", "gene2vec"),
    )
)  # fmt: skip
