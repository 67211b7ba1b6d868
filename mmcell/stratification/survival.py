"""Survival by group: curves, log-rank test by permutation, restricted means and hazard ratios."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from mmcell.metrics.restricted_mean import restricted_mean, restricted_mean_variance
from mmcell.stats.permutation import permuted_within
from mmcell.stratification.incidence import incidence

#: Columns of a table of effects, hazard or odds ratios alike.
EFFECTS = ("measure", "model", "term", "ratio", "ci_low", "ci_high", "p", "p_proportional", "n", "n_events", "reason")
#: A coefficient of a standardised column whose standard error is larger than this has run away.
RUNAWAY = 20.0
#: A restricted mean reaches as far as so many patients of every group are followed.
LEAST_AT_RISK = 10
_Z = 1.959963984540054


def horizon(frame: pd.DataFrame) -> float:
    """Return the last time at which `LEAST_AT_RISK` patients of every group are followed, of a small group half of it.

    Parameters
    ----------
    frame
        Columns ``group time``.
    """
    ends = []
    for _, time in frame.groupby("group")["time"]:
        falling = np.sort(time.to_numpy(dtype=float))[::-1]
        ends.append(falling[min(LEAST_AT_RISK, (len(falling) + 1) // 2) - 1])
    return float(min(ends))


def survival_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per group: patients, events, median with interval, and restricted mean with its difference.

    Parameters
    ----------
    frame
        Columns ``group time event``.

    Returns
    -------
    pandas.DataFrame
        ``group n n_events median median_low median_high restricted_mean until difference ci_low ci_high``; a median
        that is not reached is NaN; the difference is from the first group.
    """
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    until = horizon(frame)
    rows, first = [], (0.0, 0.0)
    for i, (name, part) in enumerate(frame.groupby("group", sort=True)):
        time, event = part["time"].to_numpy(dtype=float), part["event"].to_numpy(dtype=int)
        fit = KaplanMeierFitter().fit(time, event)
        low, high = median_survival_times(fit.confidence_interval_).to_numpy(dtype=float)[0]
        mean, variance = restricted_mean(time, event, until), restricted_mean_variance(time, event, until)
        first = (mean, variance) if i == 0 else first
        gap, error = mean - first[0], np.sqrt(variance + first[1])
        row = {"group": name, "n": len(part), "n_events": int(event.sum()), "median": fit.median_survival_time_}
        row |= {"median_low": low, "median_high": high, "restricted_mean": mean, "until": until}
        row |= {"difference": gap, "ci_low": gap - _Z * error, "ci_high": gap + _Z * error} if i else {}
        rows.append(row)
    columns = ["median", "median_low", "median_high", "restricted_mean", "until", "difference", "ci_low", "ci_high"]
    found = pd.DataFrame(rows).reindex(columns=["group", "n", "n_events", *columns])
    # lifelines calls a median that is not reached infinite.
    return found.replace([np.inf, -np.inf], np.nan)


def incidence_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per group where a competing event can rule the event out.

    Parameters
    ----------
    frame
        Columns ``group time cause``: 0 = censored, 1 = the event, 2 = competing.

    Returns
    -------
    pandas.DataFrame
        ``group n n_events n_competing incidence incidence_low incidence_high time_lost until difference ci_low
        ci_high``: the cumulative incidence (Aalen–Johansen) at ``until``, the mean time lost to the event up to then
        and its difference from the first group.
    """
    until, rows, first = horizon(frame), [], (0.0, 0.0)
    for i, (name, part) in enumerate(frame.groupby("group", sort=True)):
        cause = part["cause"].to_numpy(dtype=int)
        found = incidence(part["time"].to_numpy(dtype=float), cause)
        value, low, high = found.at(until)
        lost, variance = found.time_lost(until)
        first = (lost, variance) if i == 0 else first
        gap, error = lost - first[0], np.sqrt(variance + first[1])
        row = {"group": name, "n": len(part), "n_events": int((cause == 1).sum())}
        row |= {"n_competing": int((cause == 2).sum()), "incidence": value, "incidence_low": low}
        row |= {"incidence_high": high, "time_lost": lost, "until": until}
        row |= {"difference": gap, "ci_low": gap - _Z * error, "ci_high": gap + _Z * error} if i else {}
        rows.append(row)
    columns = ["incidence", "incidence_low", "incidence_high", "time_lost", "until", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows).reindex(columns=["group", "n", "n_events", "n_competing", *columns])


def residuals(time: np.ndarray, event: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Return martingale residuals (n,) without covariates: events seen minus expected, within each stratum."""
    found = np.empty(len(time))
    for name in np.unique(stratum):
        own = stratum == name
        t, e = time[own], event[own]
        moments = np.unique(t[e == 1])
        order = np.sort(t)
        at_risk = len(t) - np.searchsorted(order, moments, side="left")
        died = np.bincount(np.searchsorted(moments, t[e == 1]), minlength=len(moments))
        hazard = np.concatenate([[0.0], np.cumsum(died / at_risk)])
        found[own] = e - hazard[np.searchsorted(moments, t, side="right")]
    return found


def score_permutation(
    score: np.ndarray, group: np.ndarray, stratum: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> float:
    """Return p of Σ_g (Σ_{i in g} score_i)²/n_g when scores move between patients of one stratum.

    With martingale residuals this is the log-rank test with its permutation null, with a 0/1 label the χ² test.

    Parameters
    ----------
    score
        (n,) of each patient, or (n, m): then summed over the m.
    group, stratum
        (n,) labels.
    n_permutations, rng
        Draws.

    Returns
    -------
    float
        NaN where nothing can be permuted: one group, or in every stratum one group or one score only.
    """
    codes, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    values = np.asarray(score, dtype=float).reshape(len(codes), -1)
    table = pd.DataFrame(values).assign(stratum=np.asarray(stratum), code=codes).groupby("stratum")
    kinds = table.nunique()
    moves = (kinds["code"] > 1) & (kinds.drop(columns="code").max(axis=1) > 1)
    if not moves.any():
        return float("nan")
    member = (codes[:, None] == np.arange(len(sizes))).astype(float)
    # Centred within strata, so that what differs between these counts for nothing.
    centre = values - table[list(range(values.shape[1]))].transform("mean").to_numpy()

    def statistic(own: np.ndarray) -> float:
        return float(((member.T @ own) ** 2 / sizes[:, None]).sum())

    seen = statistic(centre)
    extreme = sum(statistic(centre[permuted_within(stratum, rng)]) >= seen * (1 - 1e-12) for _ in range(n_permutations))
    return (extreme + 1) / (n_permutations + 1)


def log_rank(
    frame: pd.DataFrame, stratum: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return ``chi2``, ``df``, ``p`` (asymptotic, without strata) and ``p_permutation`` of the log-rank test."""
    from lifelines.statistics import multivariate_logrank_test

    time, event = frame["time"].to_numpy(dtype=float), frame["event"].to_numpy(dtype=int)
    group = frame["group"].to_numpy()
    found = multivariate_logrank_test(time, group, event)
    p = score_permutation(residuals(time, event, stratum), group, stratum, n_permutations, rng)
    return {
        "chi2": float(found.test_statistic), "df": float(len(np.unique(group)) - 1), "p": float(found.p_value),
        "p_permutation": p,
    }  # fmt: skip


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
