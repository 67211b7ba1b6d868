"""Columns that tell the outcome by themselves: perhaps a second outcome, or recorded after it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from mmcell.metrics.classification import auroc
from mmcell.metrics.concordance import harrell_c

#: With fewer events, or fewer of either class, nothing is said.
_FEWEST = 10
#: Of all columns together, how likely one may get so far by luck; and permutations that say what luck does.
_LUCK, _DRAWS = 0.05, 100


def telling(columns: pd.DataFrame, truth: pd.DataFrame, least: float) -> dict[str, str]:
    """Return the columns that nearly give what became of patients, each with how well it does.

    Parameters
    ----------
    columns
        A row per patient: numbers, or classes, which are ranked by how many of their patients have the event. Gaps are
        left out; that there are any is a column of its own, called ``NAME missing``.
    truth
        A row per patient: ``time event``, of which times are ranked (Harrell's C), and who has the event at all
        (AUROC); or ``y_true``, 0 or 1 (AUROC).
    least
        From this concordance or AUROC on, in either direction, a column tells; nothing does with fewer than 10 events,
        or patients of a class.

    Notes
    -----
    Few patients are ranked well by one of many columns, and by classes that are ranked by these very patients: of 20
    with 10 events, 0.95 or more was reached by one of five columns of ten meaningless classes in a quarter of 200
    simulations. So a column must also lie farther out than it does when it is permuted (normal approximation,
    Bonferroni over the columns). A code that every patient has alone gets as far then, and tells nothing.
    """
    found = {}
    shared = columns.reindex(truth.index)
    for name, column in shared.items():
        gap = column.isna()
        said = _told(column[~gap], truth[~gap.to_numpy()], least, shared.shape[1])
        if said:
            found[str(name)] = said
        elif gap.any() and (said := _told(gap.astype(float), truth, least, shared.shape[1])):
            found[f"{name} missing"] = said
    return found


def _told(column: pd.Series, truth: pd.DataFrame, least: float, n_columns: int) -> str:
    values = _values(column, truth)
    far = {name: v for name, v in values.items() if max(v, 1 - v) >= least}
    if far:
        rng = np.random.default_rng(0)
        drawn = [_values(column.iloc[rng.permutation(len(column))], truth) for _ in range(_DRAWS)]
        far = {name: v for name, v in far.items() if _p(v, [d[name] for d in drawn]) * n_columns <= _LUCK}
    return ", ".join(f"{name} {value:.2f}" for name, value in far.items())


def _p(value: float, drawn: list[float]) -> float:
    """Return how likely luck takes a column as far, in either direction; 1 where permuting it changes nothing."""
    spread = float(np.std(drawn))
    return 2 * float(norm.sf(abs(value - np.mean(drawn)) / spread)) if spread > 0 else 1.0


def _values(column: pd.Series, truth: pd.DataFrame) -> dict[str, float]:
    """Return how well a column ranks the rows of `truth`, by place."""
    survival = "event" in truth
    y = truth["event" if survival else "y_true"].to_numpy(dtype=float)
    rare, others = y.sum(), (1 - y).sum()
    values: dict[str, float] = {}
    if survival and rare >= _FEWEST:
        time = truth["time"].to_numpy(dtype=float)
        values["concordance"] = harrell_c(time, y.astype(int), _ranked(column, y, time))
    if min(rare, others) >= _FEWEST:
        what = "AUROC of the event" if survival else "AUROC"
        values[what] = auroc(y.astype(int), _ranked(column, y, np.ones_like(y)))
    return values


def _ranked(column: pd.Series, y: np.ndarray, spent: np.ndarray) -> np.ndarray:
    """Return numbers as they are, and of every class its events by what its patients have spent."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=float)
    sums = pd.DataFrame({"y": y, "spent": spent}).groupby(column.astype(str).to_numpy()).transform("sum")
    return (sums["y"] / sums["spent"]).to_numpy()
