"""A small screen with a known truth: knockdowns of genes, in one pool of cells, and what describes them."""

import anndata as ad
import numpy as np
import pandas as pd

from mmcell import Dataset, Embedding, Roles, SplitSpec
from mmcell.modalities import join
from mmcell.protocols.unseen import UnseenPerturbation
from mmcell.roles import DatasetCard
from tests.toys import VALUES, spec

GENES, LATENTS, CONTROL = 60, 4, "ntc"


def screened(
    n=40, cells=10, controls=60, *, effect=1.0, described=1.0, shared=1.0, noise=1.0, seed=0, with_description=True
):
    """Cells with four latents; knocking gene i down lowers the latents by its loadings, and all raise genes 50-59.

    Gene i is called ``g<i>``, and so is its knockdown. The description is the loadings, mixed with those of nobody.
    """
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(LATENTS, GENES))
    loadings[:, 50:] = 0.0
    z = -loadings[:, :n].T
    own = 0.3 * rng.normal(size=(n, GENES))
    everywhere = np.where(np.arange(GENES) >= 50, shared, 0.0)
    arm = rng.permutation(np.repeat(np.arange(n + 1), [controls, *[cells] * n]))
    moved = np.vstack([np.zeros(GENES), effect * (0.5 * z @ loadings + own + everywhere)])
    x = noise * rng.normal(size=(len(arm), GENES)) + rng.normal(size=(len(arm), LATENTS)) @ loadings + moved[arm]
    names = [CONTROL, *(f"g{i}" for i in range(n))]
    ids = [f"c{i:05d}" for i in range(len(arm))]
    obs = pd.DataFrame({"gene": np.array(names)[arm]}, index=ids)
    rna = ad.AnnData(x)
    rna.obs_names, rna.var_names = ids, [f"g{i}" for i in range(GENES)]
    shown = np.sqrt(described) * z + np.sqrt(1 - described) * rng.normal(size=z.shape)
    roles = Roles(unit="gene", perturbation="gene", control=CONTROL)
    if not with_description:
        rna.obs["gene"] = obs["gene"]
        return Dataset("screened", rna, roles, DatasetCard(name="screened", modalities={"rna": VALUES}))
    part = ad.AnnData(shown)
    part.obs_names, part.var_names = names[1:], [f"d{i}" for i in range(LATENTS)]
    data = join({"rna": rna, "description": part}, pd.concat([obs, pd.DataFrame({"gene": names[1:]}, names[1:])]))
    card = DatasetCard(name="screened", modalities={"rna": VALUES, "description": VALUES})
    return Dataset("screened", data, roles, card)


def vectors(dataset):
    """The description as an embedding of its own."""
    part = dataset.anndata("description")
    return Embedding.from_array("vectors", part.obs_names, np.asarray(part.X), level="profile", modality="description")


def task(**more):
    usual = {
        "controls": ("random", "no-change", "perturbed-mean", "pca", "target-pca"), "reference": "perturbed-mean",
        "probes": ("ridge",), "more_probes": ("neighbours", "mlp"), "encoders": ("pca",),
    }  # fmt: skip
    return UnseenPerturbation(
        spec(
            "toy-unseen", {"x": ("description", "profile"), "effect": ("*", "profile")},
            SplitSpec("perturbations", "group-kfold", n_splits=4, targets=("pairs",)),
            ("discrimination_specific", "discrimination_cosine", "centroid_accuracy", "pearson_delta",
             "pearson_delta_perturbed", "de_overlap@50"),
            "discrimination_specific", partners={"effect": "effects"}, **usual | more,
        )
    )  # fmt: skip
