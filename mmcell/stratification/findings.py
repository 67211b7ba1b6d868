"""What a reader of a stratification must know: leaks first, then warnings, then information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mmcell.audit.clinical import covariates_tell, outcome_findings
from mmcell.audit.evidence import ordered
from mmcell.audit.units import positive_class
from mmcell.errors import first
from mmcell.records import Finding
from mmcell.report.words import counted
from mmcell.stratification.assignment import Assignment
from mmcell.stratification.cautions import cautions, competing
from mmcell.stratification.cohort import Cohort
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.stability import ALPHA, LEAST, LEAST_SHARE, MISSED, Stability
from mmcell.stratification.vectors import FEW_VALUES

#: From this Cramér's V, or share of the rank variance, on the groups are little else than what they go with.
_LARGE = {"Cramér's V": 0.5, "η² of ranks": 0.25}
#: Groups that agree less with the rule that has seen everybody do not come back in new patients.
_AGREE = 0.6
#: Resampled rules that agree less draw the borders elsewhere every time.
_FIRM = 0.7
#: A patient whose repeats agree less is between groups.
_SURE = 0.8
_WORDS = {
    "n_items": "the number of cells", "depth": "the depth", "n_features": "the number of detected features",
    "share_mito": "the mitochondrial share",
}  # fmt: skip


def findings_of(
    cohort: Cohort, stability: Stability, k: int, forced: bool, assigned: Assignment | None, outcome: Outcome,
    associations: pd.DataFrame, coarse: Sequence[str] = (), told: Mapping[str, str] | None = None,
) -> list[Finding]:  # fmt: skip
    """Return what must be known; `coarse` are the columns of few values, `told` those that tell the outcome."""
    found = [*_groups(stability, k, forced, len(cohort.patients)), *_cohort(cohort, outcome), *_by_default(cohort)]
    found += [*_telling(told or {}), *_coarse(coarse), *competing(outcome), *_broken(cohort), *_clinical(cohort)]
    if assigned is not None:
        found += [*_assigned(assigned), *_followed(associations), *cautions(outcome)]
    return ordered(found)


def _broken(cohort: Cohort) -> list[Finding]:
    """Name the patients whose proportions are none: some of a composition that is whole for all others."""
    if not 0 < len(cohort.broken) < len(cohort.patients) / 2:
        return []
    return [
        Finding(
            severity="warning", code="proportions-not-whole", evidence=first(cohort.broken, 12),
            message=f"the proportions of {len(cohort.broken)} patients do not add up to 1, so all are grouped by the "
            "values as they are, and not by their log-ratios",
            cure="mend or leave out these rows, or add the column of what is missing",
        )
    ]  # fmt: skip


def _by_default(cohort: Cohort) -> list[Finding]:
    """Name the columns that nobody chose: a second outcome among them would be in the groups."""
    if not cohort.by_default:
        return []
    found = []
    if cohort.passed_over:
        found.append(
            Finding(
                severity="info", code="columns-passed-over", evidence=first(cohort.passed_over, 12),
                message="columns of text or yes and no without a role are read by nothing",
                cure="name those that matter as --covariates or --batch",
            )
        )  # fmt: skip
    return [
        *found,
        Finding(
            severity="warning", code="features-by-default", evidence=first(cohort.by_default, 12),
            message=f"patients are grouped by every numeric column without a role ({len(cohort.by_default)}); an "
            "outcome or an id among them would make the groups",
            cure="name the columns to group by with --features",
        )
    ]  # fmt: skip


def _clinical(cohort: Cohort) -> list[Finding]:
    """Return what every audit of these patients says of their times, events and covariates."""
    roles, truth = cohort.dataset.roles, cohort.truth
    found = positive_class(cohort.dataset) if cohort.positive else []
    if cohort.kind == "survival":
        assert roles.outcome is not None
        found += outcome_findings(cohort.outcome, roles.outcome, cohort.batch, cohort.dataset.card.time_unit)
    if truth is not None:
        found += covariates_tell(cohort.covariates, truth, "outcome" if cohort.kind == "survival" else "label")
    return found


def _telling(told: Mapping[str, str]) -> list[Finding]:
    """Name columns that are, in all likelihood, an outcome themselves."""
    if not told:
        return []
    return [
        Finding(
            severity="leak", code="features-tell-outcome",
            evidence="; ".join(f"{name} {said}" for name, said in list(told.items())[:12]),
            message=f"{counted(len(told), 'column')} that patients are grouped by nearly "
            f"{'gives' if len(told) == 1 else 'give'} the outcome alone",
            cure="leave outcomes, and what follows from them, out with --features",
        )
    ]  # fmt: skip


def _coarse(names: Sequence[str]) -> list[Finding]:
    """Name columns of few values, each of which makes groups by itself."""
    if not names:
        return []
    have = "has" if len(names) == 1 else "have"
    return [
        Finding(
            severity="warning", code="features-of-few-values", evidence=first(names, 12),
            message=f"{counted(len(names), 'column')} that patients are grouped by {have} "
            f"fewer than {FEW_VALUES} different values: such a column is groups by itself, of whatever meaning",
            cure="leave classes and codes out with --features, and see whether the groups stay",
        )
    ]  # fmt: skip


def _groups(stability: Stability, k: int, forced: bool, n: int) -> list[Finding]:
    table, evidence = stability.table, f"p = {stability.p:.2g} over k = {first(stability.table['k'], 9)}"
    if k == 1:
        return [
            Finding(
                severity="warning", code="no-stable-groups", evidence=evidence,
                message="no number of groups is more stable and compact than one cluster of the same shape",
                cure=f"do not speak of types: there is no evidence of any; but {MISSED}",
            )
        ]  # fmt: skip
    row = table[table["k"] == k].iloc[0]
    found = []
    if forced and not row["p"] <= ALPHA:
        why = row["reason"] or f"p = {row['p']:.2g}, adjusted over all k"
        found.append(
            Finding(
                severity="warning", code="groups-forced", evidence=why,
                message=f"{k} groups were asked for, and are no more stable and compact than those of one cluster",
                cure="speak of lower and higher, not of types: there is no evidence of any",
            )
        )  # fmt: skip
    if not forced and k == table["k"].max():
        found.append(
            Finding(
                severity="info", code="most-groups",
                message=f"{k} is the largest number of groups that was tried: there may be more",
                evidence=evidence, cure="raise max_k",
            )
        )  # fmt: skip
    if row["stability"] < _FIRM and row["p"] <= ALPHA:
        found.append(
            Finding(
                severity="warning", code="soft-borders", evidence=f"agreement of rules {row['stability']:.2f}",
                message="the patients are not one cluster, and yet borders between groups move with who is sampled",
                cure="read patients near a border by their certainty, and compare fewer groups with --k",
            )
        )  # fmt: skip
    least = max(LEAST, int(np.ceil(LEAST_SHARE * n)))
    if row["smallest"] < least:
        found.append(
            Finding(
                severity="warning", code="small-group", evidence=f"{row['smallest']} of {n} patients",
                message="the smallest group holds a handful of patients, perhaps outliers",
                cure="look at these patients one by one, or take fewer groups",
            )
        )  # fmt: skip
    return found


def _assigned(assigned: Assignment) -> list[Finding]:
    frame, found = assigned.frame, []
    if assigned.ari < _AGREE:
        found.append(
            Finding(
                severity="warning", code="not-reproduced",
                message="held-out patients often fall into another group than when the rule has seen them",
                evidence=f"adjusted Rand index {assigned.ari:.2f} between held-out and in-sample groups",
                cure="take fewer groups or more patients before anybody acts on a group",
            )
        )  # fmt: skip
    unsure = frame.index[frame["certainty"] < _SURE]
    if len(unsure):
        found.append(
            Finding(
                severity="info", code="uncertain-patients",
                message=f"{len(unsure)} of {len(frame)} patients lie between groups: fewer than {100 * _SURE:.0f} % of "
                "the repeats agree on theirs",
                evidence=first(unsure, 5), cure="read their certainty before their group",
            )
        )  # fmt: skip
    lost = sorted(set(frame["in_sample"]) - set(frame["group"]))
    if lost:
        found.append(
            Finding(
                severity="warning", code="group-lost", message=f"no held-out patient falls into group {first(lost)}",
                cure="take fewer groups",
            )
        )  # fmt: skip
    return found


def _followed(associations: pd.DataFrame) -> list[Finding]:
    """Say what the groups go with that is not the question.

    A batch or a measurement counts from p ≤ 0.05 on, each by itself, for a warning too many costs little; a covariate
    from a false discovery rate of 5 % on.
    """
    found = []
    for row in associations.itertuples():
        if not row.p <= ALPHA or (row.kind == "clinical" and not row.q <= ALPHA):
            continue
        large = row.effect >= _LARGE[str(row.measure)]
        evidence = f"{row.measure} {row.effect:.2f}, p = {row.p:.2g} by permutation, {row.n} patients"
        name = _WORDS.get(str(row.name), str(row.name))
        if row.kind == "batch":
            found.append(
                Finding(
                    severity="leak" if large else "warning", code="groups-are-batches", evidence=evidence,
                    message=f"the groups go with the batch {name!r}" + (": they are largely batches" if large else ""),
                    cure="correct or balance the batches, or stratify within each of them",
                )
            )  # fmt: skip
        elif row.kind == "technical":
            found.append(
                Finding(
                    severity="leak" if large else "warning", code="groups-follow-measurement", evidence=evidence,
                    message=f"the groups go with {name}" + (": they largely tell how patients were measured" if large
                    else ""),
                    cure="see whether the groups stay with equally many cells and like depth of every patient",
                )
            )  # fmt: skip
        else:
            found.append(
                Finding(
                    severity="info", code="groups-follow-covariate", evidence=evidence,
                    message=f"the groups go with the covariate {name}",
                    cure="read the adjusted ratios: what the covariate says needs no embedding",
                )
            )  # fmt: skip
    return found


def _cohort(cohort: Cohort, outcome: Outcome) -> list[Finding]:
    found, every = [], set(cohort.dataset.units)
    lacking = sorted(every - set(cohort.patients))
    if lacking:
        found.append(
            Finding(
                severity="warning", code="patients-without-embedding", evidence=first(lacking, 5),
                message=f"{len(lacking)} of {len(every)} patients have no row in the embedding and are left out",
                cure="embed them, too; who is missing is seldom missing at random",
            )
        )  # fmt: skip
    if cohort.timeless:
        found.append(
            Finding(
                severity="warning", code="patients-without-time", evidence=first(cohort.timeless, 5),
                message=f"{counted(len(cohort.timeless), 'patient')} with a time that is not positive "
                f"{'counts' if len(cohort.timeless) == 1 else 'count'} in no test", cure="correct the times",
            )
        )  # fmt: skip
    missing = len(cohort.patients) - len(outcome.frame)
    if missing and outcome.kind != "none":
        found.append(
            Finding(
                severity="info", code="patients-without-outcome",
                message=f"of {missing} of {len(cohort.patients)} patients the outcome is not known: they have a group, "
                "and count in no test",
            )
        )  # fmt: skip
    if outcome.kind == "none":
        found.append(
            Finding(
                severity="info", code="no-outcome", message="no outcome was named, so groups are described only",
                cure="give --time and --event, or --label",
            )
        )  # fmt: skip
    return found
