"""`AttentionMIL`: which cells tell patients apart, learnt from the patients' classes or from how long they live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.encoders.network import need_torch
from mmcell.errors import MmcellError
from mmcell.patients.bags import Attention, Bags, deal, fit_attention
from mmcell.patients.goals import Classes, Goal, goal_of
from mmcell.patients.pooling import check_width, names_of, scale_of
from mmcell.probes.scale import Scale

_WHO = "mil"
#: One patient of a class in so many is watched and says when to stop; with fewer than `_FEWEST` of a class, nobody is.
_WATCHED, _FEWEST = 5, 4


@dataclass(frozen=True, eq=False)
class _Model:
    """A network, and the mean and spread of its scores of the patients that it was trained on."""

    network: Attention
    centre: float
    spread: float


@dataclass
class AttentionMIL:
    """Gated attention over a patient's frozen cells, trained on the labels or the outcomes of training patients.

    A patient is [the mean of its cells as they are in the embedding, weighted by attention | its score]. The score is
    the logit of the second class, fitted by cross-entropy with balanced classes, or of patients with an outcome the log
    hazard, fitted by Cox's partial likelihood (see `mmcell.patients.goals`). The network is `Attention`; cells are
    standardised on training cells; every epoch draws equally many cells of each patient. A fifth of each class (of
    those with the event, and of those without) is not learnt from but watched, and says when to stop; where a class has
    fewer than four patients nobody is watched, and all epochs are taken.

    **Inner out-of-fold.** A model knows the labels that it was trained on, and what it says of these patients would
    tell them to whatever is fitted on top. So `fit` trains one model on all training patients and `n_inner` more, each
    without one fold of them. `transform` gives a training patient, known by its id, the vector of the one inner model
    that has never seen its label, and every other patient that of the model of all.

    **One scale.** Scores of different models do not compare as they are: one that stopped early says nearly 0 of
    everybody. So each is centred and divided by the mean and the standard deviation of the same model's scores of the
    patients that it was trained on, watched ones included. (In 12 cohorts of noise the spread of out-of-fold logits was
    up to 44 times that of new patients' without this, and up to 1.6 times with it.) The inner models may attend to
    different cells, and so may the model of all: the weighted means are then means of different kinds of cells.

    Attributes
    ----------
    n_hidden
        Width of the gates.
    epochs
        Passes over training patients, at most.
    weight_decay
        Decoupled.
    n_inner
        Inner folds, 2 or more.
    seed
        Of folds, starts and draws.
    classes
        After `fit`: the two classes as text, sorted; the logit is that of the second. Empty for an outcome.
    facts
        After `fit`: patients of each class (with the event, and censored), cells of each patient in an epoch, and for
        the inner models and then the one of all how many patients were watched and how many epochs were kept;
        ``score``, what the score is.

    References
    ----------
    Ilse, Tomczak and Welling: Attention-based deep multiple instance learning. ICML 2018.
    Breslow: Covariance analysis of censored survival data. Biometrics 30, 89–99 (1974).

    Examples
    --------
    Which cells, outside of a run: fit on training patients, look at the others.

    >>> split = mmcell.make_splits(dataset, "stratified-group-kfold", "outcome", targets=("outcome",))[0]
    >>> owner, outcome = dataset.unit, dataset.truth("outcome", "patient")
    >>> train, held = (cells.align(cells.ids[owner[cells.ids].isin(side)]) for side in (split.train, split.test))
    >>> model = AttentionMIL().fit(train, owner, y=outcome[outcome.index.isin(split.train)])
    >>> model.attention(held, owner), model.risks(held, owner)  # cell id -> weight, and log hazard
    >>> model.by_type(held, owner, dataset.obs["cell_type"])  # type -> share of cells, weight, log hazard
    """

    reads_embedding: ClassVar[bool] = True
    supervised: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("label", "outcome")
    n_hidden: int = 32
    epochs: int = 60
    weight_decay: float = 0.3
    n_inner: int = 3
    seed: int = 0
    classes: tuple[str, ...] = field(default=(), init=False)
    facts: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name, least in (("n_hidden", 1), ("epochs", 1), ("weight_decay", 0), ("n_inner", 2)):
            value = getattr(self, name)
            if not value >= least:
                raise MmcellError(f"patient encoder {_WHO!r}: {name} is {value}; give {least} or more")
        self._models: tuple[_Model, ...] = ()
        self._width = 0
        self._column = ""

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,  # noqa: ARG002
        concepts: pd.DataFrame | None = None, y: pd.Series | pd.DataFrame | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Train the inner models and the one of all training patients.

        Parameters
        ----------
        cells, owner
            Training patients' cells; cell id -> patient.
        cell_type, concepts
            Not read.
        y
            Patient id -> class, of every training patient, read as text; or a table of ``time`` and ``event``. Further
            patients are ignored.

        Raises
        ------
        MissingExtraError
            torch is not installed.
        MmcellError
            No labels, or none of some patient; not two classes of two training patients or more; fewer than two
            events; cells that do not vary.
        """
        need_torch(_WHO)
        bags = Bags.of(cells, owner)
        goal = goal_of(bags.patients, y, _WHO)
        scale = scale_of(cells.values)
        if not scale.keep.any():
            raise MmcellError(f"patient encoder {_WHO!r}: embedding {cells.name!r} does not vary over training cells")
        fold = deal(goal.strata, self.n_inner, stream(self.seed, _WHO, "folds"))
        # Where patients are fewer than folds some folds are empty, and nobody needs their models.
        fold = np.unique(fold, return_inverse=True)[1]
        parts = [np.flatnonzero(fold != k) for k in range(fold.max() + 1)] + [np.arange(len(fold))]
        fitted = [self._model(bags, scale, goal, part, k) for k, part in enumerate(parts)]
        self._models = tuple(model for model, _ in fitted)
        self._inner = {str(patient): int(k) for patient, k in zip(bags.patients, fold, strict=True)}
        self._width = cells.dim
        self._column = goal.column
        self.classes = goal.names if isinstance(goal, Classes) else ()
        self.facts = {
            "patients": goal.patients,
            "cells": bags.fewest,
            "watched": [watched for _, watched in fitted],
            "epochs": [model.network.epochs for model in self._models],
            "score": goal.column,
        }
        return self

    def _model(self, bags: Bags, scale: Scale, goal: Goal, part: np.ndarray, k: int) -> tuple[_Model, int]:
        """Return the model of some patients, and how many of them were watched."""
        rng = stream(self.seed, _WHO, k)
        of_class = [part[goal.strata[part] == c] for c in np.unique(goal.strata)]
        watched = np.zeros(0, dtype=int)
        if min(map(len, of_class)) >= _FEWEST:
            watched = np.sort(np.concatenate([rng.permutation(p)[: max(1, len(p) // _WATCHED)] for p in of_class]))
        network = fit_attention(
            bags, scale, np.setdiff1d(part, watched), watched, goal.loss(part),
            n_hidden=self.n_hidden, epochs=self.epochs, weight_decay=self.weight_decay, rng=rng, batch=goal.batch,
        )  # fmt: skip
        # Of equally many cells each, as in training.
        logits = [network.look(bags.some(p, rng))[1] for p in part]
        spread = float(np.std(logits, ddof=1))
        if not spread > 0:
            raise MmcellError(
                f"patient encoder {_WHO!r}: a model says the same of all its training patients; are their cells equal?"
            )
        return _Model(network, float(np.mean(logits)), spread), len(watched)

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return (patients, d + 1): means weighted by attention, and the score, in the scale of the class's docstring.

        Of a patient all given cells are looked at. A training patient gets the vector of the inner model that has not
        seen it.

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        check_width(cells, self._width, _WHO)
        bags = Bags.of(cells, owner)
        values = np.empty((len(bags.patients), cells.dim + 1))
        for i, patient in enumerate(bags.patients):
            model, own = self._of(str(patient)), bags.all(i)
            weights, logit = model.network.look(own)
            values[i, :-1] = weights @ own.astype(np.float64)
            values[i, -1] = (logit - model.centre) / model.spread
        columns = (*(f"attention mean {name}" for name in names_of(cells)), self._column)
        return Embedding(cells.name, "patient", cells.modality, bags.patients, values, cells.card, columns)

    def attention(self, cells: Embedding, owner: pd.Series) -> pd.Series:
        """Return cell id -> its weight among the given cells of its patient, by the model that `transform` takes.

        Weights of a patient sum to 1: n times the weight of one of its n cells says how much more it counts than usual.

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        check_width(cells, self._width, _WHO)
        bags = Bags.of(cells, owner)
        found = np.empty(len(cells))
        for i, patient in enumerate(bags.patients):
            found[bags.rows[i]] = self._of(str(patient)).network.look(bags.all(i))[0]
        return pd.Series(found, cells.ids, name="attention")

    def risks(self, cells: Embedding, owner: pd.Series) -> pd.Series:
        """Return cell id -> what its patient would score if all of its cells were like this one.

        The head is linear, and so the last coordinate of `transform` is the mean of these, weighted by `attention`:
        a log hazard (or a logit) by the model that `transform` takes, and in its scale.

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        check_width(cells, self._width, _WHO)
        bags = Bags.of(cells, owner)
        found = np.empty(len(cells))
        for i, patient in enumerate(bags.patients):
            model = self._of(str(patient))
            found[bags.rows[i]] = (model.network.each(bags.all(i)) - model.centre) / model.spread
        return pd.Series(found, cells.ids, name="risk")

    def by_type(self, cells: Embedding, owner: pd.Series, cell_type: pd.Series) -> pd.DataFrame:
        """Return which types of cells the weight goes to, and what they say of their patients.

        Give patients who were not trained on: a run writes this table of every fold's held-out patients into the
        record, and the report shows it.

        Parameters
        ----------
        cells, owner
            As in `transform`.
        cell_type
            Cell id -> type; a cell without one counts as ``unlabelled``.

        Returns
        -------
        pandas.DataFrame
            A row for each type, the most weight first: ``n_patients`` who have it; ``share`` of a patient's cells and
            ``weight``, the sum of `attention`, both in the mean over all given patients, so that each sums to 1; and
            ``score``, the mean of `risks`, within each patient who has it and then over these.

        Raises
        ------
        MmcellError
            Nothing was fitted, or in another number of dimensions.
        """
        kind = cell_type.reindex(cells.ids).astype(object)
        table = pd.DataFrame(
            {
                "patient": owner.reindex(cells.ids).astype(str).to_numpy(),
                "type": kind.where(kind.notna(), "unlabelled").astype(str).to_numpy(),
                "weight": self.attention(cells, owner).to_numpy(),
                "score": self.risks(cells, owner).to_numpy(),
            }
        )
        table["share"] = 1 / table.groupby("patient")["type"].transform("size")
        of_both = table.groupby(["type", "patient"])
        sums, score = of_both[["share", "weight"]].sum(), of_both["score"].mean().groupby("type").mean()
        found = sums.groupby("type").sum() / table["patient"].nunique()
        found.insert(0, "n_patients", sums.groupby("type").size())
        return found.assign(score=score).sort_values("weight", ascending=False, kind="stable")

    def _of(self, patient: str) -> _Model:
        return self._models[self._inner.get(patient, -1)]
