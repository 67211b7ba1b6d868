"""`LogRank`: the stratified log-rank test of groups, studentised, with its permutation null."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2

from mmcell.metrics.kaplan_meier import median_time
from mmcell.stats.permutation import permuted_within

#: Directions whose variance is a smaller share of the largest carry nothing but rounding.
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class LogRank:
    """Events of some patients, laid out so that any grouping of them is compared quickly.

    Attributes
    ----------
    order
        (n,) rows by stratum, then time.
    stratum
        (n,) codes.
    rows
        Places in the order of those with the event.
    moment
        Of each of these the moment (distinct time of an event within a stratum).
    start, end
        (m,) where in the order those at risk at each moment begin and end.
    died
        (m,) events at each moment.
    """

    order: np.ndarray
    stratum: np.ndarray
    rows: np.ndarray
    moment: np.ndarray
    start: np.ndarray
    end: np.ndarray
    died: np.ndarray

    @classmethod
    def of(cls, time: np.ndarray, event: np.ndarray, stratum: np.ndarray) -> LogRank:
        """Lay out (n,) times, events (1 = seen) and strata of any sortable labels."""
        code = np.unique(stratum, return_inverse=True)[1]
        order = np.lexsort((time, code))
        t, c = time[order], code[order]
        new = np.append(True, (np.diff(t) != 0) | (np.diff(c) != 0))
        first = np.flatnonzero(new)[np.cumsum(new) - 1]
        rows = np.flatnonzero(event[order] == 1)
        start, moment, died = np.unique(first[rows], return_inverse=True, return_counts=True)
        return cls(order, code, rows, moment, start, np.searchsorted(c, c[start], "right"), died.astype(float))

    def compared(self, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return events seen minus expected (g,) of groups, and their hypergeometric covariance (g, g).

        Parameters
        ----------
        member
            (n, g) 1 where a patient belongs to a group.
        """
        placed = member[self.order]
        before = np.vstack([np.zeros(placed.shape[1]), placed.cumsum(axis=0)])
        n = (self.end - self.start).astype(float)
        share = (before[self.end] - before[self.start]) / n[:, None]
        weight = self.died * np.divide(n - self.died, n - 1, out=np.zeros_like(n), where=n > 1)
        seen = placed[self.rows].sum(axis=0)
        return seen - self.died @ share, np.diag(weight @ share) - (share * weight[:, None]).T @ share

    def statistic(self, member: np.ndarray) -> tuple[float, int]:
        """Return χ² of groups and its degrees of freedom; 0 and 0 where events can tell no group from another."""
        gap, spread = self.compared(member)
        values, axes = np.linalg.eigh(spread)
        kept = values > _FLAT * max(1.0, float(values[-1]))
        along = gap @ axes[:, kept]
        return float((along**2 / values[kept]).sum()), int(kept.sum())


def log_rank(
    time: np.ndarray, event: np.ndarray, group: np.ndarray, stratum: np.ndarray, n_permutations: int,
    rng: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Return ``chi2``, ``df``, ``p`` (asymptotic) and ``p_permutation`` of the log-rank test within strata.

    Groups are permuted within strata, and χ² is computed anew with the covariance of every permutation: that is right
    for many patients even where groups are followed for unlike times, which permuting events minus expected alone
    is not.

    Parameters
    ----------
    time, event, group, stratum
        (n,) of each patient; 1 for an event.
    n_permutations, rng
        Draws; with 0 there is no ``p_permutation``.

    Returns
    -------
    dict
        χ² and p are NaN where nothing can be compared: one group, or in every stratum one group or no event.

    Notes
    -----
    Groups without effect called different at 5 %, in 1,000 cohorts of exponential times (mean 10), censored evenly up
    to an end, by permutation (299) and asymptotically; without studentising in brackets. 80 and 80 patients, both up
    to 60: 4.4 and 3.8 %; up to 10 and 60: 4.8 and 4.8 % (2.5); 20 and 140 up to 5 and 80: 4.2 and 4.9 % (0.0); 140 and
    20 up to 5 and 80: 3.9 and 4.0 % (7.0).

    References
    ----------
    Neuhaus: Conditional rank tests for the two-sample problem under random censorship. Ann Stat 21 (1993).
    Heinze, Gnant, Schemper: Exact log-rank tests for unequal follow-up. Biometrics 59 (2003).
    """
    laid = LogRank.of(np.asarray(time, dtype=float), np.asarray(event), np.asarray(stratum))
    codes = np.unique(group, return_inverse=True)[1]
    member = (codes[:, None] == np.arange(codes.max() + 1)).astype(float)
    seen, df = laid.statistic(member)
    if not df:
        nothing = {"chi2": float("nan"), "df": 0.0, "p": float("nan")}
        return nothing | ({"p_permutation": float("nan")} if n_permutations else {})
    found = {"chi2": seen, "df": float(df), "p": float(chi2.sf(seen, df))}
    if not n_permutations:
        return found
    drawn = (laid.statistic(member[permuted_within(laid.stratum, rng)])[0] for _ in range(n_permutations))
    extreme = sum(value >= seen * (1 - 1e-9) for value in drawn)
    return found | {"p_permutation": (extreme + 1) / (n_permutations + 1)}


def follow_up(frame: pd.DataFrame, stratum: np.ndarray) -> tuple[pd.Series, float]:
    """Return the median follow-up of every group (reverse Kaplan–Meier), and p that groups are followed alike.

    Parameters
    ----------
    frame
        Columns ``group time event``, and ``cause`` where events compete: then nobody who had either was lost.
    stratum
        (n,) within which groups are compared.
    """
    left = (frame["cause" if "cause" in frame else "event"] == 0).astype(int)
    medians = {
        str(name): median_time(part["time"].to_numpy(), left[part.index].to_numpy())
        for name, part in frame.groupby("group", sort=True)
    }
    p = log_rank(
        frame["time"].to_numpy(), left.to_numpy(), frame["group"].to_numpy(), stratum, 0, np.random.default_rng(0)
    )["p"]
    return pd.Series(medians), p
