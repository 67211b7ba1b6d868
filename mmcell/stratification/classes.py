"""A class by group: shares, χ² test by permutation, and odds ratios."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, fisher_exact

from mmcell.stratification.hazards import EFFECTS, RUNAWAY, independent
from mmcell.stratification.scores import score_permutation

_Z = 1.959963984540054


def classes_by_group(frame: pd.DataFrame, positive: str) -> pd.DataFrame:
    """Return a row per group: patients, how many have each class, and of two classes the share of the positive one.

    Parameters
    ----------
    frame
        Columns ``group label``.
    positive
        The class whose share is given, with its Wilson interval; "" for none.
    """
    table = pd.crosstab(frame["group"], frame["label"])
    found = pd.DataFrame({"group": table.index, "n": table.sum(axis=1).to_numpy()})
    for name in table:
        found[f"n {name}"] = table[name].to_numpy()
    if positive:
        n, share = found["n"].to_numpy(dtype=float), table[positive].to_numpy() / found["n"].to_numpy()
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
        found["share"], found["ci_low"], found["ci_high"] = share, centre - half, centre + half
    return found


def association(
    frame: pd.DataFrame, stratum: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return ``chi2``, ``df``, ``p``, of two by two Fisher's exact ``p_fisher``, and ``p_permutation``."""
    table = pd.crosstab(frame["group"], frame["label"]).to_numpy()
    chi2, p, df, _ = chi2_contingency(table, correction=False)
    members = pd.get_dummies(frame["label"]).to_numpy(dtype=float)
    # Each class weighs as in χ²: by one over its share.
    scores = (members - members.mean(axis=0)) / np.sqrt(members.mean(axis=0))
    permuted = score_permutation(scores, frame["group"].to_numpy(), stratum, n_permutations, rng)
    found = {"chi2": float(chi2), "df": float(df), "p": float(p), "p_permutation": permuted}
    if table.shape == (2, 2):
        found["p_fisher"] = float(fisher_exact(table).pvalue)
    return found


def odds_ratios(
    frame: pd.DataFrame, positive: str, covariates: pd.DataFrame, batch: pd.Series | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return odds ratios of the positive class to the first group, unadjusted and adjusted; see `hazard_ratios`."""
    groups = sorted(frame["group"].unique())
    y = (frame["label"] == positive).astype(float)
    dummies = pd.DataFrame({f"group {g}": (frame["group"] == g).astype(float) for g in groups[1:]}, index=frame.index)
    split = [str(g) for g in groups if y[frame["group"] == g].nunique() < 2]
    why = f"separation: group {split[0]} has one class only" if split else ""
    found, notes = [_logit(y, dummies, "unadjusted", why)], []
    if batch is not None:
        covariates = covariates.assign(
            **{f"batch {b}": (batch == b).astype(float) for b in batch.value_counts().index[1:]}
        )
    if covariates.shape[1]:
        kept, dropped = independent(pd.concat([dummies, covariates], axis=1))
        notes += [f"{name} says nothing beyond the others and is left out" for name in dropped]
        found.append(_logit(y, kept, "adjusted", why))
    return pd.concat(found, ignore_index=True), notes


def _logit(y: pd.Series, design: pd.DataFrame, model: str, why: str) -> pd.DataFrame:
    from statsmodels.api import Logit, add_constant
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

    blank = pd.DataFrame(
        {"measure": "odds ratio", "model": model, "term": list(design), "n": len(y), "n_events": int(y.sum())}
    ).reindex(columns=list(EFFECTS))
    if why:
        return blank.assign(reason=why)
    spread = design.std(ddof=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", category=ConvergenceWarning)
            warnings.simplefilter("error", category=PerfectSeparationWarning)
            warnings.simplefilter("error", category=RuntimeWarning)
            fit = Logit(y, add_constant(design / spread)).fit(disp=0, maxiter=100)
    except (ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning, RuntimeWarning):
        return blank.assign(reason="separation: the covariates tell the class of some patients for certain")
    except np.linalg.LinAlgError:
        return blank.assign(reason="the covariates are too alike for a model")
    error = fit.bse[list(design)]
    if not np.isfinite(error).all() or error.max() > RUNAWAY:
        return blank.assign(reason="separation: the covariates tell the class of some patients for certain")
    value, error = fit.params[list(design)] / spread, error / spread
    return blank.assign(
        ratio=np.exp(value).to_numpy(), ci_low=np.exp(value - _Z * error).to_numpy(),
        ci_high=np.exp(value + _Z * error).to_numpy(), p=fit.pvalues[list(design)].to_numpy(), reason="",
    )  # fmt: skip
