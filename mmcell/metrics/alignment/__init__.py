"""Alignment of datasets: are their cells mixed, and does their biology stay where it is?

Functions of arrays, one row a cell. `neighbors` is computed once and shared. Mixing (batches) and biology (labels)
are two axes, never one total. A metric of cells has a twin ``NAME_of_cells`` with one value a cell, for means within
donors, and a metric of labels a twin ``NAME_of_labels``. What is undefined is NaN: a cell whose neighbours all lie at
distance 0 cannot be told apart from them, and a number over such cells is undefined or the worst, so that an embedding
with all points equal wins nowhere.
"""

from mmcell.metrics.alignment.acceptance import kbet, kbet_of_cells, kbet_of_labels
from mmcell.metrics.alignment.batch_silhouette import bras, bras_of_cells, bras_of_labels
from mmcell.metrics.alignment.clusters import Clustering, ari, kmeans_clusters, leiden_clusters, nmi
from mmcell.metrics.alignment.connections import connections, graph_connectivity, graph_connectivity_of_labels
from mmcell.metrics.alignment.graph import Neighbors, neighbors
from mmcell.metrics.alignment.isolated import (
    isolated_asw,
    isolated_asw_of_labels,
    isolated_f1,
    isolated_f1_of_labels,
    isolated_labels,
)
from mmcell.metrics.alignment.label_transfer import Transfer, transfer
from mmcell.metrics.alignment.labels import shared
from mmcell.metrics.alignment.samples import SampleRetrieval, sample_retrieval
from mmcell.metrics.alignment.silhouette import label_asw, silhouette_of_cells
from mmcell.metrics.alignment.simpson import clisi, clisi_of_cells, ilisi, ilisi_mixed, ilisi_of_cells, lisi
from mmcell.metrics.alignment.variance import batch_variance, covariate_variance, variance_comparison

__all__ = [
    "Clustering", "Neighbors", "SampleRetrieval", "Transfer", "ari", "batch_variance", "bras", "bras_of_cells",
    "bras_of_labels", "clisi", "clisi_of_cells", "connections", "covariate_variance", "graph_connectivity",
    "graph_connectivity_of_labels", "ilisi", "ilisi_mixed", "ilisi_of_cells", "isolated_asw",
    "isolated_asw_of_labels", "isolated_f1", "isolated_f1_of_labels", "isolated_labels", "kbet", "kbet_of_cells",
    "kbet_of_labels", "kmeans_clusters", "label_asw", "leiden_clusters", "lisi", "neighbors", "nmi",
    "sample_retrieval", "shared", "silhouette_of_cells", "transfer", "variance_comparison",
]  # fmt: skip
