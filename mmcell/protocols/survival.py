"""Survival: does a patient's vector say who lives longer, alone and on top of clinical covariates?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.probes.cox import fit_cox
from mmcell.probes.design import ClinicalDesign
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec

PROBES = ("cox", "cox+clinical")


class Survival(Task):
    """A ridge Cox probe on patient vectors (``cox``), and on vectors and clinical covariates (``cox+clinical``)."""

    probe = "cox"
    required = (
        "random", "constant", "technical-only", "clinical-only|stratum-only", "composition", "pca", "label-permuted",
    )  # fmt: skip
    ceilings = ("oracle",)

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def adds_to_covariates(self) -> bool:
        """See `Task.adds_to_covariates`."""
        return self.probe == "cox+clinical"

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """See `Task.run`; the risk group of a held-out patient is high above the training patients' median risk.

        The arrays hold the predicted ``survival`` (items, k) beyond each of the ``times`` (k,) of training events.
        """
        if self.probe not in PROBES:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(PROBES)}")
        x = embeddings[self.spec.slot[0]]
        ids, outcome = view.training("outcome")
        time, event = outcome[:, 0].astype(float), outcome[:, 1].astype(int)
        train, test = x.align(ids).values, x.align(view.test).values
        beside: list[np.ndarray | None] = [None, None]
        names: tuple[str, ...] = ()
        if self.probe == "cox+clinical":
            design = ClinicalDesign.fit(view.clinical.loc[ids])
            beside = [design.transform(view.clinical.loc[i]) for i in (ids, view.test)]
            names = design.columns
        model = fit_cox(train, time, event, rng, x.columns, beside=beside[0], beside_columns=names)
        cut = float(np.median(model.risk(train, beside[0])))
        risk = model.risk(test, beside[1])
        frame = pd.DataFrame({"item": view.test, "target": "outcome", "y_pred": risk, "group": split.group})
        frame["risk_group"] = np.where(risk > cut, "high", "low")
        times = model.baseline.times
        curves = {"times": times, "survival": model.survival(test, times, beside[1])}
        return Items(frame, "survival", curves, model.summary())
