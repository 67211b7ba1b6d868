"""Perturbations never seen: does what is known of one beforehand say what it would do to cells?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.effects import FEWEST, pooled
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first, number_of
from mmcell.items import Items
from mmcell.probes.contexts import PROBES, Contexts
from mmcell.protocols.perturbation import NO_CHANGE, PERTURBED_MEAN, SPLIT_HALF, perturbation_of
from mmcell.splits import Split
from mmcell.targets import DESCRIPTION, known_to, last, named
from mmcell.task import MethodView, Task, TaskSpec

#: Of fewer training perturbations nothing can be learnt.
_LEAST = 2


class UnseenPerturbation(Task):
    """A probe from the vector of a perturbation to its effect, in perturbations held out.

    The unit is the perturbation, and all cells are one pool. The evaluated embedding has one row per perturbation, by
    its name: of the modality ``description`` where the data have one, or a table of the user's own. Perturbations that
    one of several embeddings lacks are left out for all, named and counted. Controls belong to all folds, in two
    halves: effects in training are differences from one, held-out effects from the other, so that no prediction knows
    the noise of what it is compared with.

    Each prediction is compared with the effects of the other perturbations of its fold, few where there are few.
    Beside it stand ``no-change``; ``perturbed-mean``, the mean effect in training; ``target-pca``, the loadings of the
    gene that a perturbation is named after (see `mmcell.targets`); and as a ceiling ``split-half``, which predicts one
    half of a perturbation's cells from the other: noisier than what probes meet, so that it is a ceiling from below.
    """

    probe = "ridge"
    between_units = True
    required: ClassVar[tuple[str, ...]] = (
        "random", "constant", "pca|target-pca", NO_CHANGE, PERTURBED_MEAN, "partner-permuted",
    )  # fmt: skip
    ceilings: ClassVar[tuple[str, ...]] = (SPLIT_HALF, "oracle")

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def models(self) -> Mapping[str, Mapping[str, str]]:
        """See `Task.models`."""
        target = list(self.spec.slots)[1]
        return {NO_CHANGE: {}, PERTURBED_MEAN: {}, SPLIT_HALF: {target: f"half-{self.spec.partners[target]}"}}

    def prepared(self, dataset: Dataset, sources: Mapping[str, Any]) -> Dataset:
        """Return the dataset with the names of its perturbations where it holds nothing that describes them.

        Those that one of the embeddings lacks are left out for all.

        Raises
        ------
        MmcellError
            A cell is called as a perturbation, or an embedding lacks most of them.
        """
        if dataset.roles.control is None or not pooled(dataset):
            return dataset
        return known_to(last(dataset) if DESCRIPTION in dataset.card.modalities else named(dataset), sources)

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            Units that are no perturbations, no controls or too few, or too few perturbations in training.
        """
        who = f"task {self.spec.name!r}"
        name = perturbation_of(view, who).astype(str)
        if not (name == view.unit).all():
            raise MmcellError(
                f"{who}: perturbations are held out, and units are others ({first(view.unit.unique())}); "
                "set roles.unit to the column of roles.perturbation"
            )
        # What describes a perturbation goes by its name, and is no cell.
        cells = name[name.index.to_numpy() != name.to_numpy()]
        n = int((cells == view.control).sum())
        if n == len(cells) or n < 2 * FEWEST:
            some = "all" if n == len(cells) else str(n) if n else "none"
            raise MmcellError(
                f"{who}: {some} of the {len(cells)} cells are {view.control!r} (there are {first(cells.unique())}); "
                f"controls are dealt in two halves of {FEWEST} cells or more: name them in roles.control"
            )
        size = cells[cells != view.control].value_counts()
        enough = size.index[size >= FEWEST]
        for side, ids, least in (("training", view.train, _LEAST), ("held-out", view.test, 1)):
            found = int(enough.isin(view.unit[ids]).sum())
            if found < least:
                raise MmcellError(
                    f"{who}: {number_of(found, f'{side} perturbation')} of a fold with {FEWEST} cells or more, and "
                    f"{least} must have them; measure more cells, or use fewer folds"
                )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """See `Task.run`; the items carry predicted effects, which grading compares with measured ones.

        Raises
        ------
        MmcellError
            An unknown probe, rows that are not called as perturbations, or an embedding that lacks too many of them.
        """
        if self.probe not in PROBES and self.probe not in self.models:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(PROBES)}")
        slot, target = list(self.spec.slots)
        x, effects = embeddings[slot], embeddings[target]
        described = x.ids[x.ids != view.control]
        strange = described[(view.unit.reindex(described) != described).to_numpy()]
        if len(strange):
            raise MmcellError(
                f"task {self.spec.name!r}: {number_of(len(strange), 'row')} of {x.name!r} "
                f"{'is' if len(strange) == 1 else 'are'} not called as a perturbation ({first(strange)}); give one row "
                "per perturbation, by its name"
            )
        details: dict[str, Any] = {}
        held = described[described.isin(split.test)]
        if self.probe == SPLIT_HALF:
            held = held[held.isin(effects.ids)]
            predicted, details = effects.align(held).values, {"truth": "half"}
        else:
            known = described[described.isin(split.train) & described.isin(effects.ids)]
            if len(known) < _LEAST or held.empty:
                raise MmcellError(
                    f"task {self.spec.name!r}: {x.name!r} has {number_of(len(known), 'training perturbation')} of a "
                    f"fold and {len(held)} held out; give it more of them, or use fewer folds"
                )
            y = effects.align(known).values
            predicted, details = self._predicted(x, known, y, held, rng)
        frame = pd.DataFrame({"item": held.to_numpy(), "perturbation": held.to_numpy(), "target": "effect"})
        frame = frame.assign(query=self.spec.slots[slot][0], gallery=effects.modality)
        return Items(frame, "effects", {"predicted": predicted, "genes": np.array(effects.columns)}, details)

    def _predicted(
        self, x: Embedding, known: pd.Index, y: np.ndarray, held: pd.Index, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if self.probe == NO_CHANGE:
            return np.zeros((len(held), y.shape[1])), {}
        if self.probe == PERTURBED_MEAN:
            return np.tile(y.mean(axis=0), (len(held), 1)), {}
        # The vector says all that is known: one model for all, where elsewhere each perturbation has its own.
        a, b = (Contexts(x.align(ids).values, np.full(len(ids), "all")) for ids in (known, held))
        return PROBES[self.probe](a, y, known.to_numpy().astype(str), b, rng)
