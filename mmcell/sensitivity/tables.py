"""`Readings`: all that was read of one plan, and the rows of the three tables that it makes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmcell.metrics.base import Metric
from mmcell.plan import Plan
from mmcell.sensitivity.axes import AXES, CURVES, Variant
from mmcell.sensitivity.confounding import average_drop, integrated_loss
from mmcell.sensitivity.ranks import stability
from mmcell.sensitivity.reading import Reading
from mmcell.sensitivity.result import CHANGES
from mmcell.sensitivity.shortcut import AXIS as CONFOUNDING
from mmcell.stats.bootstrap import ALPHA, Estimate

_NAN = float("nan")
#: With a larger share of undefined draws an interval would describe the lucky ones only.
_UNDEFINED_SHARE = 0.2
#: Draws that differ by less do not differ.
_SPREAD = 1e-9
Name = tuple[str, str, str]
Row = dict[str, Any]


@dataclass(eq=False)
class Readings:
    """The readings of one plan.

    Attributes
    ----------
    plan, metrics
        With the candidates that take part; the primary metric first.
    utility, base
        Candidate -> reading as it is: over all folds and metrics, and over the folds of the variants.
    """

    plan: Plan
    metrics: Sequence[Metric]
    utility: dict[Name, Reading]
    base: dict[Name, Reading]
    _found: list[Reading] = field(default_factory=list, init=False)

    @property
    def alive(self) -> set[Name]:
        """The candidates that gave an answer as they are: only these are varied."""
        return {name for name, reading in self.base.items() if not reading.status}

    def add(self, made: Iterable[Reading]) -> None:
        """Take in what was read."""
        self._found += made

    def untouched(self, variant: Variant) -> list[Reading]:
        """Return the readings of candidates that a variant does not touch: what they score as they are."""
        facts: Row = {"axis": variant.axis, "variant": variant.name, "level": variant.level}
        still = [c for c in self.plan.candidates if c.name in self.alive and variant.spared(c)]
        return [replace(self.base[c.name], **facts, reason=variant.spared(c), spared=True) for c in still]

    # -- rows ----------------------------------------------------------------------------------------------------

    def table(self, axes: Collection[str]) -> list[Row]:
        """Return the rows of `Sensitivity.table`."""
        rows = [row for reading in self.utility.values() for row in self._rows(reading, self.metrics[0].name)]
        for axis in AXES:
            if axis == "metric" and axis in axes:
                for metric in self.metrics[1:]:
                    for name in self.alive_in_order:
                        reading = replace(self.utility[name], axis=axis, variant=metric.name)
                        rows += [r for r in self._rows(reading, metric.name) if r["status"] != "left_out"]
            if axis in CURVES and self._variants(axis):
                # A curve begins with everything, on the folds of its other points.
                whole: Row = {"axis": axis, "variant": "100%", "level": 1.0, "reason": "as it is"}
                for name in self.alive_in_order:
                    rows += self._rows(replace(self.base[name], **whole), self.metrics[0].name)
            for variant in self._variants(axis):
                for reading in self._found:
                    if (reading.axis, reading.variant) == (axis, variant):
                        rows += self._rows(reading, self.metrics[0].name)
        return rows

    def stability(self, axes: Collection[str]) -> list[Row]:
        """Return the rows of `Sensitivity.stability`."""
        primary = self.metrics[0]
        rows = []
        for split, query in self._places:
            if "metric" in axes:
                for metric in self.metrics[1:]:
                    read = {n: self.utility[n] for n in self.alive}
                    if any((split, query, metric.name) in r.estimates for r in read.values()):
                        rows.append(self._order(split, query, "metric", metric.name, metric, read, self.utility))
            for axis in AXES:
                for variant in self._variants(axis):
                    some = [r for r in self._found if (r.axis, r.variant) == (axis, variant)]
                    if axis == CONFOUNDING:
                        # Each split has levels, and readings, of its own.
                        some = [r for r in some if (split, query, primary.name) in r.estimates]
                        if not some:
                            continue
                    read = {r.candidate: r for r in some}
                    rows.append(self._order(split, query, axis, variant, primary, read, self.base))
        return sorted(rows, key=lambda row: AXES.index(row["axis"]))

    def robustness(self) -> list[Row]:
        """Return the rows of `Sensitivity.robustness`."""
        primary = self.metrics[0]
        sign = 1.0 if primary.higher_is_better else -1.0
        rows = []
        for name, utility in self.utility.items():
            for split, query in self._places:
                estimate = utility.estimates.get((split, query, primary.name), (None,))[0]
                row = self._who(name, split, query) | {"metric": primary.name, "confounding_reason": ""}
                if estimate is not None:
                    row |= {"utility": estimate.value, "ci_low": estimate.low, "ci_high": estimate.high}
                for axis in CHANGES:
                    mine = [r for r in self._found if r.axis == axis and r.candidate == name]
                    # Where one variant moves a candidate, those that leave it alone are no changes.
                    mine = [r for r in mine if not r.spared] or mine
                    changes = np.array([self._change(r, split, query) for r in mine])
                    changes = changes[np.isfinite(changes)]
                    if len(changes):
                        row[f"{axis}_mean"] = changes.mean()
                        row[f"{axis}_worst"] = sign * (sign * changes).min()
                rows.append(row | self._loss(name, split, query))
        return rows

    # -- parts ---------------------------------------------------------------------------------------------------

    @property
    def alive_in_order(self) -> list[Name]:
        """The candidates that gave an answer, in the order of the plan."""
        return [c.name for c in self.plan.candidates if c.name in self.alive]

    @property
    def _places(self) -> list[tuple[str, str]]:
        """Split and query of every value of the primary metric; where nothing was answered, the splits alone."""
        primary = self.metrics[0].name
        found = dict.fromkeys(p[:2] for r in self.base.values() for p in r.estimates if p[2] == primary)
        return list(found) or [(name, "") for name in dict.fromkeys(s.spec.name for s in self.plan.splits)]

    def _variants(self, axis: str) -> list[str]:
        found = {r.variant: r.level for r in self._found if r.axis == axis}
        # Splits realise different strengths of confounding; what could not be asked stands last.
        return sorted(found, key=lambda v: (np.isnan(found[v]), found[v])) if axis == CONFOUNDING else list(found)

    def _who(self, name: Name, split: str, query: str) -> Row:
        encoder, pooling, probe = name
        return {
            "task": self.plan.task.spec.name, "dataset": self.plan.dataset.name, "encoder": encoder,
            "patient_encoder": pooling, "probe": "" if probe == "default" else probe, "split": split, "query": query,
        }  # fmt: skip

    def _rows(self, reading: Reading, metric: str) -> list[Row]:
        rows = []
        for split, query in self._places:
            if reading.split not in ("", split):
                continue
            row = self._who(reading.candidate, split, query) | {
                "axis": reading.axis, "variant": reading.variant, "level": reading.level, "metric": metric,
            }  # fmt: skip
            if size := reading.sizes.get(split):
                row |= {"n_train": size.n_train, "n_cells": size.n_cells, "n_fewest": size.n_fewest}
            row["chance"] = reading.chance.get((split, query, metric), _NAN)
            estimates = reading.estimates.get((split, query, metric), ())
            if reading.status:
                rows.append(row | {"status": reading.status, "reason": reading.reason})
            elif estimates:
                rows.append(row | _joined(estimates, reading.reason) | {"change": self._change(reading, split, query)})
            elif reading.axis != CONFOUNDING:
                rows.append(row | {"status": "left_out", "reason": reading.reason or "no item of this split is left"})
        return rows

    def _change(self, reading: Reading, split: str, query: str) -> float:
        """Return the change of the primary metric: from the same folds as they are, or from V = 0."""
        place = (split, query, self.metrics[0].name)
        start = self.base[reading.candidate]
        if reading.axis == CONFOUNDING:
            levels = self._levels(reading.candidate, split, query)
            start = levels[0] if levels else reading
        if reading.axis in ("as-is", "metric") or place not in reading.estimates or place not in start.estimates:
            return _NAN
        return _value(reading.estimates[place]) - _value(start.estimates[place])

    def _order(
        self, split: str, query: str, axis: str, variant: str, metric: Metric, read: dict[Name, Reading],
        start: dict[Name, Reading],
    ) -> Row:  # fmt: skip
        """Return Kendall's tau between the candidates as they are and as they were read."""
        primary = self.metrics[0]
        before, after = (split, query, primary.name), (split, query, metric.name)
        names = [n for n in self.alive_in_order if n in read and before in start[n].estimates]
        names = [n for n in names if after in read[n].estimates]
        row = {
            "task": self.plan.task.spec.name, "dataset": self.plan.dataset.name, "split": split, "query": query,
            "axis": axis, "variant": variant, "level": next((r.level for r in read.values()), _NAN),
        }  # fmt: skip
        if not names:
            return row | {"n_encoders": 0}
        one, two = (1.0 if m.higher_is_better else -1.0 for m in (primary, metric))
        base = [start[n].estimates[before][0] for n in names]
        other = [read[n].estimates[after] for n in names]
        # A fold that was left out in one draw of a variant leaves fewer of them.
        times = range(min(map(len, other)))
        tau, low, high, n = stability(
            one * np.array([e.value for e in base]),
            two * np.array([[e[t].value for e in other] for t in times]),
            one * np.array([e.draws for e in base]),
            [two * np.array([e[t].draws for e in other]) for t in times],
        )
        return row | {"kendall_tau": tau, "tau_low": low, "tau_high": high, "n_encoders": n}

    def _levels(self, name: Name, split: str, query: str) -> list[Reading]:
        """Return the readings of a candidate under confounding, from V = 0 on."""
        place = (split, query, self.metrics[0].name)
        found = [r for r in self._found if r.axis == CONFOUNDING and r.candidate == name and place in r.estimates]
        return sorted(found, key=lambda r: r.level)

    def _loss(self, name: Name, split: str, query: str) -> Row:
        levels = self._levels(name, split, query)
        if len(levels) < 2:
            lost = [r for r in self._found if r.axis == CONFOUNDING and r.candidate == name and r.status]
            return {"confounding_reason": "; ".join(dict.fromkeys(r.reason for r in lost if r.split in ("", split)))}
        place = (split, query, self.metrics[0].name)
        higher, chance = self.metrics[0].higher_is_better, levels[0].chance[place]
        v = np.array([r.level for r in levels])
        single = np.array([r.replicates[place] for r in levels])
        loss = integrated_loss(single, v, chance, higher_is_better=higher)
        draws = np.array([r.estimates[place][0].draws for r in levels])
        drawn = np.array([integrated_loss(d, v, chance, higher_is_better=higher) for d in draws.T])
        low, high = _quantiles(drawn) if np.isfinite(loss) else (_NAN, _NAN)
        why = levels[0].reason
        first = levels[0].estimates[place][0]
        if np.isnan(loss):
            gap = "the metric has no chance level" if np.isnan(chance) else "at V = 0 the score is not above chance"
            why = f"no loss: {gap}; {why}"
        elif first.low <= chance <= first.high:
            why = f"at V = 0 the score may be at chance, the loss is a share of almost nothing; {why}"
        return {
            "confounding_loss": loss, "loss_low": low, "loss_high": high, "confounding_span": v[-1],
            "average_drop": average_drop(single), "confounding_reason": why,
        }  # fmt: skip


def _value(estimates: Sequence[Estimate]) -> float:
    return float(np.mean([e.value for e in estimates]))


def _joined(estimates: Sequence[Estimate], remark: str) -> Row:
    """Return the mean over the draws of a variant, with the interval of one of them: it holds how they differ."""
    low, high = estimates[0].low, estimates[0].high
    if len(estimates) > 1:
        pooled = np.concatenate([e.draws for e in estimates])
        low, high = _quantiles(pooled)
        drawn = pooled[np.isfinite(pooled)]
        if any(e.status == "boundary" for e in estimates) or (len(drawn) and np.ptp(drawn) < _SPREAD):
            # Draws without spread hide how uncertain they are: from the lowest to the highest end, if there are any.
            low, high = np.min([e.low for e in estimates]), np.max([e.high for e in estimates])
    statuses = [e.status for e in estimates]
    graver = [s for s in statuses if s not in ("ok", "boundary")]
    status = graver[0] if graver else "boundary" if set(statuses) == {"boundary"} else "ok"
    reasons = dict.fromkeys([remark, *(e.reason for e in estimates)])
    return {
        "value": _value(estimates), "ci_low": float(low), "ci_high": float(high),
        "n_units": min(e.n_units for e in estimates), "status": status, "reason": "; ".join(filter(None, reasons)),
    }  # fmt: skip


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    defined = draws[np.isfinite(draws)]
    if len(defined) < (1 - _UNDEFINED_SHARE) * len(draws) or not len(defined):
        return _NAN, _NAN
    low, high = np.quantile(defined, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
