"""Retrieval: does a cell's embedding in one modality find the same cell in another?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.items import Items
from mmcell.metrics.retrieval import ranks_within
from mmcell.metrics.similarity import Similarity
from mmcell.probes.linear import fit_ridge
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec


class Retrieval(Task):
    """Same-item retrieval both ways through a ridge head, in three galleries.

    The head maps the query space into the gallery's and is fitted on training units, its penalty chosen on inner
    folds of units. Every held-out item then ranks the whole held-out gallery, the part in its own batch, and the part
    in its own batch and cell type, each by `similarity`.
    """

    #: ``cosine``, ``l2`` or ``l1``, see `mmcell.metrics.retrieval.ranks`.
    similarity: Similarity = "cosine"

    required = ("random", "constant", "technical-only", "pca", "partner-permuted")
    ceilings = ("oracle", "split-half")

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`; an item that is alone in a gallery has nothing to be told from and is left out of it."""
        names = list(self.spec.slots)
        query, gallery = (embeddings[name] for name in names)
        modality = {name: self.spec.slots[name][0] for name in names}
        head = fit_ridge(
            query.align(view.train).values, gallery.align(view.train).values, view.unit[view.train].to_numpy()
        )
        left = head.predict(query.align(view.test).values).astype(np.float32)
        right = head.target(gallery.align(view.test).values).astype(np.float32)
        galleries = self._galleries(view)
        scopes = [(codes, codes) for codes in galleries.values()]
        pairs = np.arange(len(view.test))
        frames = []
        for one, other, (a, b) in ((left, right, names), (right, left, names[::-1])):
            ranked = ranks_within(one, other, pairs, scopes, similarity=self.similarity)
            for stratum, found in zip(galleries, ranked, strict=True):
                columns = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile")
                frame = pd.DataFrame({name: getattr(found, name) for name in columns})
                facts = {"target": "pairs", "query": modality[a], "gallery": modality[b], "stratum": stratum}
                frames.append(frame.assign(item=view.test, **facts)[found.n_gallery > found.n_correct])
        return Items(pd.concat(frames, ignore_index=True), "retrieval", details={"alpha": head.alpha})

    @staticmethod
    def _galleries(view: MethodView) -> dict[str, np.ndarray]:
        """Return each stratum with the group of every test id; -1 where an item lacks its batch or type."""
        found = {"all": np.zeros(len(view.test), dtype=np.int64)}
        roles = [r for r in ("batch", "cell_type") if r in view.columns]
        for depth in range(1, len(roles) + 1):
            keys = pd.DataFrame({r: view.role(r)[view.test].astype(object) for r in roles[:depth]})
            found["×".join(roles[:depth])] = keys.groupby(list(keys)).ngroup().fillna(-1).to_numpy(np.int64)
        return found
