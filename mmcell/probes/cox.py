"""Ridge Cox: a small Newton solver for the inner loop, lifelines for every model that is reported, from there on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmcell.errors import UnaskableError
from mmcell.probes.baseline import Baseline
from mmcell.probes.inner import best_setting, need_events
from mmcell.probes.inputs import MAX_DIM, Patients, Reduction
from mmcell.probes.partial_likelihood import newton_cox

#: One fixed budget for every embedding, from weak to strong.
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Cox:
    """A fitted Cox probe: reduce to at most 32 dimensions, standardise, a linear log hazard.

    Attributes
    ----------
    inputs
        What it sees of patients.
    beta
        (dims,) log hazard ratios per standard deviation; where no input varies there are none, and every risk is 0.
    cut
        The median risk of the training patients.
    baseline
        Hazard of a patient of risk 0; in a stratified model that of all strata together.
    strata
        The hazard of a patient of risk 0 in each stratum; empty where the model is not stratified.
    facts
        See `SurvivalModel`; hazard ratios per standard deviation, and the baseline hazard.
    """

    inputs: Reduction
    beta: np.ndarray
    cut: float
    baseline: Baseline
    strata: Mapping[str, Baseline] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, inputs: Reduction, beta: np.ndarray, patients: Patients, time: np.ndarray, event: np.ndarray,
        **facts: Any,
    ) -> Cox:  # fmt: skip
        """Return the model of some coefficients, with the baseline hazards of the training patients."""
        risk = inputs.transform(patients) @ beta
        baseline = Baseline.fit(time, event, risk)
        strata: dict[str, Baseline] = {}
        if patients.stratum is not None:
            facts["strata"] = {}
            for name in map(str, np.unique(patients.stratum)):
                of = patients.stratum == name
                strata[name] = Baseline.fit(time[of], event[of], risk[of])
                facts["strata"][name] = {"n_train": int(of.sum()), "events_train": int(event[of].sum())}
            facts["curves"] = "baseline hazard of the patient's stratum; of one that training lacks, the pooled one"
        facts = {
            **facts, "dims": len(inputs.names), "n_train": len(time), "events_train": int(event.sum()),
            "hazard_ratios": {n: round(float(np.exp(b)), 6) for n, b in zip(inputs.names, beta, strict=True)},
            "baseline_cumulative_hazard": baseline.steps(),
        }  # fmt: skip
        if not len(beta):
            facts["note"] = "no input varies among the training patients"
        return cls(inputs, beta, float(np.median(risk)), baseline, strata, facts)

    @property
    def times(self) -> np.ndarray:
        """(k,) rising times at which training patients had the event."""
        return self.baseline.times

    def risk(self, patients: Patients) -> np.ndarray:
        """Return (n,) log partial hazards: higher = riskier."""
        # A row at a time: a product of matrices rounds the last rows otherwise than the rest, and would rank patients
        # who are alike.
        return np.asarray(np.vecdot(self.inputs.transform(patients), self.beta))

    def survival(self, patients: Patients, times: np.ndarray) -> np.ndarray:
        """Return (n, k) the predicted probability of being without the event beyond each of k times."""
        risk = self.risk(patients)
        found = self.baseline.survival(risk, times)
        for name, own in self.strata.items():
            of = np.asarray(patients.stratum == name)
            found[of] = own.survival(risk[of], times)
        return found


def fit_cox(
    patients: Patients,
    time: np.ndarray,
    event: np.ndarray,
    rng: np.random.Generator,
    *,
    dims: tuple[int, ...] = (MAX_DIM,),
) -> Cox:
    """Fit a ridge Cox probe; what there is to choose is chosen by `best_setting` on training patients.

    Where patients have strata, each has a baseline hazard of its own and patients are compared within them. A risk then
    says nothing of differences between strata.

    Parameters
    ----------
    patients
        Training patients.
    time, event
        (n,) outcome.
    rng
        Of the inner folds.
    dims
        Numbers of dimensions of the vectors, among which one is chosen together with the penalty. Components are those
        of all training patients; they know no outcome.

    Raises
    ------
    UnaskableError
        Fewer than two events among the training patients, or a stratum without any.
    MmcellError
        Too many covariates.
    """
    from lifelines import CoxPHFitter

    need_events(event)
    _need_events_in_strata(event, patients.stratum)
    name = "cox" if patients.stratum is None else "cox-stratified"
    name += "-dims" if len(dims) > 1 else ""
    inputs, penalty = ridge_setting(patients, time, event, rng, dims)
    facts: dict[str, Any] = {"model": name, "penalty": penalty, "not_converged": 0}
    if penalty is None:
        return Cox.of(inputs, np.zeros(0), patients, time, event, **facts)
    z, stratum = inputs.transform(patients), patients.stratum
    # Where it starts decides how long it takes, not where it ends: the ridge has one minimum.
    start = newton_cox(z, time, event, penalty, stratum=stratum)
    beta, converged = by_lifelines(CoxPHFitter(penalizer=penalty), z, time, event, stratum, start)
    return Cox.of(inputs, beta, patients, time, event, **facts | {"not_converged": int(not converged)})


def ridge_setting(
    patients: Patients, time: np.ndarray, event: np.ndarray, rng: np.random.Generator,
    dims: tuple[int, ...] = (MAX_DIM,),
) -> tuple[Reduction, float | None]:  # fmt: skip
    """Return the inputs and the penalty that inner folds choose; no penalty where no input varies.

    Of equals the fewest dimensions and the strongest penalty.
    """
    made = [Reduction.fit(patients, most) for most in sorted(dims, reverse=True)]
    # A narrow embedding is the same under several budgets.
    distinct = list({inputs.names: inputs for inputs in made}.values())
    if not made[0].names:
        return made[0], None
    tables = [inputs.transform(patients) for inputs in distinct]
    settings = [(k, penalty) for k in range(len(distinct)) for penalty in PENALTIES]

    def risks(train: np.ndarray) -> np.ndarray:
        stratum = None if patients.stratum is None else patients.stratum[train]
        found = [newton_cox(tables[k][train], time[train], event[train], p, stratum=stratum) for k, p in settings]
        return np.stack([np.vecdot(tables[k], beta) for (k, _), beta in zip(settings, found, strict=True)])

    k, penalty = settings[best_setting(risks, time, event, rng, patients.stratum)]
    return distinct[k], penalty


def by_lifelines(
    model: Any, z: np.ndarray, time: np.ndarray, event: np.ndarray, stratum: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, bool]:  # fmt: skip
    """Return the coefficients of lifelines' model and whether it converged; every other warning passes.

    It takes its steps from `start` (d,) on, by default from 0.
    """
    from lifelines.exceptions import ConvergenceWarning

    frame = pd.DataFrame(z, columns=[f"x{i}" for i in range(z.shape[1])]).assign(time=time, event=event)
    strata = None
    if stratum is not None:
        frame["stratum"], strata = stratum, ["stratum"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # lifelines writes into its starting point.
        model.fit(frame, "time", "event", strata=strata, initial_point=None if start is None else start.copy())
    others = [w for w in caught if not issubclass(w.category, ConvergenceWarning)]
    for other in others:
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return model.params_.to_numpy(), len(others) == len(caught)


def _need_events_in_strata(event: np.ndarray, stratum: np.ndarray | None) -> None:
    for name in [] if stratum is None else np.unique(stratum):
        if not event[stratum == name].any():
            raise UnaskableError(
                f"survival probe: none of the {int((stratum == name).sum())} training patients of stratum "
                f"{str(name)!r} had the event, so it has no baseline hazard; join small strata, or use the probe 'cox'"
            )
