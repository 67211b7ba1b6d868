"""`stratify`: the patient stratification study. Cohort → groups of held-out patients → outcome and differences."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mmcell.audit.telling import telling
from mmcell.digest import stream
from mmcell.errors import MmcellError
from mmcell.progress import Progress
from mmcell.provenance import provenance
from mmcell.records import Finding, Provenance
from mmcell.stratification.assignment import Assignment, assignment, ordered
from mmcell.stratification.cohort import Cohort, Source, open_cohort
from mmcell.stratification.consensus import Consensus, consensus
from mmcell.stratification.difference import associations, differences
from mmcell.stratification.ends import Early
from mmcell.stratification.findings import findings_of
from mmcell.stratification.outcome import Outcome, outcome_of
from mmcell.stratification.stability import LEAST, Stability, stability
from mmcell.stratification.vectors import Axes, Vectors, coarse

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Plot

Scale = Literal["auto", "standardise", "centre"]
#: From this concordance or AUROC on, a column says of the outcome what no measurement does.
_TELLS = 0.9
#: What everybody is in where there are no groups.
ALL = "all"


@dataclass(frozen=True, eq=False)
class Stratification:
    """What `stratify` found.

    Attributes
    ----------
    groups
        A row per patient: ``group`` (held out), ``certainty``, ``in_sample``, ``in_sample_certainty``, then outcome,
        batch and covariates. With one group, ``group`` is ``all`` and there is no certainty.
    k
        Number of groups; 1 where none are stable.
    stability
        What each number of groups is worth beside one cluster.
    outcome, in_sample
        What became of the held-out groups, and beside it of the in-sample ones.
    differences, associations
        See `mmcell.stratification.difference`.
    findings
        What a reader must know: leaks first.
    parameters
        What was asked.
    provenance
        Versions, machine and time.
    scores, share
        (n, axes) places of the patients on the principal axes of all of them, and the share of the variance of each.
    together
        (n, n) share of the resampled rules that put two patients into one group; empty with one group.
    ari
        Adjusted Rand index between held-out and in-sample groups; NaN with one group.
    """

    groups: pd.DataFrame
    k: int
    stability: Stability
    outcome: Outcome
    in_sample: Outcome
    differences: pd.DataFrame
    associations: pd.DataFrame
    findings: tuple[Finding, ...]
    parameters: Mapping[str, Any]
    provenance: Provenance
    scores: np.ndarray = field(repr=False)
    share: np.ndarray = field(repr=False)
    together: np.ndarray = field(repr=False)
    ari: float = float("nan")

    def write(self, folder: str | Path) -> Path:
        """Write tables, figures, ``stratification.json`` and ``report.html``; return the folder.

        Parameters
        ----------
        folder
            Made where it is not there.

        Raises
        ------
        MmcellError
            The folder cannot be written.
        """
        from mmcell.stratification.tables import write

        return write(self, Path(folder))

    def report(self, path: str | Path) -> Path:
        """Write the report as one page, and return where it is.

        Parameters
        ----------
        path
            Of the file.

        Raises
        ------
        MmcellError
            The file cannot be written.
        """
        from mmcell.stratification.report import write_page

        return write_page(self, Path(path))

    def kaplan_meier(self, ax: Plot | None = None) -> Plot:
        """Draw the survival (where events compete the incidence) of held-out groups with 95 % bands; return the axes.

        Parameters
        ----------
        ax
            Where it is drawn; default: a figure of its own.

        Raises
        ------
        MmcellError
            The outcome is not survival.
        """
        from mmcell.stratification.curves import plot_survival

        return plot_survival(self.outcome, ax)


def stratify(
    cohort: Source,
    *,
    embedding: Any = None,
    patient_encoder: Any = None,
    unit: str | None = None,
    time: str | None = None,
    event: str | None = None,
    label: str | None = None,
    positive: str | None = None,
    covariates: Sequence[str] | None = None,
    batch: str | None = None,
    cell_type: str | None = None,
    features: str | None = None,
    modality: str | None = None,
    preprocessing: str | None = None,
    early: Early = "error",
    k: int | Literal["auto"] = "auto",
    max_k: int = 6,
    components: int = 10,
    scale: Scale = "auto",
    folds: int = 5,
    repeats: int = 5,
    runs: int = 100,
    n_null: int = 99,
    n_permutations: int = 1999,
    n_boot: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    command: str = "",
) -> Stratification:
    """Group patients by what they are made of, and ask what became of the groups.

    Groups come from a consensus of k-means rules on principal axes, their number from a comparison with one cluster of
    the same covariance, skewness and tails (see `mmcell.stratification.stability.stability`), which may well say that
    there are none. Nothing up to here depends on the outcome. Every patient's group is that of a rule that was learnt
    without this patient, and outcomes are compared between these held-out groups.

    Parameters
    ----------
    cohort
        A `Dataset`, its name or card; a bare ``.h5ad``, ``.h5mu`` or ``.zarr``; or a table with a row a patient
        (``.csv``, ``.tsv``, ``.parquet``, or a frame), whose numeric columns without a role are the embedding.
    embedding
        An encoder or its name, or an `Embedding` of the cells or of the patients. Default: ``pca`` for expression,
        otherwise the values as they are.
    patient_encoder
        How cells become patients. Default: ``composition`` where cell types are known and no embedding is given,
        otherwise ``pseudobulk``. One that is fitted to labels is refused.
    unit, time, event, label, positive, covariates, batch, cell_type
        Columns, on top of the card's roles: the patient; time and event, or a class of the patient and which value of
        it is the positive one; covariates to adjust for; the batch, within which outcomes are permuted.
    features
        Regular expression of the columns of a table that are the embedding.
    modality, preprocessing
        Which modality is read (default: the first), and what the values of a bare file or a table are (default:
        ``counts`` of a file, ``values`` of a table; ``proportions`` are read, and compared, as centred log-ratios where
        those of every patient add up to 1).
    early
        What becomes of patients whose time is not positive: ``error``, or ``drop`` (they are grouped, and their outcome
        counts as not known).
    k, max_k
        Number of groups; ``auto`` chooses among 1 … `max_k`.
    components
        Principal axes at most.
    scale
        Whether columns are divided by their standard deviation before: ``standardise``, or ``centre`` for those that
        share a unit. ``auto``: the first where rows are patients and nothing was encoded or made log-ratios, otherwise
        the second.
    folds, repeats, runs
        Folds of patients, how often they are drawn, and resampled rules of each consensus.
    n_null, n_permutations, n_boot
        Draws of one cluster, of the tests, and of intervals.
    seed
        Of everything random.
    progress, command
        Called while working with (what, steps done, steps in all); noted in the provenance.

    Returns
    -------
    Stratification
        Groups, their stability, what became of them, and what they are made of; tables are frames.

    Raises
    ------
    MmcellError
        What was asked cannot be done: no such column or file, fewer than 20 patients, an embedding that does not
        vary, more groups than patients allow, an outcome without events.
    """
    began = clock.perf_counter()
    asked: dict[str, Any] = {
        "k": k, "max_k": max_k, "components": components, "scale": scale, "folds": folds, "repeats": repeats,
        "runs": runs, "n_null": n_null, "n_permutations": n_permutations, "n_boot": n_boot, "seed": seed,
    }  # fmt: skip
    _check(asked | {"early": early})
    roles = {
        "unit": unit, "time": time, "event": event, "label": label, "positive": positive, "batch": batch,
        "cell_type": cell_type, "clinical": tuple(covariates or ()),
    }  # fmt: skip
    opened = open_cohort(
        cohort, embedding=embedding, patient_encoder=patient_encoder, modality=modality, preprocessing=preprocessing,
        features=features, roles=roles, seed=seed, early=early,
    )  # fmt: skip
    standardise = scale == "standardise" or (scale == "auto" and opened.plain and not opened.whole)
    asked |= {"dataset": opened.dataset.name, "fingerprint": opened.dataset.fingerprint, "embedding": opened.encoder}
    if opened.dataset.card.time_unit and opened.kind == "survival":
        asked["time_unit"] = opened.dataset.card.time_unit
    if opened.plain:
        asked["columns"] = opened.columns_read(opened.dataset.anndata(opened.modality).n_vars)
    asked |= {"scale": "standardise" if standardise else "centre", "roles": {r: v for r, v in roles.items() if v}}
    # One BLAS thread: on matrices this small several spin rather than help, and sums depend on their number.
    with threadpool_limits(1, user_api="blas"):
        found = _study(opened, asked, standardise, progress or (lambda *_: None))
    return Stratification(**found, parameters=asked, provenance=provenance(clock.perf_counter() - began, command))


def _check(asked: Mapping[str, Any]) -> None:
    for name, least in (
        ("max_k", 2), ("components", 1), ("folds", 2), ("repeats", 1), ("runs", 10), ("n_null", 19),
        ("n_permutations", 99), ("n_boot", 100), ("seed", 0),
    ):  # fmt: skip
        if asked[name] < least:
            raise MmcellError(f"stratify: {name} is {asked[name]}; give {least} or more")
    if asked["k"] != "auto" and (not isinstance(asked["k"], int) or asked["k"] < 2):
        raise MmcellError(f"stratify: k is {asked['k']!r}; give a number of groups from 2 on, or auto")
    if max(asked["max_k"], 0 if asked["k"] == "auto" else asked["k"]) > 26:
        raise MmcellError("stratify: more than 26 groups are no stratification; give a smaller k")
    if asked["early"] not in get_args(Early):
        raise MmcellError(f"stratify: early is {asked['early']!r}; use error or drop")
    if asked["scale"] not in ("auto", "standardise", "centre"):
        raise MmcellError(f"stratify: scale is {asked['scale']!r}; use auto, standardise or centre")


def _study(cohort: Cohort, asked: Mapping[str, Any], standardise: bool, progress: Progress) -> dict[str, Any]:
    seed, patients, n = asked["seed"], cohort.patients, len(cohort.patients)
    forced = asked["k"] != "auto"
    most = n // LEAST
    if forced and asked["k"] > most:
        raise MmcellError(f"stratify: {asked['k']} groups of {n} patients are too many; give k of at most {most}")
    steps = asked["folds"] * asked["repeats"] + 3
    progress("groups of all patients", 0, steps)
    vectors = Vectors(cohort, seed)
    x = vectors.of(patients)
    axes = Axes.fit(x, asked["components"], standardise)
    scores = axes.transform(x)
    ks = tuple(sorted({*range(2, min(asked["max_k"], most) + 1), *([asked["k"]] if forced else [])}))
    stable = stability(scores, ks, n_null=asked["n_null"], rng=stream(seed, "stratify", "stability"))
    k = asked["k"] if forced else stable.k
    progress("held-out groups", 1, steps)
    reference: Consensus | None = None
    assigned: Assignment | None = None
    groups = pd.DataFrame(
        {"group": ALL, "certainty": np.nan, "in_sample": ALL, "in_sample_certainty": np.nan}, patients
    )
    if k > 1:
        reference = ordered(consensus(scores, k, asked["runs"], stream(seed, "stratify", "reference")))
        assigned = assignment(
            patients, vectors.of, reference, components=asked["components"], standardise=standardise,
            folds=asked["folds"], repeats=asked["repeats"], runs=asked["runs"], seed=seed,
            progress=lambda done: progress("held-out groups", 1 + done, steps),
        )  # fmt: skip
        groups = assigned.frame
    progress("outcome and differences", steps - 2, steps)
    draws = {"n_permutations": asked["n_permutations"]}
    outcome = outcome_of(cohort, groups["group"], **draws, rng=stream(seed, "stratify", "outcome"))
    inside = outcome_of(cohort, groups["in_sample"], **draws, rng=stream(seed, "stratify", "in-sample"), ratios=False)
    rng = stream(seed, "stratify", "differences")
    boot = {**draws, "n_boot": asked["n_boot"]}
    differ = differences(cohort, groups["group"], **boot, rng=rng)
    follow = associations(cohort, groups["group"], **draws, rng=stream(seed, "stratify", "associations"))
    few = coarse(x, cohort.columns_read(x.shape[1])) if cohort.pooling is None else []
    columns, truth = cohort.values if cohort.plain else None, cohort.truth
    told = {} if columns is None or truth is None else telling(columns, truth, _TELLS)
    found = findings_of(cohort, stable, k, forced, assigned, outcome, follow, few, told)
    return {
        "groups": _described(cohort, groups), "k": k, "stability": stable, "outcome": outcome, "in_sample": inside,
        "differences": differ, "associations": follow, "findings": tuple(found), "scores": scores, "share": axes.share,
        "together": np.zeros((0, 0)) if reference is None else reference.together,
        "ari": math.nan if assigned is None else assigned.ari,
    }  # fmt: skip


def _described(cohort: Cohort, groups: pd.DataFrame) -> pd.DataFrame:
    """Return the groups with what is known of every patient."""
    facts = cohort.covariates
    if cohort.batch is not None:
        facts = facts.assign(**{str(cohort.dataset.roles.batch): cohort.batch})
    known = cohort.outcome.reindex(groups.index)
    facts = facts[[c for c in facts if c not in groups.columns.union(known.columns)]]
    return pd.concat([groups, known, facts.reindex(groups.index)], axis=1).rename_axis("patient")
