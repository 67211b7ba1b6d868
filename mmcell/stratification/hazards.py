"""Hazard ratios of groups, unadjusted and adjusted."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

#: Columns of a table of effects, hazard or odds ratios alike.
EFFECTS = ("measure", "model", "term", "ratio", "ci_low", "ci_high", "p", "p_proportional", "n", "n_events", "reason")
#: A coefficient of a standardised column whose standard error is larger than this has run away.
RUNAWAY = 20.0


def hazard_ratios(
    frame: pd.DataFrame, covariates: pd.DataFrame, batch: pd.Series | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return hazard ratios of the groups, unadjusted and adjusted, and in words what stood in the way.

    Parameters
    ----------
    frame
        Columns ``group time event``, a row a patient; ratios are to the first group.
    covariates
        (n, m) numbers without gaps, of the same patients; none for no adjustment.
    batch
        Strata of the adjusted model; None for none.

    Returns
    -------
    pandas.DataFrame
        Columns `EFFECTS`. ``p_proportional`` is that of scaled Schoenfeld residuals against the rank of time.
    notes
        Of the adjusted model.
    """
    groups = sorted(frame["group"].unique())
    dummies = pd.DataFrame({f"group {g}": (frame["group"] == g).astype(float) for g in groups[1:]}, index=frame.index)
    found = [_cox(frame, dummies, None, "unadjusted", groups)]
    notes: list[str] = []
    if covariates.shape[1] or batch is not None:
        kept, dropped = independent(pd.concat([dummies, covariates], axis=1))
        notes += [f"{name} says nothing beyond the others and is left out" for name in dropped]
        found.append(_cox(frame, kept, batch, "adjusted", groups))
    return pd.concat(found, ignore_index=True), notes


def independent(design: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that are no linear combination of a constant and those before them, and the others' names."""
    kept: list[str] = []
    basis = [np.full(len(design), 1.0 / np.sqrt(len(design)))]
    for name in design:
        column = design[name].to_numpy(dtype=float)
        rest = column - np.stack(basis, axis=1) @ (np.stack(basis) @ column)
        own, left = float(np.linalg.norm(column)), float(np.linalg.norm(rest))
        if left > 1e-6 * own:
            kept.append(str(name))
            basis.append(rest / left)
    return design[kept], [str(c) for c in design if c not in kept]


def _measure(frame: pd.DataFrame) -> str:
    """Return what a ratio is called: beside competing events it is that of who is still free of all of them."""
    return "cause-specific hazard ratio" if "cause" in frame else "hazard ratio"


def _cox(
    frame: pd.DataFrame, design: pd.DataFrame, batch: pd.Series | None, model: str, groups: list[str]
) -> pd.DataFrame:
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError
    from lifelines.statistics import proportional_hazard_test

    # Where a group has no event, or nobody of it survives one, the likelihood has no maximum.
    events = frame.groupby("group")["event"].sum()
    none = [str(g) for g in groups if events[g] == 0]
    n_events = int(frame["event"].sum())
    blank = pd.DataFrame(
        {"measure": _measure(frame), "model": model, "term": list(design), "n": len(frame), "n_events": n_events}
    )
    if none:
        return blank.assign(reason=f"group {none[0]} has no event").reindex(columns=list(EFFECTS))
    table = design.assign(**{"__time": frame["time"], "__event": frame["event"]})
    if batch is not None:
        table["__batch"] = batch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", category=RuntimeWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            fit = CoxPHFitter().fit(table, "__time", "__event", strata=None if batch is None else ["__batch"])
        shape = proportional_hazard_test(fit, table, time_transform="rank").summary["p"]
    except (ConvergenceError, RuntimeWarning, np.linalg.LinAlgError) as error:
        reason = "the model does not converge: " + " ".join(str(error).split())[:90]
        return blank.assign(reason=reason).reindex(columns=list(EFFECTS))
    summary = fit.summary.loc[list(design)]
    out = blank.assign(
        ratio=summary["exp(coef)"].to_numpy(), ci_low=summary["exp(coef) lower 95%"].to_numpy(),
        ci_high=summary["exp(coef) upper 95%"].to_numpy(), p=summary["p"].to_numpy(),
        p_proportional=shape.reindex(list(design)).to_numpy(), reason="",
    )  # fmt: skip
    # A coefficient that runs away has no finite maximum: its value, like that of its interval, is arbitrary.
    away = (summary["se(coef)"] * design.std(ddof=0) > RUNAWAY).to_numpy()
    out.loc[away, ["ratio", "ci_low", "ci_high", "p", "p_proportional"]] = np.nan
    out.loc[away, "reason"] = "separation: all, or none, of these patients have the event"
    return out[list(EFFECTS)]
