"""`Truth`: measured cells of perturbations and controls, as the means, halves and tests that predictions meet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.features import refuse_contradicted
from mmcell.metrics.perturbation import control_halves
from mmcell.predictions.moments import add_sums
from mmcell.records import Finding
from mmcell.stats.welch import differing

Controls = Literal["halves", "shared"]
#: Fewer controls cannot be halved so that each half has a variance.
FEWEST = 4
#: With fewer, the two halves of the controls resemble or oppose each other by chance.
_FEW = 200
#: Cells a side of an energy distance; more make it slower and hardly more exact.
CELLS = 128
_ROWS = 1 << 14


@dataclass(frozen=True, eq=False)
class Truth:
    """What was measured, on one set of genes.

    Attributes
    ----------
    dataset
        Where it comes from.
    perturbations, genes
        (P,) those that are scored, and (d,).
    observed
        (P, d) mean of all cells.
    halves
        (2, P, d) means of two random halves of the cells.
    controls
        (2, d) means of two disjoint halves of the controls: the truth's, and the predictions'. Both are the mean of all
        of them where they are shared.
    significant
        (P, d) genes that differ from the truth's controls at a false discovery rate of 5 % within the perturbation.
    voting
        (P, d) genes that differ from the other half of the controls: what a baseline may read, for genes chosen beside
        the truth's controls know their noise.
    trained
        (2, T, d) the means of the perturbations that models were trained on, and which of their genes vote; T is 0
        where none are named.
    level, linear
        (d,) mean of the controls as they are, and of their exponentials less one where they are logarithms.
    largest
        The largest value of a cell.
    is_whole
        Whether all values are whole numbers.
    findings
        What was left out.
    """

    dataset: Dataset
    perturbations: pd.Index
    genes: pd.Index
    observed: np.ndarray
    halves: np.ndarray
    controls: np.ndarray
    significant: np.ndarray
    voting: np.ndarray
    trained: np.ndarray
    level: np.ndarray
    linear: np.ndarray | None
    largest: float
    is_whole: bool
    findings: tuple[Finding, ...]
    _rows: Any
    _members: tuple[np.ndarray, ...]
    _columns: np.ndarray

    @property
    def reference(self) -> np.ndarray:
        """(d,) mean of the training perturbations, or of those that are scored where none are named."""
        return (self.trained[0] if self.trained.shape[1] else self.observed).mean(axis=0)

    def on(self, genes: pd.Index) -> Self:
        """Return the same on some of the genes."""
        at = self.genes.get_indexer(genes)
        return replace(
            self, genes=genes, observed=self.observed[:, at], halves=self.halves[:, :, at],
            controls=self.controls[:, at], significant=self.significant[:, at],
            voting=self.voting[:, at],
            trained=self.trained[:, :, at], level=self.level[at],
            linear=None if self.linear is None else self.linear[at], _columns=self._columns[at],
        )  # fmt: skip

    def cells(self, perturbation: int, half: int | None = None) -> np.ndarray:
        """Return some cells (n, d) of a perturbation, or of one half of it; of the controls at position P."""
        parts = self._members[2 * perturbation : 2 * perturbation + 2]
        rows = np.sort(np.concatenate(parts) if half is None else parts[half])
        # Rows were dealt to halves at random; spread over the file, the first of them would be no sample.
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CELLS)).astype(int))]
        found = self._rows.x[chosen]
        return np.asarray(found.toarray() if issparse(found) else found, dtype=np.float64)[:, self._columns]


@dataclass(frozen=True, eq=False)
class Cells:
    """The measured cells, and which perturbation each of them has.

    Attributes
    ----------
    dataset, modality, rows
        Where they are read from.
    names, unknown
        (n,) perturbation of every cell, as text, and whether it is missing.
    """

    dataset: Dataset
    modality: str
    rows: Any
    names: np.ndarray
    unknown: np.ndarray

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Open a dataset.

        Raises
        ------
        MmcellError
            Genes that occur twice.
        """
        modality = "rna" if "rna" in dataset.card.modalities else next(iter(dataset.card.modalities))
        rows = dataset.reader(modality)
        genes = rows.var_names
        if genes.has_duplicates:
            raise MmcellError(
                f"dataset {dataset.name!r}: {first(genes[genes.duplicated()].unique())} occurs twice among the genes; "
                "call var_names_make_unique() on truth and predictions alike"
            )
        label = dataset.obs[dataset.roles.perturbation].reindex(rows.ids)
        return cls(dataset, modality, rows, label.astype(str).to_numpy(), label.isna().to_numpy())

    @property
    def control(self) -> str:
        """The name of controls."""
        return str(self.dataset.roles.control)

    def n_controls(self, at: np.ndarray | slice) -> int:
        """Return how many of the cells at some positions are controls."""
        return int((self.names[at][~self.unknown[at]] == self.control).sum())

    def kept(self, at: np.ndarray | slice) -> tuple[pd.Index, list[Finding]]:
        """Return the perturbations of the cells at some positions that can be scored, and what is left out."""
        names, unknown = self.names[at], self.unknown[at]
        out, findings = _left_out(self.dataset, names, unknown, self.control, self.rows.ids[at])
        found = sorted(set(names[~unknown]))
        return pd.Index([n for n in found if n != self.control and n not in out]), findings

    def truth(
        self, kept: pd.Index, findings: Sequence[Finding], at: np.ndarray | None = None, *, controls: Controls,
        training: Collection[str], seed: int,
    ) -> Truth:  # fmt: skip
        """Return what was measured of some perturbations, in all cells or in those at rising positions (m,)."""
        rows, genes = self.rows, self.rows.var_names
        part = slice(None) if at is None else at
        codes = np.full(len(rows), -1)
        codes[part] = own = _dealt(rows.ids[part], self.names[part], kept, self.control, seed)
        sums, squares, largest, whole = _moments(rows, codes, 2 * len(kept) + 2, self.dataset, self.modality, at)
        n = np.bincount(codes[codes >= 0], minlength=2 * len(kept) + 2).astype(np.float64)
        means = sums / np.maximum(n, 1)[:, None]
        pair_n, total, square = n.reshape(-1, 2), sums.reshape(-1, 2, len(genes)), squares.reshape(-1, 2, len(genes))
        mean = total.sum(axis=1) / pair_n.sum(axis=1)[:, None]
        base = means[-2:] if controls == "halves" else np.repeat(mean[-1:], 2, axis=0)
        cells = (mean[:-1], square[:-1].sum(axis=1), pair_n[:-1].sum(axis=1))
        sides = (slice(0, 1), slice(1, 2)) if controls == "halves" else (slice(0, 2), slice(0, 2))
        tested = [
            differing(*cells, b, square[-1, s].sum(axis=0), float(pair_n[-1, s].sum()))
            for b, s in zip(base, sides if controls == "halves" else sides[:1], strict=False)
        ]
        significant, voting = tested[0], tested[-1]
        order = np.argsort(own, kind="stable")
        stops = np.searchsorted(own[order], np.arange(len(n) + 1))
        where = np.arange(len(rows))[part][order]
        members = tuple(where[a:b] for a, b in pairwise(stops))
        log = self.dataset.modality(self.modality).preprocessing in ("counts", "log1p")
        trained = kept.isin(list(training))
        scored = np.flatnonzero(~trained)
        halves = means[:-2].reshape(-1, 2, len(genes)).swapaxes(0, 1)
        taken = [m for i in (*scored, len(kept)) for m in members[2 * i : 2 * i + 2]]
        return Truth(
            self.dataset, kept[scored], genes, mean[scored], halves[:, scored], base, significant[scored],
            voting[scored], np.stack([mean[:-1][trained], voting[trained]]), mean[-1],
            _linear(rows, np.sort(np.concatenate(members[-2:]))) if log else None, largest, whole, tuple(findings),
            rows, tuple(taken), np.arange(len(genes)),
        )  # fmt: skip


def measure(dataset: Dataset, *, controls: Controls, training: Collection[str], seed: int) -> Truth:
    """Return the truth of a dataset, read once, block by block.

    Raises
    ------
    MmcellError
        No or too few controls, no perturbation with two cells, genes that occur twice, missing values.
    """
    who, cells, everything = f"dataset {dataset.name!r}", Cells.of(dataset), slice(None)
    column, n_control = str(dataset.roles.perturbation), cells.n_controls(everything)
    if n_control < FEWEST:
        found = sorted(set(cells.names[~cells.unknown]))
        raise MmcellError(
            f"{who}: {number_of(n_control, 'cell is', 'cells are')} {cells.control!r} in {column!r}, and effects need "
            f"{FEWEST} or more; name them with --control ({did_you_mean(cells.control, found)})"
        )
    kept, findings = cells.kept(everything)
    findings += few_controls(n_control)
    findings += unmeasured(training, kept, column)
    if not len(kept.difference(pd.Index(list(training)))):
        raise MmcellError(f"{who}: no perturbation with two cells and controls is left to be scored; check {column!r}")
    return cells.truth(kept, findings, controls=controls, training=training, seed=seed)


def few_controls(n: int) -> list[Finding]:
    """Return a warning where so many controls are few."""
    if n >= _FEW:
        return []
    return [
        Finding(
            severity="warning", code="few-controls", evidence=f"{n} cells",
            message="all perturbations share the noise of few controls, which intervals over perturbations do not "
            "know",
            cure=f"measure more: from {_FEW} on it is small",
        )
    ]  # fmt: skip


def unmeasured(training: Collection[str], kept: pd.Index, column: str) -> list[Finding]:
    """Return a warning where training perturbations were not measured.

    Raises
    ------
    MmcellError
        None of them was.
    """
    unseen = sorted(set(training) - set(kept))
    if unseen and len(unseen) == len(set(training)):
        raise MmcellError(
            f"training: none of its names is a measured perturbation ({first(unseen)}); name them as {column!r} does, "
            f"such as {first(kept)}"
        )
    if not unseen:
        return []
    return [
        Finding(
            severity="warning", code="training-unmeasured", evidence=first(unseen, 6),
            message=f"{number_of(len(unseen), 'training perturbation is', 'training perturbations are')} not "
            "measured, and no part of the baselines",
        )
    ]  # fmt: skip


def _left_out(
    dataset: Dataset, names: np.ndarray, unknown: np.ndarray, control: str, ids: pd.Index
) -> tuple[set[str], list[Finding]]:
    """Return perturbations that cannot be scored, and say so."""
    count = pd.Series(names[~unknown]).value_counts()
    single = sorted(str(n) for n in count.index[count < 2])
    findings = []
    if single:
        findings.append(
            Finding(
                severity="warning", code="one-cell", evidence=first(single, 6),
                message=f"{number_of(len(single), 'perturbation has', 'perturbations have')} one cell and "
                f"{'is' if len(single) == 1 else 'are'} left out",
                cure="measure at least two cells of each, or drop them from the truth",
            )
        )  # fmt: skip
    alone: list[str] = []
    if dataset.roles.batch is not None:
        batch = dataset.obs[dataset.roles.batch].reindex(ids).astype(str).to_numpy()
        covered = set(batch[(names == control) & ~unknown])
        inside = pd.Series(np.isin(batch, list(covered))).groupby(names).any()
        alone = sorted(str(n) for n in inside.index[~inside] if n in count.index)
    if alone:
        findings.append(
            Finding(
                severity="warning", code="no-controls", evidence=first(alone, 6),
                message=f"{number_of(len(alone), 'perturbation has', 'perturbations have')} no controls in any of "
                f"{'its' if len(alone) == 1 else 'their'} batches and {'is' if len(alone) == 1 else 'are'} left out",
                cure="add controls of these batches, or leave roles.batch out where batches do not matter",
            )
        )  # fmt: skip
    return {*single, *alone}, findings


def _dealt(ids: pd.Index, names: np.ndarray, kept: pd.Index, control: str, seed: int) -> np.ndarray:
    """Return 2 × perturbation + half for every cell, 2P and 2P + 1 for controls, −1 for what is not read.

    Halves depend on ids, not on the order of rows.
    """
    codes = np.full(len(ids), -1)
    at = kept.get_indexer(pd.Index(names))
    order = np.argsort(ids.to_numpy().astype(str), kind="stable")
    shuffled = order[stream(seed, "halves").permutation(len(order))]
    of = at[shuffled]
    shuffled, of = shuffled[of >= 0], of[of >= 0]
    sort = np.argsort(of, kind="stable")
    size = np.bincount(of, minlength=len(kept))
    place = np.arange(len(sort)) - np.repeat(np.cumsum(size) - size, size)
    codes[shuffled[sort]] = 2 * of[sort] + (place >= size[of[sort]] // 2)
    controls = pd.Index(ids[names == control])
    for i, half in enumerate(control_halves(controls.sort_values(), stream(seed, "controls"))):
        codes[ids.get_indexer(half)] = 2 * len(kept) + i
    return codes


def _moments(
    rows: Any, codes: np.ndarray, n: int, dataset: Dataset, modality: str, at: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Return sums and sums of squares (n, d) of every group, the largest value, and whether all are whole numbers."""
    sums, squares, largest, whole = np.zeros((n, rows.width)), np.zeros((n, rows.width)), -np.inf, True
    stated = dataset.modality(modality).preprocessing
    for start in range(0, len(rows) if at is None else len(at), _ROWS):
        block = slice(start, start + _ROWS) if at is None else at[start : start + _ROWS]
        x = rows.x[block]
        refuse_contradicted(x, "log1p" if stated == "counts" else stated, f"dataset {dataset.name!r}")
        add_sums(x, codes[block], sums, squares)
        flat = x.data if issparse(x) else np.asarray(x).ravel()
        if flat.size:
            largest = max(largest, float(flat.max()))
            whole = whole and bool((flat == np.rint(flat)).all())
    return sums, squares, largest, whole


def _linear(rows: Any, at: np.ndarray) -> np.ndarray:
    total = np.zeros(rows.width)
    for start in range(0, len(at), _ROWS):
        x = rows.x[at[start : start + _ROWS]]
        total += np.asarray((x.expm1() if issparse(x) else np.expm1(x)).sum(axis=0), dtype=np.float64).ravel()
    return total / len(at)
