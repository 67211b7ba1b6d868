"""Contexts of predicted effects: cell lines, types or patients, each with its own controls and its own perturbations.

Nothing of one context is compared with another: truth, halves, significant genes and galleries are those of its cells
alone. What contexts share is what a baseline may know of a perturbation from elsewhere, ``matching-mean``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.items import Items
from mmcell.predictions.match import Predicted, Values, matched, shared_genes
from mmcell.predictions.read import Prediction
from mmcell.predictions.truth import FEWEST, Cells, Controls, Truth, few_controls, unmeasured
from mmcell.records import Finding
from mmcell.stats.units import MINIMUM

MATCHING, _BOTH = "matching-mean", "perturbation×context"
#: Below this share of the measured pairs of perturbation and context predictions are refused.
_COVERAGE = 0.5


@dataclass(frozen=True, eq=False)
class Scene:
    """What is scored together: one context, or everything where contexts are not told apart.

    Attributes
    ----------
    name
        Of the context; "" for everything.
    truth
        On the genes that all predictions share.
    found
        The predictors that predict something here.
    matching
        The mean effect of every perturbation elsewhere; None where there is no elsewhere.
    """

    name: str
    truth: Truth
    found: tuple[Predicted, ...]
    matching: Predicted | None = None


@dataclass(frozen=True, eq=False)
class Contexts:
    """All contexts of a run.

    Attributes
    ----------
    column
        Of ``obs``, which names them; "" where they are not told apart.
    scenes
        Those that are scored.
    facts, findings
        Per predictor, and of all of them.
    unit
        What is resampled: ``perturbation×context`` (both), or what there are ten of, the other taken as given.
    """

    column: str
    scenes: tuple[Scene, ...]
    facts: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]
    own: dict[str, tuple[Finding, ...]]
    unit: str = "perturbation"

    @classmethod
    def none(cls, truth: Truth, found: tuple[Predicted, ...]) -> Self:
        """Return what there is where contexts are not told apart."""
        facts, own = {one.name: one.facts for one in found}, {one.name: one.findings for one in found}
        return cls("", (Scene("", truth, found),), facts, truth.findings, own)

    def placed(self, frame: pd.DataFrame, scene: Scene) -> pd.DataFrame:
        """Return the rows of a context as items of several: named by both, with what is resampled as their unit."""
        item = frame["item"].astype(str)
        named = frame.assign(item=item + " | " + scene.name, perturbation=item, context=scene.name)
        if self.unit == "context":
            return named.assign(unit=scene.name)
        return named.assign(crossed=scene.name) if self.unit == _BOTH else named

    @staticmethod
    def apart(items: Items) -> Items:
        """Return the same items grouped by context, their perturbations as units: contexts on their own."""
        frame = items.frame.drop(columns="crossed", errors="ignore")
        return Items(frame.assign(unit=frame["perturbation"], **{"by:context": frame["context"]}), items.kind)


def column_of(dataset: Dataset, context: str) -> str:
    """Return the column of ``obs`` that a context is: its name, or a role's (``unit``, ``cell_type``).

    Raises
    ------
    MmcellError
        No such column, or the one of the perturbation.
    """
    columns = dataset.roles.columns
    found = context if context in dataset.obs else columns.get(context, context)
    if found not in dataset.obs:
        known = [*map(str, dataset.obs.columns), *columns]
        raise MmcellError(f"dataset {dataset.name!r}: no column or role {context!r}; {did_you_mean(context, known)}")
    if found == dataset.roles.perturbation:
        raise MmcellError(
            f"dataset {dataset.name!r}: {context!r} is the perturbation itself; --context names where it was applied"
        )
    return found


def contexts_of(
    dataset: Dataset, column: str, read: Sequence[Prediction], *, controls: Controls, values: Values,
    training: Collection[str], elsewhere: Collection[str], seed: int,
) -> Contexts:  # fmt: skip
    """Measure every context and bring the predictions to it.

    Parameters
    ----------
    dataset, column
        What was measured, and the column of contexts.
    read
        Predictions, one per predictor and context.
    controls, values, training, seed
        See `mmcell.predictions.score_predictions`.
    elsewhere
        Contexts that the models were trained on: measured for the baselines, and not scored.

    Raises
    ------
    MmcellError
        Contexts or training perturbations that were not measured, nothing that can be scored, or a predictor of fewer
        than half of the measured pairs.
    """
    truths, left, findings = _measured(dataset, column, elsewhere, controls, training, seed)
    scored = [name for name in truths if name not in elsewhere]
    asked = {one.context for one in read}
    if not asked & set(scored):
        raise MmcellError(
            f"{read[0].name}: no context that can be scored is predicted (there are {first(sorted(asked))}); name "
            f"them as {column!r} does: {did_you_mean(read[0].context, scored)}"
        )
    of_scored = [one for one in read if one.context in scored]
    genes = shared_genes(of_scored, truths[scored[0]])
    n_genes = len(truths[scored[0]].genes)
    parts = {name: truth.on(genes) for name, truth in truths.items()}
    found: dict[str, list[Predicted]] = {name: [] for name in scored}
    for one in of_scored:
        part = parts[one.context]
        if _predicted(one, part).any():
            found[one.context].append(matched(one, part, n_genes, values))
    known = [parts[name] for name in truths if name in elsewhere]
    scenes = []
    for name in scored:
        truth, others = parts[name], known or [parts[o] for o in scored if o != name]
        if known and not truth.trained.shape[1]:
            truth = _taught(truth, known)
        scenes.append(Scene(name, truth, tuple(found[name]), _matching(truth, others) if others else None))
    unit, given = _unit(scenes)
    models = dict.fromkeys(one.name for one in read)
    facts = {m: _facts([one for one in read if one.name == m], scenes, left, len(truths) + len(left)) for m in models}
    own = {m: _own([one for one in read if one.name == m], scenes) for m in models}
    return Contexts(column, tuple(scenes), facts, (*findings, *given), own, unit)


def _measured(
    dataset: Dataset, column: str, elsewhere: Collection[str], controls: Controls, training: Collection[str], seed: int
) -> tuple[dict[str, Truth], dict[str, str], list[Finding]]:
    """Return the truth of every context, what was left out and why, and what a reader must know."""
    who, cells = f"dataset {dataset.name!r}", Cells.of(dataset)
    label = dataset.obs[column].reindex(cells.rows.ids)
    names = label.astype(str).where(label.notna(), None).to_numpy(dtype=object)
    every = sorted(set(names[label.notna().to_numpy()]))
    unknown = sorted(set(elsewhere) - set(every))
    if unknown:
        raise MmcellError(
            f"{who}: no cells of the training context {unknown[0]!r} in {column!r}; {did_you_mean(unknown[0], every)}"
        )
    everything = sorted(set(cells.names[~cells.unknown]) - {cells.control})
    findings = {"": unmeasured(training, pd.Index(everything), str(dataset.roles.perturbation))}
    truths, left = {}, {}
    for name in every:
        at = np.flatnonzero(names == name)
        n = cells.n_controls(at)
        kept, found = cells.kept(at)
        own = [] if name in elsewhere else [t for t in training if t in kept]
        if n < FEWEST:
            left[name] = f"{number_of(n, 'control')}, and effects need {FEWEST}"
        elif not len(kept.difference(pd.Index(own))):
            left[name] = "no perturbation with two cells that models were not trained on"
        else:
            found = [*found, *few_controls(n)]
            truths[name] = cells.truth(kept, found, at, controls=controls, training=own, seed=seed)
            findings[name] = found
    if not set(truths) - set(elsewhere):
        why = f"{next(iter(left))}: {next(iter(left.values()))}" if left else "models were trained on all of them"
        raise MmcellError(f"{who}: no context in {column!r} is left to be scored ({why})")
    if left:
        findings[""].append(
            Finding(
                severity="warning", code="contexts-left-out", evidence="; ".join(f"{n}: {w}" for n, w in left.items()),
                message=f"{number_of(len(left), 'context is', 'contexts are')} left out",
                cure="measure more cells there, or drop them from the truth",
            )
        )  # fmt: skip
    return truths, left, _merged(findings)


def _merged(findings: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Return one finding a kind, with the contexts ("" for all) that it is of."""
    kinds: dict[str, dict[str, Finding]] = {}
    for name, several in findings.items():
        for one in several:
            kinds.setdefault(one.code, {})[name] = one
    merged = []
    for of in kinds.values():
        name, one = next(iter(of.items()))
        if name:
            where = f"in {name}" if len(of) == 1 else f"in {len(of)} contexts, among them {name}"
            told = [f"{n}: {f.evidence or f.message}" for n, f in of.items()]
            more = {"message": f"{where}: {one.message}"} | ({"evidence": first(told, 6)} if len(of) > 1 else {})
            one = one.model_copy(update=more)
        merged.append(one)
    return merged


def _predicted(one: Prediction, truth: Truth) -> np.ndarray:
    """Return which perturbations (P,) of a truth have finite predictions."""
    at = one.perturbations.get_indexer(truth.perturbations)
    there = np.isfinite(one.means[:, one.genes.get_indexer(truth.genes)]).all(axis=1)
    return np.asarray((at >= 0) & there[at]) if len(there) else np.zeros(len(at), dtype=bool)


def _taught(truth: Truth, known: Sequence[Truth]) -> Truth:
    """Return the same with baselines made of the effects in training contexts, added to its own controls."""
    effects = np.concatenate([t.observed - t.controls[1] for t in known])
    voting = np.concatenate([t.voting for t in known])
    return replace(truth, trained=np.stack([truth.controls[1] + effects, voting]))


def _matching(truth: Truth, others: Sequence[Truth]) -> Predicted | None:
    """Return the mean effect of every perturbation in other contexts.

    The context itself is left out for all of its perturbations alike, so that none is pushed away from its own effect,
    and one answer serves both what compares it with its own and what tells perturbations apart.
    """
    total, n = np.zeros_like(truth.observed), np.zeros(len(truth.perturbations))
    for other in others:
        at = other.perturbations.get_indexer(truth.perturbations)
        there = at >= 0
        total[there] += (other.observed - other.controls[1])[at[there]]
        n += there
    if not n.any():
        return None
    effects = total / np.maximum(n, 1)[:, None]
    return Predicted(MATCHING, truth.controls[1] + effects, effects, n > 0, truth.genes)


def _unit(scenes: Sequence[Scene]) -> tuple[str, list[Finding]]:
    """Return what is resampled: of fewer than ten contexts, or perturbations, nothing can be said of others."""
    n = len(scenes)
    p = len({name for scene in scenes for name in scene.truth.perturbations})
    if (n >= MINIMUM) == (p >= MINIMUM):
        return _BOTH, []
    few, many, count = ("context", "perturbation", n) if n < MINIMUM else ("perturbation", "context", p)
    finding = Finding(
        severity="info", code=f"{few}s-given", evidence=number_of(count, few),
        message=f"intervals are over {many}s, with these {few}s taken as given: they do not speak of others",
        cure=f"from {MINIMUM} {few}s on both are resampled",
    )  # fmt: skip
    return many, [finding]


def _facts(
    read: Sequence[Prediction], scenes: Sequence[Scene], left: Mapping[str, str], n_contexts: int
) -> dict[str, Any]:
    """Return what a predictor covers.

    Raises
    ------
    MmcellError
        Fewer than half of the measured pairs of perturbation and context.
    """
    found = {scene.name: one for scene in scenes for one in scene.found if one.name == read[0].name}
    pairs = [(name, scene.name) for scene in scenes for name in scene.truth.perturbations]
    n = sum(int(one.known.sum()) for one in found.values())
    if n < _COVERAGE * len(pairs):
        missing = [
            f"{name} in {scene.name}" for scene in scenes for name, known in zip(
                scene.truth.perturbations,
                found[scene.name].known if scene.name in found else np.zeros(len(scene.truth.perturbations), bool),
                strict=True,
            ) if not known
        ]  # fmt: skip
        raise MmcellError(
            f"{read[0].name}: predicts {n} of the {len(pairs)} measured pairs of perturbation and "
            f"context ({n / len(pairs):.0%}), and at least half are needed; missing are {first(missing)}: predict "
            "them, too, or name the contexts that the model was trained on with --training-context"
        )
    one = next(iter(found.values()))
    return {
        **one.facts,
        "perturbations": {
            "truth": len({name for name, _ in pairs}), "predicted": len({p for o in read for p in o.perturbations}),
            "scored": len({p for s in scenes if s.name in found
                           for p in s.truth.perturbations[found[s.name].known]}),
        },
        "differences from": "; ".join(sorted({str(o.facts["differences from"]) for o in found.values()})),
        "pairs": {"truth": len(pairs), "predicted": sum(len(o.perturbations) for o in read), "scored": n},
        "contexts": {"truth": n_contexts, "predicted": len(read), "scored": len(found), "left out": dict(left)},
    }  # fmt: skip


def _own(read: Sequence[Prediction], scenes: Sequence[Scene]) -> tuple[Finding, ...]:
    """Return what a reader must know of one predictor."""
    of = {scene.name: one for scene in scenes for one in scene.found if one.name == read[0].name}
    findings = _merged({name: one.findings for name, one in of.items()})
    for code, message, names in (
        ("contexts-not-predicted", "measured and not predicted", [s.name for s in scenes if s.name not in of]),
        ("contexts-not-scored", "predicted and not scored: not measured, left out, or trained on",
         sorted({one.context for one in read} - {s.name for s in scenes})),
    ):  # fmt: skip
        if names:
            findings.append(
                Finding(
                    severity="info", code=code, evidence=first(names, 6),
                    message=f"{number_of(len(names), 'context is', 'contexts are')} {message}",
                )
            )  # fmt: skip
    return tuple(findings)
