"""The scores: a value per perturbation and metric, on the data as measured and after the usual curation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mmcell.metrics.perturbation import (
    centroid_accuracy,
    de_direction,
    de_overlap,
    discrimination_score,
    energy_distance,
    pearson_delta,
    rescaling_curve,
)
from mmcell.predictions.match import Predicted
from mmcell.predictions.truth import CELLS, Truth

#: What is scored; the first headlines: no mean, no scale and no shared reference lifts it.
METRICS = (
    "discrimination_cosine", "discrimination_l1", "discrimination_l2", "centroid_accuracy", "pearson_delta",
    "pearson_delta_perturbed", "de_overlap", "de_overlap@50", "de_direction", "energy_distance", "strong_auroc",
    "strong_enrichment",
)  # fmt: skip
BASELINES = ("no-change", "perturbed-mean", "gene-majority")
TOP = 50
_DISTANCES = {"discrimination_l1": "l1", "discrimination_l2": "l2", "discrimination_cosine": "cosine"}


@dataclass(frozen=True, eq=False)
class View:
    """A part of the truth: some perturbations, some genes."""

    stratum: str
    truth: Truth
    rows: np.ndarray
    strong: np.ndarray


def views(truth: Truth, strong: int) -> Iterator[View]:
    """Yield the truth as measured, with strong perturbations alone, and with these and their genes alone.

    Parameters
    ----------
    truth
        All of it.
    strong
        A perturbation with at least so many significant genes is strong. ``curated`` keeps the genes that are
        significant in at least one of them.
    """
    many = truth.significant.sum(axis=1) >= strong
    everything = np.arange(len(many))
    rows = np.flatnonzero(many)
    for stratum, chosen in (("all", everything), ("strong", rows), ("curated", rows)):
        if not len(chosen):
            continue
        part = truth
        if stratum == "curated":
            part = truth.on(truth.genes[truth.significant[rows].any(axis=0)])
        yield View(stratum, part, chosen, many)


def items_of(predicted: Predicted, view: View, energy: np.ndarray | None) -> pd.DataFrame:
    """Return one row per predicted perturbation of a view, one column a metric.

    Parameters
    ----------
    predicted
        On all genes and perturbations of the whole truth.
    view
        What is scored.
    energy
        (P,) energy distances of the whole truth, or None.
    """
    among = predicted.among or predicted
    columns = view.truth.genes if view.stratum == "curated" else None
    rows, truth = view.rows, view.truth
    known = predicted.known[rows]
    alone, versus = (_Part.of(p, view, columns) for p in (predicted, among))
    observed = truth.observed[rows]
    measured = observed - truth.controls[0]
    significant = truth.significant[rows]
    found = {name: fn(versus) for name, fn in _comparing(view).items()}
    found |= {name: fn(alone) for name, fn in _alone(view).items()}
    n = significant.sum(axis=1)
    found["de_overlap"] = np.array(
        [
            de_overlap(alone.effects[[i]], measured[[i]], int(k))[0] if k and known[i] else np.nan
            for i, k in enumerate(n)
        ]
    )
    found["de_direction"] = de_direction(alone.effects, measured, significant)
    frame = pd.DataFrame({name: np.where(known, value, np.nan) for name, value in found.items()})
    if energy is not None and view.stratum != "curated":
        frame["energy_distance"] = energy[rows]
    if view.stratum == "all":
        frame["effect_size"] = np.linalg.norm(versus.effects, axis=1)
        frame["strong"] = view.strong.astype(float)
    frame = frame.assign(
        item=truth.perturbations[rows], unit=truth.perturbations[rows], n_gallery=len(rows),
        n_significant=n, stratum=view.stratum, target="effect",
    )  # fmt: skip
    return frame[known]


@dataclass(frozen=True, eq=False)
class _Part:
    """Predictions on the rows and genes of a view."""

    effects: np.ndarray
    profiles: np.ndarray

    @classmethod
    def of(cls, predicted: Predicted, view: View, genes: pd.Index | None) -> _Part:
        at = slice(None) if genes is None else predicted.genes.get_indexer(genes)
        return cls(predicted.effects[view.rows][:, at], predicted.profiles[view.rows][:, at])

    def scaled(self, effects: np.ndarray) -> _Part:
        """Return the same with other effects from the same controls."""
        return _Part(effects, self.profiles - self.effects + effects)


def _comparing(view: View) -> dict[str, Callable[[_Part], np.ndarray]]:
    """Return what compares a prediction with every measured effect, or with the mean of all."""
    truth, observed = view.truth, view.truth.observed[view.rows]
    measured = observed - truth.controls[0]
    target = truth.genes.get_indexer(truth.perturbations[view.rows])
    if len(observed) < 2:
        names = (*_DISTANCES, "centroid_accuracy", "pearson_delta_perturbed")
        return dict.fromkeys(names, lambda part: np.full(len(part.effects), np.nan))
    found: dict[str, Callable[[_Part], np.ndarray]] = {
        name: (lambda part, d=distance: discrimination_score(part.effects, measured, d, target))  # type: ignore[misc]
        for name, distance in _DISTANCES.items()
    }
    found["centroid_accuracy"] = lambda part: centroid_accuracy(part.profiles, observed)
    found["pearson_delta_perturbed"] = lambda part: pearson_delta(part.profiles, observed, truth.reference)
    return found


def _alone(view: View) -> dict[str, Callable[[_Part], np.ndarray]]:
    """Return what compares a prediction with the effect of its own perturbation alone."""
    truth, observed = view.truth, view.truth.observed[view.rows]
    measured, zero = observed - truth.controls[0], np.zeros(len(truth.genes))
    found: dict[str, Callable[[_Part], np.ndarray]] = {
        "pearson_delta": lambda part: pearson_delta(part.effects, measured, zero)
    }
    if len(zero) > TOP:
        found["de_overlap@50"] = lambda part: de_overlap(part.effects, measured, TOP)
    return found


def curves(pairs: Sequence[tuple[Predicted, View]]) -> dict[str, dict[str, Any]]:
    """Return what each score does when predicted effects are multiplied by a number; see `rescaling_curve`.

    Parameters
    ----------
    pairs
        A predictor, in every context that is scored, and what it is scored in.
    """
    parts = [
        (_Part.of(p, view, None), np.flatnonzero(p.known[view.rows]), _comparing(view) | _alone(view))
        for p, view in pairs
    ]
    effects = np.concatenate([part.effects for part, _, _ in parts])
    stops = np.cumsum([len(part.effects) for part, _, _ in parts])[:-1]
    found = {}
    for name in dict.fromkeys(name for *_, fns in parts for name in fns):
        # Rows without a prediction stand in the gallery, and their own scores do not count.
        def scored(effects: np.ndarray, _: np.ndarray, name: str = name) -> float:
            value = np.concatenate(
                [
                    fns[name](part.scaled(own))[rows]
                    for (part, rows, fns), own in zip(parts, np.split(effects, stops), strict=True)
                    if name in fns
                ]
            )
            value = value[np.isfinite(value)]
            return float(value.mean()) if len(value) else np.nan

        curve = rescaling_curve(effects, effects, scored)
        found[name] = {"factors": curve.factors.tolist(), "values": curve.values.tolist(), "moves": curve.moves}
    return found


def energies(predicted: Predicted, truth: Truth) -> np.ndarray:
    """Return the energy distance (P,) between predicted and measured cells, of 128 a side at most."""
    found = np.full(len(truth.perturbations), np.nan)
    if predicted.has_cells:
        for i in np.flatnonzero(predicted.known):
            mine = predicted.cells(str(truth.perturbations[i]), CELLS)
            found[i] = energy_distance(mine, truth.cells(int(i)))
    return found


def baselines(truth: Truth) -> dict[str, Predicted]:
    """Return what needs no model: no change, the perturbed mean, and each gene's majority.

    ``perturbed-mean`` is the mean of the training perturbations; where none are named, of the others that are scored
    for what compares a prediction with its own truth (its own included, noise alone gives r = 1/√P), and of all of
    them for what tells perturbations apart (without its own, it would be pushed away from it, below chance).
    ``gene-majority`` is, for each gene, the direction in which most perturbations move it significantly, by the mean
    size of these effects; the same perturbations.
    """
    p, base = len(truth.perturbations), truth.controls[1]
    found = {"no-change": _from(np.zeros_like(truth.observed), truth, "no-change")}
    trained = truth.trained.shape[1] > 0
    if not trained and p < 2:
        return found
    means, significant = truth.trained if trained else (truth.observed, truth.voting.astype(float))
    forms = {"perturbed-mean": _means(means - base), "gene-majority": _majorities((means - base) * significant)}
    for name, (of_all, of_others) in forms.items():
        everything = _from(np.tile(of_all, (p, 1)), truth, name)
        found[name] = everything if trained else replace(_from(of_others, truth, name), among=everything)
    return found


def _means(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of all effects (d,), and of all but each (n, d)."""
    total = effects.sum(axis=0)
    return total / len(effects), (total - effects) / max(len(effects) - 1, 1)


def _majorities(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the majority's direction by its mean size, of all effects (d,) and of all but each; zeros do not vote."""
    votes, sizes, voters = np.sign(effects), np.abs(effects), (effects != 0).astype(float)
    vote, size, n = votes.sum(axis=0), sizes.sum(axis=0), voters.sum(axis=0)
    of_all = np.sign(vote) * size / np.maximum(n, 1)
    return of_all, np.sign(vote - votes) * (size - sizes) / np.maximum(n - voters, 1)


def _from(effects: np.ndarray, truth: Truth, name: str) -> Predicted:
    everything = np.ones(len(effects), dtype=bool)
    return Predicted(name, truth.controls[1] + effects, effects, everything, truth.genes)


def ceiling(truth: Truth) -> tuple[Predicted, Truth]:
    """Return one half of every perturbation's cells as a prediction, and the other as the truth.

    Both are noisier than what models are compared with, so that this is a ceiling from below.
    """
    one, other = truth.halves
    return _from(other - truth.controls[1], truth, "split-half"), replace(truth, observed=one)


def half_energies(truth: Truth) -> np.ndarray:
    """Return the energy distance (P,) between the two halves of every perturbation's cells."""
    return np.array([energy_distance(truth.cells(i, 1), truth.cells(i, 0)) for i in range(len(truth.perturbations))])


def unchanged_energies(truth: Truth) -> np.ndarray:
    """Return the energy distance (P,) of every perturbation's cells from the controls that the truth does not use."""
    p = len(truth.perturbations)
    controls = truth.cells(p, 1)
    return np.array([energy_distance(controls, truth.cells(i)) for i in range(p)])


def joined(predicted: Predicted, parts: list[View], energy: np.ndarray | None) -> pd.DataFrame:
    """Return the rows of one predictor over all views; a predictor without a row in one has none there."""
    frames = [items_of(predicted, view, energy) for view in parts]
    return pd.concat(frames, ignore_index=True).assign(split="from files")
