"""Survival: does a patient's vector say who lives longer, alone and on top of clinical covariates?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.probes.competing import predicted_incidence, rival_survival
from mmcell.probes.design import ClinicalDesign
from mmcell.probes.inputs import Block, Patients
from mmcell.probes.survival import KINDS
from mmcell.splits import Split
from mmcell.task import PLUS_CLINICAL, MethodView, Task, TaskSpec

#: The code of a competing event.
_RIVAL = 2
PROBES = ("cox", "cox+clinical")
#: The other models, each alone and with covariates beside the vectors.
MORE_PROBES = tuple(kind + beside for kind in KINDS if kind != "cox" for beside in ("", PLUS_CLINICAL))

#: What survival tasks are scored by: ranks over time, predicted curves, calibration, and what the groups are worth.
SCORES = (
    "harrell_c", "uno_c", "td_auc", "ibs", "brier@horizon", "ici", "calibration_slope_error", "d_calibration",
    "rmst_difference", "net_benefit",
)  # fmt: skip


class Survival(Task):
    """A survival model on patient vectors (``cox``), and on vectors and clinical covariates (``cox+clinical``).

    The further models of `mmcell.probes.survival` are ``cox-dims`` (the number of components is chosen, too),
    ``cox-elastic-net``, ``cox-stratified`` (a baseline hazard for each batch, or else for each of roles.strata),
    ``cox-net`` (linear in the whole width) and ``cox-net-hidden``, ``forest``, and ``late-fusion`` (a model for each
    slot, and with ``+clinical`` one for the covariates). All choose what there is to choose on inner folds of training
    patients, among the same few for all embeddings. With several slots at the level ``patient`` the models read them
    side by side, and late fusion each on its own.
    """

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
        return self.probe.endswith(PLUS_CLINICAL)

    def plain(self, probe: str) -> str:
        """See `Task.plain`."""
        return probe.removesuffix(PLUS_CLINICAL)

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """See `Task.run`; the risk group of a held-out patient is high above the training patients' median risk.

        The arrays hold the predicted ``survival`` (items, k) beyond each of the ``times`` (k,) of training events.
        Where another event competes, the model is that of the event's own hazard, ``survival`` is what it were alone,
        and ``incidence`` (items, k) how likely the event comes, given a ridge Cox model of the rival on these inputs.

        Raises
        ------
        MmcellError
            An unknown probe.
        """
        known = (*PROBES, *MORE_PROBES)
        if self.probe not in known:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(known)}")
        kind = KINDS[self.plain(self.probe)]
        ids, outcome = view.training("outcome")
        vectors = {slot: embeddings[slot] for slot in self.spec.slots}
        design = ClinicalDesign.fit(view.clinical.loc[ids]) if self.adds_to_covariates else None
        stratum = self._stratum(view) if kind.reads_strata else None
        train, test = (_patients(i, vectors, view, design, stratum) for i in (ids, view.test))
        model = kind(train, outcome[:, 0].astype(float), outcome[:, 1].astype(int), rng)
        risk = model.risk(test)
        frame = pd.DataFrame({"item": view.test, "target": "outcome", "y_pred": risk, "group": split.group})
        frame["risk_group"] = np.where(risk > model.cut, "high", "low")
        curves = {"times": model.times, "survival": model.survival(test, model.times)}
        details = dict(model.facts)
        cause = view.labels["outcome"].get("cause")
        if cause is not None:
            competing = (cause.loc[ids].to_numpy() == _RIVAL).astype(int)
            struck = np.unique(outcome[competing == 1, 0].astype(float))
            times = np.union1d(model.times, struck)
            rival = rival_survival(train, outcome[:, 0].astype(float), competing, test, times, rng)
            alone = model.survival(test, times)
            curves = {"times": times, "survival": alone, "incidence": predicted_incidence(alone, rival)}
            details["competing_events_train"] = int(competing.sum())
        if train.stratum is not None and test.stratum is not None:
            unseen = test.stratum[~np.isin(test.stratum, train.stratum)]
            details |= {"unseen_strata": sorted(map(str, set(unseen))), "pooled_baseline": len(unseen)}
        return Items(frame, "survival", curves, details)

    def _stratum(self, view: MethodView) -> pd.Series:
        """Return the stratum of every patient, as text; patients without one are a stratum of their own."""
        for role in ("batch", "strata"):
            if role in view.columns:
                return view.role(role).astype(object).where(view.role(role).notna(), "").astype(str)
        raise MmcellError(
            f"task {self.spec.name!r}: the probe {self.probe!r} needs strata of patients, and neither roles.batch nor "
            "roles.strata is set, or it is what is predicted; name one, or use 'cox'"
        )


def _patients(
    ids: pd.Index, vectors: Mapping[str, Embedding], view: MethodView, design: ClinicalDesign | None,
    stratum: pd.Series | None,
) -> Patients:  # fmt: skip
    """Return what the model may see of some patients."""
    blocks = {slot: Block(x.align(ids).values, x.columns) for slot, x in vectors.items()}
    beside = None if design is None else Block(design.transform(view.clinical.loc[ids]), design.columns)
    return Patients(blocks, beside, None if stratum is None else stratum.loc[ids].to_numpy(str))
