"""`Forest`: a random survival forest, for what is not linear in the inputs of a Cox probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcell.errors import MissingExtraError
from mmcell.probes.baseline import Baseline
from mmcell.probes.inner import need_events
from mmcell.probes.inputs import Patients, Reduction

#: One fixed budget for every embedding; nothing is chosen.
TREES, LEAST_IN_LEAF = 200, 5


@dataclass(frozen=True, eq=False)
class Forest:
    """A fitted forest on the inputs that `Cox` sees, so that the two differ in the model alone.

    Attributes
    ----------
    inputs
        What it sees of patients.
    model
        scikit-survival's; None where no input varies, and every risk is then 0.
    cut
        The median of the training patients' risks, each by the trees that were grown without the patient.
    baseline
        Hazard of all training patients, which everybody has where no input varies.
    facts
        See `SurvivalModel`.
    """

    inputs: Reduction
    model: Any
    cut: float
    baseline: Baseline
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def times(self) -> np.ndarray:
        """(k,) rising times at which training patients had the event."""
        return self.baseline.times

    def risk(self, patients: Patients) -> np.ndarray:
        """Return (n,) expected numbers of events: higher = riskier."""
        if self.model is None:
            return np.zeros(len(patients))
        return np.asarray(self.model.predict(self.inputs.transform(patients)))

    def survival(self, patients: Patients, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the predicted probability of being without the event beyond each of k times."""
        if self.model is None:
            return self.baseline.survival(np.zeros(len(patients)), times)
        curves = self.model.predict_survival_function(self.inputs.transform(patients), return_array=True)
        # Before the first time nobody had the event.
        steps = np.column_stack([np.ones(len(curves)), curves])
        return np.asarray(steps[:, np.searchsorted(self.model.unique_times_, times, "right")])


def fit_forest(patients: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator) -> Forest:
    """Fit a random survival forest of 200 trees.

    Parameters
    ----------
    patients, time, event, rng
        As in `fit_cox`; strata are not read.

    Raises
    ------
    MissingExtraError
        scikit-survival is not installed.
    MmcellError
        Fewer than two events among the training patients, or too many covariates.

    References
    ----------
    Ishwaran, Kogalur, Blackstone and Lauer: Random survival forests. Annals of Applied Statistics 2, 841–860 (2008).
    """
    try:
        from sksurv.ensemble import RandomSurvivalForest
        from sksurv.util import Surv
    except ImportError as error:
        raise MissingExtraError("the survival probe 'forest'", "scikit-survival", "oracles") from error
    need_events(event)
    inputs = Reduction.fit(patients)
    baseline = Baseline.fit(time, event, np.zeros(len(time)))
    facts: dict[str, Any] = {
        "model": "forest", "penalty": None, "dims": len(inputs.names), "n_train": len(time),
        "events_train": int(event.sum()), "not_converged": 0,
    }  # fmt: skip
    if not inputs.names:
        facts["note"] = "no input varies among the training patients"
        return Forest(inputs, None, 0.0, baseline, facts)
    model = RandomSurvivalForest(
        TREES, min_samples_leaf=LEAST_IN_LEAF, max_features="sqrt", oob_score=True, n_jobs=1,
        random_state=int(rng.integers(2**31 - 1)),
    ).fit(inputs.transform(patients), Surv.from_arrays(event.astype(bool), time))  # fmt: skip
    facts |= {"trees": TREES, "least_in_leaf": LEAST_IN_LEAF}
    return Forest(inputs, model, float(np.nanmedian(model.oob_prediction_)), baseline, facts)
