"""What the groups differ in: composition, concepts and features; covariates, batch and measurement."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mmcell.audit.retention import technical_table
from mmcell.concepts import concept_scores
from mmcell.patients.base import encode_patients
from mmcell.patients.composition import Composition
from mmcell.proportions import floor_of, log_ratios
from mmcell.stats.contrasts import contrasts
from mmcell.stats.multiplicity import adjusted
from mmcell.stratification.cohort import Cohort
from mmcell.stratification.scores import score_permutation
from mmcell.untreated import of_patients, untreated

DIFFERENCES = ("kind", "name", "group", "effect", "ci_low", "ci_high", "p", "q", "n_in", "n_out", "reason")
ASSOCIATIONS = ("kind", "name", "measure", "effect", "p", "q", "n", "reason")
#: More features are those that vary most.
MOST = 100
#: Numbers that a bootstrap holds at once.
_HELD = 20_000_000


def differences(
    cohort: Cohort, group: pd.Series, *, n_boot: int, n_permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Compare every group with the others (two groups: B with A) in what its patients are made of.

    The groups were made from the same measurement, so that p and q describe how large a difference is beside its noise:
    they are no evidence of groups, and no rate of false discoveries.

    Parameters
    ----------
    cohort, group
        Whose, and patient -> group.
    n_boot, n_permutations, rng
        Draws of intervals and p; labels move between patients of one batch.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (``composition``: centred log-ratios; ``concept``: mean scores of a patient's cells; ``feature``), and
        the columns of `contrasts`: Hedges' g of the group, its interval, p, and q by Benjamini–Hochberg over all rows.
    """
    tables = {kind: table.reindex(group.index) for kind, table in _tables(cohort, rng).items()}
    names = sorted(group.unique())
    rows = []
    for kind, table in tables.items():
        known = table.notna().all(axis=1).to_numpy()
        own, values = group[known], table[known].to_numpy(dtype=float)
        strata = None if cohort.batch is None else cohort.batch.reindex(own.index).fillna("unknown").to_numpy()
        step = max(1, _HELD // (n_boot * max(1, len(own))))
        for name in names[1:] if len(names) == 2 else names:
            inside = (own == name).to_numpy()
            if min(inside.sum(), (~inside).sum()) < 2:
                continue
            moves = strata is None or bool(pd.Series(inside).groupby(strata).nunique().gt(1).any())
            for start in range(0, table.shape[1], step):
                part = slice(start, start + step)
                with warnings.catch_warnings():
                    # Of a column that does not vary inside or outside: its interval is none, and has a reason.
                    warnings.filterwarnings("ignore", "The BCa confidence interval cannot be calculated")
                    found = contrasts(
                        values[:, part], inside, [str(c) for c in table.columns[part]], strata=strata, n_boot=n_boot,
                        n_permutations=n_permutations, rng=rng,
                    )  # fmt: skip
                if not moves:
                    found["p"], found["reason"] = np.nan, "no batch has patients inside and outside of the group"
                rows.append(found.assign(kind=kind, group=name))
    if not rows:
        return pd.DataFrame(columns=list(DIFFERENCES))
    every = pd.concat(rows, ignore_index=True).rename(columns={"n_positive": "n_in", "n_negative": "n_out"})
    every["q"] = adjusted(every["p"].to_numpy(), "bh")
    return every[list(DIFFERENCES)]


def _tables(cohort: Cohort, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Return kind -> a row per patient."""
    dataset = cohort.dataset
    found: dict[str, pd.DataFrame] = {}
    if dataset.card.level != "patient":
        if dataset.roles.cell_type is not None:
            found["composition"] = _composition(cohort, rng)
        scores = concept_scores(dataset, cohort.patients)
        if scores is not None:
            found["concept"] = scores[scores.index.isin(untreated(dataset))].groupby(dataset.unit).mean()
        return found
    table = cohort.values
    if table is None:
        return found
    if cohort.whole:
        values = table.to_numpy()
        return {"composition": pd.DataFrame(log_ratios(values, floor_of(values)), table.index, table.columns)}
    if table.shape[1] > MOST:
        keep = np.sort(np.argsort(-table.var().to_numpy(), kind="stable")[:MOST])
        table = table.iloc[:, keep]
    return {"feature": table}


def _composition(cohort: Cohort, rng: np.random.Generator) -> pd.DataFrame:
    """Return the centred log-ratios of all patients, from equally many cells of each."""
    from mmcell.encoders.base import make_encoder
    from mmcell.encoders.encode import encode

    dataset = cohort.dataset
    cells = encode(make_encoder("constant"), "constant", dataset, cohort.modality)
    found = encode_patients(
        Composition(),
        of_patients(cells, dataset),
        dataset.unit,
        cohort.patients,
        cell_type=dataset.obs[dataset.roles.cell_type],
        rng=rng,
    ).vectors
    return pd.DataFrame(found.values, found.ids, list(found.columns))


def associations(cohort: Cohort, group: pd.Series, *, n_permutations: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return how far the groups go with the batch, the measurement and the patients' covariates.

    Parameters
    ----------
    cohort, group, n_permutations, rng
        As in `differences`.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (``batch``, ``technical``, ``clinical``), ``measure`` (Cramér's V of a class, of numbers η² of ranks:
        both from 0 to 1), p by permutation (of all but the batch within batches) and q by Benjamini–Hochberg.
    """
    rows = []
    for kind, table in (_facts(cohort) if len(group.unique()) > 1 else {}).items():
        for name in table:
            column = table[name].reindex(group.index)
            known = column.notna().to_numpy()
            batch = None if kind == "batch" else cohort.batch
            strata = pd.Series("", group.index) if batch is None else batch.reindex(group.index).fillna("unknown")
            row = _association(column[known], group[known], strata[known], n_permutations, rng)
            rows.append({"kind": kind, "name": str(name), "n": int(known.sum()), **row})
    found = pd.DataFrame(rows, columns=list(ASSOCIATIONS))
    found["q"] = adjusted(found["p"].to_numpy(dtype=float), "bh")
    return found


def _facts(cohort: Cohort) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = {}
    if cohort.batch is not None:
        found["batch"] = cohort.batch.to_frame(cohort.dataset.roles.batch)
    if cohort.dataset.card.level != "patient":
        table = technical_table(cohort.dataset, cohort.modality)
        found["technical"] = table.drop(columns="batch", errors="ignore")
    elif cohort.dataset.roles.technical:
        found["technical"] = cohort.dataset.covariates("technical")
    found["clinical"] = cohort.covariates
    return found


def _association(
    column: pd.Series, group: pd.Series, strata: pd.Series, n_permutations: int, rng: np.random.Generator
) -> dict[str, object]:
    number = pd.api.types.is_numeric_dtype(column) and column.nunique() > 2
    measure = "η² of ranks" if number else "Cramér's V"
    if column.nunique() < 2 or group.nunique() < 2:
        reason = "has one value only" if column.nunique() < 2 else "is known in one group only"
        return {"measure": measure, "effect": np.nan, "p": np.nan, "reason": reason}
    if number:
        scores = rankdata(column.to_numpy(dtype=float)).reshape(-1, 1)
    else:
        scores = pd.get_dummies(column.astype(str)).to_numpy(dtype=float)
        scores = scores / np.sqrt(scores.mean(axis=0))
    centred = scores - scores.mean(axis=0)
    codes, sizes = np.unique(group, return_inverse=True, return_counts=True)[1:]
    sums = np.stack([np.bincount(codes, weights=c) for c in centred.T], axis=1)
    between = float((sums**2 / sizes[:, None]).sum())
    if number:
        effect = between / float((centred**2).sum())
    else:
        # χ² over n, by the most it can be.
        effect = float(np.sqrt(between / len(column) / (min(len(sizes), scores.shape[1]) - 1)))
    p = score_permutation(scores, group.to_numpy(), strata.to_numpy(), n_permutations, rng)
    reason = ""
    if not np.isfinite(p):
        apart = group.groupby(strata.to_numpy()).nunique().max() < 2
        reason = (
            "groups do not vary within batches" if apart else "does not vary within batches that hold several groups"
        )
    return {"measure": measure, "effect": effect, "p": p, "reason": reason}
