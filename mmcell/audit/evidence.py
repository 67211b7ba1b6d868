"""What makes a statistic evidence: an interval that excludes chance and a value that is large; and how it is said."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmcell.records import Finding
from mmcell.stats.bootstrap import ALPHA, Estimate, interval

#: Share of the way from chance to perfect from which a leak is large: AUROC 0.7, ρ 0.4, three classes right to 0.6.
LARGE = 0.4
_ORDER = {"leak": 0, "warning": 1, "info": 2}


def share(value: float, chance: float) -> float:
    """Return how far a value lies from chance, 0, towards perfect, 1; negative below chance."""
    return (value - chance) / (1 - chance)


def is_leak(value: float, low: float, chance: float) -> bool:
    """Whether a value is large and the lower end of its interval beyond chance; without an interval it is not."""
    return bool(np.isfinite(low) and low > chance and share(value, chance) >= LARGE)


def beyond(estimate: Estimate, chance: float) -> bool:
    """Whether the whole interval lies above chance."""
    return bool(np.isfinite(estimate.low) and estimate.low > chance)


def silent(estimate: Estimate) -> bool:
    """Whether there are too few units for an interval: then nothing is said, neither yes nor no."""
    return estimate.status == "too_few_units"


def family_low(estimate: Estimate, n: int) -> float:
    """Return the lower end of the interval that holds for `n` questions together (Bonferroni)."""
    if n == 1 or estimate.method not in ("bca", "percentile"):
        return estimate.low
    draws = estimate.draws[np.isfinite(estimate.draws)]
    return interval(estimate.value, draws, estimate.jackknife, alpha=ALPHA / n)[0]


def stated(name: str, estimate: Estimate) -> str:
    """Return a value with its interval in words."""
    if np.isnan(estimate.value):
        return f"{name} undefined ({estimate.reason})"
    if np.isnan(estimate.low):
        return f"{name} {estimate.value:.2f} (no interval, {estimate.n_units} units)"
    return f"{name} {estimate.value:.2f} (95 % interval {estimate.low:.2f} to {estimate.high:.2f})"


def mirrored(estimates: Iterable[Estimate], chance: float) -> str:
    """Return a word on held-out values whose interval lies below chance, to stand at the end of a sentence."""
    if any(np.isfinite(e.high) and e.high < chance for e in estimates):
        return "; below chance, as where there is nothing to learn: what a fold holds out, its training has less of"
    return ""


def ordered(findings: list[Finding]) -> list[Finding]:
    """Return findings without repetition, leaks first and information last, otherwise as they came."""
    return sorted(dict.fromkeys(findings), key=lambda f: _ORDER[f.severity])
