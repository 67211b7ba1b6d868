"""`Reading`: what one candidate scores under one variant. Whatever goes wrong in it stops no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmcell.candidates import Cache, Candidate, embeddings_of, labels_for
from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.grading import grade
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.plan import Plan
from mmcell.sensitivity.axes import Variant
from mmcell.sensitivity.sizes import Size, sizes_of
from mmcell.splits import Split
from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.task import MethodView, Task

#: Split, query and metric of a value.
Place = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Reading:
    """A candidate under a variant.

    Attributes
    ----------
    candidate
        Encoder, patient encoder and probe.
    axis, variant, level
        As in `Variant`.
    estimates
        Place -> one estimate per draw of the variant.
    chance
        Place -> the value without skill, NaN where there is none; of the first draw.
    sizes
        Split -> how much there was to learn from; of the first draw.
    replicates
        Place -> values of single training sets, where several share the estimate.
    status, reason
        ``left_out`` or ``failed`` and why; otherwise "" and what is to be minded.
    split
        Where `status` holds; "" for all splits.
    spared
        Whether the variant changes nothing for this candidate.
    """

    candidate: tuple[str, str, str]
    axis: str
    variant: str
    level: float = float("nan")
    estimates: Mapping[Place, Sequence[Estimate]] = field(default_factory=dict)
    chance: Mapping[Place, float] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)
    replicates: Mapping[Place, np.ndarray] = field(default_factory=dict)
    status: str = ""
    reason: str = ""
    split: str = ""
    spared: bool = False


def asked(plan: Plan) -> list[Metric]:
    """Return the task's metrics, the primary one first."""
    return sorted(plan.metrics, key=lambda m: m.name != plan.task.spec.primary)


def items_of(plan: Plan, candidate: Candidate, cache: Cache) -> Items:
    """Return the graded items of all splits of a plan.

    Only what the primary metric reads is predicted: leaks that are watched beside the question are left alone.
    """
    return Items.concat([answered(plan, candidate, s, embedded(plan, candidate, s, cache)) for s in plan.splits])


def embedded(plan: Plan, candidate: Candidate, split: Split, cache: Cache) -> Mapping[str, Embedding]:
    """Return the embeddings of one split, with everything fitted on its training units."""
    task = _task(plan, candidate)
    y = labels_for(candidate, task, plan.dataset, split)
    return embeddings_of(candidate, task, plan.dataset, split, cache, plan.seed, y).embeddings


def answered(plan: Plan, candidate: Candidate, split: Split, embeddings: Mapping[str, Embedding]) -> Items:
    """Return the graded items of one split; the split may train on fewer units than the embeddings were fitted on."""
    task, level = _task(plan, candidate), plan.task.spec.slot[2]
    view = MethodView.of(plan.dataset, split, level)
    primary = asked(plan)[0]
    view = replace(view, labels={t: y for t, y in view.labels.items() if reads(primary, t)})
    rng = stream(plan.seed, task.spec.name, split.key)
    items = task.run(view, embeddings, split, rng)
    return grade(items, plan.dataset, split, level, task.spec.unit, plan.splits)


def reads(metric: Metric, target: str) -> bool:
    """Whether a metric reads items of a target, of whichever kind."""
    return any(metric.reads(kind, target) for kind in metric.kinds)


def _task(plan: Plan, candidate: Candidate) -> Task:
    return plan.task if candidate.probe == "default" else plan.task.using(candidate.probe)


def estimates_of(
    items: Items, metrics: Sequence[Metric], *, n_boot: int, seed: int
) -> tuple[dict[Place, Estimate], dict[Place, Items]]:
    """Return the estimates of metrics over all items of each split and query that the first metric reads, and these."""
    found: dict[Place, Estimate] = {}
    panels: dict[Place, Items] = {}
    whole = items.where(items.frame["stratum"] == "all")
    for facts, panel in whole.panels():
        if facts["stratum"] != "all" or not _takes(metrics[0], panel, facts["target"]):
            continue
        wanted = [m for m in metrics if _takes(m, panel, facts["target"])]
        for name, estimate in bootstrap(panel, wanted, n_boot=n_boot, seed=seed).items():
            place = (facts["split"], facts["query"], name)
            found[place], panels[place] = estimate, panel
    return found, panels


def chances(metrics: Sequence[Metric], panels: Mapping[Place, Items]) -> dict[Place, float]:
    """Return what each metric is without skill on the items that it was computed from, NaN where there is none."""
    known = {m.name: m for m in metrics}
    return {place: known[place[2]].chance_of(panel) for place, panel in panels.items()}


def _takes(metric: Metric, panel: Items, target: str) -> bool:
    return metric.reads(panel.kind, target, panel.frame.columns)


def readings(plan: Plan, variant: Variant, seed: int, n_boot: int, cache: Cache | None = None) -> list[Reading]:
    """Return how every candidate of a plan scores on the primary metric under a variant.

    Parameters
    ----------
    plan
        As it is; its candidates are those that are read.
    variant
        What is changed.
    seed, n_boot
        Of the change, and bootstrap draws.
    cache
        Of embeddings.
    """
    cache = cache or Cache()
    primary = asked(plan)[0]
    facts = (variant.axis, variant.name, variant.level)
    known: dict[tuple[str, str, str], Reading] = {}
    draws: dict[tuple[str, str, str], dict[Place, list[Estimate]]] = {}
    chance: dict[tuple[str, str, str], dict[Place, float]] = {}
    sizes: dict[str, Size] = {}
    for candidate in plan.candidates:
        if why := variant.refusal(candidate):
            known[candidate.name] = Reading(candidate.name, *facts, status="left_out", reason=why)
    remarks: dict[str, None] = {}
    for draw in range(variant.draws):
        try:
            changed = variant.make(plan, stream(seed, "sensitivity", variant.axis, variant.name, draw))
        except Exception as error:
            for c in plan.candidates:
                known.setdefault(c.name, Reading(c.name, *facts, status=grave(error), reason=said(error)))
            break
        sizes = sizes_of(changed.dataset, changed.splits) | sizes
        for candidate in changed.candidates:
            if candidate.name in known:
                continue
            try:
                estimates, panels = estimates_of(
                    items_of(changed, candidate, cache), [primary], n_boot=n_boot, seed=seed
                )  # fmt: skip
            except Exception as error:
                # A user's encoder or task may raise anything: a row with its reason, and all others stand.
                known[candidate.name] = Reading(candidate.name, *facts, status=grave(error), reason=said(error))
                continue
            found = draws.setdefault(candidate.name, {})
            for place, estimate in estimates.items():
                found.setdefault(place, []).append(estimate)
            chance[candidate.name] = chances([primary], panels) | chance.get(candidate.name, {})
        # Each draw may have to leave out another fold.
        remarks.update(dict.fromkeys(changed.notes))
    reason = "; ".join(remarks)
    return [
        known.get(c.name) or Reading(c.name, *facts, draws[c.name], chance[c.name], sizes, reason=reason)
        for c in plan.candidates
    ]


def grave(error: Exception) -> str:
    """Return the status of an exception: what mmcell refuses cannot be asked, anything else has failed."""
    return "left_out" if isinstance(error, MmcellError) else "failed"


def said(error: Exception) -> str:
    """Return what an exception says, in one line."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, MmcellError) else f"{type(error).__name__}: {text}"
