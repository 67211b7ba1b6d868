"""A line about every probe: what ``mmcell list probes`` and ``mmcell show cox-net`` say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mmcell.task import PLUS_CLINICAL

_SURVIVAL = {
    "cox": "A ridge Cox model of the leading components of the vectors.",
    "cox-dims": "A ridge Cox model whose number of components is chosen, too.",
    "cox-elastic-net": "A Cox model with an elastic net, whose first norm leaves components out.",
    "cox-stratified": "A ridge Cox model with a baseline hazard for each batch, or else for each of roles.strata.",
    "cox-net": "A Cox model that is linear in the whole width of the vectors.",
    "cox-net-hidden": "A Cox model with a small hidden layer over the whole width of the vectors.",
    "forest": "A random survival forest (scikit-survival, the extra `oracles`).",
    "late-fusion": "A ridge Cox model for each slot, one for the covariates, and a small one on what they say.",
}

#: Name -> a sentence about each probe that a shipped task has. What a probe may set is chosen on inner folds of
#: training units, among the same few values for all embeddings.
PROBES: Mapping[str, str] = MappingProxyType(
    {
        "default": "The protocol's own model: a logistic regression of patients, a linear discriminant of items.",
        "knn": "The share of the nearest training patients that are positive.",
        "logistic" + PLUS_CLINICAL: "A logistic regression, with clinical covariates beside the vectors.",
        "axis": "The place along the first principal component of training patients; labels decide its sign alone.",
        "types": "Signatures of treatments, and the direction of the disease, within cell types.",
        "whole": "Signatures of treatments, and the direction of the disease, over all cells of a unit.",
        "neighbours": "The mean effect of a perturbation in the nearest training contexts.",
        "mlp": "A small network from a context to how its effects differ from their mean over training contexts.",
        "ridge": "Ridge regression; of two modalities that are to find each other, each predicts the other.",
        "none": "No model: the two spaces are compared as they are, which is for spaces that are shared already.",
        "procrustes": "Principal components of two modalities, one space turned onto the other.",
        "cca": "Canonical correlation of training pairs, with shrunken covariances.",
        "pls": "Partial least squares of training pairs.",
        "clip-linear": "Linear projections of two modalities, trained by a contrastive loss on training pairs.",
        "clip-mlp": "Small networks on two modalities, trained by a contrastive loss on training pairs.",
        "gromov": "Gromov–Wasserstein: lays two spaces over each other by their distances, and never sees a pair.",
        **_SURVIVAL,
        **{
            name + PLUS_CLINICAL: f"{line.removesuffix('.')}; with clinical covariates beside the vectors."
            for name, line in _SURVIVAL.items()
        },
    }
)
