"""Survival: the metrics of items, and all that is scored of arrays of time and event.

Risk convention everywhere: a higher score means higher risk and shorter survival. Codes of the event: 0 = censored,
1 = the event, 2 = a competing event. Who had a competing event counts as censored where pairs, hazards and groups are
compared, as without the event for good in Brier scores, cumulative incidence and `cause_specific_c`, and never as
censored where the chance of staying under observation is estimated.
"""

from __future__ import annotations

import numpy as np

from mmcell.items import Items
from mmcell.metrics.base import Metric, mean_of, ratio, within_folds, within_repeats
from mmcell.metrics.benefit import one_value, survival_net_benefit, survival_net_benefit_resampled
from mmcell.metrics.brier import (
    brier_score,
    brier_score_resampled,
    integrated_brier_score,
    integrated_brier_score_resampled,
)
from mmcell.metrics.calibration import (
    DCalibration,
    calibration_error_quantile,
    calibration_slope,
    calibration_slope_resampled,
    d_calibration,
    d_calibration_resampled,
    integrated_calibration_index,
    integrated_calibration_index_resampled,
    smooth_risk,
    smooth_risk_resampled,
)
from mmcell.metrics.censoring import Censoring, common_tau
from mmcell.metrics.competing import (
    cause_specific_c,
    cause_specific_c_resampled,
    competing_pairs,
)
from mmcell.metrics.concordance import c_pairs, harrell_c, harrell_c_resampled, uno_c, uno_c_resampled
from mmcell.metrics.dynamic import (
    auc_pairs,
    control_factor,
    cumulative_dynamic_auc,
    cumulative_dynamic_auc_resampled,
    integral,
    integrated_auc,
    integrated_auc_resampled,
)
from mmcell.metrics.incidence import aalen_johansen, aalen_johansen_resampled
from mmcell.metrics.kaplan_meier import KaplanMeier, Steps, kaplan_meier
from mmcell.metrics.outcome import Span, with_censoring
from mmcell.metrics.restricted_mean import (
    restricted_mean,
    restricted_mean_difference,
    restricted_mean_difference_resampled,
    restricted_mean_resampled,
)

__all__ = [
    "BRIER_HORIZON", "CAUSE_SPECIFIC_C", "HARRELL_C", "IBS", "RMST_DIFFERENCE", "TD_AUC", "UNO_C", "Censoring",
    "DCalibration", "KaplanMeier", "Span", "aalen_johansen", "aalen_johansen_resampled", "brier_score",
    "brier_score_resampled", "c_pairs", "calibration_error_quantile", "calibration_slope",
    "calibration_slope_resampled", "cause_specific_c", "cause_specific_c_resampled", "common_tau",
    "cumulative_dynamic_auc", "cumulative_dynamic_auc_resampled", "d_calibration", "d_calibration_resampled",
    "harrell_c", "harrell_c_resampled", "integrated_auc", "integrated_auc_resampled", "integrated_brier_score",
    "integrated_brier_score_resampled", "integrated_calibration_index", "integrated_calibration_index_resampled",
    "kaplan_meier", "n_events", "restricted_mean", "restricted_mean_difference",
    "restricted_mean_difference_resampled", "restricted_mean_resampled", "smooth_risk", "smooth_risk_resampled",
    "survival_net_benefit", "survival_net_benefit_resampled", "uno_c", "uno_c_resampled", "with_censoring",
]  # fmt: skip


def n_events(items: Items) -> int:
    """Return the number of units with an event."""
    return int(items.frame.loc[items.frame["event"] == 1, "unit"].nunique())


def _columns(items: Items, rows: np.ndarray, *names: str) -> list[np.ndarray]:
    return [items.column(name)[rows].astype(float) for name in names]


def _harrell(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event, risk = _columns(items, rows, "time", "event", "y_pred")
    return c_pairs(time, event, risk, weights)


def _uno(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event, risk, factor = _columns(items, rows, "time", "event", "y_pred", "ipcw")
    return c_pairs(time, event, risk, weights, factor)


def _cause_specific(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, cause, risk, factor = _columns(items, rows, "time", "cause", "y_pred", "ipcw")
    return competing_pairs(time, cause, risk, weights, np.where(cause > 0, np.sqrt(factor), 0.0))


def _td_auc(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Integrated AUC (draws,) of a repeat: at each event time below tau pairs of a fold are counted over all folds.

    A case weighs 1/G(T−), a control 1/G(t): see `control_factor`.
    What a time weighs is the part of the Kaplan–Meier curve's drop, over all folds, that cases make who count.
    """
    time, event, risk, ipcw = _columns(items, rows, "time", "event", "y_pred", "ipcw")
    factor = np.where(event == 1, np.sqrt(ipcw), 0.0)
    ended = items.column("cause" if "cause" in items.frame else "event")[rows].astype(float) > 0
    steps = Steps.of(time, weights)
    left = np.column_stack([np.ones(len(weights)), steps.left(steps.count(event == 1))])
    drops = left[:, :-1] * steps.hazard(steps.count(factor > 0))
    asked = np.isin(steps.times, time[factor > 0])
    times = steps.times[asked]
    top, bottom = np.zeros((2, len(weights), len(times)))
    # Pairs lie within a fold, and within a stratum where items are compared in strata.
    parts = ["fold", "within"] if "within" in items.frame else ["fold"]
    for own in items.frame.iloc[rows].reset_index(drop=True).groupby(parts, sort=True).indices.values():
        drawn = np.ascontiguousarray(weights[:, own])
        a, b = auc_pairs(time[own], factor[own], risk[own], times, drawn)
        share = control_factor(time[own], ended[own], times, drawn)
        top += a * share
        bottom += b * share
    return integral(ratio(top, bottom), drops[:, asked])


def _rmst(items: Items, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    time, event = _columns(items, rows, "time", "event")
    group, tau = items.column("risk_group")[rows], one_value(items, rows, "tau")
    if not tau > 0:
        return np.full(len(weights), np.nan)
    return restricted_mean_difference_resampled(time, event, group, tau, weights)


_harrell_fn, _harrell_fast = within_folds(_harrell)
_uno_fn, _uno_fast = within_folds(_uno)
_cause_fn, _cause_fast = within_folds(_cause_specific)
_td_fn, _td_fast = within_repeats(_td_auc)
_ibs_fn, _ibs_fast = mean_of(lambda items: items.column("brier").astype(float))
_horizon_fn, _horizon_fast = mean_of(lambda items: items.column("brier_horizon").astype(float))
_rmst_fn, _rmst_fast = within_repeats(_rmst)

HARRELL_C = Metric(
    "harrell_c", _harrell_fn, True, 0.5, (0, 1), _harrell_fast, ("survival",), within_fold=True, size=n_events,
    about="how often, of two comparable patients, the one with the higher risk has the event first",
    source="Harrell, Lee, Mark, Stat Med 15, 361 (1996)",
)  # fmt: skip
UNO_C = Metric(
    "uno_c", _uno_fn, True, 0.5, (0, 1), _uno_fast, ("survival",), within_fold=True, size=n_events, needs=("ipcw",),
    about="C whose pairs are weighted against censoring, up to tau", source="Uno et al., Stat Med 30, 1105 (2011)",
)  # fmt: skip
CAUSE_SPECIFIC_C = Metric(
    "cause_specific_c", _cause_fn, True, 0.5, (0, 1), _cause_fast, ("survival",), within_fold=True, size=n_events,
    needs=("cause", "ipcw"), about="C where another event competes: who has that one counts as outliving the event",
    source="Wolbers et al., Biostatistics 15, 526 (2014)",
)  # fmt: skip
#: Integrated up to tau.
TD_AUC = Metric(
    "td_auc", _td_fn, True, 0.5, (0, 1), _td_fast, ("survival",), within_fold=True, size=n_events, needs=("ipcw",),
    about="AUC of who had the event by a time against who had not, integrated over times up to tau",
    source="Uno et al., JASA 102, 527 (2007); Lambert, Chevret, Stat Methods Med Res 25, 2088 (2016)",
)  # fmt: skip
#: No chance level: what a curve without skill scores depends on the cohort; the control `constant` measures it.
_GRAF = "Graf et al., Stat Med 18, 2529 (1999)"
IBS = Metric(
    "ibs", _ibs_fn, False, None, (0, np.inf), _ibs_fast, ("survival",), needs=("brier",),
    about="integrated Brier score of predicted survival curves, weighted against censoring", source=_GRAF,
)  # fmt: skip
BRIER_HORIZON = Metric(
    "brier@horizon", _horizon_fn, False, None, (0, np.inf), _horizon_fast, ("survival",), needs=("brier_horizon",),
    about="Brier score of predicted survival at the horizon, the median time of events", source=_GRAF,
)  # fmt: skip
#: In units of time, up to tau, low risk less high risk.
RMST_DIFFERENCE = Metric(
    "rmst_difference", _rmst_fn, True, 0.0, (-np.inf, np.inf), _rmst_fast, ("survival",), size=n_events,
    needs=("risk_group", "tau"),
    undefined="all patients are in one risk group, or nobody is followed beyond the first events",
    about="restricted mean survival of the low-risk group less that of the high-risk group, in units of time",
    source="Royston, Parmar, BMC Med Res Methodol 13, 152 (2013)",
)  # fmt: skip
