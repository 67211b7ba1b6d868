"""Confounder-biased probes: the same embeddings and test units, training units in which label and batch go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mmcell.candidates import Cache, Candidate
from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.plan import Plan
from mmcell.sensitivity.confounding import MINIMUM_CELL, Cells, Levels
from mmcell.sensitivity.reading import Place, Reading, answered, asked, chances, embedded, estimates_of, grave, said
from mmcell.sensitivity.sizes import sizes_of
from mmcell.splits import Split

#: Training sets of each size and direction.
DRAWS = 3
AXIS = "confounding"


@dataclass(frozen=True, eq=False)
class Design:
    """The biased training sets of one split spec.

    Attributes
    ----------
    splits
        Each with the cells of its training units.
    levels
        Sizes that all of them allow.
    remark
        Which folds could not take part, "" when all do.
    """

    splits: list[tuple[Split, Cells]]
    levels: Levels
    remark: str = ""

    def training_sets(self, split: Split, cells: Cells, level: int, seed: int) -> list[Split]:
        """Return a split with each of its biased training sets; its repeat counts these apart.

        Without confounding the two directions are one.
        """
        directions = (0, 1) if self.levels.v[level] > 0 else (0,)
        found = []
        for towards in directions:
            for draw in range(DRAWS):
                rng = stream(seed, "sensitivity", AXIS, split.key, draw)
                train = cells.draw(self.levels.larger[level], self.levels.total, towards, rng)
                number = split.repeat * len(directions) * DRAWS + towards * DRAWS + draw
                found.append(replace(split, train=train, repeat=number))
        return found


def designs_of(plan: Plan) -> tuple[dict[str, Design], dict[str, str]]:
    """Return the design of every split that predicts the label, and for the others why there is none.

    Raises
    ------
    MmcellError
        The task predicts no binary label of units, or there is no batch of units.
    """
    dataset = plan.dataset
    specs = {s.spec.name: s.spec for s in plan.splits if s.spec.targets[0] == "label"}
    if not specs:
        raise MmcellError("the task predicts no label of units")
    label = dataset.truth("label", "patient")["y_true"]
    if label.dtype.kind not in "iu":
        raise MmcellError(f"the label has {label.nunique()} classes, and two are needed")
    column = dataset.roles.columns.get("batch")
    if column is None or column not in dataset.patients:
        raise MmcellError("roles.batch is not set" if column is None else f"{column!r} is not constant within units")
    batch = dataset.patients[column].dropna().astype(str)
    known = label.index.intersection(batch.index)
    found, refused = {}, {}
    for name in specs:
        try:
            found[name] = _design([s for s in plan.splits if s.spec.name == name], label[known], batch[known])
        except MmcellError as error:
            refused[name] = str(error)
    return found, refused


def _design(splits: list[Split], label: pd.Series, batch: pd.Series) -> Design:
    kept, lost = [], {}
    for split in splits:
        train = split.train[split.train.isin(label.index)]
        where = split.group or f"repeat {split.repeat} fold {split.fold}"
        try:
            cells = Cells.of(label[train], batch[train])
        except MmcellError as error:
            lost[where] = str(error)
            continue
        if cells.counts.min() < MINIMUM_CELL:
            a, b = (f"{int(row[0])} + {int(row[1])}" for row in cells.counts)
            lost[where] = (
                f"training units without + with the label are {a} in one group of batches and {b} in the other; "
                f"{MINIMUM_CELL} of each are needed"
            )
            continue
        kept.append((split, cells))
    remark = f"left out: {first(lost)} ({first(dict.fromkeys(lost.values()), 1)})" if lost else ""
    if not kept:
        raise MmcellError(remark)
    return Design(kept, Levels.of(min(int(cells.counts.min()) for _, cells in kept)), remark)


def confounded(plan: Plan, seed: int, n_boot: int, cache: Cache | None = None) -> list[Reading]:
    """Return how every candidate of a plan scores at each strength of confounding.

    Embeddings are those of the whole training side; only what the probe is fitted on changes. Test units stay.

    Parameters
    ----------
    plan
        Its candidates are those that are read.
    seed, n_boot
        Of the training sets, and bootstrap draws.
    cache
        Of embeddings.

    Raises
    ------
    MmcellError
        As `designs_of`.
    """
    cache = cache or Cache()
    designs, refused = designs_of(plan)
    found = []
    for candidate in plan.candidates:
        for name, why in refused.items():
            found.append(Reading(candidate.name, AXIS, "V", status="left_out", reason=why, split=name))
        supervised = candidate.pooling is not None and candidate.pooling.is_supervised
        for name, design in designs.items():
            if supervised:
                why = "its patient encoder is fitted to the labels of all training units, not to those of a biased set"
                found.append(Reading(candidate.name, AXIS, "V", status="left_out", reason=why, split=name))
                continue
            try:
                held = {s.key: embedded(plan, candidate, s, cache) for s, _ in design.splits}
                found += [_level(plan, candidate, design, i, held, seed, n_boot) for i in range(len(design.levels.v))]
            except Exception as error:
                # As elsewhere: whatever an encoder or task raises is its own row.
                found.append(Reading(candidate.name, AXIS, "V", status=grave(error), reason=said(error), split=name))
    return found


def _level(
    plan: Plan, candidate: Candidate, design: Design, level: int, held: Mapping[str, Mapping[str, Embedding]],
    seed: int, n_boot: int,
) -> Reading:  # fmt: skip
    primary = asked(plan)[0]
    parts, trained = [], []
    for split, cells in design.splits:
        for biased in design.training_sets(split, cells, level, seed):
            parts.append(answered(plan, candidate, biased, held[split.key]))
            trained.append(biased)
    # Training sets count as repeats, over which a metric is averaged inside every bootstrap draw of the test units.
    estimates, panels = estimates_of(Items.concat(parts), [primary], n_boot=n_boot, seed=seed)
    v = float(design.levels.v[level])
    times = 1 if v > 0 else 2
    single: dict[Place, np.ndarray] = {}
    for place, panel in panels.items():
        repeat = panel.column("repeat") % (2 * DRAWS // times)
        values = [primary.fn(panel.where(repeat == k)) for k in range(2 * DRAWS // times)]
        single[place] = np.tile(values, times)
    return Reading(
        candidate.name, AXIS, f"V={v:.2f}", v, {p: (e,) for p, e in estimates.items()},
        chances([primary], panels), sizes_of(plan.dataset, trained), single,
        reason="; ".join(filter(None, (f"{design.levels.total} training units", design.remark))),
    )  # fmt: skip
