"""Alignment of datasets: are their cells mixed, and does their biology stay where it is?

Functions of arrays, one row a cell. `neighbors` is computed once and shared. Mixing (batches) and biology (labels)
are two axes, never one total. A metric of cells has a twin ``NAME_of_cells`` with one value a cell, for means within
donors, and a metric of labels a twin ``NAME_of_labels``. What is undefined is NaN: a cell whose neighbours all lie at
distance 0 cannot be told apart from them, and a number over such cells is undefined or the worst, so that an embedding
with all points equal wins nowhere.
"""

from mmcell.metrics.alignment.bras import bras, bras_of_cells, bras_of_labels
from mmcell.metrics.alignment.graph import Neighbors, neighbors
from mmcell.metrics.alignment.labels import shared
from mmcell.metrics.alignment.silhouette import label_asw, silhouette_of_cells
from mmcell.metrics.alignment.simpson import clisi, clisi_of_cells, ilisi, ilisi_mixed, ilisi_of_cells, lisi

__all__ = [
    "Neighbors", "bras", "bras_of_cells", "bras_of_labels", "clisi", "clisi_of_cells", "ilisi", "ilisi_mixed",
    "ilisi_of_cells", "label_asw", "lisi", "neighbors", "shared", "silhouette_of_cells",
]  # fmt: skip
