"""Whether the cells of a cohort still say which types its patients have, or what its makers kept."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from mmcell.dataset import Dataset
from mmcell.errors import first
from mmcell.records import Finding

_ALPHA = 0.05
#: A cap shows where so many groups of so many cells or more hold the very same, largest number.
_CAP_GROUPS, _CAP_CELLS, _CAP_SHARE = 3, 20, 0.1


def composition_findings(dataset: Dataset) -> list[Finding]:
    """Return what distorts compositions: types in one batch only, groups left out as a whole, capped numbers."""
    return [*one_batch_types(dataset), *left_out(dataset), *capped(dataset)]


def one_batch_types(dataset: Dataset) -> list[Finding]:
    """Return the cell types that live in one batch only."""
    table = _types_by_batch(dataset)
    if table is None:
        return []
    single = table[(table > 0).sum(axis=1) == 1]
    if single.empty:
        return []
    names = ", ".join(
        f"{t} ({single.columns[(row > 0).argmax()]})" for t, row in zip(single.index, single.to_numpy(), strict=True)
    )
    return [
        Finding(
            severity="warning",
            code="types-in-one-batch",
            message=f"{len(single)} of {len(table)} cell types live in one batch only: composition tells the batch, "
            "and no label can be carried over to them from other batches",
            evidence=names,
            cure="read composition scores under leave-one-batch-out",
        )
    ]


def _types_by_batch(dataset: Dataset) -> pd.DataFrame | None:
    """Return cells per type × batch, None where there is no role or one batch only."""
    roles = dataset.roles
    if roles.batch is None or roles.cell_type is None:
        return None
    table = pd.crosstab(dataset.obs[roles.cell_type].astype("object"), dataset.obs[roles.batch].astype("object"))
    return table if table.shape[1] > 1 else None


def left_out(dataset: Dataset) -> list[Finding]:
    """Return batch × type groups without a single cell that chance does not explain.

    Where a type is found in k of the N units of all batches, the n units of one batch lack it altogether with
    probability C(N − k, n)/C(N, n) if batches were exchangeable; Bonferroni over all groups. A unit in several batches
    counts once in each.
    """
    table = _types_by_batch(dataset)
    if table is None:
        return []
    roles = dataset.roles
    there = pd.DataFrame(
        {"unit": dataset.unit, "batch": dataset.obs[roles.batch], "type": dataset.obs[roles.cell_type]}
    ).dropna().astype(str).drop_duplicates()  # fmt: skip
    units = there.drop_duplicates(["unit", "batch"])["batch"].value_counts()
    found = []
    for kind, row in table.iterrows():
        having = there.loc[there["type"] == str(kind)]
        present = row.index[row > 0]
        rate = row[present].sum() / table[present].to_numpy().sum()
        for batch in row.index[row == 0]:
            p = hypergeom(units.sum(), len(having), units[str(batch)]).pmf(0)
            if p * table.size < _ALPHA:
                found.append((rate * table[batch].sum(), str(kind), str(batch), float(p), having["unit"].nunique()))
    if not found:
        return []
    found.sort(reverse=True)
    shown = "; ".join(
        f"no {kind} in {batch}, where its share in other batches leads to {expected:,.0f} cells (found in {n} units, "
        f"p {p:.1g})" for expected, kind, batch, p, n in found[:4]
    )  # fmt: skip
    empty = int((table == 0).to_numpy().sum())
    return [
        Finding(
            severity="warning",
            code="composition-subsampled",
            message=f"{len(found)} of {table.size} batch × cell type groups were left out as a whole ({empty} are "
            "empty): cells were subsampled, gated or annotated batch by batch, so compositions are distorted",
            evidence=shown + (f"; and {len(found) - 4} more groups" if len(found) > 4 else ""),
            cure="do not read proportions as biology; compare patients within batches",
        )
    ]


def capped(dataset: Dataset) -> list[Finding]:
    """Return groups of cells that were cut to the same number: a cap piles groups up at the largest count."""
    roles = dataset.roles
    columns = {"unit": dataset.unit}
    for role in ("batch", "label", "cell_type", "sample"):
        column = getattr(roles, role)
        if column is not None:
            columns[role] = dataset.obs[column]
    frame = pd.DataFrame(columns)
    wanted = [
        ("batch", "label", "cell_type"), ("batch", "cell_type"), ("sample", "cell_type"), ("unit", "cell_type"),
        ("batch",), ("sample",), ("unit",),
    ]  # fmt: skip
    for group in wanted:
        if not set(group) <= set(frame):
            continue
        counts = frame.dropna(subset=list(group)).groupby(list(group), observed=True).size()
        most = int(counts.max()) if len(counts) else 0
        at_most = int((counts == most).sum())
        if most < _CAP_CELLS or at_most < max(_CAP_GROUPS, int(np.ceil(_CAP_SHARE * len(counts)))):
            continue
        typed = "cell_type" in group
        what = " × ".join(group).replace("cell_type", "cell type")
        names = counts.index[counts == most]
        return [
            Finding(
                severity="warning" if typed else "info",
                code="capped-counts",
                message=f"{at_most} of {len(counts)} groups of {what} hold exactly {most} cells, and none holds more: "
                + (
                    "cells were subsampled by group, so compositions are distorted"
                    if typed
                    else "cells were subsampled"
                ),
                evidence=first(" × ".join(map(str, n)) if isinstance(n, tuple) else n for n in names),
                cure="do not read proportions as biology" if typed else "",
            )
        ]
    return []
