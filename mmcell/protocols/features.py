"""Feature prediction: how much of each measured feature does another modality's embedding predict?"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MissingExtraError, MmcellError
from mmcell.items import Items
from mmcell.metrics.features import moments
from mmcell.probes.linear import fit_ridge
from mmcell.protocols.pairs import PairedTask, mean_partners, paired, rows_of, strata, training_pairs
from mmcell.splits import Split
from mmcell.task import MethodView, TaskSpec


class FeaturePrediction(PairedTask):
    """Ridge from the first slot's embedding to every feature of the second slot, scored feature by feature.

    The ridge is fitted on training units, its penalty chosen on inner folds of units. Of several partners (replicates
    of one perturbation) the mean is predicted, so that every item counts once. Held-out predictions are scored
    within the fold, within batch, and within batch × type (see `mmcell.metrics.features`): within a stratum, what
    batch or type alone predict is worth nothing. Features that are constant in training are left out and counted.
    """

    def __init__(self, spec: TaskSpec, *, matched_by: str = "") -> None:
        if spec.unit != "unit":
            raise MmcellError(
                f"task {spec.name!r}: features are scored over plain units; set unit='unit', not {spec.unit!r}"
            )
        super().__init__(spec, matched_by=matched_by)

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`.

        Raises
        ------
        MmcellError
            No item of the training or of the held-out units has a partner, or every feature is constant in training.
        """
        names = list(self.spec.slots)
        sides = [embeddings[name] for name in names]
        known = training_pairs(view, sides, self.spec.name, self.matched_by, int(rng.integers(2**31)), each=True)
        ridge = fit_ridge(known.x, known.y, known.groups)
        columns = np.array(sides[1].columns or range(sides[1].values.shape[1])).astype(str)
        varies = ridge.y_scale.keep
        if not varies.any():
            raise MmcellError(f"task {self.spec.name!r}: all {len(columns)} features are constant in training")
        x, y, _ = paired(view, view.test, sides, self.spec.name, self.matched_by)
        x, measured = mean_partners(x, y, sides[1])
        groups = {stratum: group[x].to_numpy() for stratum, group in strata(view).items()}
        # One row per unit and finest stratum: whatever is asked of a coarser one are sums of these.
        roles = {
            f"role:{r}": view.role(r)[x].astype(str).to_numpy() for r in ("batch", "cell_type") if r in view.columns
        }
        keys = pd.DataFrame({"unit": view.unit[x].to_numpy(), **groups, **roles})
        code = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
        of_row = keys.assign(item=x, code=code).groupby("code").agg("first")
        sums = moments(ridge.predict(rows_of(sides[0], x)), ridge.target(measured), code, len(of_row))
        n_items = np.bincount(code)
        modality = [self.spec.slots[name][0] for name in names]
        frames = [
            pd.DataFrame(
                {
                    "item": of_row["item"], "row": np.arange(len(of_row)), "n_items": n_items,
                    "within": of_row[stratum].astype(str), "stratum": stratum, "target": "features",
                    "query": modality[0], "gallery": modality[1],
                }
            )[of_row[stratum] >= 0]
            for stratum in groups
        ]  # fmt: skip
        details = {
            "alpha": ridge.alpha, "n_features": int(varies.sum()), "constant_features": columns[~varies].tolist()
        }  # fmt: skip
        arrays = {"moments": sums, "features": columns[varies]}
        return Items(pd.concat(frames, ignore_index=True), "features", arrays, details)


class NichePrediction(FeaturePrediction):
    """The types of a spot's neighbours, each a feature, predicted by ridge from its embedding.

    Nothing is a ceiling here. The spot's own type is a control: like lives beside like.
    """

    required = (*FeaturePrediction.required, "cell-type-only")
    ceilings = ()

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MissingExtraError
            squidpy is not installed.
        """
        super().check(view)
        if find_spec("squidpy") is None:
            raise MissingExtraError(f"task {self.spec.name!r}", "squidpy", "spatial")
