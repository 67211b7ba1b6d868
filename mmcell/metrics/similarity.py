"""Similarity of rows of one space, higher = nearer, and how far two may differ and still tie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from scipy.spatial.distance import cdist

from mmcell.errors import MmcellError, did_you_mean

Similarity = Literal["cosine", "l2", "l1"]
#: Similarities closer than this share of their scale are ties.
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}
_METRIC = {"l2": "euclidean", "l1": "cityblock"}
_ORDER = {"l2": 2, "l1": 1}

#: Rows a:b of the queries -> their similarities (b − a, m) with the gallery.
Block = Callable[[int, int], np.ndarray]


def similarities(
    query: np.ndarray, gallery: np.ndarray, similarity: Similarity
) -> tuple[Block, np.ndarray, np.ndarray, float, int]:
    """Prepare similarities in blocks.

    Parameters
    ----------
    query, gallery
        (n, d) and (m, d).
    similarity
        ``cosine``: products of unit rows, float32 unless both inputs are float64. ``l2``, ``l1``: the distance with its
        sign turned, in float64.

    Returns
    -------
    block
        Rows a:b of the queries -> (b − a, m).
    void_query, void
        (n,) and (m,) rows of length zero, which have no direction; none under a distance.
    tolerance
        1e-6 of the scale (1e-12 where both inputs are float64); the scale is 1 for cosine, else the greatest length
        of a query plus that of an item.
    itemsize
        Bytes of one similarity.

    Raises
    ------
    MmcellError
        No such similarity.
    """
    if similarity not in get_args(Similarity):
        raise MmcellError(
            f"unknown similarity {similarity!r}; {did_you_mean(similarity, list(get_args(Similarity)))}"
        )  # fmt: skip
    double = query.dtype == np.float64 and gallery.dtype == np.float64
    kind = np.dtype(np.float64 if double else np.float32)
    if similarity == "cosine":
        left, void_query = _unit_rows(query, kind)
        right, void = _unit_rows(gallery, kind)
        return lambda a, b: left[a:b] @ right.T, void_query, void, TOLERANCE[kind], kind.itemsize
    left, right = (np.asarray(v, dtype=np.float64) for v in (query, gallery))
    scale = sum(np.linalg.norm(v, _ORDER[similarity], axis=1).max(initial=0.0) for v in (left, right))
    return (
        lambda a, b: -cdist(left[a:b], right, _METRIC[similarity]),
        np.zeros(len(left), dtype=bool), np.zeros(len(right), dtype=bool), float(TOLERANCE[kind] * scale), 8,
    )  # fmt: skip


def _unit_rows(values: np.ndarray, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(values, dtype=np.float64)
    # Scaling by the largest entry first keeps very small rows from vanishing in the square.
    peak = np.abs(array).max(axis=1, initial=0.0)
    void = peak == 0
    array = array / np.where(void, 1.0, peak)[:, None]
    norm = np.sqrt(np.einsum("ij,ij->i", array, array))
    return (array / np.where(void, 1.0, norm)[:, None]).astype(kind), void
