"""Alignment: is the biology where it was in another batch, and does the batch itself show?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.items import Items
from mmcell.probes.linear import fit_discriminant
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec


class Alignment(Task):
    """A linear discriminant carries a label over to held-out units.

    Under a split that leaves a batch out, the label is the cell type: biology that should be kept. Under a split of
    donors, the label is the batch: what should not show. The two are reported side by side and never averaged.
    """

    required = ("random", "constant", "technical-only", "pca", "label-permuted")
    ceilings = ("oracle",)

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`; a type that the training units lack cannot be predicted, and its cells count as missed."""
        x = embeddings[self.spec.slot[0]]
        frames = []
        for target in view.labels:
            ids, y = view.training(target)
            probe = fit_discriminant(x.align(ids).values, y)
            predicted = probe.predict(x.align(view.test).values)
            frames.append(
                pd.DataFrame({"item": view.test, "target": target, "y_pred": predicted, "group": split.group})
            )
        return Items(pd.concat(frames, ignore_index=True), "multiclass")
