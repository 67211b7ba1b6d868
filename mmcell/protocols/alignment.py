"""Alignment: is the biology where it was in another batch, and does the batch itself show?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, number_of
from mmcell.items import Items
from mmcell.probes.linear import fit_discriminant
from mmcell.probes.neighbours import carried_over
from mmcell.probes.scale import settled
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec
from mmcell.truth import class_names

#: How well batches are mixed, and what of the biology is kept: two axes, never one total.
MIXING = ("ilisi", "kbet", "bras", "batch_variance", "batch_predictability")
BIOLOGY = (
    "balanced_accuracy", "macro_f1", "known_balanced_accuracy", "knn_balanced_accuracy", "knn_macro_f1",
    "unknown_auroc", "clisi", "unshared_clisi", "graph_connectivity", "label_asw", "isolated_asw", "isolated_f1", "nmi",
    "ari",
)  # fmt: skip


class Alignment(Task):
    """Labels carried over to held-out units and to batches never seen, and how batches are mixed around every item.

    Under a split that leaves a batch out the label is carried over to it, by a linear discriminant (``y_pred``) and by
    nearest neighbours (``y_knn``, and how far they are): biology that should be kept. Under a split of donors whose
    targets are labels and ``batch`` the discriminant tells both for held-out donors, and the vectors of their items go
    to grading, where batch and label meet them in one neighbour graph: no method sees either.
    """

    required = ("random", "constant", "technical-only", "pca", "label-permuted")
    ceilings = ("oracle",)
    max_items = 40_000

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def check(self, view: MethodView) -> None:
        """See `Task.check`: two classes of every target among the training items of every fold.

        Raises
        ------
        MmcellError
            The training items of a fold know one value of a target.
        """
        for target in view.labels:
            _, y = view.training(target)
            if (n := len(np.unique(class_names(pd.Series(y))))) < 2:
                raise MmcellError(
                    f"task {self.spec.name!r}: the training items of a fold know {number_of(n, 'value', 'values')} of "
                    f"{target}; name it in more batches, or leave the unnamed batch out of the data"
                )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`; a type that the training units lack cannot be predicted, and its cells count as missed."""
        x = embeddings[self.spec.slot[0]]
        # Points that are equal up to rounding are told by all of them: one held-out item alone has no spread.
        x = replace(x, values=settled(x.values))
        held = x.align(view.test).values
        frames = []
        for target in view.labels:
            ids, y = view.training(target)
            known, y = x.align(ids).values, class_names(pd.Series(y)).to_numpy(dtype=str)
            probe = fit_discriminant(known, y)
            # Classes are text, so that those of several targets stand in one column.
            found = {"item": view.test, "target": target, "y_pred": probe.predict(held)}
            if target == "batch" and probe.model is None:
                # Not to know the batch because nothing is known is no merit.
                found["y_pred"] = ""
            if target != "batch":
                found["y_knn"], found["distance"] = carried_over(known, y, held)
            frames.append(pd.DataFrame(found).assign(group=split.group))
        arrays = {"vectors": np.asarray(held)} if {"batch"} < set(split.spec.targets) else {}
        return Items(pd.concat(frames, ignore_index=True), "multiclass", arrays)
