"""Bootstrap over units: BCa by default, percentile on request; what cannot be said is said, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from mmcell.errors import MmcellError, number_of
from mmcell.items import Items
from mmcell.metrics.base import Metric, n_units
from mmcell.stats.parts import LEAST, drawn, thin
from mmcell.stats.units import FEW, MINIMUM, Units

Method = Literal["bca", "percentile"]
Status = Literal["ok", "boundary", "undefined", "too_few_units", "failed"]
ALPHA = 0.05
#: Fewer draws than this say nothing about the tails.
MINIMUM_DRAWS = 100
#: More change no digit that is shown, and fill the memory.
MAXIMUM_DRAWS = 1_000_000


def check_draws(n_boot: int) -> None:
    """Raise where bootstrap draws are too few for an interval, or more than can be held."""
    if n_boot < MINIMUM_DRAWS:
        raise MmcellError(f"n_boot is {n_boot}; use at least {MINIMUM_DRAWS} draws for a 95 % interval")
    if n_boot > MAXIMUM_DRAWS:
        raise MmcellError(f"n_boot is more than {MAXIMUM_DRAWS:,}; 1,000 draws are usual, 10,000 are many")


#: With more undefined draws than this share, an interval would describe the lucky draws only.
UNDEFINED_SHARE = 0.2
#: What tells one item from another; see `Estimate.rows`.
_ROWS = ("item", "repeat", "fold", "n_items")
#: Draws that differ by less do not differ: rounding is not spread.
SPREAD = 1e-9


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value with its interval over units.

    Attributes
    ----------
    metric
        Name.
    value
        On all items; NaN when undefined.
    status, reason
        ``ok``; ``boundary`` (no draw differs from a bound of the metric: the interval is one-sided); ``undefined``;
        ``too_few_units`` (fewer than 10: no interval); the reason says more, also for flagged ``ok`` values.
    low, high
        95 % interval; NaN where there is none.
    method
        ``bca``, ``percentile``, ``score`` or "" without an interval.
    draws
        (n_boot,) the value under every draw; NaN where undefined, as a mean over classes is in a draw that lacks one.
    jackknife
        The value with each unit (or group of units) left out.
    n_items, n_units, n_undefined
        Counts of items, independent units (the fewer levels where two factors are crossed) and undefined draws.
    units
        Two estimates are paired only when theirs are equal,
    rows
        and when these are: the digest of the items, in any order.
    two_sided
        Of a value on a bound, the limits of which each side has half of the 5 %: for differences, which have two.
    """

    metric: str
    value: float
    status: Status
    reason: str
    low: float
    high: float
    method: str
    draws: np.ndarray
    jackknife: np.ndarray
    n_items: int
    n_units: int
    n_undefined: int
    units: Units
    rows: int = 0
    two_sided: tuple[float, float] = (float("nan"), float("nan"))


def bootstrap(
    items: Items, metrics: Sequence[Metric], *, n_boot: int = 1000, seed: int = 0, method: Method = "bca"
) -> dict[str, Estimate]:
    """Estimate metrics with 95 % intervals over units.

    Parameters
    ----------
    items
        What is scored.
    metrics
        All share the same draws.
    n_boot
        Number of draws; at least 100.
    seed
        Of the draws.
    method
        ``bca``: bias-corrected and accelerated, see `interval`; ``percentile``.

    Returns
    -------
    dict
        Metric name -> `Estimate`.

    Raises
    ------
    MmcellError
        `n_boot` under 100, a missing unit.

    References
    ----------
    Efron: Better bootstrap confidence intervals. JASA 82, 171–185 (1987).
    """
    check_draws(n_boot)
    units = items.units
    weights = units.bootstrap(n_boot, seed)
    left_out = units.jackknife()
    rows = int(pd.util.hash_pandas_object(items.frame[[c for c in _ROWS if c in items.frame]], index=False).sum())
    found = {}
    for asked in metrics:
        metric = asked.deviation or asked
        value = metric.fn(items)
        enough = metric.interval and units.independent >= MINIMUM and np.isfinite(value)
        draws = drawn(metric, items, weights) if enough else np.full(n_boot, np.nan)
        jackknife = drawn(metric, items, left_out) if enough else np.full(len(left_out), np.nan)
        low, high, how, status, reason = _interval(items, metric, value, draws, jackknife, method)
        if asked.deviation is not None:
            value, draws, jackknife = abs(value), np.abs(draws), np.abs(jackknife)
            low, high = folded(low, high)
        found[asked.name] = Estimate(
            asked.name, value, status, reason, low, high, how, draws, jackknife, len(items.frame),
            units.independent, int(np.isnan(draws).sum()) if enough else 0, units, rows,
            score_interval(value, metric.bounds, (metric.size or n_units)(items), ALPHA / 2)
            if status == "boundary" else (np.nan, np.nan),
        )  # fmt: skip
    return found


def _interval(
    items: Items, metric: Metric, value: float, draws: np.ndarray, jackknife: np.ndarray, method: Method
) -> tuple[float, float, str, Status, str]:
    nothing = (np.nan, np.nan, "")
    units = items.units.independent
    if not np.isfinite(value):
        return *nothing, "undefined", undefined_reason(items, metric)
    if units < MINIMUM:
        return *nothing, "too_few_units", f"{number_of(units, 'unit')}; an interval needs at least {MINIMUM}"
    if not metric.interval:
        return *nothing, "ok", "a test over units, or a count of such; it has no interval of its own"
    few = thin(metric, items)
    if few is not None:
        return *nothing, "ok", f"no interval: a class has {number_of(few, 'unit')}; each needs at least {LEAST}"
    undefined = np.isnan(draws)
    if undefined.mean() > UNDEFINED_SHARE:
        return *nothing, "ok", f"no interval: undefined in {undefined.sum()} of {len(draws)} draws"
    notes = [f"{number_of(units, 'unit')}: read the interval with care"] if units < FEW else []
    if undefined.any():
        notes.append(f"undefined in {undefined.sum()} of {len(draws)} draws")
    defined = draws[~undefined]
    if np.ptp(defined) < SPREAD:
        bound = next((b for b in metric.bounds if abs(value - b) < SPREAD), None)
        if bound is None:
            notes.insert(0, "no interval: no draw differs from the value")
            return *nothing, "ok", "; ".join(notes)
        low, high = score_interval(bound, metric.bounds, (metric.size or n_units)(items))
        notes.insert(0, "every draw lies on the bound; one-sided 95 % score interval")
        return low, high, "score", "boundary", "; ".join(notes)
    low, high, how = interval(value, defined, jackknife, method)
    if not low - SPREAD <= value <= high + SPREAD:
        # Draws of an absolute error near 0 lie above it: no correction brings them back.
        notes.insert(0, "no interval: the draws lie to one side of the value")
        return *nothing, "ok", "; ".join(notes)
    return low, high, how, "ok", "; ".join(notes)


def folded(low: float, high: float) -> tuple[float, float]:
    """Return the interval of a size, given that of the number with its sign."""
    return 0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high))


def undefined_reason(items: Items, metric: Metric) -> str:
    """Say in words why a metric has no value on these items."""
    if not len(items.frame):
        return "no items"
    if metric.undefined:
        return metric.undefined
    if items.kind == "survival" and metric.within_fold:
        return "no comparable pair of patients: no event within a fold outlived by another patient"
    if items.kind == "features":
        few = items.units.independent < MINIMUM
        return f"fewer than {MINIMUM} units, or no feature varies" if few else "no feature varies within a stratum"
    if items.kind == "regression":
        return "a fold with fewer than three items or without spread"
    if "y_true" in items.frame and items.frame["y_true"].nunique() < 2:
        return f"one class only ({items.frame['y_true'].iloc[0]})"
    if metric.within_fold:
        return "no fold holds units of both classes"
    return "undefined on these items"


def interval(
    value: float, draws: np.ndarray, jackknife: np.ndarray, method: Method = "bca", alpha: float = ALPHA
) -> tuple[float, float, str]:
    """Return low, high and the method used for a statistic with finite draws.

    BCa, widened by what is not known of the spread itself: Student's quantiles with `degrees_of_freedom` stand for the
    normal ones. It falls back to the percentile interval, and says so, where the bias correction is infinite (no draw
    on one side of the value) or the jackknife is undefined.
    """
    tail = np.array([alpha / 2, 1 - alpha / 2])
    if method == "bca":
        below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
        left_out = jackknife[np.isfinite(jackknife)]
        if 0 < below < 1 and len(left_out) > 1:
            gaps = left_out.mean() - left_out
            spread = np.sum(gaps**2)
            acceleration = np.sum(gaps**3) / (6 * spread**1.5) if spread > 0 else 0.0
            z = norm.ppf(below) + t.ppf(tail, degrees_of_freedom(gaps))
            scale = 1 - acceleration * z
            # Beyond the pole of the transformation lies the most extreme draw.
            moved = np.divide(z, scale, out=np.copysign(np.inf, z), where=scale > 0)
            low, high = np.quantile(draws, norm.cdf(norm.ppf(below) + moved))
            return float(low), float(high), "bca"
    low, high = np.quantile(draws, tail)
    return float(low), float(high), "percentile"


def degrees_of_freedom(influence: np.ndarray) -> float:
    """Return how many degrees of freedom an estimated variance has, from what each unit adds to it.

    About the number of units where all weigh alike; few where the variance hangs on a few units, such as the small
    class of an AUROC near 1, for which intervals with normal quantiles are too narrow.

    Parameters
    ----------
    influence
        (units,) the value moved by each unit, centred: the variance is the sum of their squares.

    Returns
    -------
    float
        At least 1; infinite where nothing varies.

    References
    ----------
    Satterthwaite: An approximate distribution of estimates of variance components. Biometrics 2, 110–114 (1946).
    """
    squares = np.asarray(influence, dtype=float) ** 2
    variance = squares.sum()
    error = np.sum(squares**2) - variance**2 / len(squares)
    return float("inf") if error <= 1e-12 * variance**2 else float(max(1.0, 2 * variance**2 / error))


def score_interval(value: float, bounds: tuple[float, float], n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the one-sided Wilson score interval of an estimate that lies on a bound.

    Parameters
    ----------
    value
        The estimate: one of `bounds`.
    bounds
        Lowest and highest value of the metric.
    n
        Independent units that carry the estimate (for AUROC the smaller class: all of them were ranked right).
    alpha
        All of it lies on the one side.

    References
    ----------
    Wilson: Probable inference, the law of succession, and statistical inference. JASA 22, 209–212 (1927).
    """
    z = norm.ppf(1 - alpha)
    share = z**2 / (n + z**2) * (bounds[1] - bounds[0])
    return (bounds[1] - share, bounds[1]) if value == bounds[1] else (bounds[0], bounds[0] + share)
