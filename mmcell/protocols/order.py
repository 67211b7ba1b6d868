"""Ordered state: do patients' vectors follow a stage or a grade, by a probe or along their own main axis?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.regression import spearman
from mmcell.probes.linear import fit_ridge
from mmcell.probes.scale import Scale
from mmcell.splits import Split
from mmcell.task import MethodView, Task, TaskSpec


class PatientOrder(Task):
    """The rank of held-out patients in an ordered state (roles.ordered).

    With the probe ``ridge`` what the vectors know of it. With ``axis`` where the patients stand along the trajectory
    that the vectors themselves have: the first principal component of training patients, standardised, of which the
    labels of training patients decide the sign alone.
    """

    required = ("random", "constant", "technical-only", "clinical-only|stratum-only", "composition", "pca",
                "label-permuted")  # fmt: skip

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def check(self, view: MethodView) -> None:
        """See `Task.check`: two values among the training patients of every fold.

        Raises
        ------
        MmcellError
            The training patients of a fold are all in one state.
        """
        _, y = view.training("ordered")
        if len(np.unique(y)) < 2:
            raise MmcellError(
                f"task {self.spec.name!r}: the training patients of a fold are all in one state; use fewer folds, or "
                "another way to split"
            )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`."""
        x = embeddings[self.spec.slot[0]]
        ids, y = view.training("ordered")
        train, test = x.align(ids).values, x.align(view.test).values
        predicted = along_axis(train, y, test) if self.probe == "axis" else _ridge(train, y, test, ids)
        return Items(
            pd.DataFrame({"item": view.test, "target": "ordered", "y_pred": predicted, "group": split.group}),
            "regression",
        )


def along_axis(train: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return where rows stand along the first principal component of the standardised training rows.

    Parameters
    ----------
    train, test
        (n, d) and (m, d) vectors of units.
    y
        (n,) the state, for the sign: of the two directions the one that it rises with in training.

    Returns
    -------
    numpy.ndarray
        (m,) all 0 where no input varies.
    """
    scale = Scale.fit(train)
    if not scale.keep.any():
        return np.zeros(len(test))
    z = scale.transform(train)
    axis = np.linalg.svd(z, full_matrices=False)[2][0]
    # Which of the two signs the decomposition gives is arbitrary; where the state says nothing of it, the largest
    # weight is positive.
    rho = spearman(y.astype(float), z @ axis)
    up = rho if np.isfinite(rho) and rho != 0 else axis[np.argmax(np.abs(axis))]
    return np.asarray(np.sign(up) * (scale.transform(test) @ axis))


def _ridge(train: np.ndarray, y: np.ndarray, test: np.ndarray, ids: pd.Index) -> np.ndarray:
    model = fit_ridge(train, y.astype(float)[:, None], ids.to_numpy())
    return model.predict(test)[:, 0]
