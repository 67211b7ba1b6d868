"""From a perturbation in cells to patients: does what a treatment does order, undo, or foretell a disease?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first, number_of
from mmcell.items import Items
from mmcell.metrics.chain import CHOSEN
from mmcell.probes.cox import fit_cox
from mmcell.probes.design import ClinicalDesign
from mmcell.probes.inputs import Block, Patients
from mmcell.probes.signatures import FEWEST
from mmcell.protocols.directions import N_RANDOM, Bags, Directions
from mmcell.protocols.perturbation import perturbation_of
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec

PROBES = ("types", "whole")
#: Fewer events among training patients are no outcome to learn from.
_FEWEST_EVENTS = 2


class PerturbationToPatient(Task):
    """In one frozen embedding: directions of perturbations, the direction of a disease, and held-out patients.

    Patients are described by cells that nothing was done to (without a perturbation; where there are none, controls),
    perturbations by a unit's treated cells less its controls. Treated cells may be of the patients themselves or of
    donors of their own, without a label. All is measured within types of cells (probe ``types``; ``whole`` takes the
    mean of all cells, of which composition is a part), standardised over training patients. From training units come
    the *signature* of every perturbation, the mean of what it does; the *disease's direction*, ill less well; and the
    *chosen* perturbation, whose signature lies nearest to that direction or to its opposite, with the sign that says
    which. Of held-out units is asked (target; metrics of `mmcell.metrics.chain`):

    ``ordered``, ``label``
        where a patient stands along a signature: along the chosen one (stratum ``all``), along the disease's own
        direction (``disease itself``: what labels of other patients say without any perturbation), and along every
        perturbation, whose sign is then its own.
    ``reversal``
        the cosine of what a perturbation does in this unit with the disease's direction, a stratum each; in the stratum
        ``all`` the rank of the perturbation that is known to reverse the disease (roles.reversing).
    ``outcome``
        risk by a ridge Cox model of the place along the chosen signature and the clinical covariates, and of these
        alone.

    Values have 199 counterparts under directions that mean nothing, the same ones in all folds: along signatures those
    of treatments that do nothing, the choice among them included (`mmcell.probes.signatures.spread_directions`; none of
    fewer than six treated training units), and for connectivity diseases whose labels are exchanged within batches
    (`mmcell.probes.signatures.permuted_directions`). Along the disease's own direction there are none.
    """

    probe = "types"
    required: ClassVar[tuple[str, ...]] = ("random", "constant", "technical-only", "pca", "label-permuted")

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def moves_covariates(self) -> bool:
        """See `Task.moves_covariates`: what is added to covariates is asked where these still fit the outcome."""
        return True

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            No roles ``perturbation`` and ``control``, nothing but controls, other than two classes among the training
            patients, or no perturbation with enough cells in training.
        """
        who = f"task {self.spec.name!r}"
        named = perturbation_of(view, who).dropna().astype(str)
        if (named == view.control).all() or not (named == view.control).any():
            raise MmcellError(
                f"{who}: {'all' if len(named) and (named == view.control).all() else 'none'} of the {len(named)} cells "
                f"with a perturbation are {view.control!r} (there are {first(sorted(named.unique()))}); name the "
                "controls in roles.control"
            )
        bags = Bags.of(view, by_type=self.probe == "types")
        y = _of_units(view, "label")
        classes = y[y.index.isin(bags.described)].unique()
        if y.dtype.kind not in "iub" or len(classes) != 2:
            raise MmcellError(
                f"{who}: the training patients of a fold are of {number_of(len(classes), 'class', 'classes')} "
                f"({first(sorted(map(str, classes)))}); a disease's direction leads from one to another: leave the "
                "label of all others empty, or use fewer folds"
            )
        if not bags.treated(view.unit[view.train].unique()):
            raise MmcellError(
                f"{who}: no training unit of a fold has {FEWEST} cells of a perturbation and {FEWEST} controls"
                f"{' of one type' if bags.types != ('',) else ''}; measure more cells, or use fewer folds"
            )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator
    ) -> Items:
        """See `Task.run`; a patient without three cells of any type is left out.

        Raises
        ------
        MmcellError
            An unknown probe.
        """
        if self.probe not in PROBES:
            raise MmcellError(f"task {self.spec.name!r}: probe {self.probe!r} is not one of {', '.join(PROBES)}")
        bags = Bags.of(view, by_type=self.probe == "types")
        found = Directions.of(bags, embeddings[self.spec.slot[0]], split.train, _of_units(view, "label"))
        held = pd.Index(np.unique(split.test))
        frames, random = [], [np.empty((0, N_RANDOM))]

        def add(frame: pd.DataFrame, values: np.ndarray | None) -> None:
            if values is None:
                frames.append(frame.assign(row=-1))
                return
            at = sum(map(len, random))
            frames.append(frame.assign(row=np.arange(at, at + len(frame))))
            random.append(values)

        for stratum, place, drawn in found.places(held):
            known = np.isfinite(place)
            for target in view.labels:
                if target in ("label", "ordered"):
                    columns = {"unit": held[known], "target": target, "stratum": stratum, "y_pred": place[known]}
                    add(pd.DataFrame(columns), None if drawn is None else drawn[known])
        for name, units, values, drawn in found.reversals(held):
            columns = {"unit": units, "target": "reversal", "stratum": name, "perturbation": name}
            add(pd.DataFrame({**columns, "connectivity": values}), drawn)
        details = found.facts
        if "outcome" in view.labels and view.clinical.shape[1]:
            frame, facts = self._risks(view, found, held, rng)
            frames.append(frame.assign(row=-1))
            details = details | facts
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "item", bags.item.loc[frame.pop("unit")].to_numpy())
        return Items(frame, "chain", {"random": np.concatenate(random)}, details)

    def _risks(
        self, view: MethodView, found: Directions, held: pd.Index, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return the risks of held-out patients with and without their place along the chosen signature."""
        truth = view.labels["outcome"]
        place = found.chosen(pd.Index(truth.index.union(held)))
        place = place[np.isfinite(place) & place.index.isin(view.clinical.index)]
        ids, test = truth.index[truth.index.isin(place.index)], held[held.isin(place.index)]
        time, event = truth.loc[ids, "time"].to_numpy(float), truth.loc[ids, "event"].to_numpy(int)
        if event.sum() < _FEWEST_EVENTS:
            return pd.DataFrame(columns=["unit", "target", "stratum", "y_pred", "beside"]), {}
        design = ClinicalDesign.fit(view.clinical.loc[ids])
        risks, facts = {}, {}
        for name, keep in (("y_pred", 1.0), ("beside", 0.0)):
            train, asked = (
                Patients(
                    {"x": Block(keep * place.loc[i].to_numpy()[:, None], ("response",))},
                    Block(design.transform(view.clinical.loc[i]), design.columns),
                )
                for i in (ids, test)
            )
            # The same inner folds for both: what they differ by is the response alone.
            model = fit_cox(train, time, event, copy.deepcopy(rng))
            risks[name] = model.risk(asked)
            facts[name] = model.facts["hazard_ratios"]
        frame = pd.DataFrame({"unit": test, "target": "outcome", "stratum": CHOSEN, **risks})
        return frame, {"hazard_ratios": facts["y_pred"]}


def _of_units(view: MethodView, target: str) -> pd.Series:
    """Return training unit -> its value of a target that is the same for all of its cells."""
    ids, y = view.training(target)
    values = pd.Series(y, index=view.unit[ids].to_numpy())
    return values[~values.index.duplicated()]
