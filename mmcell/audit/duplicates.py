"""Profiles that occur more than once, exactly or nearly: in two units they lie on both sides of a split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from mmcell.audit.values import sampled
from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.errors import first
from mmcell.matrix import slices
from mmcell.records import Finding

#: Sparse profiles with fewer values than this meet by chance, and are left out.
_DETECTED = 20
#: Vectors with fewer dimensions have near neighbours anyway, and so have those of up to 50 columns that move together:
#: their effective number of dimensions is (Σλ)²/Σλ², λ the variances along their axes.
_DIMENSIONS, _FEW, _EFFECTIVE = 10, 50, 4.0
_COSINE = 0.999
#: A near duplicate is so much nearer than the tenth neighbour of a typical row.
_NEARER = 0.1
_AXES, _NEIGHBOURS, _TYPICAL = 16, 6, 1000
#: Values of a block of rows that is dense at a time.
_BLOCK = 20_000_000
#: Rows among which near duplicates are looked for: of more, so many are drawn.
_MOST = 200_000


def duplicate_findings(
    x: Any, ids: pd.Index, unit: pd.Series | None, what: str, *, counts: bool, seed: int = 0,
    batch: pd.Series | None = None, label: pd.Series | None = None,
) -> list[Finding]:  # fmt: skip
    """Return exact and near duplicates among the rows of a matrix.

    Parameters
    ----------
    x
        (n, d) dense or sparse, in memory or on disk; for counts their logarithms.
    ids
        (n,) row ids.
    unit
        Row id -> unit; None where nobody said which column it is.
    what
        What messages call the rows' values.
    counts
        Whether zeros mean that nothing was seen: profiles with fewer than 20 seen features are then left out.
    seed
        Of the projection.
    batch, label
        Row id -> batch and label, named as their columns are; None where there are none. A pair in two batches is on
        both sides of a split that leaves one out; with one label besides it is likely one patient.
    """
    columns = [c for c in (batch, label) if c is not None]
    seen = _seen(x) if counts else np.full(len(ids), x.shape[1])
    # With few features there are no rich profiles; then most of them is what can be asked for.
    usable = np.flatnonzero(seen >= (min(_DETECTED, x.shape[1] // 2 + 1) if counts else 1))
    exact = exact_duplicates(x, usable)
    found = _exact_findings(exact, ids, unit, what, columns)
    same = {row for group in exact for row in group[1:]}
    rest = np.array([r for r in usable if r not in same], dtype=np.int64)
    if len(rest) > _MOST:
        # Every copy is looked for among all rows; what is nearly one takes several passes.
        found.append(sampled(what, "near duplicates", _MOST, len(rest)))
        rest = np.sort(stream(seed, "near duplicates").choice(rest, _MOST, replace=False))
    return found + _near_findings(near_duplicates(x, rest, seed=seed), ids, unit, what, columns)


def of_row(dataset: Dataset, role: str) -> pd.Series | None:
    """Return row id -> what the column of a role holds; None where there is no such column."""
    column = dataset.roles.columns.get(role)
    return None if column is None else dataset.obs[column]


def _seen(x: Any) -> np.ndarray:
    counts = [np.asarray((x[some] != 0).sum(axis=1)).ravel() for some in slices(x)]
    return np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)


def exact_duplicates(x: Any, rows: np.ndarray) -> list[np.ndarray]:
    """Return groups of rows (two or more each) whose values are the same, by a digest of each row."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for chosen in _blocks(x, rows):
        block = x[chosen]
        if hasattr(block, "indptr"):
            block = block.tocsr().sorted_indices()
            block.eliminate_zeros()
            ends = zip(block.indptr[:-1], block.indptr[1:], strict=True)
            content = (block.indices[a:b].tobytes() + block.data[a:b].tobytes() for a, b in ends)
        else:
            # Adding 0 turns −0 into 0.
            content = (row.tobytes() for row in np.ascontiguousarray(np.asarray(block) + 0))
        for row, values in zip(chosen, content, strict=True):
            groups[hashlib.blake2b(values, digest_size=16).digest()].append(int(row))
    return [np.array(g) for g in groups.values() if len(g) > 1]


def near_duplicates(x: Any, rows: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return pairs (m, 2) of rows whose centred profiles point the same way and that no third row comes near.

    Rows are centred and scaled to length 1. Projected on orthonormal axes two rows come only nearer, so that every
    pair within the radius is among the neighbours within it in 16 dimensions (of which the five nearest are looked
    at); these pairs are then verified with all values.

    Parameters
    ----------
    x
        (n, d) dense or sparse.
    rows
        Which rows.
    seed
        Of the axes, and of the rows that tell the typical distance.
    """
    if len(rows) < 20 or x.shape[1] < _DIMENSIONS:
        return np.zeros((0, 2), dtype=np.int64)
    rng = stream(seed, "duplicates")
    mean, norm = _moments(x, rows)
    rows, norm = rows[norm > 0], norm[norm > 0]
    if x.shape[1] <= _FEW and _effective(x, rows, mean, norm) < _EFFECTIVE:
        return np.zeros((0, 2), dtype=np.int64)
    axes = _axes(x, rows, mean, rng)
    points = _projected(x, rows, mean, axes) / norm[:, None]
    tree = cKDTree(points)
    asked = rng.choice(len(rows), min(_TYPICAL, len(rows)), replace=False)
    typical = float(np.median(tree.query(points[asked], k=min(11, len(rows)))[0][:, -1]))
    radius = min(np.sqrt(2 * (1 - _COSINE)), _NEARER * typical)
    if radius <= 0:
        return np.zeros((0, 2), dtype=np.int64)
    distance, neighbour = tree.query(points, k=_NEIGHBOURS, distance_upper_bound=radius)
    a, b = np.nonzero(np.isfinite(distance))
    pairs = np.unique(np.sort(np.stack([a, neighbour[a, b]], axis=1)[a != neighbour[a, b]], axis=1), axis=0)
    keep = np.zeros(len(pairs), dtype=bool)
    for some in _blocks(x, np.arange(len(pairs))):
        one, two = ((_dense(x[rows[s]]) - mean) / norm[s, None] for s in pairs[some].T)
        keep[some] = np.linalg.norm(one - two, axis=1) <= radius
    return rows[pairs[keep]]


def _dense(block: Any) -> np.ndarray:
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float64)


def _moments(x: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean row and the length of each centred row."""
    mean = sum(np.asarray(x[some].sum(axis=0), dtype=np.float64).ravel() for some in _blocks(x, rows)) / len(rows)
    norm = [np.linalg.norm(_dense(x[some]) - mean, axis=1) for some in _blocks(x, rows)]
    return np.asarray(mean), np.concatenate(norm)


def _effective(x: Any, rows: np.ndarray, mean: np.ndarray, norm: np.ndarray) -> float:
    """Return along how many axes the centred rows of length 1 differ, were their variances equal."""
    scaled = (_dense(x[rows]) - mean) / norm[:, None]
    variance = np.linalg.eigvalsh(scaled.T @ scaled)
    return float(variance.sum() ** 2 / max((variance**2).sum(), np.finfo(float).tiny))


def _axes(x: Any, rows: np.ndarray, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return orthonormal axes (d, ≤ 16): the principal ones of some of the rows."""
    some = np.sort(rng.choice(rows, min(500, len(rows)), replace=False))
    centred = _dense(x[some]) - mean
    # From the products of rows: with thousands of columns, quicker by far than a decomposition of the rows.
    leading = np.linalg.eigh(centred @ centred.T)[1][:, ::-1][:, :_AXES]
    return np.linalg.qr(centred.T @ leading)[0]


def _projected(x: Any, rows: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(x[some] @ axes) - mean @ axes for some in _blocks(x, rows)])


def _blocks(x: Any, rows: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK // x.shape[1])
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _exact_findings(
    groups: list[np.ndarray], ids: pd.Index, unit: pd.Series | None, what: str, columns: list[pd.Series]
) -> list[Finding]:
    if not groups:
        return []
    crossing: list[np.ndarray] = []
    within: list[np.ndarray] = []
    for group in groups:
        units = set() if unit is None else set(unit.reindex(ids[group]))
        (crossing if len(units) > 1 else within).append(group)
    found = []
    for chosen, across in ((crossing, True), (within, False)):
        if chosen:
            n = sum(map(len, chosen))
            text = f"{n} rows of {what} occur more than once with the very same values ({len(chosen)} profiles)"
            named = first("=".join(ids[g[:3]]) for g in sorted(chosen, key=lambda g: g[0]))
            found.append(_finding("exact-duplicates", text, named, across, unit, _ends(chosen), ids, columns))
    return found


def _near_findings(
    pairs: np.ndarray, ids: pd.Index, unit: pd.Series | None, what: str, columns: list[pd.Series]
) -> list[Finding]:
    if not len(pairs):
        return []
    owner = None if unit is None else unit.reindex(ids).to_numpy()
    crossing = np.zeros(len(pairs), dtype=bool) if owner is None else owner[pairs[:, 0]] != owner[pairs[:, 1]]
    found = []
    for chosen, across in ((pairs[crossing], True), (pairs[~crossing], False)):
        if len(chosen):
            text = f"{len(chosen)} pairs of rows of {what} are nearly the same (centred cosine above {_COSINE})"
            named = first("≈".join(ids[p]) for p in chosen)
            found.append(
                _finding("near-duplicates", text, named, across, unit, [tuple(p) for p in chosen], ids, columns)
            )
    return found


def _finding(
    code: str, text: str, named: str, across: bool, unit: pd.Series | None, pairs: list[tuple[Any, ...]],
    ids: pd.Index, columns: list[pd.Series],
) -> Finding:  # fmt: skip
    if across and unit is not None:
        most = _most(pairs, ids, unit)
        evidence = named + ("" if len(pairs) > 1 and most.endswith(" (1)") else f"; most between the units {most}")
        return Finding(
            severity="leak", code=code, message=f"{text}, in different units: they can lie on both sides of a split",
            evidence=evidence + "".join(f"; {_shared(pairs, ids, c)}" for c in columns),
            cure="find out whether two units are one, or drop the copies",
        )  # fmt: skip
    where = "" if unit is None else ", within units"
    return Finding(
        severity="warning", code=code, message=f"{text}{where}", evidence=named,
        cure="drop the copies: they count twice" if unit is not None
        else "drop the copies; name the unit to see whether they cross patients",
    )  # fmt: skip


def _ends(groups: list[np.ndarray]) -> list[tuple[Any, ...]]:
    return [tuple(g[:2]) for g in groups]


def _most(pairs: list[tuple[Any, ...]], ids: pd.Index, column: pd.Series) -> str:
    """Return which two values of a column most pairs lie between, and how many."""
    between = pd.Series([" and ".join(sorted(map(str, column.reindex(ids[list(p)])))) for p in pairs]).value_counts()
    return f"{between.index[0]} ({between.iloc[0]})"


def _shared(pairs: list[tuple[Any, ...]], ids: pd.Index, column: pd.Series) -> str:
    """Say how many pairs have one value of a column, and how many lie between which two."""
    ends = column.reindex(ids).to_numpy(dtype=object)[np.array(pairs)]
    known = pd.notna(ends).all(axis=1)
    apart = known & (ends[:, 0] != ends[:, 1])
    text = f"{column.name}: {int((known & ~apart).sum())} of {len(pairs)} pairs share it"
    two = [p for p, is_apart in zip(pairs, apart, strict=True) if is_apart]
    return f"{text}, {len(two)} lie in two, most in {_most(two, ids, column)}" if two else text
