"""Patient state: does a patient's vector say who is ill, and does it also say in which batch they were measured?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first, number_of
from mmcell.items import Items
from mmcell.probes.design import ClinicalDesign
from mmcell.probes.logistic import at_prevalence, fit_nested_logistic
from mmcell.probes.neighbours import fit_neighbours
from mmcell.splits import Split
from mmcell.task import PLUS_CLINICAL, MethodView, Task, TaskSpec


class PatientState(Task):
    """A probe on patient vectors: the label, and each batch against the rest as a leak.

    The probe is a logistic regression, or with ``knn`` nearest neighbours, which see what lies close together and not
    only what a plane divides. Both choose their one setting on inner folds of training patients, among the same few
    for all encoders. ``logistic+clinical`` reads clinical covariates beside the vectors, for the label; what is a leak
    of the embedding is asked of the embedding alone.
    """

    probes: ClassVar[tuple[str, ...]] = ("default", "knn", "logistic" + PLUS_CLINICAL)

    required = (
        "random", "constant", "technical-only", "clinical-only|stratum-only", "composition", "pca", "label-permuted",
    )  # fmt: skip
    ceilings = ("oracle",)

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def adds_to_covariates(self) -> bool:
        """See `Task.adds_to_covariates`."""
        return self.probe.endswith(PLUS_CLINICAL)

    def plain(self, probe: str) -> str:
        """See `Task.plain`."""
        return "default" if probe.endswith(PLUS_CLINICAL) else probe

    def check(self, view: MethodView) -> None:
        """See `Task.check`: two classes, both among the training patients of every fold.

        Raises
        ------
        MmcellError
            The label has other than two classes, or a fold one among its training patients.
        """
        _, y = view.training("label")
        if y.dtype.kind not in "iub":
            raise MmcellError(
                f"task {self.spec.name!r}: the label has {number_of(len(np.unique(y)), 'class', 'classes')} "
                f"({first(np.unique(y))}); this "
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
        """See `Task.run`.

        ``y_pred`` is the probability of a fit in which both classes are equally frequent, ``p_event`` the same at the
        training patients' prevalence (see `at_prevalence`); of ``knn`` both are the share of neighbours.

        Raises
        ------
        MmcellError
            An unknown probe.
        """
        if self.probe not in self.probes:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(self.probes)}")
        x = embeddings[self.spec.slot[0]]
        test = x.align(view.test).values
        frames = []
        details: dict[str, Any] = {}
        for target in view.labels:
            ids, y = view.training(target)
            train = x.align(ids).values
            if target == "label":
                design = ClinicalDesign.fit(view.clinical.loc[ids]) if self.adds_to_covariates else None
                beside = [None if design is None else design.transform(view.clinical.loc[i]) for i in (ids, view.test)]
                found, details = self._predict(train, y, test, view.test, target, *beside)
                frames.append(found)
                continue
            # A leak that cannot be asked in this fold, for training has one batch only, stops nothing.
            for value in np.unique(y) if len(np.unique(y)) > 1 else ():
                named = f"{target}={value}"
                frames.append(self._predict(train, (y == value).astype(int), test, view.test, named)[0])
        return Items(pd.concat(frames, ignore_index=True).assign(group=split.group), "binary", details=details)

    def _predict(
        self, train: np.ndarray, y: np.ndarray, test: np.ndarray, ids: pd.Index, target: str,
        beside: np.ndarray | None = None, beside_test: np.ndarray | None = None,
    ) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
        """Return the predictions for held-out patients, and the facts of the fitted model."""
        facts: dict[str, Any] = {"n_train": len(y), "events_train": int((y == 1).sum())}
        if self.probe == "knn":
            neighbours = fit_neighbours(train, y)
            found = event = neighbours.probability(test)[:, 1]
            count = getattr(neighbours.model, "n_neighbors", None)
            facts |= {"model": "knn", "penalty": None, "dims": int(neighbours.scale.keep.sum()), "neighbours": count}
            facts |= {"not_converged": 0}
        else:
            probe = fit_nested_logistic(train, y, beside=beside)
            found = probe.probability(test, beside_test)[:, 1]
            event = at_prevalence(found, y)
            facts |= probe.facts
        return pd.DataFrame({"item": ids, "target": target, "y_pred": found, "p_event": event}), facts
