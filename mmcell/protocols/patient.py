"""Patient state: does a patient's vector say who is ill, and does it also say in which batch they were measured?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.probes.logistic import fit_nested_logistic
from mmcell.probes.neighbours import fit_neighbours
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec


class PatientState(Task):
    """A probe on patient vectors: the label, and each batch against the rest as a leak.

    The probe is a logistic regression, or with ``knn`` nearest neighbours, which see what lies close together and not
    only what a plane divides. Both choose their one setting on inner folds of training patients, among the same few
    for all encoders.
    """

    required = (
        "random", "constant", "technical-only", "clinical-only|stratum-only", "composition", "pca", "label-permuted",
    )  # fmt: skip
    ceilings = ("oracle",)

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def check(self, view: MethodView) -> None:
        """See `Task.check`: two classes, both among the training patients of every fold."""
        _, y = view.training("label")
        if y.dtype.kind not in "iub":
            raise MmcellError(
                f"task {self.spec.name!r}: the label has {len(np.unique(y))} classes ({first(np.unique(y))}); this "
                "task compares two, leave the label of the others empty"
            )
        if len(np.unique(y)) < 2:
            raise MmcellError(
                f"task {self.spec.name!r}: the training patients of a fold have one class only; use fewer folds, or "
                "another way to split"
            )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`."""
        x = embeddings[self.spec.slot[0]]
        test = x.align(view.test).values
        frames = []
        for target in view.labels:
            ids, y = view.training(target)
            train = x.align(ids).values
            if target == "label":
                frames.append(self._predict(train, y, test, view.test, target))
                continue
            # A leak that cannot be asked in this fold, for training has one batch only, stops nothing.
            for value in np.unique(y) if len(np.unique(y)) > 1 else ():
                named = f"{target}={value}"
                frames.append(self._predict(train, (y == value).astype(int), test, view.test, named))
        return Items(pd.concat(frames, ignore_index=True).assign(group=split.group), "binary")

    def _predict(
        self, train: np.ndarray, y: np.ndarray, test: np.ndarray, ids: pd.Index, target: str
    ) -> pd.DataFrame:  # fmt: skip
        probe = fit_neighbours(train, y) if self.probe == "knn" else fit_nested_logistic(train, y)
        return pd.DataFrame({"item": ids, "target": target, "y_pred": probe.probability(test)[:, 1]})
