"""Hazard ratios of groups, unadjusted and adjusted, by Cox's model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.stratification.ratios import Fit, Ratios, UnfitError, ratios

#: Why no hazards can be compared.
UNTOLD = "no patient outlives an event"


def hazard_ratios(
    frame: pd.DataFrame, covariates: pd.DataFrame, batch: pd.Series | None, references: Mapping[str, str] | None = None
) -> Ratios:
    """Return hazard ratios to the first group, unadjusted, and adjusted for covariates within batches.

    Parameters
    ----------
    frame
        Columns ``group time event``, and ``cause`` where another event competes, a row a patient.
    covariates
        (n, m) numbers without gaps, of the same patients; none for no adjustment.
    batch
        Strata of the adjusted model; None for none.
    references
        Column of a class -> what it is compared with.

    Returns
    -------
    Ratios
        ``p_proportional`` is that of scaled Schoenfeld residuals against the rank of time.
    """
    # Beside competing events it is the hazard of those who are still free of all of them.
    measure = "cause-specific hazard ratio" if "cause" in frame else "hazard ratio"
    return ratios(
        frame["group"], frame[["time", "event"]], covariates, batch, measure=measure, fit=_cox, sides=(0,),
        references=references,
    )  # fmt: skip


def _cox(outcome: pd.DataFrame, design: pd.DataFrame, batch: pd.Series) -> Fit:
    """Fit Cox's model with batches as strata."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError
    from lifelines.statistics import proportional_hazard_test

    if not outlived(outcome, batch):
        raise UnfitError(UNTOLD)
    if not design.shape[1]:
        none = pd.DataFrame({"value": [], "error": [], "p_proportional": []}, dtype=float)
        return Fit(none, _constant(outcome, batch))
    spread = design.std(ddof=0)
    table = (design / spread).assign(**{"__time": outcome["time"], "__event": outcome["event"], "__batch": batch})
    try:
        with warnings.catch_warnings():
            # What they warn of, a coefficient that runs away, is seen in its error.
            warnings.simplefilter("ignore")
            fit = CoxPHFitter().fit(table, "__time", "__event", strata=["__batch"])
            shape = proportional_hazard_test(fit, table, time_transform="rank").summary["p"]
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        raise UnfitError("the model does not converge: covariates tell who has the event, or repeat others") from error
    found = fit.summary.loc[list(design)]
    return Fit(
        pd.DataFrame(
            {
                "value": found["coef"] / spread, "error": found["se(coef)"] / spread,
                "p_proportional": shape.reindex(list(design)),
            }
        ),
        float(fit.log_likelihood_),
    )  # fmt: skip


def outlived(outcome: pd.DataFrame, batch: pd.Series) -> bool:
    """Whether somebody of a batch is left after an event of it: otherwise no hazards can be compared."""
    for _, part in outcome.groupby(batch):
        begin = part.loc[part["event"] == 1, "time"].min()
        later, same = part["time"] > begin, (part["time"] == begin) & (part["event"] == 0)
        if (later | same).any():
            return True
    return False


def _constant(outcome: pd.DataFrame, batch: pd.Series) -> float:
    """Return the partial log-likelihood without covariates; ties as Efron's, like lifelines."""
    total = 0.0
    for _, part in outcome.groupby(batch):
        time, event = part["time"].to_numpy(dtype=float), part["event"].to_numpy(dtype=int)
        for moment in np.unique(time[event == 1]):
            at_risk, died = (time >= moment).sum(), ((time == moment) & (event == 1)).sum()
            total -= float(np.log(at_risk - np.arange(died)).sum())
    return total
