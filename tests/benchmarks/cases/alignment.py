"""The full set of alignment metrics on cells × 50 dimensions in 3 batches and 17 types; neighbours are found once."""

import numpy as np

from tests.benchmarks.case import Case

D, BATCHES, TYPES = 50, 3, 17


def cells(n, folder):
    """Types of unequal size, shifted batches, and dimensions that fade as principal components do."""
    rng = np.random.default_rng(0)
    label = rng.choice(TYPES, n, p=rng.dirichlet(np.full(TYPES, 3.0)))
    batch = rng.integers(0, BATCHES, n)
    fade = np.linspace(2.0, 0.3, D)
    centre = rng.normal(size=(TYPES, D))[label] + 0.15 * rng.normal(size=(BATCHES, D))[batch]
    return ((rng.normal(size=(n, D)) + centre) * fade).astype(np.float32), label, batch


def ours(data):
    from mmcell.metrics import alignment as al

    x, label, batch = data
    near = al.neighbors(x, 89)
    silhouette = al.silhouette_of_cells(x, label)
    clusters = al.kmeans_clusters(x, n_clusters=TYPES).codes
    return {
        "ilisi": al.ilisi(near, batch),
        "clisi": al.clisi(near, label),
        "kbet": al.kbet(near.first(49), batch, label),
        "connectivity": al.graph_connectivity(near.first(14), label),
        "label_asw": (silhouette.mean() + 1) / 2,
        "isolated": al.isolated_asw(silhouette, label, batch),
        "bras": al.bras(x, label, batch),
        "batch_variance": al.batch_variance(x, batch),
        "nmi": al.nmi(label, clusters),
        "ari": al.ari(label, clusters),
    }


def theirs(data):
    import scib_metrics as sm
    from scib_metrics.nearest_neighbors import pynndescent
    from scib_metrics.utils import principal_component_regression

    x, label, batch = data
    near = pynndescent(x, 90, n_jobs=-1)
    clusters = sm.nmi_ari_cluster_labels_kmeans(x, label)
    return {
        "ilisi": sm.ilisi_knn(near, batch),
        "clisi": sm.clisi_knn(near, label),
        "kbet": sm.kbet_per_label(near.subset_neighbors(50), batch, label),
        "connectivity": sm.graph_connectivity(near.subset_neighbors(15), label),
        "label_asw": sm.silhouette_label(x, label),
        "isolated": sm.isolated_labels(x, label, batch),
        "bras": sm.bras(x, label, batch),
        "batch_variance": principal_component_regression(x, batch, categorical=True),
        "nmi": clusters["nmi"],
        "ari": clusters["ari"],
    }


# Their neighbours are approximate, and those of kBET lie in diffusion space.
CASES = (
    Case(
        "alignment", "ten metrics of alignment, {n} cells × 50", cells, ours, 50_000, (6250, 12_500, 25_000, 50_000),
        {"scib-metrics": theirs}, {"scib-metrics": 2}, {"scib-metrics": 0.02}, 1_500,
    ),
)  # fmt: skip
