"""`Assignment`: the group of every patient, by a rule that was learnt without this patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import KFold

from mmcell.digest import stream
from mmcell.errors import MmcellError
from mmcell.stratification.consensus import Consensus, consensus, matched
from mmcell.stratification.vectors import Axes


@dataclass(frozen=True, eq=False)
class Assignment:
    """Groups of patients, largest first, called A, B, ….

    Attributes
    ----------
    frame
        A row per patient: ``group`` (held out: what most repeats say), ``certainty`` (share of the repeats that say
        so), ``in_sample`` (group by the rule that has seen everybody) and ``in_sample_certainty`` (share of its
        resampled rules that say so).
    ari
        Adjusted Rand index between the two.
    """

    frame: pd.DataFrame
    ari: float


def ordered(found: Consensus) -> Consensus:
    """Return the groups by size, the largest first; of equal ones that of the first row."""
    k = len(found.centres)
    order = sorted(range(k), key=lambda j: (-(found.label == j).sum(), np.flatnonzero(found.label == j)[0]))
    new = np.empty(k, dtype=np.int64)
    new[order] = np.arange(k)
    return Consensus(new[found.label], found.centres[order], new[found.votes])


def assignment(
    patients: pd.Index,
    vectors: Callable[[pd.Index], np.ndarray],
    reference: Consensus,
    *,
    components: int,
    standardise: bool,
    folds: int,
    repeats: int,
    runs: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Assignment:
    """Assign every patient by rules that were learnt without it.

    In every fold encoder, patient encoder, scale, axes and rule are fitted on the training patients; the fold's groups
    take the names of those of the reference with which they share most training patients; and held-out patients go to
    the nearest centre. Folds are drawn without a look at the outcome, on which nothing here depends.

    Parameters
    ----------
    patients
        (n,) sorted.
    vectors
        Training patients -> (n, d) vectors of all patients.
    reference
        Groups of all patients, which name those of every fold.
    components, standardise
        See `Axes.fit`.
    folds, repeats, runs, seed
        Folds, how often they are drawn, resampled rules in each, and the seed of everything random.
    progress
        Called with the number of finished folds.

    Raises
    ------
    MmcellError
        More folds than patients.
    """
    n, k = len(patients), len(reference.centres)
    if folds > n:
        raise MmcellError(f"stratify: {n} patients cannot be spread over {folds} folds; use {n} or fewer")
    said = np.empty((repeats, n), dtype=np.int64)
    for repeat in range(repeats):
        state = int(stream(seed, "stratify", "folds", repeat).integers(2**31 - 1))
        for fold, (train, test) in enumerate(KFold(folds, shuffle=True, random_state=state).split(np.zeros((n, 1)))):
            x = vectors(patients[train])
            axes = Axes.fit(x[train], components, standardise)
            rng = stream(seed, "stratify", "rule", repeat, fold)
            rule = consensus(axes.transform(x[train]), k, runs, rng)
            names = matched(rule.label, reference.label[train], k)
            said[repeat, test] = names[rule.assign(axes.transform(x[test]))]
            if progress is not None:
                progress(repeat * folds + fold + 1)
    counts = (said[:, :, None] == np.arange(k)).sum(axis=0)
    group, votes = counts.argmax(axis=1), (reference.votes == reference.label).mean(axis=0)
    letters = np.array([chr(ord("A") + j) for j in range(k)])
    frame = pd.DataFrame(
        {
            "group": letters[group], "certainty": counts.max(axis=1) / repeats,
            "in_sample": letters[reference.label], "in_sample_certainty": votes,
        },
        index=patients,
    )  # fmt: skip
    return Assignment(frame, float(adjusted_rand_score(group, reference.label)))
