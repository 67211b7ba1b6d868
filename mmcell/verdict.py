"""The verdict: what the intervals of the differences allow to say of a candidate, in words."""

from __future__ import annotations

from mmcell.metrics.base import Metric
from mmcell.records import Gap, Score
from mmcell.stats.bootstrap import ALPHA
from mmcell.stats.units import MINIMUM

#: Room to a bound that is rounding.
_NONE = 1e-12


def verdict(score: Score, metric: Metric, reference: str) -> str:
    """Say which controls a candidate beats, which it cannot be told apart from, and which beat it.

    The reference comes first. There are too few patients to say when there are fewer than 10 units, or when the best
    possible value could not have been relied on to show (the smallest difference that 80 % of such studies would find
    exceeds the room between the reference and the metric's bound) and the interval leaves more than half of that room
    open; where there is no room, the two cannot be told apart. Each difference has its own 95 % interval; they are not
    adjusted for being several. Where labels were permuted and the score is not beyond them, that comes first.

    Parameters
    ----------
    score
        With `Score.difference` and `Score.versus`.
    metric
        Its direction and bounds.
    reference
        Label of the reference control.
    """
    who = "patients" if score.level == "patient" else "units"
    if score.value is None:
        return f"no value: {score.reason}"
    if score.n_units < MINIMUM:
        return f"too few {who} to say ({score.n_units})"
    groups: dict[str, list[str]] = {
        "better than": [], "cannot be told apart from": [], "worse than": [], "no interval of the difference from": [],
    }  # fmt: skip
    reason = ""
    gaps: list[tuple[str, Gap]] = [(v.control, v) for v in score.versus]
    if score.difference is not None:
        gaps.sort(key=lambda pair: pair[0] != reference)
    for name, gap in gaps:
        if gap.low is None or gap.high is None:
            if name == reference:
                reason = f"no interval of the difference from {name}"
            else:
                groups["no interval of the difference from"].append(name)
            continue
        if gap.low <= 0 <= gap.high:
            if name == reference and _hopeless(score, gap, metric):
                reason = f"too few {who} to say whether it beats {name}"
                continue
            groups["cannot be told apart from"].append(name)
        else:
            groups["better than" if (gap.low > 0) == score.higher_is_better else "worse than"].append(name)
    told = sorted(
        ((words, names) for words, names in groups.items() if names), key=lambda pair: reference not in pair[1]
    )
    if score.p_null is not None and score.p_null > ALPHA:
        # Intervals of fitted predictions do not know what fitting noise looks like; the permuted labels do.
        beyond = f"not beyond its own permuted labels (p {score.p_null:.2f})"
        if 1 / (score.n_null + 1) > ALPHA:
            beyond = f"too few permutations with a value to say whether it is beyond them ({score.n_null})"
        reason = "; ".join(filter(None, (beyond, reason)))
    text = "; ".join([reason] * bool(reason) + [f"{words} {', '.join(names)}" for words, names in told])
    return text or "compared with no control"


def _hopeless(score: Score, gap: Gap, metric: Metric) -> bool:
    if gap.mde is None or gap.value is None or score.value is None:
        return False
    base = score.value - gap.value
    room = (metric.bounds[1] - base) if metric.higher_is_better else (base - metric.bounds[0])
    if room <= _NONE:
        # Nobody beats a reference at the bound of its metric, however many units there are.
        return False
    best = gap.high if metric.higher_is_better else None if gap.low is None else -gap.low
    return bool(gap.mde > room and best is not None and best > room / 2)
