"""Grading: the truth meets the predictions, by id, and becomes scores. The method never comes here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mmcell.candidates import Candidate
from mmcell.chain import units_asked, with_truth
from mmcell.dataset import Dataset
from mmcell.effects import effects_of, measured, pooled
from mmcell.errors import MmcellError, first, number_of
from mmcell.incremental import CLINICAL
from mmcell.items import Items
from mmcell.metrics.base import LEAKS, Metric
from mmcell.metrics.survival import Span, with_censoring
from mmcell.plan import Plan
from mmcell.records import Gap, Score, Versus, Worst
from mmcell.splits import Split
from mmcell.standing import with_surroundings
from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.stats.comparison import difference
from mmcell.stats.permutation import p_value
from mmcell.strata import within_strata
from mmcell.subgroups import groups, worst
from mmcell.truth import class_names
from mmcell.verdict import verdict

#: (target, query, gallery, stratum, split, metric) -> the items, the metric and its estimate there.
Estimates = Mapping[tuple[str, ...], tuple[Items, Metric, Estimate]]


def grade(
    items: Items, dataset: Dataset, split: Split, level: str, unit: str = "unit", splits: Sequence[Split] = (), *,
    real: Dataset | None = None, resampled: bool = True,
) -> Items:  # fmt: skip
    """Return the items of one split with unit, repeat, fold and truth attached by id.

    Items whose truth is missing are left out; they are counted as excluded when the split is scored. Where each of two
    values is told from the rest (``batch=b1``, ``batch=b2``), the first is scored, for it is one question. Where the
    dataset has strata, items are there a second time, to be compared within these: see `mmcell.strata`. `real` is the
    dataset as it is, where labels are permuted in the one given; `resampled` whether intervals are wanted.

    Raises
    ------
    MmcellError
        An item that is not held out under this split, or is not in the dataset.
    """
    frame = items.frame.copy()
    unit_of = dataset.units_of(level)
    at = unit_of.index.get_indexer(frame["item"])
    frame["unit"] = _taken(unit_of, at)
    foreign = ~frame["unit"].isin(split.test)
    if foreign.any():
        raise MmcellError(
            f"the task returned {number_of(int(foreign.sum()), 'item that is', 'items that are')} not held out in "
            "this fold "
            f"({first(frame.loc[foreign, 'item'])}); score only view.test"
        )
    frame["split"], frame["repeat"], frame["fold"] = split.spec.name, split.repeat, split.fold
    if crossed := unit.partition("×")[2]:
        frame["crossed"] = dataset.obs[dataset.roles.columns[crossed]].reindex(frame["item"]).to_numpy()
    if set(frame["target"]) == {"label"} and "label" not in split.spec.targets:
        frame["target"] = split.spec.targets[0]
    grouped = _groups(dataset, at, level)
    if items.kind in ("features", "effects", "chain"):
        # A row stands for all items of a unit, batch and type: what varies within these has no place here.
        fixed = {"by:batch", "by:cell_type", *(f"by:{c}" for c in dataset.roles.strata if c in dataset.patients)}
        if items.kind != "features":
            whole = {"by:cell_type"} if "cell_type" not in frame else set()
            fixed -= whole | ({"by:batch"} if dataset.roles.batch not in dataset.patients else set())
        grouped = {name: values for name, values in grouped.items() if name in fixed}
    frame = frame.assign(**grouped)
    if items.kind == "effects":
        if not pooled(dataset):
            frame["by:perturbation"] = frame["perturbation"]
        return measured(Items(frame, items.kind, items.arrays, items.details), dataset, split)
    if items.kind == "chain":
        return with_truth(items, frame, dataset)
    if items.kind in ("retrieval", "features"):
        return Items(frame, items.kind, items.arrays, items.details)
    # One span of time for all folds, so that they are asked the same.
    folds = [s for s in splits if s.spec.name == split.spec.name] or [split]
    keys = [s.key for s in folds]
    parts = []
    twins = _twins(dataset, [str(target) for target in frame["target"].unique()], level)
    for target, part in frame[~frame["target"].isin(twins)].groupby("target", sort=False):
        truth = dataset.truth(str(target), level)
        known = part[part["item"].isin(truth.index)]
        known = known.assign(**{c: truth.loc[known["item"], c].to_numpy() for c in truth})
        if items.kind == "multiclass":
            # Classes are text, whatever a task returned, so that truth and prediction meet.
            known = known.assign(y_true=class_names(known["y_true"]), y_pred=class_names(known["y_pred"]))
        if "distance" in known:
            trained = dataset.units_of(level).reindex(truth.index).isin(split.train)
            known["in_reference"] = known["y_true"].isin(set(class_names(truth.loc[trained, "y_true"])))
        if items.kind == "binary" and "p_event" in known:
            known["threshold"] = _prevalence(dataset, truth["y_true"], level, split)
        parts.append(known)
    graded = pd.concat(parts)
    if "vectors" in items.arrays:
        graded, facts = with_surroundings(graded, items, dataset, level, real or dataset, resampled=resampled)
        items = replace(items, details={**items.details, "surroundings": facts})
    if items.kind == "survival":
        span = dataset.once(("span", *keys), lambda: Span.of([_outcome(dataset, s) for s in folds]))
        graded = with_censoring(graded, items, *_outcome(dataset, split), span)
    return Items(within_strata(graded, items.kind, dataset, split, folds), items.kind, details=items.details)


def _twins(dataset: Dataset, asked: Sequence[str], level: str) -> set[str]:
    """Return which targets put a question again: of a role of two values, who tells the one tells the other."""
    values: dict[str, set[str]] = defaultdict(set)
    for role, is_value, value in (target.partition("=") for target in asked):
        if is_value:
            values[role].add(value)
    return {
        f"{role}={max(some)}"
        for role, some in values.items()
        if len(some) == 2 and some == set(class_names(dataset.truth(role, level)["y_true"]))
    }


def _outcome(dataset: Dataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return time and event of the training units: who is censored when is learnt from them alone.

    Where competing events are known (column ``cause``), they are events of code 2: no censoring.
    """
    truth = dataset.truth("outcome", "patient")
    event = "cause" if "cause" in truth else "event"
    time, cause = truth.loc[truth.index.isin(split.train), ["time", event]].to_numpy(dtype=float).T
    return time, cause


def _prevalence(dataset: Dataset, truth: pd.Series, level: str, split: Split) -> float:
    """Return the share of positives among training items: where net benefit is scored."""
    return float(truth[dataset.units_of(level).reindex(truth.index).isin(split.train)].mean())


def estimate(items: Items, metrics: list[Metric], *, n_boot: int, seed: int) -> Estimates:
    """Return the estimate of every metric on every panel of items."""
    found = {}
    for facts, panel in items.panels():
        wanted = {m.name: m for m in metrics if m.scores(panel, facts["target"])}
        for name, value in bootstrap(panel, list(wanted.values()), n_boot=n_boot, seed=seed).items():
            found[(*facts.values(), name)] = (panel, wanted[name], value)
    return found


def _groups(dataset: Dataset, at: np.ndarray, level: str) -> dict[str, np.ndarray]:
    """Return the subgroups of items, given by position, one column ``by:NAME`` each: type, batch, and the strata."""
    named = {role: dataset.roles.columns.get(role) for role in ("cell_type", "batch")}
    named |= {column: column for column in dataset.roles.strata}
    table = dataset.patients if level == "patient" else dataset.obs
    return {
        f"by:{name}": _taken(table[column], at)
        for name, column in named.items()
        if column is not None and column in table
    }


def _taken(column: pd.Series, at: np.ndarray) -> np.ndarray:
    """Return the values at some positions, None where one is missing or a position is below 0."""
    values = np.full(len(column) + 1, None, dtype=object)
    values[:-1][column.notna().to_numpy()] = column[column.notna()].to_numpy(dtype=object)
    return np.asarray(values[at])


@dataclass(frozen=True, eq=False)
class Beside:
    """Estimates of what stands beside a candidate: label -> estimates, for the controls that have been run.

    Attributes
    ----------
    reference
        The control that every score is compared with; None for itself, or where it could not be run.
    reference_name
        Its label.
    ceiling
        What skill is measured against; None where there is none.
    controls
        All controls that are no ceilings and no permutations.
    """

    reference: Estimates | None = None
    reference_name: str = ""
    ceiling: Estimates | None = None
    controls: Mapping[str, Estimates] = field(default_factory=dict)

    def without(self, candidate: Candidate) -> Beside:
        """Return the same without one control: what stands beside itself."""
        controls = {name: e for name, e in self.controls.items() if name != candidate.label}
        reference = None if candidate.label == self.reference_name else self.reference
        return replace(self, controls=controls, reference=reference)

    def joined(self, candidate: Candidate, estimates: Estimates, plan: Plan) -> Beside:
        """Return the same with one more control or ceiling."""
        if candidate is plan.ceiling_for(candidate.probe):
            return replace(self, ceiling=estimates)
        if candidate.role != "control" or candidate.permuted:
            return self
        controls = {**self.controls, candidate.label: estimates}
        return replace(
            self,
            controls=controls,
            reference=estimates if candidate is plan.reference_for(candidate.probe) else self.reference,
        )


def scores_of(
    plan: Plan, estimates: Estimates, beside: Beside, nulls: Mapping[tuple[str, ...], np.ndarray], *,
    headline: bool, grouped: bool = False, permuted: bool = False, adds: bool = False,
) -> list[Score]:  # fmt: skip
    """Return the scores of one candidate, each with its difference from the reference.

    Parameters
    ----------
    plan
        What was run.
    estimates, beside
        Of the candidate, and of what it is compared with.
    nulls
        Place -> values under permuted labels, where these were run.
    headline
        Whether its scores on the primary metric are compared with every control and put into words.
    grouped
        Whether they are given for every subgroup.
    permuted
        Whether its labels are: its subgroups then mean nothing.
    adds
        Whether it reads covariates beside the embedding: all its scores are compared with those of covariates alone.
    """
    level = plan.task.spec.slot[2]
    counted: dict[tuple[str, ...], tuple[int, int]] = {}
    worsts = {} if permuted else _worsts(estimates, plan.task.spec.primary)
    found = []
    for place, (panel, metric, value) in estimates.items():
        target, query, gallery, stratum, split, _ = place
        of_spec = [s for s in plan.splits if s.spec.name == split]
        if place[:-1] not in counted:
            counted[place[:-1]] = _counted(plan, panel, query, [s for s in of_spec if s.group == stratum] or of_spec)
        n_items, n_excluded = counted[place[:-1]]
        gap = None if metric.is_test else _gap(value, beside.reference, place)
        primary = metric.name == plan.task.spec.primary
        null = np.empty(0) if metric.is_test else nulls.get(place, np.empty(0))
        drawn = null[np.isfinite(null)]
        score = Score(
            metric=metric.name,
            higher_is_better=metric.higher_is_better,
            target=target,
            query=query,
            gallery=gallery,
            stratum=stratum,
            split=split,
            shift=of_spec[0].spec.shift,
            asked=_asked(plan, target, of_spec[0]),
            value=value.value,
            status=value.status,
            reason=value.reason,
            low=value.low,
            high=value.high,
            method=value.method,
            level=level,
            n_items=n_items,
            n_units=value.n_units,
            n_excluded=n_excluded,
            chance=metric.chance_of(panel),
            difference=gap,
            worst=worsts.get(place),
            skill=None if metric.is_test else _skill(value, beside, place),
            p_null=p_value(null, value.value, _far_side(metric)),
            n_null=len(drawn),
            null_mean=float(drawn.mean()) if len(drawn) else None,
            n_gallery=_gallery(panel),
        )
        if primary and grouped:
            score = score.model_copy(update={"groups": groups(panel, metric, n_boot=plan.n_boot, seed=plan.seed)})
        if headline and (primary or adds) and not metric.is_test:
            # What a metric gains over the covariates is asked of all of them, the rest of the headline alone.
            asked = {name: e for name, e in beside.controls.items() if primary or name == CLINICAL}
            gaps = [(name, _gap(value, control, place)) for name, control in asked.items()]
            versus = tuple(Versus(control=name, **dict(g)) for name, g in gaps if g is not None)
            score = score.model_copy(update={"versus": versus})
        if headline and primary:
            words = verdict(score, metric, beside.reference_name)
            score = score.model_copy(update={"verdict": words})
        found.append(score)
    return found


def _asked(plan: Plan, target: str, split: Split) -> str:
    """Return the column of a target that is one of several of its split, leaks not counted."""
    several = [t for t in split.spec.targets if t.partition("=")[0] not in LEAKS]
    if len(several) < 2 or target not in several:
        return ""
    return plan.dataset.roles.columns.get(target.partition("=")[0], "")


def _counted(plan: Plan, panel: Items, query: str, splits: Sequence[Split]) -> tuple[int, int]:
    """Return how many items were scored, and how many held-out ones were not."""
    level = plan.task.spec.slot[2]
    unit = plan.dataset.units_of(level)
    expected = unit.index[unit.isin(np.concatenate([s.test for s in splits]))]
    if query in plan.dataset.card.modalities and level != "patient":
        # Who was never measured in this modality was not left out of it.
        expected = expected[expected.isin(plan.dataset.rows(query))]
    if panel.kind == "features":
        return panel.n_items, len(expected) - panel.n_items
    if panel.kind == "chain":
        asked = units_asked(plan.dataset, panel.frame).isin(unit.reindex(expected))
        return panel.n_items, int(asked.sum()) - panel.n_items
    if panel.kind == "effects":
        modality, by_type = str(panel.frame["gallery"].iloc[0]), "cell_type" in panel.frame
        wanted = effects_of(plan.dataset, modality, by_type=by_type, repeat=0).wanted
        # In a pool of cells a perturbation that nothing describes is left out, and was measured.
        units = np.concatenate([s.test for s in splits]) if pooled(plan.dataset) else unit[expected]
        return panel.n_items, int(wanted[wanted.index.isin(units)].sum()) - panel.n_items
    scored = pd.Index(panel.frame["item"].unique())
    return len(scored), int((~expected.isin(scored)).sum())


def _gallery(panel: Items) -> float | None:
    """Return the size of a typical gallery; None where items are compared with nothing."""
    sizes = panel.frame["n_gallery"].dropna() if "n_gallery" in panel.frame else ()
    return float(np.median(sizes)) if len(sizes) else None


def _worsts(estimates: Estimates, primary: str) -> dict[tuple[str, ...], Worst]:
    """Return the worst group beside every mean over everything and every headline, not of each metric's galleries."""
    asked: dict[tuple[str, ...], list[Metric]] = defaultdict(list)
    panels = {}
    for (*panel, name), (items, metric, _) in estimates.items():
        *_, stratum, _ = panel
        if name == primary or stratum == "all":
            asked[tuple(panel)].append(metric)
            panels[tuple(panel)] = items
    return {(*key, name): w for key, metrics in asked.items() for name, w in worst(panels[key], metrics).items()}


def _far_side(metric: Metric) -> bool:
    """Whether p asks how often the null is as high: of a leak the question is whether it is there at all."""
    if metric.axis == "mixing":
        return not metric.higher_is_better
    return metric.higher_is_better or metric.target in LEAKS


def _gap(value: Estimate, other: Estimates | None, place: tuple[str, ...]) -> Gap | None:
    if other is None or place not in other:
        return None
    found = difference(value, other[place][2])
    return Gap(value=found.value, low=found.low, high=found.high, mde=found.mde)


def _skill(value: Estimate, beside: Beside, place: tuple[str, ...]) -> float | None:
    """Return (value − reference)/(ceiling − reference), None unless the ceiling is told apart from the reference.

    Both differences carry the metric's direction, so it cancels; nothing is clipped.
    """
    if beside.reference is None or beside.ceiling is None:
        return None
    if place not in beside.reference or place not in beside.ceiling:
        return None
    base = beside.reference[place][2]
    room = difference(beside.ceiling[place][2], base)
    sign = 1.0 if beside.ceiling[place][1].higher_is_better else -1.0
    if not (room.low * sign > 0 and room.high * sign > 0):
        return None
    return float((value.value - base.value) / room.value)
