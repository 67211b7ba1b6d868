"""Approximate neighbours by pynndescent or faiss: they propose, distances in double precision order what they found."""

from __future__ import annotations

import numpy as np
from numba import njit

from mmcell.errors import MissingExtraError
from mmcell.metrics.alignment.blocks import in_blocks
from mmcell.metrics.alignment.nearest import nearest, squared

#: Rows of one task of a thread.
_STEP = 4096


def approximate(
    query: np.ndarray, gallery: np.ndarray, own: np.ndarray, k: int, faiss: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return about the `k` nearest rows of a gallery, as `mmcell.metrics.alignment.nearest.nearest` does.

    A row for which fewer than `k` are proposed is searched exactly.

    Raises
    ------
    MissingExtraError
        faiss is asked for and not installed.
    """
    # One more, for the query itself where it stands in the gallery.
    propose = _faiss if faiss else _descent
    proposed = propose(query.astype(np.float32), gallery.astype(np.float32), bool((own >= 0).all()), k + 1, seed)
    indices, distances = np.empty((len(query), k), dtype=np.int64), np.empty((len(query), k))
    short = np.zeros(len(query), dtype=bool)

    def decide(part: slice) -> None:
        _order(proposed[part], query[part], gallery, own[part], indices[part], distances[part], short[part])

    in_blocks(decide, len(query), _STEP)
    if short.any():
        indices[short], distances[short] = nearest(query[short], gallery, own[short], k)
    return indices, distances


def _descent(query: np.ndarray, gallery: np.ndarray, same: bool, k: int, seed: int) -> np.ndarray:
    from pynndescent import NNDescent

    # Trees, rounds and candidates as in umap-learn and scib-metrics.
    n = len(gallery)
    index = NNDescent(
        gallery, n_neighbors=k, random_state=seed, low_memory=True, compressed=False, max_candidates=60,
        n_trees=min(64, 5 + round(n**0.5 / 20)), n_iters=max(5, round(np.log2(n))),
    )  # fmt: skip
    found = index.neighbor_graph[0] if same else index.query(query, k)[0]
    return np.asarray(found, dtype=np.int64)


def _faiss(query: np.ndarray, gallery: np.ndarray, same: bool, k: int, seed: int) -> np.ndarray:  # noqa: ARG001
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("method='faiss'", "faiss-cpu", "faiss") from error
    n, d = gallery.shape
    lists = max(1, round(n**0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, lists)
    index.cp.seed = seed
    index.train(gallery)
    index.add(gallery)
    # An eighth of the lists, which are cells of a k-means: most neighbours of a cell on a border are in adjacent ones.
    index.nprobe = max(8, lists // 8)
    return np.asarray(index.search(query, k)[1], dtype=np.int64)


@njit(cache=True, nogil=True)
def _order(
    proposed: np.ndarray, x: np.ndarray, y: np.ndarray, own: np.ndarray, indices: np.ndarray, distances: np.ndarray,
    short: np.ndarray,
) -> None:  # fmt: skip
    """Order proposals by (distance, position), without the row itself, and mark rows with fewer than wanted."""
    k = indices.shape[1]
    exact = np.empty(proposed.shape[1])
    for r in range(len(x)):
        place = np.sort(proposed[r])
        found = 0
        for j in range(len(place)):
            if place[j] >= 0 and place[j] != own[r] and (j == 0 or place[j] != place[j - 1]):
                place[found], exact[found] = place[j], squared(x[r], y[place[j]])
                found += 1
        short[r] = found < k
        if found >= k:
            order = np.argsort(exact[:found], kind="mergesort")
            for j in range(k):
                indices[r, j] = place[order[j]]
                distances[r, j] = np.sqrt(exact[order[j]])
