"""A class by group: shares, χ² test by permutation, and odds ratios."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import comb
from scipy.stats import chi2_contingency, fisher_exact

from mmcell.stratification.ratios import Fit, Ratios, UnfitError, ratios
from mmcell.stratification.scores import score_permutation

#: Batches of so many patients at most are conditioned on.
_SMALL = 40
_NO_TERMS = pd.DataFrame({"value": [], "error": [], "p_proportional": []}, dtype=float)


def classes_by_group(frame: pd.DataFrame, positive: str) -> pd.DataFrame:
    """Return a row per group: patients, how many have each class, and shares.

    Parameters
    ----------
    frame
        Columns ``group label``.
    positive
        The class whose share is given, with its Wilson interval. Of more than two classes, or with "" for none, the
        share of every class is given, too, without one.
    """
    table = pd.crosstab(frame["group"], frame["label"])
    found = pd.DataFrame({"group": table.index, "n": table.sum(axis=1).to_numpy()})
    for name in table:
        found[f"n {name}"] = table[name].to_numpy()
    for name in table if table.shape[1] > 2 or not positive else ():
        found[f"share {name}"] = table[name].to_numpy() / found["n"].to_numpy()
    if positive:
        from statsmodels.stats.proportion import proportion_confint

        count, n = table[positive].to_numpy(), found["n"].to_numpy()
        low, high = proportion_confint(count, n, method="wilson")
        found["share"], found["ci_low"], found["ci_high"] = count / n, low, high
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
    frame: pd.DataFrame, positive: str, covariates: pd.DataFrame, batch: pd.Series | None,
    references: Mapping[str, str] | None = None,
) -> Ratios:  # fmt: skip
    """Return odds ratios of the positive class to the first group, unadjusted, and adjusted within batches.

    Parameters
    ----------
    frame
        Columns ``group label``.
    positive
        The class; all others are the rest.
    covariates, batch
        As in `hazard_ratios`. Small batches are conditioned on, for a constant for each of many small batches makes
        ratios too large; large ones have a constant of their own. A batch with one class says nothing either way.
    references
        Column of a class -> what it is compared with.

    References
    ----------
    Breslow, Day: Statistical methods in cancer research, vol. 1 (1980), chapter 7.
    """
    outcome = pd.DataFrame({"event": (frame["label"] == positive).astype(int)})
    small = batch is not None and batch.value_counts().max() <= _SMALL
    return ratios(
        frame["group"], outcome, covariates, batch, measure="odds ratio", fit=_conditional if small else _logit,
        sides=(0, 1), references=references,
    )  # fmt: skip


def _logit(outcome: pd.DataFrame, design: pd.DataFrame, batch: pd.Series) -> Fit:
    """Fit a logistic model with a constant for each batch; all batches have both classes."""
    from statsmodels.api import Logit

    y, x = _laid(outcome, design)
    if not x.shape[1]:
        share = y.groupby(batch).transform("mean")
        return Fit(_NO_TERMS, float(np.log(np.where(y == 1, share, 1 - share)).sum()))
    constants = pd.get_dummies(batch).astype(float).add_prefix("__")
    return _maximum(lambda: Logit(y, pd.concat([x, constants], axis=1)).fit(disp=0, maxiter=30), design)


def _conditional(outcome: pd.DataFrame, design: pd.DataFrame, batch: pd.Series) -> Fit:
    """Fit a logistic model given how many patients of each batch are of the class; all batches have both classes."""
    from statsmodels.discrete.conditional_models import ConditionalLogit

    if batch.eq("").all():
        # The model without batches.
        return _logit(outcome, design, batch)
    y, x = _laid(outcome, design)
    if not x.shape[1]:
        sizes = y.groupby(batch).agg(["size", "sum"])
        return Fit(_NO_TERMS, -float(np.log(comb(sizes["size"], sizes["sum"])).sum()))
    return _maximum(lambda: ConditionalLogit(y, x, groups=batch).fit(disp=0, maxiter=200), design)


def _laid(outcome: pd.DataFrame, design: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return the class as a number, and the standardised design."""
    return outcome["event"].astype(float), design / design.std(ddof=0)


def _maximum(fit: Callable[[], Any], design: pd.DataFrame) -> Fit:
    """Return a fitted model of standardised columns in the units of the columns."""
    with warnings.catch_warnings():
        # What they warn of, a coefficient that runs away, is seen in its error.
        warnings.simplefilter("ignore")
        try:
            found = fit()
        except np.linalg.LinAlgError as error:
            raise UnfitError("separation: the covariates tell the class of some patients for certain") from error
        names, spread = list(design), design.std(ddof=0)
        value, wide = (pd.Series(np.asarray(v)[: len(names)], names) for v in (found.params, found.bse))
    return Fit(pd.DataFrame({"value": value / spread, "error": wide / spread, "p_proportional": np.nan}), found.llf)
