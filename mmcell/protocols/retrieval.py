"""Retrieval: does an item's embedding in one modality find the same item in another?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import UnaskableError
from mmcell.items import Items
from mmcell.metrics.retrieval import ranks_within
from mmcell.metrics.similarity import Similarity, similarities
from mmcell.probes.crossmodal import fit_head
from mmcell.protocols.pairs import PairedTask, partners_of, strata, training_pairs
from mmcell.splits import Split
from mmcell.task import MethodView

#: Queries that a reader can look at, and how much of the gallery beside each.
_EXAMPLES, _SHOWN = 4, 5
_COLUMNS = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile", "precision")


class Retrieval(PairedTask):
    """Retrieval both ways through a head (see `mmcell.probes.crossmodal`), in three galleries.

    The head is fitted on training units, what it sets is chosen on inner folds of units. Every held-out item then
    ranks the whole held-out gallery, the part in its own batch, and the part in its own batch and cell type, each by
    `similarity`. Its partners are the item of its own id, or, with `matched_by`, all items of its own group (replicates
    of one perturbation), which form one correct set.

    Attributes
    ----------
    similarity
        ``cosine``, ``l2`` or ``l1``, see `mmcell.metrics.retrieval.ranks`.
    """

    similarity: Similarity = "cosine"
    max_items = 40_000

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:  # fmt: skip
        """See `Task.run`; an item without a partner, or alone in a gallery, has nothing to be told from there.

        Raises
        ------
        UnaskableError
            No item of the training or of the held-out units has a partner.
        """
        names = list(self.spec.slots)
        sides = [embeddings[name] for name in names]
        groups = partners_of(view, self.matched_by)
        pairs = training_pairs(view, sides, self.spec.name, self.matched_by, int(rng.integers(2**31)))
        head = fit_head(self.probe, pairs)
        held = [view.test[view.test.isin(side.ids)] for side in sides]
        values = [side.align(ids).values for side, ids in zip(sides, held, strict=True)]
        frames, by_stratum, examples = [], strata(view), {}
        for (query, gallery), a, b in ((head.forward, 0, 1), (head.backward, 1, 0)):
            correct = _partners(groups[a][held[a]], groups[b][held[b]])
            there = np.array([len(c) > 0 for c in correct], dtype=bool)
            if not there.any():
                raise UnaskableError(
                    f"task {self.spec.name!r}: none of {len(held[a])} held-out items has a partner in the other "
                    "modality; check that ids, or the column that pairs them, are the same in both"
                )
            ids = held[a][there]
            left = query(values[a][there]).astype(np.float32)
            right = gallery(values[b]).astype(np.float32)
            scopes = [(group[ids].to_numpy(), group[held[b]].to_numpy()) for group in by_stratum.values()]
            ranked = ranks_within(left, right, [c for c in correct if len(c)], scopes, similarity=self.similarity)
            modality = [self.spec.slots[names[i]][0] for i in (a, b)]
            if split.fold == 0 and split.repeat == 0:
                of = " → ".join(modality)
                examples[of] = _examples(ids, held[b], left, right, [c for c in correct if len(c)], self.similarity)
            for stratum, found in zip(by_stratum, ranked, strict=True):
                frame = pd.DataFrame({name: getattr(found, name) for name in _COLUMNS})
                facts = {"target": "pairs", "query": modality[0], "gallery": modality[1], "stratum": stratum}
                told = (found.n_correct > 0) & (found.n_gallery > found.n_correct)
                frames.append(frame.assign(item=ids, **facts)[told])
        details = {**head.details, "examples": examples} if examples else head.details
        return Items(pd.concat(frames, ignore_index=True), "retrieval", details=details)


def _examples(
    query: pd.Index, gallery: pd.Index, left: np.ndarray, right: np.ndarray, correct: list[np.ndarray], by: Similarity
) -> list[dict[str, Any]]:
    """Return for a few queries, spread evenly over the fold, their partners and what stands first in the gallery."""
    some = np.unique(np.linspace(0, len(query) - 1, _EXAMPLES).astype(int))
    found = similarities(left[some], right, by)[0](0, len(some))
    first = np.argsort(-found, axis=1, kind="stable")[:, :_SHOWN]
    return [
        {
            "query": str(query[i]),
            "partners": [*map(str, gallery[correct[i][:1]])],
            "found": [*map(str, gallery[j])],
            "correct": np.isin(j, correct[i]).tolist(),
        }
        for i, j in zip(some, first, strict=True)
    ]


def _partners(query: pd.Series, gallery: pd.Series) -> list[np.ndarray]:
    """Return the positions in the gallery of each query's partners; none where an item has no group."""
    at = gallery.reset_index(drop=True).groupby(gallery.to_numpy(), sort=False).indices
    none = np.zeros(0, dtype=np.int64)
    return [at.get(value, none) if pd.notna(value) else none for value in query]
