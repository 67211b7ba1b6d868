"""The survival models by name. One more is a function that fits it, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mmcell.probes.inputs import Patients
from mmcell.registry import load_attribute


class SurvivalModel(Protocol):
    """A fitted survival model.

    Attributes
    ----------
    cut
        The median risk of the training patients.
    times
        (k,) rising times at which training patients had the event.
    facts
        JSON-able: ``model``, ``penalty``, ``dims`` (inputs that it sees), ``n_train``, ``events_train``,
        ``not_converged`` (fits that did not), and what else the kind has to say.
    """

    @property
    def cut(self) -> float: ...  # noqa: D102
    @property
    def times(self) -> np.ndarray: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102

    def risk(self, patients: Patients) -> np.ndarray:
        """Return (n,) risks: higher = shorter survival."""

    def survival(self, patients: Patients, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the probability of being without the event beyond each of k times."""


@dataclass(frozen=True)
class Kind:
    """How a survival model is fitted.

    Attributes
    ----------
    fit
        ``module:function`` (patients, time, event, rng, **options) -> `SurvivalModel`; training patients only.
    options
        What it is given beside.
    reads_strata
        Whether it has a baseline hazard for each stratum.
    """

    fit: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reads_strata: bool = False

    def __call__(
        self, patients: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator
    ) -> SurvivalModel:
        """Fit it to (n,) times and events of training patients."""
        found: SurvivalModel = load_attribute(self.fit)(patients, time, event, rng, **self.options)
        return found


KINDS: dict[str, Kind] = {
    "cox": Kind("mmcell.probes.cox:fit_cox"),
    "cox-dims": Kind("mmcell.probes.cox:fit_cox", {"dims": (4, 8, 16, 32)}),
    "cox-elastic-net": Kind("mmcell.probes.elastic_net:fit_elastic_net"),
    "cox-stratified": Kind("mmcell.probes.cox:fit_cox", reads_strata=True),
    "cox-net": Kind("mmcell.probes.cox_net:fit_cox_net"),
    "cox-net-hidden": Kind("mmcell.probes.cox_net:fit_cox_net", {"n_hidden": 16, "steps": 30}),
    "forest": Kind("mmcell.probes.forest:fit_forest"),
    "late-fusion": Kind("mmcell.probes.fusion:fit_fusion"),
}
