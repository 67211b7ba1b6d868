"""The content of a dataset as one digest: what keys and records know it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcell.digest import digest, digest_array, digest_file, digest_ids

if TYPE_CHECKING:
    from mmcell.dataset import Dataset


def content_of(dataset: Dataset) -> str:
    """Return the sha256 of values, ids, the columns of the roles and the card; of values on disk that of their file."""
    parts = []
    for name in dataset.data.mod if hasattr(dataset.data, "mod") else dataset.card.modalities:
        part = dataset.anndata(name)
        # What readers are shown beside X: other names of genes, and the layout of images.
        named = dataset.modality(name).gene_columns.values()
        genes = [digest_ids(part.var[c]) for c in named if c in part.var]
        # Positions decide what surrounds a spot.
        places = [digest_array(np.asarray(part.obsm["spatial"]))] if "spatial" in part.obsm else []
        x = part.X
        if name in dataset.disk:
            disk = dataset.disk[name]
            kind, arrays = f"{disk.element} of {digest_file(disk.path)}", [disk.columns]
        elif hasattr(x, "indptr"):
            kind, arrays = x.format, [x.data, x.indices, x.indptr]
        else:
            kind, arrays = getattr(x, "format", "dense"), [x]
        seen = [digest_ids(part.var_names), genes, _plain(part.uns.get("image")), kind]
        parts.append([name, *seen, *(digest_array(np.asarray(a)) for a in arrays if a is not None), *places])
    columns = sorted(set(dataset.roles.columns.values()))
    table = [[c, digest_ids(dataset.obs[c])] for c in columns]
    more = [dataset.roles.reversing] if dataset.roles.reversing else []
    return digest(parts, table, digest_ids(dataset.ids), repr(dataset.roles), dataset.card.model_dump(), *more)


def _plain(value: Any) -> Any:
    """Return what ``uns`` holds as lists and mappings: a file gives arrays where memory had tuples."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
