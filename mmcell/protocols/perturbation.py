"""Perturbation effects: do a unit's untreated cells say what a perturbation would do to them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from mmcell.effects import FEWEST, Parts
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first, number_of
from mmcell.items import Items
from mmcell.probes.contexts import PROBES, Contexts
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec

NO_CHANGE, PERTURBED_MEAN, MATCHING_MEAN, ADDITIVE = "no-change", "perturbed-mean", "matching-mean", "additive"
SPLIT_HALF = "split-half"


class PerturbationEffect(Task):
    """A probe from the mean embedding of a context's control cells to the effect of every perturbation in it.

    A context is a unit, or with the partner ``effects-by-type`` a unit's cells of one type. Of training units effects
    are known; of held-out units a method sees control cells, and of these one half: the other is what the measured
    effect is a difference from (see `mmcell.effects`). Training contexts are halved alike, so that no probe learns that
    controls which happen to be high are followed by lower effects.

    A perturbation that no training unit had cannot be predicted, and is excluded: probes know perturbations by name.

    Models that read no embedding stand beside it: ``no-change``; ``perturbed-mean``, the mean over all perturbations;
    ``matching-mean``, the mean effect of the perturbation in training (and type, where the training units have it);
    ``additive``, the mean effect of the perturbation and that of the type. (Without types it would be
    ``matching-mean``, for of a held-out unit no other perturbation is seen.) The ceiling ``split-half`` predicts one
    half of a unit's perturbed cells from the other; both are noisier than what probes meet, so that it is a ceiling
    from below, and a mean of many units may lie above it.

    With ``unseen_types`` the type of a context is held out, too: what is predicted for a unit and type is learnt from
    the training units' contexts of all other types, by one fit per fold and type. The means are then over these;
    ``additive`` is left out, for nothing is known of the type. Two comparisons are fair, because what they compare
    comes from one fit: whose unit an effect is of, among the held-out units in the same type under the same
    perturbation (stratum ``all``), and which perturbation it is of, among those of the same unit and type (stratum
    ``unit×cell_type``). Types are not told apart: each has been taken out of its own training, so that every mean would
    be pushed away from the type that it is of, below chance. Encoders that are fitted read the training units' cells of
    every type, without labels.

    Parameters
    ----------
    spec
        The facts of the task.
    unseen_types
        Whether contexts are of types that were never seen perturbed; with the partner ``effects-by-type``.

    Raises
    ------
    MmcellError
        `unseen_types` where contexts are whole units.
    """

    probe = "ridge"
    between_units = True
    required: ClassVar[tuple[str, ...]] = (
        "random", "constant", "technical-only", "pca", NO_CHANGE, PERTURBED_MEAN, MATCHING_MEAN, "partner-permuted",
    )  # fmt: skip
    ceilings: ClassVar[tuple[str, ...]] = (SPLIT_HALF, "oracle")

    def __init__(self, spec: TaskSpec, *, unseen_types: bool = False) -> None:
        self.spec, self.unseen_types = spec, unseen_types
        if unseen_types and not self.by_type:
            raise MmcellError(
                f"task {spec.name!r}: unseen_types holds out types of cells, and its contexts are whole units; set "
                f'partners={{"{self._target}": "effects-by-type"}}'
            )

    @property
    def _target(self) -> str:
        return list(self.spec.slots)[1]

    @property
    def by_type(self) -> bool:
        """Whether contexts are the types of cells of a unit."""
        return self.spec.partners[self._target] == "effects-by-type"

    @property
    def models(self) -> Mapping[str, Mapping[str, str]]:
        """See `Task.models`."""
        additive = (ADDITIVE,) if self.by_type and not self.unseen_types else ()
        means = (NO_CHANGE, PERTURBED_MEAN, MATCHING_MEAN, *additive)
        return {**{name: {} for name in means}, SPLIT_HALF: {self._target: f"half-{self.spec.partners[self._target]}"}}

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            No roles ``perturbation`` and ``control``, a unit without controls, nothing but controls, no context with
            enough cells on either side of a fold, or no second type where types are held out.
        """
        who = f"task {self.spec.name!r}"
        named = perturbation_of(view, who).astype(str)
        control = named == view.control
        if control.all() or not control.any():
            raise MmcellError(
                f"{who}: {'all' if control.all() else 'none'} of the {len(named)} cells are {view.control!r} "
                f"(there are {first(named.unique())}); name the controls in roles.control"
            )
        without = sorted(set(view.unit) - set(view.unit[control]))
        if without:
            raise MmcellError(
                f"{who}: {number_of(len(without), 'unit has', 'units have')} no {view.control!r} cells "
                f"({first(without)}); an effect is a difference from a unit's own controls: leave such units out"
            )
        groups = self._parts(view, 0).groups
        for side, ids in (("training", view.train), ("held-out", view.test)):
            if not groups["unit"].isin(view.unit[ids]).any():
                raise MmcellError(
                    f"{who}: no {side} unit of a fold has {FEWEST} cells of a perturbation and {2 * FEWEST} "
                    f"controls{' of one type' if self.by_type else ''}; measure more cells, or use fewer folds"
                )
        if self.unseen_types and groups.loc[groups["unit"].isin(view.unit[view.train]), "cell_type"].nunique() < 2:
            raise MmcellError(
                f"{who}: the training units of a fold have one type with {FEWEST} cells of a perturbation and "
                f"{2 * FEWEST} controls ({first(groups['cell_type'].unique())}), and a type that is held out needs "
                "others to learn from; measure more cells, or leave unseen_types out"
            )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """See `Task.run`; the items carry predicted effects, which grading compares with measured ones.

        Raises
        ------
        MmcellError
            An unknown probe, or no held-out context whose perturbations occur in training.
        """
        if self.probe not in PROBES and self.probe not in self.models:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(PROBES)}")
        slot, target = list(self.spec.slots)
        effects, parts = embeddings[target], self._parts(view, split.repeat)
        vectors = _controls(embeddings[slot], parts)
        groups = parts.groups[parts.groups["context"].isin(vectors.index)]
        held = groups[groups["unit"].isin(split.test)]
        details: dict[str, Any] = {}
        if self.probe == SPLIT_HALF:
            held = held[held.index.isin(effects.ids)]
            predicted, details = effects.align(pd.Index(held.index)).values, {"truth": "half"}
        else:
            known = groups[groups["unit"].isin(split.train) & groups.index.isin(effects.ids)]
            y = pd.DataFrame(effects.align(pd.Index(known.index)).values, index=known.index)
            asked = [(known, held)]
            if self.unseen_types:
                asked = [
                    (known[known["cell_type"] != kind], held[held["cell_type"] == kind])
                    for kind in sorted(held["cell_type"].unique())
                ]
            asked = [(a, b[b["perturbation"].isin(a["perturbation"])]) for a, b in asked]
            asked = [(a, b) for a, b in asked if len(b)]
            if not asked:
                raise MmcellError(
                    f"task {self.spec.name!r}: no perturbation of the held-out units was seen in training "
                    f"({first(known['perturbation'].unique())}); probes know perturbations by name"
                )
            answers = [self._predicted(a, y.loc[a.index].to_numpy(), b, vectors, rng) for a, b in asked]
            predicted = np.concatenate([values for values, _ in answers])
            held = pd.concat([b for _, b in asked])
            details = answers[0][1]
            if self.unseen_types:
                details = {str(b["cell_type"].iloc[0]): f for (_, b), (_, f) in zip(asked, answers, strict=True) if f}
        frame = held.drop(columns=["unit", "context"]).reset_index()
        modality = [self.spec.slots[name][0] for name in (slot, target)]
        frame = frame.assign(target="effect", query=modality[0], gallery=effects.modality)
        return Items(frame, "effects", {"predicted": predicted, "genes": np.array(effects.columns)}, details)

    def _predicted(
        self, known: pd.DataFrame, y: np.ndarray, held: pd.DataFrame, vectors: pd.DataFrame, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the effects (held rows, genes) that the probe or model in use predicts, and facts of the fit."""
        if self.probe in self.models:
            return _mean_model(self.probe, known, y, held), {}
        a, b = (Contexts(vectors.loc[g["context"]].to_numpy(), g["perturbation"].to_numpy()) for g in (known, held))
        return PROBES[self.probe](a, y, known["unit"].to_numpy(), b, rng)

    def _parts(self, view: MethodView, repeat: int) -> Parts:
        cells = pd.DataFrame({"unit": view.unit, "perturbation": view.role("perturbation")})
        if self.by_type:
            cells["cell_type"] = view.role("cell_type")
        return Parts.of(cells, str(view.control), repeat)


def _controls(x: Embedding, parts: Parts) -> pd.DataFrame:
    """Return the mean vector of the second half of every context's controls, the one that no effect is taken from."""
    context = parts.contexts[parts.half[parts.contexts.index] == 1]
    context = context[context.index.isin(x.ids)]
    values = x.align(pd.Index(context.index)).values
    code, names = pd.factorize(context, sort=True)
    member = csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))))
    return pd.DataFrame(member @ values / np.bincount(code)[:, None], index=names)


def _mean_model(name: str, known: pd.DataFrame, y: np.ndarray, held: pd.DataFrame) -> np.ndarray:
    """Return what a model predicts that reads nothing of the held-out units (see `PerturbationEffect`)."""
    effects = pd.DataFrame(y, index=known.index)
    of_each = effects.groupby(known["perturbation"]).mean()
    overall = of_each.mean()
    if name == NO_CHANGE:
        return np.zeros((len(held), y.shape[1]))
    if name == PERTURBED_MEAN:
        return np.tile(overall.to_numpy(), (len(held), 1))
    matching = of_each.loc[held["perturbation"]].to_numpy()
    if "cell_type" not in held:
        return matching
    if name == ADDITIVE:
        of_type = effects.groupby(known["cell_type"]).mean().sub(effects.mean())
        return np.asarray(matching + of_type.reindex(held["cell_type"]).fillna(0.0).to_numpy())
    keys = ["perturbation", "cell_type"]
    both = effects.groupby([known[k] for k in keys]).mean().reindex(pd.MultiIndex.from_frame(held[keys])).to_numpy()
    return np.where(np.isfinite(both), both, matching)


def perturbation_of(view: MethodView, who: str) -> pd.Series:
    """Return the perturbation of every item.

    Raises
    ------
    MmcellError
        The data do not say which items are perturbed, or which are controls.
    """
    if view.control is None or "perturbation" not in view.columns:
        lacks = "control" if view.control is None else "perturbation"
        raise MmcellError(f"{who}: roles.{lacks} is not set; an effect needs perturbed cells and controls")
    return view.role("perturbation")
