"""`score_predictions`: files of predicted effects, baselines and a ceiling become records like those of other runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from mmcell.predictions.match import Predicted, Values, matched, shared_genes
from mmcell.predictions.read import read_predictions
from mmcell.predictions.truth import Controls, Truth, measure, truth_of
from mmcell.provenance import provenance
from mmcell.records import FORMAT, Finding, Gap, RunRecord, Score, Versus, jsonable
from mmcell.results import Results
from mmcell.stats.bootstrap import MINIMUM_DRAWS, Estimate, bootstrap
from mmcell.stats.comparison import difference
from mmcell.store import Store
from mmcell.verdict import verdict

TASK, REFERENCE, CEILING = "perturbation-predictions", "perturbed-mean", "split-half"
_QUESTION = "Do predicted effects say what each perturbation does, beyond what all perturbations do?"
#: At least so many significant genes make a perturbation strong.
STRONG = 10


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
    if n_boot < MINIMUM_DRAWS or seed < 0 or strong < 1:
        raise MmcellError(f"n_boot must be {MINIMUM_DRAWS} or more, seed 0 or more, and strong 1 or more")
    begun = time.perf_counter()
    dataset = truth_of(truth, perturbation, control, preprocessing)
    column, name = str(dataset.roles.perturbation), str(dataset.roles.control)
    read = [one for source in _listed(predictions) for one in read_predictions(source, column, name)]
    names = pd.Index([one.name for one in read])
    taken = names[names.duplicated() | names.isin(["no-change", REFERENCE, "gene-majority", CEILING])]
    if len(taken):
        raise MmcellError(f"predictions: the name {taken[0]!r} is taken; give another, --predictions NAME=FILE")
    if not read:
        raise MmcellError("predictions: none were given; name at least one file")
    whole = measure(dataset, controls=controls, training=training, seed=seed)
    part = whole.on(shared_genes(read, whole))
    found = [matched(one, part, len(whole.genes), values) for one in read]
    facts = {"controls": controls, "strong": strong, "training": sorted(training), "values": values}
    job = _Job(part, found, facts, n_boot, seed, command, begun)
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
    """One run: the truth, the predictions, and how records are made of them."""

    def __init__(
        self, truth: Truth, found: list[Predicted], facts: dict[str, Any], n_boot: int, seed: int, command: str,
        begun: float,
    ) -> None:  # fmt: skip
        self.truth, self.found, self.facts, self.begun, self.command = truth, found, facts, begun, command
        self.n_boot, self.seed = n_boot, seed
        self.options = {"n_boot": n_boot, "seed": seed}
        self.views = list(score.views(truth, facts["strong"]))
        self.has_cells = any(p.has_cells for p in found)
        self.metrics = [get_metric(name) for name in score.METRICS]

    def records(self) -> tuple[list[RunRecord], dict[str, Items]]:
        """Return all records with their items; controls are scored first, and everything is compared with them."""
        truth, cells = self.truth, self.has_cells
        items: dict[str, Items] = {}
        base = score.baselines(truth)
        for name, one in base.items():
            energy = score.unchanged_energies(truth) if cells and name == "no-change" else None
            items[name] = score.joined(one, self.views, energy)
        best, halved = score.ceiling(truth)
        halves = [score.View(v.stratum, halved if v.truth is truth else halved.on(v.truth.genes), v.rows, v.strong)
                  for v in self.views]  # fmt: skip
        items[CEILING] = score.joined(best, halves, score.half_energies(truth) if cells else None)
        for one in self.found:
            items[one.name] = score.joined(one, self.views, score.energies(one, truth) if one.has_cells else None)
        roles = {**dict.fromkeys(base, "control"), CEILING: "ceiling"}
        every = {**base, CEILING: best, **{one.name: one for one in self.found}}
        made = [self._record(every[name], roles.get(name, "candidate"), items) for name in items]
        return made, {record.key: items[record.encoder] for record in made}

    def _record(self, one: Predicted, role: Any, items: Mapping[str, Items]) -> RunRecord:
        curves = score.curves(one, self.views[0]) if role == "candidate" else {}
        scores = tuple(self._scores(one.name, role, items))
        spec = self._task()
        details = {**one.facts, **({"rescaling": curves} if curves else {}), "curation": self._curation()}
        own = items[one.name]
        content = [str(pd.util.hash_pandas_object(own.frame, index=False).sum()), details]
        return RunRecord(
            key=digest(FORMAT, spec, one.name, self.truth.dataset.fingerprint, self.facts, self.options, content),
            task=spec, dataset=self.truth.dataset.name, dataset_fingerprint=self.truth.dataset.fingerprint,
            split_hash=digest(list(self.truth.perturbations), list(self.truth.genes)), encoder=one.name, role=role,
            parameters={**self.options, **self.facts}, scores=scores,
            missing_controls=() if REFERENCE in items else (REFERENCE,),
            findings=(*self._shared_findings(), *one.findings, *_moving(one.name, curves)),
            details=jsonable(details), provenance=provenance(time.perf_counter() - self.begun, self.command),
        )  # fmt: skip

    def _task(self) -> dict[str, Any]:
        return {
            "name": TASK, "version": "1", "question": _QUESTION, "dataset": self.truth.dataset.name, "split": [],
            "metrics": list(score.METRICS), "primary": score.METRICS[0], "unit": "perturbation",
            "reference": REFERENCE, "published": [],
        }  # fmt: skip

    def _curation(self) -> dict[str, Any]:
        """Return what each stratum holds."""
        return {v.stratum: {"perturbations": len(v.rows), "genes": len(v.truth.genes)} for v in self.views}

    def _shared_findings(self) -> list[Finding]:
        found = list(self.truth.findings)
        if self.facts["controls"] == "shared":
            found.append(
                Finding(
                    severity="warning", code="shared-controls",
                    message="truth and predictions are measured from the same controls, whose noise they then share",
                    cure="leave out --controls shared, unless published numbers are to be met",
                )
            )  # fmt: skip
        if len(self.views) == 1:
            found.append(
                Finding(
                    severity="info", code="none-strong", evidence=f"at least {self.facts['strong']} significant genes",
                    message="no perturbation is strong, so there is nothing after curation",
                )
            )  # fmt: skip
        return found

    def _scores(self, name: str, role: str, items: Mapping[str, Items]) -> list[Score]:
        found = []
        controls = [n for n in items if n in score.BASELINES]
        for view in self.views:
            for metric in self.metrics:
                if not self._asked(metric, view):
                    continue
                part = _known(items[name], metric, view.stratum)
                value = self._estimate(part, metric)
                gap = self._gap(part, items, REFERENCE, metric, view) if name != REFERENCE else None
                reason = value.reason if len(part.frame) else metric.undefined
                one = Score(
                    metric=metric.name, higher_is_better=metric.higher_is_better, target="effect",
                    stratum=view.stratum, split="from files", value=value.value, status=value.status,
                    reason=reason, low=value.low, high=value.high, method=value.method, level="perturbation",
                    n_items=len(part.frame), n_units=value.n_units, n_excluded=len(view.rows) - len(part.frame),
                    chance=metric.chance_of(part) if len(part.frame) else None, difference=gap,
                    skill=self._skill(part, items, metric, view) if role == "candidate" else None,
                    n_gallery=float(len(view.rows)),
                )  # fmt: skip
                if role == "candidate" and metric.name == score.METRICS[0]:
                    gaps = [(n, self._gap(part, items, n, metric, view)) for n in controls]
                    versus = tuple(Versus(control=n, **dict(g)) for n, g in gaps if g is not None)
                    one = one.model_copy(update={"versus": versus})
                    one = one.model_copy(update={"verdict": verdict(one, metric, REFERENCE)})
                found.append(one)
        return found

    def _asked(self, metric: Metric, view: score.View) -> bool:
        if metric.name.startswith("strong_"):
            return view.stratum == "all"
        if metric.name == "energy_distance":
            return self.has_cells and view.stratum != "curated"
        return metric.name != "de_overlap@50" or len(view.truth.genes) > score.TOP

    def _estimate(self, part: Items, metric: Metric) -> Estimate:
        return bootstrap(part, [metric], n_boot=self.n_boot, seed=self.seed)[metric.name]

    def _paired(self, part: Items, other: Items, metric: Metric) -> tuple[Estimate, Estimate] | None:
        """Return both estimates on the perturbations that both have a value for; None without such."""
        both = set(part.frame["item"]) & set(other.frame["item"])
        if not both:
            return None
        one, two = (i.where(i.frame["item"].isin(both)) for i in (part, other))
        return self._estimate(one, metric), self._estimate(two, metric)

    def _gap(self, part: Items, items: Mapping[str, Items], name: str, metric: Metric, view: score.View) -> Gap | None:
        pair = self._paired(part, _known(items[name], metric, view.stratum), metric) if name in items else None
        if pair is None:
            return None
        found = difference(*pair)
        return Gap(value=found.value, low=found.low, high=found.high, mde=found.mde)

    def _skill(self, part: Items, items: Mapping[str, Items], metric: Metric, view: score.View) -> float | None:
        """Return (value − reference)/(ceiling − reference) where the ceiling is told apart from the reference."""
        top = _known(items[CEILING], metric, view.stratum)
        room = self._gap(top, items, REFERENCE, metric, view)
        gap = self._gap(part, items, REFERENCE, metric, view)
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
