"""`score_predictions`: files of predicted effects, baselines and a ceiling become records like those of other runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.errors import MmcellError, first, number_of
from mmcell.items import Items
from mmcell.metrics.base import Metric, get_metric
from mmcell.predictions import score
from mmcell.predictions.contexts import MATCHING, Contexts, Scene, column_of, contexts_of
from mmcell.predictions.match import Values, matched, shared_genes
from mmcell.predictions.read import read_predictions
from mmcell.predictions.source import truth_of
from mmcell.predictions.truth import Controls, measure
from mmcell.provenance import provenance
from mmcell.records import FORMAT, Finding, Gap, RunRecord, Score, Versus, jsonable
from mmcell.results import Results
from mmcell.stats.bootstrap import MINIMUM_DRAWS, Estimate, bootstrap, check_draws
from mmcell.stats.comparison import difference
from mmcell.stats.welch import STRONG
from mmcell.store import Store
from mmcell.subgroups import groups, worst
from mmcell.verdict import verdict

TASK, REFERENCE, CEILING = "perturbation-predictions", "perturbed-mean", "split-half"
_QUESTION = "Do predicted effects say what each perturbation does, beyond what all perturbations do?"


def score_predictions(
    predictions: Any,
    truth: str | Path | Dataset,
    *,
    perturbation: str | None = None,
    control: str | None = None,
    preprocessing: str | None = None,
    values: Values = "profiles",
    controls: Controls = "halves",
    training: Sequence[str] = (),
    context: str | None = None,
    training_contexts: Sequence[str] = (),
    strong: int = STRONG,
    n_boot: int = 1000,
    seed: int = 0,
    out: str | Path | None = None,
    command: str = "",
) -> Results:
    """Score predicted perturbation effects against measured cells, beside baselines and a split-half ceiling.

    Parameters
    ----------
    predictions
        One or several: a file, ``NAME=FILE``, a frame (perturbation × gene), an AnnData of means or cells, or a mapping
        from names to these.
    truth
        A dataset by name or card, a `Dataset`, or a bare ``.h5ad``, which needs the three arguments that follow.
    perturbation, control, preprocessing
        Column of the perturbation, name of the controls, and what a bare file holds (``counts``, ``log1p``, …). Counts
        are scaled to 10,000 a cell and log1p is taken; predictions must be on that scale.
    values
        ``profiles`` (predicted expression) or ``effects`` (differences from controls).
    controls
        ``halves``: the truth is measured from one random half of the controls, predictions from the other (or from
        their own controls, unless these are the measured ones). ``shared``: both from all of them, as cell-eval does,
        which makes truth and prediction share noise and is marked.
    training
        Perturbations that the models were trained on: they are not scored, and baselines are made of them.
    context
        A column of ``obs`` or a role (``unit``, ``cell_type``): effects are then predicted, measured and scored in each
        of its values, against the controls and the other perturbations there. Predictions have a column of that name
        (or ``context``), an index level, or a column of ``obs``. The baseline ``matching-mean``, the mean effect of the
        perturbation in other contexts, stands beside the others. Both contexts and perturbations are resampled where
        there are ten of each.
    training_contexts
        Contexts that the models were trained on: they are not scored, and baselines are made of them;
        ``matching-mean`` is then the reference.
    strong
        From how many significant genes on a perturbation counts as strong; see `mmcell.predictions.score.views`.
    n_boot, seed
        Bootstrap draws over perturbations, and the seed of everything random.
    out
        Folder for records, items and tables; None keeps the results in memory.
    command
        Noted in the provenance.

    Returns
    -------
    Results
        A record per predictor, for the baselines (`mmcell.predictions.score.baselines`) and for the ceiling. Strata:
        ``all`` as measured, ``strong`` perturbations alone, and ``curated``, these and their significant genes alone.
        ``details["rescaling"]`` holds what each score does when effects are multiplied by 0.1 to 10.

    Raises
    ------
    MmcellError
        What cannot be scored: no controls, fewer than half of the genes, values on another scale, genes that occur
        twice, names that occur twice.
    """
    for what, value, known in (("values", values, get_args(Values)), ("controls", controls, get_args(Controls))):
        if value not in known:
            raise MmcellError(f"{what} is {value!r}; use {' or '.join(known)}")
    check_draws(max(n_boot, MINIMUM_DRAWS))
    if n_boot < MINIMUM_DRAWS or seed < 0 or strong < 1:
        raise MmcellError(f"n_boot must be {MINIMUM_DRAWS} or more, seed 0 or more, and strong 1 or more")
    if training_contexts and context is None:
        raise MmcellError("training_contexts: contexts are not told apart; name their column, --context")
    begun = time.perf_counter()
    dataset = truth_of(truth, perturbation, control, preprocessing)
    column, name = str(dataset.roles.perturbation), str(dataset.roles.control)
    within = "" if context is None else column_of(dataset, context)
    called = tuple(dict.fromkeys((str(context), within, "context"))) if within else ()
    read = [one for source in _listed(predictions) for one in read_predictions(source, column, name, called)]
    names = pd.MultiIndex.from_tuples([(one.name, one.context) for one in read], names=["name", "context"])
    own = ["no-change", REFERENCE, "gene-majority", CEILING, *([MATCHING] if within else [])]
    taken = names[names.duplicated() | names.get_level_values("name").isin(own)]
    if len(taken):
        raise MmcellError(f"predictions: the name {taken[0][0]!r} is taken; give another, --predictions NAME=FILE")
    if not read:
        raise MmcellError("predictions: none were given; name at least one file")
    facts: dict[str, Any] = {"controls": controls, "strong": strong, "training": sorted(training), "values": values}
    if within:
        told = contexts_of(
            dataset, within, read, controls=controls, values=values, training=training, elsewhere=training_contexts,
            seed=seed,
        )  # fmt: skip
        facts |= {"context": within, "training_contexts": sorted(training_contexts)}
    else:
        whole = measure(dataset, controls=controls, training=training, seed=seed)
        part = whole.on(shared_genes(read, whole))
        found = tuple(matched(one, part, len(whole.genes), values) for one in read)
        told = Contexts.none(part, found)
    job = _Job(told, facts, n_boot, seed, command, begun)
    records, items = job.records()
    results = Results(sorted(records, key=lambda r: r.order), items, ())
    if out is not None:
        store = Store.create(Path(out))
        for record in records:
            store.write(record, items[record.key])
        store.finish(results)
    return results


def _listed(predictions: Any) -> list[Any]:
    if isinstance(predictions, Mapping):
        return [(str(name), what) for name, what in predictions.items()]
    return list(predictions) if isinstance(predictions, (list, tuple)) else [predictions]


class _Job:
    """One run: what is scored, context by context, and how records are made of it."""

    def __init__(
        self, contexts: Contexts, facts: dict[str, Any], n_boot: int, seed: int, command: str, begun: float
    ) -> None:
        self.contexts, self.facts, self.begun, self.command = contexts, facts, begun, command
        self.truth = contexts.scenes[0].truth
        self.n_boot, self.seed = n_boot, seed
        self.options = {"n_boot": n_boot, "seed": seed}
        self.views = [list(score.views(scene.truth, facts["strong"])) for scene in contexts.scenes]
        self.has_cells = any(p.has_cells for scene in contexts.scenes for p in scene.found)
        self.metrics = [get_metric(name) for name in score.METRICS]
        self.reference = MATCHING if facts.get("training_contexts") else REFERENCE
        self.controls: list[str] = []

    def records(self) -> tuple[list[RunRecord], dict[str, Items]]:
        """Return all records with their items; controls are scored first, and everything is compared with them."""
        frames: dict[str, list[pd.DataFrame]] = {}
        roles: dict[str, str] = {}
        for scene, views in zip(self.contexts.scenes, self.views, strict=True):
            for name, role, frame in self._scored(scene, views):
                roles.setdefault(name, role)
                frames.setdefault(name, []).append(frame)
        self.controls = [name for name, role in roles.items() if role == "control"]
        order = sorted(frames, key=lambda name: ("control", "ceiling", "candidate").index(roles[name]))
        items = {name: Items(pd.concat(frames[name], ignore_index=True), "effects") for name in order}
        made = [self._record(name, roles[name], items) for name in items]
        return made, {record.key: items[record.encoder] for record in made}

    def _scored(self, scene: Scene, views: list[score.View]) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Yield everything that is scored in one context: its name, its role and its rows."""
        truth, cells = scene.truth, self.has_cells
        base = score.baselines(truth) | ({} if scene.matching is None else {MATCHING: scene.matching})
        for name, one in base.items():
            energy = score.unchanged_energies(truth) if cells and name == "no-change" else None
            yield name, "control", self._placed(score.joined(one, views, energy), scene)
        best, halved = score.ceiling(truth)
        halves = [score.View(v.stratum, halved if v.truth is truth else halved.on(v.truth.genes), v.rows, v.strong)
                  for v in views]  # fmt: skip
        energy = score.half_energies(truth) if cells else None
        yield CEILING, "ceiling", self._placed(score.joined(best, halves, energy), scene)
        for one in scene.found:
            energy = score.energies(one, truth) if one.has_cells else None
            yield one.name, "candidate", self._placed(score.joined(one, views, energy), scene)

    def _placed(self, frame: pd.DataFrame, scene: Scene) -> pd.DataFrame:
        """Return the rows of a context with its name, and with what is resampled as their unit."""
        return self.contexts.placed(frame, scene) if self.contexts.column else frame

    def _record(self, name: str, role: Any, items: Mapping[str, Items]) -> RunRecord:
        pairs = [(one, views[0]) for scene, views in zip(self.contexts.scenes, self.views, strict=True)
                 for one in scene.found if one.name == name]  # fmt: skip
        curves = score.curves(pairs) if role == "candidate" else {}
        scores = tuple(self._scores(name, role, items))
        spec, told = self._task(), self.contexts
        facts = told.facts.get(name, {})
        details = {**facts, **({"rescaling": curves} if curves else {}), "curation": self._curation()}
        own = items[name]
        content = [str(pd.util.hash_pandas_object(own.frame, index=False).sum()), details]
        places = [[s.name, list(s.truth.perturbations)] for s in told.scenes] if told.column else [
            *self.truth.perturbations]  # fmt: skip
        return RunRecord(
            key=digest(FORMAT, spec, name, self.truth.dataset.fingerprint, self.facts, self.options, content),
            task=spec, dataset=self.truth.dataset.name, dataset_fingerprint=self.truth.dataset.fingerprint,
            split_hash=digest(places, list(self.truth.genes)), encoder=name, role=role,
            parameters={**self.options, **self.facts}, scores=scores,
            missing_controls=() if self.reference in items else (self.reference,),
            findings=(*self._shared_findings(), *told.own.get(name, ()), *_moving(name, curves)),
            details=jsonable(details), provenance=provenance(time.perf_counter() - self.begun, self.command),
        )  # fmt: skip

    def _task(self) -> dict[str, Any]:
        return {
            "name": TASK, "version": "1", "question": _QUESTION, "dataset": self.truth.dataset.name, "split": [],
            "metrics": list(score.METRICS), "primary": score.METRICS[0], "unit": self.contexts.unit,
            "reference": self.reference, "published": [],
        }  # fmt: skip

    def _strata(self) -> dict[str, list[score.View]]:
        """Return the views of every stratum, one for each context that has it."""
        found: dict[str, list[score.View]] = {"all": [], "strong": [], "curated": []}
        for views in self.views:
            for view in views:
                found[view.stratum].append(view)
        return {stratum: views for stratum, views in found.items() if views}

    def _curation(self) -> dict[str, Any]:
        """Return what each stratum holds."""
        found = {}
        for stratum, views in self._strata().items():
            names = {str(n) for v in views for n in v.truth.perturbations[v.rows]}
            genes = {g for v in views for g in v.truth.genes}
            found[stratum] = {"perturbations": len(names), "genes": len(genes)}
            if self.contexts.column:
                found[stratum] |= {"contexts": len(views), "pairs": sum(len(v.rows) for v in views)}
        return found

    def _shared_findings(self) -> list[Finding]:
        found = list(self.contexts.findings)
        if self.facts["controls"] == "shared":
            found.append(
                Finding(
                    severity="warning", code="shared-controls",
                    message="truth and predictions are measured from the same controls, whose noise they then share",
                    cure="leave out --controls shared, unless published numbers are to be met",
                )
            )  # fmt: skip
        if all(len(views) == 1 for views in self.views):
            found.append(
                Finding(
                    severity="info", code="none-strong", evidence=f"at least {self.facts['strong']} significant genes",
                    message="no perturbation is strong, so there is nothing after curation",
                )
            )  # fmt: skip
        return found

    def _scores(self, name: str, role: str, items: Mapping[str, Items]) -> list[Score]:
        found = []
        for stratum, views in self._strata().items():
            n = sum(len(view.rows) for view in views)
            for metric in self.metrics:
                if not self._asked(metric, stratum, views):
                    continue
                part = _known(items[name], metric, stratum)
                value = self._estimate(part, metric)
                gap = self._gap(part, items, self.reference, metric, stratum) if name != self.reference else None
                reason = value.reason if len(part.frame) else metric.undefined
                one = Score(
                    metric=metric.name, higher_is_better=metric.higher_is_better, target="effect",
                    stratum=stratum, split="from files", value=value.value, status=value.status,
                    reason=reason, low=value.low, high=value.high, method=value.method, level=self.contexts.unit,
                    n_items=len(part.frame), n_units=value.n_units, n_excluded=n - len(part.frame),
                    chance=metric.chance_of(part) if len(part.frame) else None, difference=gap,
                    skill=self._skill(part, items, metric, stratum) if role == "candidate" else None,
                    n_gallery=float(np.median([len(view.rows) for view in views])),
                )  # fmt: skip
                if self.contexts.column and len(part.frame):
                    one = one.model_copy(update=self._apart(part, metric))
                if role == "candidate" and metric.name == score.METRICS[0]:
                    gaps = [(other, self._gap(part, items, other, metric, stratum)) for other in self.controls]
                    versus = tuple(Versus(control=other, **dict(g)) for other, g in gaps if g is not None)
                    one = one.model_copy(update={"versus": versus})
                    one = one.model_copy(update={"verdict": verdict(one, metric, self.reference)})
                found.append(one)
        return found

    def _apart(self, part: Items, metric: Metric) -> dict[str, Any]:
        """Return the worst context, and of the headline every context, each with its perturbations as units."""
        by = self.contexts.apart(part)
        found: dict[str, Any] = {"worst": worst(by, [metric]).get(metric.name)}
        if metric.name == score.METRICS[0]:
            found["groups"] = groups(by, metric, n_boot=self.n_boot, seed=self.seed)
        return found

    def _asked(self, metric: Metric, stratum: str, views: list[score.View]) -> bool:
        if metric.name.startswith("strong_"):
            return stratum == "all"
        if metric.name == "energy_distance":
            return self.has_cells and stratum != "curated"
        return metric.name != "de_overlap@50" or any(len(view.truth.genes) > score.TOP for view in views)

    def _estimate(self, part: Items, metric: Metric) -> Estimate:
        return bootstrap(part, [metric], n_boot=self.n_boot, seed=self.seed)[metric.name]

    def _paired(self, part: Items, other: Items, metric: Metric) -> tuple[Estimate, Estimate] | None:
        """Return both estimates on the perturbations that both have a value for; None without such."""
        both = set(part.frame["item"]) & set(other.frame["item"])
        if not both:
            return None
        one, two = (i.where(i.frame["item"].isin(both)) for i in (part, other))
        return self._estimate(one, metric), self._estimate(two, metric)

    def _gap(self, part: Items, items: Mapping[str, Items], name: str, metric: Metric, stratum: str) -> Gap | None:
        pair = self._paired(part, _known(items[name], metric, stratum), metric) if name in items else None
        if pair is None:
            return None
        found = difference(*pair)
        return Gap(value=found.value, low=found.low, high=found.high, mde=found.mde)

    def _skill(self, part: Items, items: Mapping[str, Items], metric: Metric, stratum: str) -> float | None:
        """Return (value − reference)/(ceiling − reference) where the ceiling is told apart from the reference."""
        top = _known(items[CEILING], metric, stratum)
        room = self._gap(top, items, self.reference, metric, stratum)
        gap = self._gap(part, items, self.reference, metric, stratum)
        if room is None or gap is None or room.low is None or room.high is None or not room.value:
            return None
        sign = 1.0 if metric.higher_is_better else -1.0
        return gap.value / room.value if gap.value is not None and min(sign * room.low, sign * room.high) > 0 else None


def _known(items: Items, metric: Metric, stratum: str) -> Items:
    """Return the perturbations of a stratum that have a value."""
    mask = (items.frame["stratum"] == stratum).to_numpy()
    for column in metric.needs:
        mask &= items.frame[column].notna().to_numpy() if column in items.frame else np.zeros(len(mask), dtype=bool)
    return items.where(mask)


def _moving(name: str, curves: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    moving = {metric: curve for metric, curve in curves.items() if curve["moves"]}
    if not moving:
        return []
    told = [f"{m} {np.nanmin(c['values']):.2f} to {np.nanmax(c['values']):.2f}" for m, c in moving.items()]
    return [
        Finding(
            severity="warning", code="moves-with-scale",
            message=f"{number_of(len(moving), 'score changes', 'scores change')} when the effects of {name} are "
            f"multiplied by 0.1 to 10, and may not headline: {first(moving, 8)}",
            evidence="; ".join(told), cure=f"read {score.METRICS[0]} and pearson_delta beside the perturbed mean",
        )
    ]  # fmt: skip
