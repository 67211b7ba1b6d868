"""Measured effects of perturbations: which cells are compared, in which halves, and how their means differ.

An effect is the mean of a unit's perturbed cells less the mean of one half of its controls, gene by gene. The other
half is what a prediction is made from: controls on both sides would be noise that both share.

Where the unit is the perturbation itself there is one pool of cells. Controls then belong to all folds: effects in
training are differences from one half of them, and held-out effects from the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.embedding import Embedding, ModelCard
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.contexts import compared, compared_in_pool
from mmcell.splits import Split
from mmcell.stats.welch import STRONG, differing

#: Fewer perturbed cells, or controls in a half, have no mean worth the name.
FEWEST = 3
_ROWS = 1 << 14


@dataclass(frozen=True, eq=False)
class Parts:
    """The cells of every context (a unit, or a unit's cells of one type) under every perturbation, in two halves.

    Attributes
    ----------
    groups
        One row per context and perturbation that has enough cells and controls, by the id of its first cell: ``unit``,
        ``perturbation``, ``context``, and with types ``cell_type``.
    wanted
        How many of them there would be if all had enough cells, by unit.
    contexts
        Context of every control, by id.
    code
        (n,) 2 × row of `groups` + half for perturbed cells, −1 for other cells.
    half
        (n,) of every cell.
    """

    groups: pd.DataFrame
    wanted: pd.Series
    contexts: pd.Series
    code: pd.Series
    half: pd.Series

    @classmethod
    def of(cls, cells: pd.DataFrame, control: str, repeat: int = 0) -> Self:
        """Deal cells to halves, by their ids alone, so that whoever asks gets the same ones.

        Parameters
        ----------
        cells
            Id -> ``unit``, ``perturbation`` and, where contexts are types of cells, ``cell_type``. Cells without a
            perturbation or a type belong nowhere.
        control
            The perturbation that controls have.
        repeat
            Every repeat of the folds has halves of its own.
        """
        cells = cells.dropna().astype(str)
        cells = cells.iloc[np.argsort(cells.index.to_numpy().astype(str), kind="stable")]
        cells = cells.iloc[stream(repeat, "halves of cells").permutation(len(cells))]
        within = [c for c in cells if c != "perturbation"]
        context = cells[within].agg("|".join, axis=1)
        by = [context, cells["perturbation"]]
        half = cells.groupby(by).cumcount() % 2
        size = half.groupby(by).transform("size")
        is_control = cells["perturbation"] == control
        enough = pd.Series(context[is_control & (size >= 2 * FEWEST)].unique())
        perturbed = cells[~is_control].assign(context=context[~is_control], size=size[~is_control])
        perturbed["item"] = perturbed.index
        groups = perturbed.groupby(["context", "perturbation"], sort=True).agg("min")
        wanted = groups.groupby("unit").size()
        groups = groups[(groups["size"] >= FEWEST) & groups.index.get_level_values("context").isin(enough)]
        groups = groups.reset_index().set_index("item")[[*within, "perturbation", "context"]]
        at = pd.MultiIndex.from_frame(groups[["context", "perturbation"]])
        row = at.get_indexer(pd.MultiIndex.from_arrays(by))
        code = pd.Series(np.where(row < 0, -1, 2 * row + half.to_numpy()), index=cells.index)
        return cls(groups, wanted, context[is_control & context.isin(enough)], code, half)


@dataclass(frozen=True, eq=False)
class Effects:
    """Measured effects in log space, (groups, genes), in the order of `groups`.

    Attributes
    ----------
    groups, wanted
        See `Parts`.
    genes
        Their names.
    whole
        Of all perturbed cells, from the first half of the controls.
    other
        Of all perturbed cells, from the second half.
    first, second
        Of the first half of the perturbed cells from the first half of the controls, and of the second from the second.
    strong
        (groups,) whether ten genes or more differ significantly from the first half of the controls (Welch's t, 5 % of
        them false); None unless all cells are one pool.
    """

    groups: pd.DataFrame
    wanted: pd.Series
    genes: pd.Index
    whole: np.ndarray
    other: np.ndarray
    first: np.ndarray
    second: np.ndarray
    strong: np.ndarray | None


def effects_of(dataset: Dataset, modality: str, *, by_type: bool, repeat: int) -> Effects:
    """Return the measured effects of a modality, read once, block by block; groups it did not measure are left out.

    Raises
    ------
    MmcellError
        The perturbation, its control or the cell types are not known.
    """
    return dataset.once(("effects", modality, by_type, repeat), lambda: _measured(dataset, modality, by_type, repeat))


def _measured(dataset: Dataset, modality: str, by_type: bool, repeat: int) -> Effects:
    rows = dataset.reader(modality)
    parts = parts_of(dataset, modality, by_type=by_type, repeat=repeat)
    names = {context: i for i, context in enumerate(parts.contexts.unique())}
    n = 2 * len(parts.groups)
    code = parts.code.reindex(rows.ids, fill_value=-1).to_numpy()
    of_context = parts.contexts.map(names).reindex(rows.ids).to_numpy(dtype=float)
    control = np.isfinite(of_context)
    code[control] = (
        n + 2 * of_context[control].astype(int) + parts.half.reindex(rows.ids).to_numpy()[control].astype(int)
    )
    sums, count = np.zeros((n + 2 * len(names), rows.width)), np.zeros(n + 2 * len(names))
    squares = np.zeros_like(sums) if pooled(dataset) else None
    for start in range(0, len(rows), _ROWS):
        x: Any = rows.x[start : start + _ROWS]
        of = code[start : start + _ROWS]
        inside = np.flatnonzero(of >= 0)
        member = csr_matrix((np.ones(len(inside)), (of[inside], inside)), (len(sums), len(of)))
        sums += _dense(member @ x)
        if squares is not None:
            squares += _dense(member @ (x.multiply(x) if issparse(x) else np.square(x, dtype=np.float64)))
        count += np.bincount(of[inside], minlength=len(count))
    own = 2 * np.arange(len(parts.groups))
    base = n + 2 * parts.groups["context"].map(names).to_numpy(dtype=int)
    there = np.min([count[own], count[own + 1], count[base], count[base + 1]], axis=0) > 0
    own, base = own[there], base[there]
    mean = sums / np.maximum(count, 1)[:, None]
    size = count[own] + count[own + 1]
    whole = (sums[own] + sums[own + 1]) / size[:, None]
    strong = None
    if squares is not None:
        # Of one pool all have the same controls.
        b = int(base[0])
        both = squares[own] + squares[own + 1]
        strong = differing(whole, both, size, mean[b], squares[b], float(count[b])).sum(axis=1) >= STRONG
    return Effects(
        parts.groups[there], parts.wanted, rows.var_names, whole - mean[base], whole - mean[base + 1],
        mean[own] - mean[base], mean[own + 1] - mean[base + 1], strong,
    )  # fmt: skip


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if issparse(values) else values)


def parts_of(dataset: Dataset, modality: str, *, by_type: bool, repeat: int) -> Parts:
    """Return which cells are compared; of one pool its groups go by the name of their perturbation.

    Raises
    ------
    MmcellError
        The perturbation, its control or the cell types are not known.
    """
    control = control_of(dataset)
    cells = _cells(dataset, by_type)
    if not pooled(dataset):
        return Parts.of(cells, control, repeat)
    # What describes a perturbation is no cell.
    cells = cells.loc[dataset.rows(modality)]
    found = Parts.of(cells.assign(unit="pool"), control, repeat)
    names = pd.Index(sorted(set(cells["perturbation"].astype(str)) - {control}))
    groups = found.groups.assign(unit=found.groups["perturbation"])
    groups.index = pd.Index(groups["unit"], name="item")
    return replace(found, groups=groups, wanted=pd.Series(1, index=names))


def pooled(dataset: Dataset) -> bool:
    """Whether units are the perturbations, and all cells one pool."""
    return dataset.roles.unit == dataset.roles.perturbation


def _cells(dataset: Dataset, by_type: bool) -> pd.DataFrame:
    table = {"unit": dataset.unit, "perturbation": dataset.obs[dataset.roles.perturbation]}
    if by_type:
        if dataset.roles.cell_type is None:
            raise MmcellError(f"dataset {dataset.name!r}: roles.cell_type is not set; name the column of cell types")
        table["cell_type"] = dataset.obs[dataset.roles.cell_type]
    return pd.DataFrame(table)


def control_of(dataset: Dataset) -> str:
    """Return the name of the controls.

    Raises
    ------
    MmcellError
        The data do not say which cells are perturbed, or which are controls.
    """
    if dataset.roles.perturbation is None or dataset.roles.control is None:
        lacks = "perturbation" if dataset.roles.perturbation is None else "control"
        raise MmcellError(
            f"dataset {dataset.name!r}: roles.{lacks} is not set; an effect needs perturbed cells and controls"
        )
    return dataset.roles.control


def needs_types(dataset: Dataset) -> None:
    """Raise `MmcellError` where types of cells are not known, either."""
    control_of(dataset)
    _cells(dataset, by_type=True)


def known_effects(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return the effects in training units, one row per unit and perturbation: nothing of held-out units.

    Of one pool they are differences from the half of the controls that held-out effects are not measured from.
    """
    return _rows(dataset, modality, level, split, by_type=False, held=False)


def known_effects_by_type(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return the effects in training units, one row per unit, type of cells and perturbation."""
    return _rows(dataset, modality, level, split, by_type=True, held=False)


def half_effects(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return the effects that one half of the cells of held-out units shows: what no prediction can know."""
    return _rows(dataset, modality, level, split, by_type=False, held=True)


def half_effects_by_type(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return the same by type of cells."""
    return _rows(dataset, modality, level, split, by_type=True, held=True)


def _rows(dataset: Dataset, modality: str, level: str, split: Split, *, by_type: bool, held: bool) -> Embedding:
    found = effects_of(dataset, modality, by_type=by_type, repeat=split.repeat)
    chosen = found.groups["unit"].isin(split.test if held else split.train).to_numpy()
    if not chosen.any():
        side = "held-out" if held else "training"
        raise MmcellError(
            f"dataset {dataset.name!r}: no {side} unit of a fold has {FEWEST} cells of a perturbation and "
            f"{2 * FEWEST} controls{' of one type' if by_type else ''}; measure more cells, or use fewer folds"
        )
    values = (found.second if held else found.other if pooled(dataset) else found.whole)[chosen]
    name = "half-effects" if held else "effects"
    ids = pd.Index(found.groups.index[chosen], name="id")
    return Embedding(name, level, modality, ids, values, ModelCard(name=name), tuple(map(str, found.genes)))


def measured(items: Items, dataset: Dataset, split: Split) -> Items:
    """Return predicted effects compared with those that were measured in cells the prediction has not read.

    Parameters
    ----------
    items
        One row per held-out unit and perturbation, with ``perturbation``, ``gallery`` (the modality) and, by types,
        ``cell_type``; arrays ``predicted`` (rows, genes) and ``genes``. Where ``details["truth"]`` is ``half``, the
        prediction has read one half of the perturbed cells, and the other is the truth.
    dataset, split
        Where they were held out.

    Raises
    ------
    MmcellError
        A row that was not measured, or other genes.
    """
    frame, by_type = items.frame, "cell_type" in items.frame
    found = effects_of(dataset, str(frame["gallery"].iloc[0]), by_type=by_type, repeat=split.repeat)
    at = found.groups.index.get_indexer(frame["item"])
    if pooled(dataset):
        # Of a pool a method does not know which perturbations have enough cells: those that have not are excluded.
        few = at < 0
        if few.all():
            raise MmcellError(
                f"dataset {dataset.name!r}: no held-out perturbation of a fold has {FEWEST} cells and a prediction "
                f"({first(frame['item'])}); measure more cells, or use fewer folds"
            )
        items = replace(items, frame=frame[~few], arrays={**items.arrays, "predicted": items.arrays["predicted"][~few]})
        frame, at = items.frame, at[~few]
    if (at < 0).any() or list(map(str, items.arrays["genes"])) != list(map(str, found.genes)):
        raise MmcellError(
            f"dataset {dataset.name!r}: effects were predicted of {len(frame)} groups of cells and "
            f"{len(items.arrays['genes'])} genes, not of those that were measured; predict what the task's slot holds"
        )
    truth = found.first if items.details.get("truth") == "half" else found.whole
    predicted = items.arrays["predicted"]
    if found.strong is None:
        return Items(compared(predicted, truth[at], frame), items.kind, details=items.details)
    scored = compared_in_pool(predicted, truth[at], frame, found.strong[at])
    # A model of one fold may predict larger effects than that of another.
    return Items(scored.assign(context=f"{split.repeat}/{split.fold}"), items.kind, details=items.details)
