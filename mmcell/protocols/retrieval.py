"""Retrieval: does an item's embedding in one modality find the same item in another?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.retrieval import ranks_within
from mmcell.metrics.similarity import Similarity
from mmcell.probes.crossmodal import fit_head
from mmcell.probes.head import Pairs
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec

_COLUMNS = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile")


class Retrieval(Task):
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
    probe = "ridge"

    required = ("random", "constant", "technical-only", "pca", "partner-permuted")
    ceilings = ("oracle", "split-half")

    def __init__(self, spec: TaskSpec, *, matched_by: str = "") -> None:
        self.spec = spec
        self.matched_by = matched_by

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`; an item without a partner, or alone in a gallery, has nothing to be told from there.

        Raises
        ------
        MmcellError
            No item of the training or of the held-out units has a partner.
        """
        names = list(self.spec.slots)
        sides = [embeddings[name] for name in names]
        groups = self._groups(view)
        pairs = self._training(view, sides, groups, int(rng.integers(2**31)))
        head = fit_head(self.probe, pairs)
        held = [view.test[view.test.isin(side.ids)] for side in sides]
        values = [side.align(ids).values for side, ids in zip(sides, held, strict=True)]
        frames = []
        for (query, gallery), a, b in ((head.forward, 0, 1), (head.backward, 1, 0)):
            correct = _partners(groups[a][held[a]], groups[b][held[b]])
            there = np.array([len(c) > 0 for c in correct], dtype=bool)
            if not there.any():
                raise MmcellError(
                    f"task {self.spec.name!r}: none of {len(held[a])} held-out items has a partner in the other "
                    "modality; check that ids, or the column that pairs them, are the same in both"
                )
            ids = held[a][there]
            left = query(values[a][there]).astype(np.float32)
            right = gallery(values[b]).astype(np.float32)
            scopes = _scopes(view, ids, held[b])
            ranked = ranks_within(
                left, right, [c for c in correct if len(c)], list(scopes.values()), similarity=self.similarity
            )
            modality = [self.spec.slots[names[i]][0] for i in (a, b)]
            for stratum, found in zip(scopes, ranked, strict=True):
                frame = pd.DataFrame({name: getattr(found, name) for name in _COLUMNS})
                facts = {"target": "pairs", "query": modality[0], "gallery": modality[1], "stratum": stratum}
                told = (found.n_correct > 0) & (found.n_gallery > found.n_correct)
                frames.append(frame.assign(item=ids, **facts)[told])
        return Items(pd.concat(frames, ignore_index=True), "retrieval", details=head.details)

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            A group of partners has units on both sides of the split.
        """
        if self.matched_by not in view.columns:
            return
        of = self._groups(view)[0]
        both = pd.Index(of[view.train].dropna()).unique().intersection(of[view.test].dropna().unique())
        if len(both):
            raise MmcellError(
                f"task {self.spec.name!r}: {len(both)} values of {self.matched_by} are in training and in test "
                f"({first(both)}); their partners would be known: make what is held out the unit (roles.unit)"
            )

    def _groups(self, view: MethodView) -> tuple[pd.Series, pd.Series]:
        """Return what makes partners, of queries and gallery: the id of an item, or its group; controls have none."""
        ids = view.unit.index
        if self.matched_by not in view.columns:
            own = pd.Series(ids.to_numpy(), index=ids, dtype=object)
            return own, own
        named = view.role(self.matched_by)[ids].astype(object)
        partner = view.columns.get("partner", named)
        control = named.astype(str) == str(view.control) if view.control is not None else named.isna()
        return named.where(~control), partner.where(~control)

    def _training(
        self, view: MethodView, sides: list[Embedding], groups: tuple[pd.Series, pd.Series], seed: int
    ) -> Pairs:
        """Return all pairs of training items that belong together."""
        measured = [view.train[view.train.isin(side.ids)] for side in sides]
        if self.matched_by in view.columns:
            left, right = (
                pd.DataFrame({"id": ids, "group": group[ids].to_numpy()}).dropna()
                for ids, group in zip(measured, groups, strict=True)
            )
            both = left.merge(right, on="group", suffixes=("_x", "_y"))
            x, y = (pd.Index(both[column]) for column in ("id_x", "id_y"))
            same = pd.factorize(both["group"])[0]
        else:
            x = y = measured[0][measured[0].isin(measured[1])]
            same = np.arange(len(x))
        if x.empty:
            raise MmcellError(
                f"task {self.spec.name!r}: no training item has a partner in the other modality; check that ids, or "
                "the column that pairs them, are the same in both"
            )
        labels = None
        if "cell_type" in view.columns:
            kinds = view.role("cell_type").astype(str)
            labels = kinds[x].to_numpy(), kinds[y].to_numpy()
        return Pairs(_rows(sides[0], x), _rows(sides[1], y), view.unit[x].to_numpy(), same, labels, seed)


def _rows(embedding: Embedding, ids: pd.Index) -> np.ndarray:
    """Return the rows of ids that may repeat."""
    if not ids.has_duplicates:
        return embedding.align(ids).values
    unique, position = np.unique(ids, return_inverse=True)
    return embedding.align(pd.Index(unique)).values[position]


def _partners(query: pd.Series, gallery: pd.Series) -> list[np.ndarray]:
    """Return the positions in the gallery of each query's partners; none where an item has no group."""
    at = gallery.reset_index(drop=True).groupby(gallery.to_numpy(), sort=False).indices
    none = np.zeros(0, dtype=np.int64)
    return [at.get(value, none) if pd.notna(value) else none for value in query]


def _scopes(view: MethodView, query: pd.Index, gallery: pd.Index) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each stratum with the group of every query and item; -1 where one lacks its batch or type."""
    found = {"all": (np.zeros(len(query), dtype=np.int64), np.zeros(len(gallery), dtype=np.int64))}
    roles = [r for r in ("batch", "cell_type") if r in view.columns]
    for depth in range(1, len(roles) + 1):
        keys = pd.DataFrame({r: view.role(r)[view.test].astype(object) for r in roles[:depth]})
        codes = pd.Series(keys.groupby(list(keys)).ngroup().fillna(-1).to_numpy(np.int64), index=view.test)
        found["×".join(roles[:depth])] = (codes[query].to_numpy(), codes[gallery].to_numpy())
    return found
