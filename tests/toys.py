"""Small simulated cohorts with a known truth, and small tasks of every protocol on them."""

import anndata as ad
import mudata
import numpy as np
import pandas as pd

from mmcell import Dataset, Roles, SplitSpec, TaskSpec
from mmcell.modalities import not_pulling
from mmcell.protocols.alignment import Alignment
from mmcell.protocols.patient import PatientState
from mmcell.protocols.retrieval import Retrieval
from mmcell.protocols.survival import PROBES, Survival
from mmcell.roles import DatasetCard, ModalityCard, Outcome

FLOORS = ("random", "constant", "technical-only")
COUNTS = ModalityCard(preprocessing="counts", identifiers="other")
VALUES = ModalityCard(preprocessing="values", identifiers="other")


def cite(n_donors=12, n_cells=40, *, effect=3.0, seed=0, roles=None, **columns):
    """RNA and protein of the same cells: half the donors of each batch are ill, which multiplies genes 0-4.

    Types have marker genes, protein j follows gene j, batches differ in genes 25-29. Keywords replace columns of obs.
    """
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    ill, batch = donor // 2 % 2, donor % 2
    kind = rng.integers(0, 3, len(donor))
    rate = np.full((len(donor), 30), 2.0)
    for k in range(3):
        rate[kind == k, 5 + 4 * k : 9 + 4 * k] *= 4.0
    rate[ill == 1, :5] *= effect
    rate[batch == 1, 25:] *= 2.0
    rate *= rng.gamma(2.0, 0.5, rate.shape)
    ids = [f"cell{i:04d}" for i in range(len(donor))]
    obs = pd.DataFrame(
        {
            "donor": [f"D{d:02d}" for d in donor],
            "batch": np.where(batch == 1, "b2", "b1"),
            "kind": np.array(["B", "NK", "T"])[kind],
            "state": np.where(ill == 1, "ill", "well"),
            "age": 40.0 + 7 * donor % 11,
        },
        index=ids,
    ).assign(**columns)
    parts = {
        "rna": ad.AnnData(rng.poisson(rate).astype(np.float32)),
        "protein": ad.AnnData(rng.poisson(20 * rate[:, :12]).astype(np.float32)),
    }
    for name, part in parts.items():
        part.obs_names = ids
        part.var_names = [f"{name}{i}" for i in range(part.n_vars)]
    with not_pulling():
        data = mudata.MuData(parts)
    data.obs = obs.loc[data.obs_names]
    usual = {
        "unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state", "positive": "ill",
        "clinical": ("age",),
    }  # fmt: skip
    card = DatasetCard(name="toy", modalities={"rna": COUNTS, "protein": COUNTS})
    return Dataset("toy", data, Roles(**usual | (roles or {})), card)


def survivors(n=40, *, effect=2.5, seed=0, roles=None, **columns):
    """Patients whose first of eight features is the log hazard; about a third are censored."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 8)).astype(np.float32)
    death = rng.exponential(np.exp(-effect * values[:, 0]))
    censored = rng.exponential(2.0, n)
    ids = [f"P{i:03d}" for i in range(n)]
    obs = pd.DataFrame(
        {
            "patient": ids,
            "years": np.minimum(death, censored) + 1e-3,
            "death": (death <= censored).astype(int),
            "site": np.where(np.arange(n) % 2, "s1", "s2"),
            "age": rng.normal(60, 8, n),
        },
        index=ids,
    ).assign(**columns)
    data = ad.AnnData(values, obs=obs)
    data.var_names = [f"x{i}" for i in range(8)]
    usual = {"unit": "patient", "batch": "site", "outcome": Outcome("years", "death"), "clinical": ("age",)}
    card = DatasetCard(name="survivors", level="patient", modalities={"rna": VALUES}, time_unit="years")
    return Dataset("survivors", data, Roles(**usual | (roles or {})), card)


def keep(dataset, rows):
    """The dataset with some of its items."""
    with not_pulling():
        return Dataset(dataset.name, dataset.data[rows].copy(), dataset.roles, dataset.card)


def spec(name, slots, split, metrics, primary, **more):
    facts = {"dataset": "toy", "controls": FLOORS, "reference": "random", "encoders": ("pca",)} | more
    return TaskSpec(name=name, question="?", slots=slots, split=split, metrics=metrics, primary=primary, **facts)


RETRIEVAL = Retrieval(
    spec(
        "toy-retrieval",
        {"query": ("rna", "cell"), "gallery": ("protein", "cell")},
        SplitSpec("donors", "group-kfold", n_splits=3, targets=("pairs",)),
        ("recall@1", "recall@5", "percentile"),
        "percentile",
        partners={"gallery": "clr"},
    )
)
ALIGNMENT = Alignment(
    spec(
        "toy-alignment",
        {"x": ("rna", "cell")},
        (
            SplitSpec("batch-out", "leave-one-group-out", "batch", targets=("cell_type",)),
            SplitSpec("donors", "stratified-group-kfold", "batch", n_splits=3, targets=("batch",)),
        ),
        ("balanced_accuracy", "batch_predictability"),
        "balanced_accuracy",
    )
)
PATIENT = PatientState(
    spec(
        "toy-patient",
        {"x": ("rna", "patient")},
        (
            SplitSpec("grouped", "stratified-group-kfold", "label", n_splits=3, repeats=2, targets=("label", "batch")),
            SplitSpec("batch-out", "leave-one-group-out", "batch", targets=("label",)),
        ),
        ("auroc", "balanced_accuracy", "batch_auroc"),
        "auroc",
        controls=(*FLOORS, "clinical-only", "composition"),
        reference="composition",
        patient_encoders=("pseudobulk",),
    )
)
SURVIVAL = Survival(
    spec(
        "toy-survival",
        {"x": ("rna", "patient")},
        SplitSpec("grouped", "stratified-group-kfold", "outcome", n_splits=3, targets=("outcome",)),
        ("harrell_c",),
        "harrell_c",
        dataset="survivors",
        controls=(*FLOORS, "clinical-only"),
        reference="clinical-only",
        probes=PROBES,
        encoders=("features",),
    )
)
#: Every protocol with the cohort that it runs on.
TASKS = {"retrieval": RETRIEVAL, "alignment": ALIGNMENT, "patient": PATIENT, "survival": SURVIVAL}


def cohort_of(task):
    return survivors() if task is SURVIVAL else cite()


class Noise:
    """An encoder without skill that differs from the control `random`."""

    def __init__(self, seed=0):
        self.seed = seed

    def encode(self, data):
        return np.random.default_rng(self.seed).normal(size=(data.n_obs, 10))
