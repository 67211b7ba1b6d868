"""`Scope`: which cells a patient has, how they deviate and what is active in them, in coordinates with names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean, first
from mmcell.patients.base import by_cell, owners
from mmcell.patients.mixture import Mixture, Training, fit_mixture

BLOCKS = ("weights", "shifts", "concepts")
_WHO = "patient encoder 'scope'"
#: Components where neither a number nor labels are given: at most so many, and so many cells for each.
_MOST, _CELLS_EACH = 15, 20
#: One training patient in so many is watched, and with fewer patients than that none is.
_WATCHED = 5


@dataclass(frozen=True)
class _Sums:
    """Sums over the cells of each patient, with each cell shared out to the components.

    Attributes
    ----------
    patients, n
        (P,) sorted ids; numbers of cells.
    mass, residual, concepts
        (P, K), (P, K, L) and (P, K, C).
    """

    patients: pd.Index
    n: np.ndarray
    mass: np.ndarray
    residual: np.ndarray
    concepts: np.ndarray


@dataclass(frozen=True)
class _Spread:
    """Mean and standard deviation over training patients of what is a mean over a patient's cells.

    Attributes
    ----------
    centre, spread
        (K, m); a spread of 0 stands for one that is not known.
    """

    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray, mass: np.ndarray, prior: float) -> _Spread:
        """Learn from training patients with more mass in the component than `prior`, or from all where few have.

        `sums` is (P, K, m), `mass` is (P, K).
        """
        enough = mass > prior
        enough |= (enough.sum(axis=0) < 2) & (mass > 0)
        mean = np.where(enough[:, :, None], sums / np.maximum(mass, 1e-12)[:, :, None], np.nan)
        count = np.maximum(enough.sum(axis=0), 1)[:, None]
        centre = np.nansum(mean, axis=0) / count
        variance = np.nansum((mean - centre) ** 2, axis=0) / np.maximum(count - 1, 1)
        return cls(centre, np.sqrt(variance))

    def score(self, sums: np.ndarray, mass: np.ndarray, prior: float) -> np.ndarray:
        """Return (P, K·m) standard deviations from the training mean, with `prior` cells at that mean added."""
        away = (sums - mass[:, :, None] * self.centre) / (mass + prior)[:, :, None]
        known = self.spread > 1e-9
        return np.where(known, away / np.where(known, self.spread, 1.0), 0.0).reshape(len(sums), -1)


@dataclass
class Scope:
    """A SCOPE-style patient vector: [weights | shifts | concepts] of the components of a mixture autoencoder.

    After "Structured and interpretable patient embeddings from Single-Cell Foundation Models" (ICLR 2026 Gen²
    workshop), whose code is not public: this is written from its idea, and its numbers are not the paper's. The
    autoencoder is `fit_mixture`; it sees no outcome. Every patient is then read through it, without refitting.

    - weights, ``weight: CD4 T``: centred log-ratio of the mean responsibilities of a patient's cells, floored at the
      detection limit that training patients share, as in `Composition`.
    - shifts, ``CD4 T: shift 1``: the mean residual of a patient's cells in a component, minus its mean over training
      patients, in standard deviations between these.
    - concepts, ``CD4 T: interferon`` and ``overall: interferon``: the same of predicted concept scores.

    Shifts and concepts count `prior_cells` more cells that lie at the training mean: where a patient lacks a
    component they are 0 exactly, where it has a few cells they are near it, and there is no step between. What is
    missing is counted in `facts`. Patients weigh the same, up to this: for fitting, no training patient gives more
    cells than the median one, drawn once, and all together no more than `max_cells`.

    Attributes
    ----------
    n_components
        Components. None: as many as there are labelled types; without labels one in 20 drawn cells, at most 15. What
        goes beyond the labelled types is free, and named ``component 3`` by its place.
    tied
        Whether components are tied to the cell types that are given; without, types are not read.
    n_latent, n_hidden, epochs, batch_size, learning_rate, seed
        See `Training`.
    blocks
        Which of ``weights``, ``shifts`` and ``concepts`` the vector has. Without ``concepts`` the autoencoder has no
        bottleneck, and scores that are given are not read.
    prior_cells
        Cells at the training mean.
    max_cells
        Most cells that are fitted on.
    facts
        After fitting, what there is to know of it; JSON-able.
    history
        After fitting, loss terms in nats a cell, one row an epoch; see `fit_mixture`.
    """

    reads_embedding: ClassVar[bool] = True
    reads_concepts: ClassVar[bool] = True
    n_components: int | None = None
    tied: bool = True
    n_latent: int = 10
    blocks: tuple[str, ...] = BLOCKS
    n_hidden: int = 64
    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 2e-3
    prior_cells: float = 5.0
    max_cells: int = 50_000
    seed: int = 0
    facts: dict[str, Any] = field(default_factory=dict, init=False)
    history: list[dict[str, float]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        # Configurations give lists.
        self.blocks = tuple(self.blocks)
        for block in self.blocks:
            if block not in BLOCKS:
                raise MmcellError(f"{_WHO}: unknown block {block!r}; {did_you_mean(str(block), BLOCKS)}")
        if not self.blocks:
            raise MmcellError(f"{_WHO}: no blocks; give one or more of {', '.join(BLOCKS)}")
        for name in ("n_latent", "n_hidden", "epochs", "batch_size", "max_cells"):
            if getattr(self, name) < 1:
                raise MmcellError(f"{_WHO}: {name} is {getattr(self, name)}; give a whole number of at least 1")
        if self.n_components is not None and self.n_components < 1:
            raise MmcellError(
                f"{_WHO}: n_components is {self.n_components}; give a whole number of at least 1, or none"
            )
        if not self.prior_cells > 0 or not self.learning_rate > 0:
            raise MmcellError(f"{_WHO}: prior_cells and learning_rate have to be above 0")

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: pd.Series | None = None,  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Fit the autoencoder on training patients' cells, and learn where these patients lie.

        Parameters
        ----------
        cells
            Embedding of training patients' cells.
        owner, cell_type
            Cell id -> patient, and the type that its component is tied to; a missing value, or no row, leaves it free.
        concepts
            Cell id × concept; NaN, or no row, where a score is not available.
        y
            Not read.

        Raises
        ------
        MissingExtraError
            torch is not installed.
        MmcellError
            More components than cells, or fewer than labelled types; a concept table that cannot be used.
        """
        patients, code = owners(cells, owner)
        rows = self._drawn(cells.ids, code)
        types, label = _labels(cells.ids[rows], cell_type if self.tied else None)
        k = self._size(len(rows), types)
        score, left_out = self._scores(cells.ids[rows], concepts)
        self.components = (*types, *(f"component {i + 1}" for i in range(len(types), k)))
        self.concepts: tuple[str, ...] = tuple(score.columns)
        self._check_names()
        order = stream(self.seed, "scope", "watched").permutation(len(patients))
        watched = np.isin(code[rows], _watched(order, code[rows], label, len(patients) // _WATCHED))
        s = score.to_numpy(dtype=np.float64)
        mean, sd = np.nanmean(s, axis=0), np.nanstd(s, axis=0)
        how = Training(
            self.n_latent, self.n_hidden, self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate,
            seed=self.seed,
        )  # fmt: skip
        self.mixture: Mixture = fit_mixture(cells.values[rows], label, (s - mean) / sd, watched, k, how)
        self.history = self.mixture.history
        sums = self._sums(cells, owner)
        self.floor = 1.0 / int(sums.n.min())
        self._shifts = _Spread.of(sums.residual, sums.mass, self.prior_cells)
        self._activity = _Spread.of(sums.concepts, sums.mass, self.prior_cells)
        self._overall = _Spread.of(*_over_components(sums), self.prior_cells)
        weights = self._weights(sums)
        self._usual = weights.mean(axis=0), weights.std(axis=0, ddof=1) if len(weights) > 1 else np.zeros(k)
        self.facts = {
            "components": list(self.components),
            "tied": len(types),
            "concepts": list(self.concepts),
            "constant_concepts": left_out,
            "patients": len(patients),
            "fewer_patients_than_components": len(patients) < k,
            "watched_patients": sorted(map(str, patients[np.unique(code[rows[watched]])])),
            "fitted_cells": len(rows),
            "labelled_cells": int((label >= 0).sum()),
            "epochs": self.mixture.best,
            "loss": self.history[self.mixture.best - 1],
            "detection_limit": self.floor,
            "too_little_mass": int((sums.mass < self.prior_cells).sum()),
            **self._held_out(cells.values[rows], label, s, watched),
        }
        return self

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:  # noqa: ARG002
        """Return one row a patient, sorted by id; neither types nor concepts are needed."""
        sums = self._sums(cells, owner)
        parts = {"weights": self._weights(sums)}
        parts["shifts"] = self._shifts.score(sums.residual, sums.mass, self.prior_cells)
        within = self._activity.score(sums.concepts, sums.mass, self.prior_cells)
        parts["concepts"] = np.hstack([within, self._overall.score(*_over_components(sums), self.prior_cells)])
        values = np.hstack([parts[b] for b in BLOCKS if b in self.blocks])
        return Embedding("scope", "patient", cells.modality, sums.patients, values, cells.card, self._columns())

    def describe(self, embedding: Embedding, patient: str, n: int = 5) -> list[str]:
        """Return a patient's `n` largest coordinates in words, as ``CD4 T: interferon, +1.8 sd``.

        Weights are put in standard deviations over training patients, which the others are in already.

        Raises
        ------
        MmcellError
            No such patient.
        """
        if patient not in embedding.ids:
            raise MmcellError(f"{_WHO}: there is no patient {patient!r}; {did_you_mean(patient, embedding.ids)}")
        values = embedding.align(pd.Index([patient])).values[0].astype(np.float64)
        if "weights" in self.blocks:
            mean, sd = self._usual
            values[: len(mean)] = np.divide(values[: len(mean)] - mean, sd, out=np.zeros(len(mean)), where=sd > 1e-9)
        largest = np.argsort(-np.abs(values), kind="stable")[:n]
        return [f"{embedding.columns[i]}, {values[i]:+.1f} sd" for i in largest]

    def _drawn(self, ids: pd.Index, code: np.ndarray) -> np.ndarray:
        """Return the rows to fit on, by patient and id: at most the median patient's number of each."""
        counts = np.bincount(code)
        most = max(1, min(int(np.median(counts)), self.max_cells // len(counts)))
        order = np.lexsort((np.asarray(ids, dtype=str), code))
        shuffled = np.lexsort((stream(self.seed, "scope", "cells").random(len(order)), code[order]))
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        return order[np.sort(shuffled[place < most])]

    def _size(self, n_cells: int, types: list[str]) -> int:
        k = self.n_components
        if k is None:
            k = len(types) or max(1, min(_MOST, n_cells // _CELLS_EACH))
        if k < len(types):
            raise MmcellError(
                f"{_WHO}: n_components is {k} for {len(types)} labelled cell types; give at least {len(types)}, or none"
            )
        if k > n_cells:
            raise MmcellError(f"{_WHO}: n_components is {k} for {n_cells} cells to fit on; give at most {n_cells}")
        return k

    def _scores(self, ids: pd.Index, concepts: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
        """Return the scores of concepts that vary, and the names of those that do not."""
        if "concepts" not in self.blocks or concepts is None:
            if set(self.blocks) == {"concepts"}:
                raise MmcellError(f"{_WHO}: the block 'concepts' needs concepts; give scores, or other blocks")
            return pd.DataFrame(index=ids), []
        by_cell(concepts, "concepts", pd.DataFrame)
        if not ids.isin(concepts.index).any():
            raise MmcellError(
                f"{_WHO}: none of the training cells is in the table of concepts (its ids look like "
                f"{first(concepts.index)}; wanted {first(ids)}); give scores by cell id"
            )
        found = concepts.reindex(ids).astype(np.float64)
        found.columns = found.columns.astype(str)
        infinite = np.isinf(found).any(axis=0)
        if infinite.any():
            raise MmcellError(f"{_WHO}: infinite scores in {first(found.columns[infinite])}; NaN says not available")
        varies = (found.max() > found.min()).to_numpy()
        if not varies.any():
            raise MmcellError(
                f"{_WHO}: no concept varies among training cells ({first(found.columns)}); give others, or the blocks "
                "weights and shifts alone"
            )
        return found.loc[:, varies], list(found.columns[~varies])

    def _columns(self) -> tuple[str, ...]:
        named = {
            "weights": [f"weight: {k}" for k in self.components],
            "shifts": [f"{k}: shift {i + 1}" for k in self.components for i in range(self.n_latent)],
            "concepts": [f"{k}: {c}" for k in (*self.components, "overall") for c in self.concepts],
        }
        return tuple(name for block in BLOCKS if block in self.blocks for name in named[block])

    def _check_names(self) -> None:
        columns = pd.Index(self._columns())
        if columns.has_duplicates:
            twice = columns[columns.duplicated()].unique()
            raise MmcellError(f"{_WHO}: two coordinates would be called {first(twice)}; rename that type or concept")

    def _sums(self, cells: Embedding, owner: pd.Series) -> _Sums:
        """Read patient after patient, each in the order of its cells' ids: nobody's row depends on the others'."""
        patients, code = owners(cells, owner)
        order = np.lexsort((np.asarray(cells.ids, dtype=str), code))
        n = np.bincount(code, minlength=len(patients))
        mass, residual, concepts = [], [], []
        for rows in np.split(order, np.cumsum(n)[:-1]):
            u, share, c = self.mixture.encode(cells.values[rows])
            mass.append(share.sum(axis=0))
            residual.append(share.T @ u)
            concepts.append(share.T @ c)
        return _Sums(patients, n, np.array(mass), np.array(residual), np.array(concepts))

    def _weights(self, sums: _Sums) -> np.ndarray:
        share = np.maximum(sums.mass / sums.n[:, None], self.floor)
        logs = np.log(share / share.sum(axis=1, keepdims=True))
        return logs - logs.mean(axis=1, keepdims=True)

    def _held_out(self, values: np.ndarray, label: np.ndarray, s: np.ndarray, watched: np.ndarray) -> dict[str, Any]:
        """Return, of watched patients' cells, how well concepts and labels are predicted; None where unknown."""
        if not watched.any():
            return {"concept_r": dict.fromkeys(self.concepts), "label_accuracy": None}
        _, share, c = self.mixture.encode(values[watched])
        found: dict[str, float | None] = {}
        for j, name in enumerate(self.concepts):
            seen = np.isfinite(s[watched, j])
            truth, said = s[watched, j][seen], c[seen, j]
            varies = len(truth) > 2 and truth.std() > 0 and said.std() > 0
            found[name] = float(np.corrcoef(truth, said)[0, 1]) if varies else None
        known = label[watched] >= 0
        right = share.argmax(axis=1)[known] == label[watched][known]
        return {"concept_r": found, "label_accuracy": float(right.mean()) if known.any() else None}


def _over_components(sums: _Sums) -> tuple[np.ndarray, np.ndarray]:
    return sums.concepts.sum(axis=1, keepdims=True), sums.n[:, None].astype(float)


def _watched(order: np.ndarray, code: np.ndarray, label: np.ndarray, n: int) -> np.ndarray:
    """Return the first `n` patients of an order without whom every labelled type still has a cell."""
    types = int(label.max(initial=-1)) + 1
    left = np.zeros((types, int(order.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(left, (label[label >= 0], code[label >= 0]), 1)
    total = left.sum(axis=1)
    found: list[int] = []
    for patient in order:
        if len(found) < n and (total - left[:, patient] > 0).all():
            found.append(patient)
            total = total - left[:, patient]
    return np.array(found, dtype=np.int64)


def _labels(ids: pd.Index, cell_type: pd.Series | None) -> tuple[list[str], np.ndarray]:
    """Return the sorted types that occur, and each cell's place among them; −1 for a cell without a type."""
    if cell_type is None:
        return [], np.full(len(ids), -1)
    by_cell(cell_type, "cell_type")
    kind = cell_type.reindex(ids)
    known = kind.notna().to_numpy()
    label = np.full(len(ids), -1)
    types, label[known] = np.unique(kind[known].astype(str).to_numpy(dtype=object), return_inverse=True)
    return [str(t) for t in types], label
