"""Metrics of predicted probabilities: of the positive class, or of the event by a horizon (column ``p_event``).

Probabilities of different folds are on one scale, so the folds of a repeat are pooled; repeats are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import chi2

from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of, plain, within_repeats
from mmcell.metrics.benefit import benefit_at_threshold, one_value
from mmcell.metrics.calibration import (
    calibration_slope_resampled,
    cloglog,
    d_shares,
    integrated_calibration_index_resampled,
    uniform_statistic,
)
from mmcell.metrics.calibration_line import calibration_line_resampled

#: Bins of D-calibration.
BINS = 10


def carrying(items: Items) -> int:
    """Return the number of units in the rarer class, or of those with an event."""
    if items.kind == "survival":
        return int(items.frame.loc[items.frame["event"] == 1, "unit"].nunique())
    truth = items.frame.drop_duplicates(["unit", "y_true"])["y_true"]
    return int(truth.value_counts().min())


def _columns(items: Items, rows: np.ndarray, *names: str) -> list[np.ndarray]:
    return [items.column(name)[rows].astype(float) for name in names]


def _slope(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope (draws,): of log odds, or of the log hazard within folds, each with a baseline hazard of its own."""
    if items.kind == "binary":
        y, p = _columns(items, rows, "y_true", "p_event")
        return calibration_line_resampled(y, p, weights)[1]
    time, event, p = _columns(items, rows, "time", "event", "p_event")
    risk = items.column("log_hazard")[rows] if "log_hazard" in items.frame else cloglog(p)
    return calibration_slope_resampled(time, event, risk, weights, items.column("fold")[rows])


def _intercept(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    y, p = _columns(items, rows, "y_true", "p_event")
    return calibration_line_resampled(y, p, weights)[0]


def _ici(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Index (draws,): of the risk if nothing else befell where events compete, for these count as censoring here."""
    time, event, p = _columns(items, rows, "time", "event", "p_net" if "p_net" in items.frame else "p_event")
    return integrated_calibration_index_resampled(time, event, p, one_value(items, rows, "horizon"), weights)


def _distance(
    kernel: Callable[[Items, np.ndarray, np.ndarray], np.ndarray], ideal: float, name: str, kinds: tuple[str, ...],
    undefined: str, about: str, source: str,
) -> Metric:  # fmt: skip
    """Return the metric of how far the mean over repeats is from what is ideal."""
    of_repeats = within_repeats(kernel)[1]

    def signed(items: Items, weights: np.ndarray) -> np.ndarray:
        return of_repeats(items, weights) - ideal

    def resampled(items: Items, weights: np.ndarray) -> np.ndarray:
        return np.abs(signed(items, weights))

    deviation = Metric(
        f"{name} less {ideal:g}", plain(signed), resampled=signed, kinds=kinds, needs=("p_event",), size=carrying,
        undefined=undefined,
    )  # fmt: skip
    return replace(
        deviation, name=f"{name}_error", fn=plain(resampled), higher_is_better=False, bounds=(0, np.inf),
        resampled=resampled, deviation=deviation, about=about, source=source,
    )  # fmt: skip


def _d_calibration(items: Items) -> float:
    """Return p of uniform survival at the own time, of shares that are means over repeats, every patient once."""
    event, survival = _columns(items, np.arange(len(items.frame)), "event", "own_survival")
    of_repeat = pd.DataFrame(d_shares(event, survival, BINS)).groupby(items.column("repeat")).mean()
    statistic = uniform_statistic(of_repeat.mean().to_numpy(), items.frame["unit"].nunique())
    return float(chi2.sf(statistic, BINS - 1)) if len(of_repeat) else float("nan")


_brier_fn, _brier_fast = mean_of(
    lambda items: (items.column("p_event").astype(float) - items.column("y_true").astype(float)) ** 2
)
_ici_fn, _ici_fast = within_repeats(_ici)
_benefit_fn, _benefit_fast = within_repeats(benefit_at_threshold)

#: None of them has a chance level: what says nothing, the prevalence for all, is well calibrated.
BRIER = Metric(
    "brier", _brier_fn, False, None, (0, 1), _brier_fast, ("binary",), needs=("p_event",), size=carrying,
    about="mean squared difference of predicted probability and outcome",
    source="Brier, Mon Weather Rev 78, 1 (1950)",
)  # fmt: skip
#: |slope − 1|: a slope itself has no better side. `calibration_slope` and `calibration_line` give it with its sign.
CALIBRATION_SLOPE_ERROR = _distance(
    _slope, 1.0, "calibration_slope", ("binary", "survival"),
    "the slope is infinite or undefined: no event, one class or one prediction for all, predictions that part the "
    "classes, or a prediction of 0 or 1",
    "how far the calibration slope is from 1, on either side",
    "Cox, Biometrika 45, 562 (1958); van Houwelingen, Stat Med 19, 3401 (2000)",
)  # fmt: skip
#: |intercept|, in log odds.
CALIBRATION_INTERCEPT_ERROR = _distance(
    _intercept, 0.0, "calibration_intercept", ("binary",), "one class only, or a prediction of 0 or 1",
    "how far the calibration intercept is from 0, in log odds, on either side", "Cox, Biometrika 45, 562 (1958)",
)  # fmt: skip
ICI = Metric(
    "ici", _ici_fn, False, None, (0, 1), _ici_fast, ("survival",), needs=("p_event", "horizon"), size=carrying,
    undefined="no event, nobody under observation at the horizon, or a prediction of 0",
    about="mean distance of predicted risk and smoothed observed risk at the horizon",
    source="Austin, Harrell, van Klaveren, Stat Med 39, 2714 (2020)",
)  # fmt: skip
#: The p of a test, for which resampled units say nothing. Who is censored is spread over bins, which the χ² does not
#: know: p is then too large, the more so the more of them there are.
D_CALIBRATION = Metric(
    "d_calibration", _d_calibration, True, None, (0, 1), None, ("survival",), needs=("own_survival",), interval=False,
    is_test=True, about="p of the test that predicted survival at the own time is uniform; a small one is bad",
    source="Haider et al., JMLR 21, 85 (2020)",
)  # fmt: skip
NET_BENEFIT = Metric(
    "net_benefit", _benefit_fn, True, None, (-np.inf, 1), _benefit_fast, ("binary", "survival"),
    needs=("p_event", "threshold"), size=carrying,
    undefined="nobody above the threshold is under observation at the horizon",
    about="net benefit of treating who is above the risk of the fold's training patients, per patient",
    source="Vickers, Elkin, Med Decis Making 26, 565 (2006)",
)  # fmt: skip
