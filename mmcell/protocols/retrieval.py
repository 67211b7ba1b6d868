"""Retrieval: does a cell's embedding in one modality find the same cell in another?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.items import Items
from mmcell.metrics.retrieval import ranks
from mmcell.probes.linear import fit_ridge
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec


class Retrieval(Task):
    """Same-item retrieval both ways through a ridge head, in three galleries.

    The head maps the query space into the gallery's and is fitted on training units, its penalty chosen on inner
    folds of units. Every held-out item then ranks the whole held-out gallery, the part in its own batch, and the part
    in its own batch and cell type, each by cosine similarity.
    """

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
        left = head.predict(query.align(view.test).values)
        right = head.target(gallery.align(view.test).values)
        frames = []
        for stratum, groups in self._galleries(view):
            for rows in groups:
                if len(rows) < 2:
                    continue
                ways = ((left[rows], right[rows], names), (right[rows], left[rows], names[::-1]))
                for one, other, (a, b) in ways:
                    found = ranks(one.astype(np.float32), other.astype(np.float32), np.arange(len(rows)))
                    frames.append(
                        pd.DataFrame(
                            {
                                "item": view.test[rows],
                                "target": "pairs",
                                "query": modality[a],
                                "gallery": modality[b],
                                "stratum": stratum,
                                "above": found.above,
                                "tied": found.tied,
                                "tied_correct": found.tied_correct,
                                "n_correct": found.n_correct,
                                "n_gallery": found.n_gallery,
                                "percentile": found.percentile,
                            }
                        )
                    )
        return Items(pd.concat(frames, ignore_index=True), "retrieval", details={"alpha": head.alpha})

    @staticmethod
    def _galleries(view: MethodView) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Yield each stratum with the rows of test ids in each of its groups."""
        yield "all", [np.arange(len(view.test))]
        roles = [r for r in ("batch", "cell_type") if r in view.columns]
        for depth in range(1, len(roles) + 1):
            keys = [view.role(r)[view.test] for r in roles[:depth]]
            # An item that lacks its batch or type belongs to no such gallery.
            known = np.flatnonzero(np.all([k.notna() for k in keys], axis=0))
            table = pd.DataFrame({i: k.astype(str).to_numpy()[known] for i, k in enumerate(keys)})
            groups = table.groupby(list(range(depth)), sort=True).indices.values()
            yield "×".join(roles[:depth]), [known[rows] for rows in groups]
