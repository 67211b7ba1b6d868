"""How patients lie to each other in an embedding: a map, grouping by state and by batch, and repeated samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap

from mmcell.embedding import Embedding
from mmcell.errors import number_of
from mmcell.metrics.patients import anosim, robustness_of_patients
from mmcell.stats.units import MINIMUM

#: Permutations of ANOSIM.
_DRAWS = 999
#: More patients than this have too many pairs.
_MOST = 4000


def geometry(
    vectors: Embedding,
    facts: pd.DataFrame,
    held_out: np.ndarray,
    *,
    state: str,
    within: tuple[str, ...] = (),
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return how patients lie to each other, by Euclidean distances between their vectors as they are.

    Parameters
    ----------
    vectors
        (n, d) one row a patient, all from one fitted encoder.
    facts
        (n,) rows in the same order; text in the column `state` and in ``batch``, missing where unknown.
    held_out
        (n,) whether the encoder was fitted without the patient.
    state
        What the task asks: its column among the facts, "" where that is no class.
    within
        Columns within whose groups states are permuted.
    rng
        Of the permutations.

    Returns
    -------
    dict
        JSON-able: ``patients``, ``held_out``, ``map`` (n, 2) by classical scaling with the ``share`` of the variance
        that it shows, ``facts`` (column -> values), and ``anosim`` (a row for the state and one for the batch, which is
        a leak: ``of r p n n_groups within reason``).
    """
    x = vectors.values.astype(np.float64)
    found: dict[str, Any] = {
        "patients": [*map(str, vectors.ids)], "held_out": [*map(bool, held_out)], "anosim": [],
        "facts": {str(c): [None if pd.isna(v) else str(v) for v in facts[c]] for c in facts},
    }  # fmt: skip
    found["map"], found["share"] = _scaled(x)
    many = len(x) > _MOST
    distance = np.zeros((0, 0)) if many else cdist(x, x)
    for column in dict.fromkeys((*([state] if state else []), "batch")):
        if column not in facts:
            continue
        known = facts[column].notna().to_numpy()
        strata = [c for c in within if c != column and c in facts]
        row: dict[str, Any] = {
            "of": column, "r": None, "p": None, "n": int(known.sum()), "n_groups": int(facts[column].nunique()),
            "within": strata, "reason": f"more than {_MOST:,} patients" if many else "fewer than three patients",
        }  # fmt: skip
        if not many and known.sum() > 2:
            inside = facts.loc[known, strata].astype(str).agg("|".join, axis=1).to_numpy() if strata else None
            r = anosim(distance[np.ix_(known, known)], facts.loc[known, column].to_numpy(), _DRAWS, rng, inside)
            row |= {"r": None if np.isnan(r.r) else r.r, "p": None if np.isnan(r.p_value) else r.p_value, "reason": ""}
            if row["r"] is None:
                row["reason"] = "no two patients of one group, or one group only"
            elif row["p"] is None:
                row["reason"] = f"{column} does not vary within {', '.join(strata)}"
        found["anosim"].append(row)
    return found


def robustness(samples: Embedding, facts: pd.DataFrame, *, n_boot: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return how often a patient's samples lie closer to each other than to those of others like them.

    Parameters
    ----------
    samples
        (n, d) one row a sample, all from one fitted encoder.
    facts
        (n,) rows in the same order: ``patient``, and as text what a patient is compared within.
    n_boot, rng
        Draws of the interval over patients.

    Returns
    -------
    dict
        JSON-able: ``value``, its 95 % BCa interval ``ci_low ci_high`` (none of fewer than 10 patients), ``n_patients``
        with two samples or more and others to be told from, ``n_samples``, ``reason``.
    """
    like = facts.assign(patient="").itertuples(index=False)
    group = np.array(["|".join(map(str, row)) for row in like], dtype=object)
    x = samples.values.astype(np.float64)
    of = robustness_of_patients(cdist(x, x), facts["patient"].to_numpy(), group)
    found: dict[str, Any] = {
        "value": float(of.mean()) if len(of) else None, "ci_low": None, "ci_high": None, "n_patients": len(of),
        "n_samples": len(x), "reason": "" if len(of) else "no patient has two samples and others to be told from",
    }  # fmt: skip
    if len(of) >= MINIMUM and np.ptp(of) > 0:
        interval = bootstrap((of.to_numpy(),), np.mean, n_resamples=n_boot, rng=rng).confidence_interval
        found |= {"ci_low": float(interval.low), "ci_high": float(interval.high)}
    elif len(of):
        found["reason"] = (
            f"no interval of {number_of(len(of), 'patient')}" if len(of) < MINIMUM else "the same for all patients"
        )
    return found


def _scaled(x: np.ndarray) -> tuple[list[list[float]], list[float]]:
    """Return (n, 2) coordinates by classical scaling of Euclidean distances, and the share of variance of each."""
    centred = x - x.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    total = float((size**2).sum())
    places = np.zeros((len(x), 2))
    share = np.zeros(2)
    for i in range(min(2, len(size))):
        # Rounding is no direction, and of the two signs the larger side is positive.
        if size[i] > 1e-9 * max(size[0], 1e-300) and total > 0:
            column = left[:, i] * size[i]
            places[:, i] = column * np.sign(column[np.argmax(np.abs(column))])
            share[i] = size[i] ** 2 / total
    return [[float(a), float(b)] for a, b in places], [*map(float, share)]
