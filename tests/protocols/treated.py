"""Small cohorts of perturbed cells whose truth is known."""

import anndata as ad
import numpy as np
import pandas as pd

from mmcell import Dataset, Embedding, Roles, SplitSpec
from mmcell.protocols.perturbation import PerturbationEffect
from mmcell.roles import DatasetCard, ModalityCard
from tests.toys import spec

ARMS = ("dmso", "drug1", "drug2", "drug3")
GENES = 60


def treated(n=24, cells=12, *, effect=1.5, response=0.0, types=1, noise=1.0, seed=0, arms=ARMS):
    """Patients whose level z shows in the controls' genes 50-59; arm p moves the genes from 10p on, 1 + response · z.

    Of several types the second answers the other way round.
    """
    rng = np.random.default_rng(seed)
    z = rng.permutation(np.linspace(-1.5, 1.5, n))
    own = rng.normal(scale=0.3, size=(n, GENES))
    table = pd.DataFrame(
        [(u, a, k) for u in range(n) for a in range(len(arms)) for k in range(types) for _ in range(cells)],
        columns=["u", "arm", "kind"],
    )
    x = rng.normal(scale=noise, size=(len(table), GENES)) + own[table["u"]]
    x[:, 50:] += z[table["u"], None]
    for a in range(1, len(arms)):
        rows = np.flatnonzero(table["arm"] == a)
        size = effect * (1 + response * z[table["u"].iloc[rows]]) * np.where(table["kind"].iloc[rows] == 1, -1.0, 1.0)
        x[rows, 10 * a : 10 * a + 10] += size[:, None]
    obs = pd.DataFrame(
        {
            "patient": [f"P{u:02d}" for u in table["u"]], "drug": np.array(arms)[table["arm"]],
            "kind": np.array(["T", "B", "NK"])[table["kind"]],
        },
        index=[f"c{i:05d}" for i in rng.permutation(len(table))],
    )  # fmt: skip
    data = ad.AnnData(x, obs=obs)
    data.var_names = [f"g{i}" for i in range(GENES)]
    card = DatasetCard(name="treated", modalities={"rna": ModalityCard(preprocessing="values", identifiers="other")})
    return Dataset("treated", data, Roles(unit="patient", perturbation="drug", control="dmso", cell_type="kind"), card)


def levels(dataset):
    """An embedding of the genes that show a patient's level."""
    return Embedding.from_array("levels", dataset.ids, np.asarray(dataset.data.X)[:, 50:].copy())


def task(partner="effects", *, unseen_types=False, **more):
    usual = {
        "controls": ("random", "no-change", "perturbed-mean", "matching-mean"), "reference": "matching-mean",
        "probes": ("ridge",), "more_probes": ("neighbours", "mlp"), "null_within": ("perturbation",),
    }  # fmt: skip
    return PerturbationEffect(
        spec(
            "toy-effect", {"x": ("rna", "cell"), "effect": ("rna", "cell")},
            SplitSpec("patients", "group-kfold", n_splits=4, targets=("pairs",)),
            ("discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta",
             "pearson_delta_perturbed", "de_overlap@50"),
            "discrimination_specific", partners={"effect": partner}, **usual | more,
        ),
        unseen_types=unseen_types,
    )  # fmt: skip
