"""What a reader must know of what became of groups: how much it rests on, and what stands in the way of a ratio."""

from __future__ import annotations

import numpy as np

from mmcell.audit.clinical import GAPS, percent
from mmcell.audit.units import PER_VARIABLE
from mmcell.errors import first
from mmcell.records import Finding
from mmcell.report.words import counted
from mmcell.stats.multiplicity import adjusted
from mmcell.stratification.hazards import UNTOLD
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.ratios import ONE_GROUP
from mmcell.stratification.stability import ALPHA


def competing(outcome: Outcome) -> list[Finding]:
    """Say how often the event was ruled out, and what that makes of test and ratios."""
    rows = outcome.summary
    if not outcome.competes or not rows["n_competing"].sum():
        return []
    said = ", ".join(f"{r.n_competing} of {r.n} in group {r.group}" for r in rows.itertuples())
    if len(rows) == 1:
        said = f"{rows['n_competing'].iloc[0]} of {rows['n'].iloc[0]} patients"
    return [
        Finding(
            severity="warning", code="competing-risks", evidence=said,
            message=f"{counted(int(rows['n_competing'].sum()), 'patient')} had the competing event, which rules the "
            "event out: curves are cumulative incidences; test and hazard ratios are cause-specific, of those who are "
            "still free of both",
            cure="read them together: a group can have fewer events because more of its patients die of other causes",
        )
    ]  # fmt: skip


def followed_alike(outcome: Outcome) -> list[Finding]:
    """Say where some groups are followed for longer than others."""
    p = outcome.test.get("p_follow_up", float("nan"))
    if not p <= ALPHA:
        return []
    medians = ", ".join(
        f"group {r.group} {r.follow_up:.3g}" if np.isfinite(r.follow_up) else f"group {r.group} not reached"
        for r in outcome.summary.itertuples()
    )
    return [
        Finding(
            severity="warning", code="follow-up-differs", message="the groups are not followed for the same time",
            evidence=f"median follow-up by reverse Kaplan–Meier: {medians}; p = {p:.2g}",
            cure="see whether groups go with the year or the centre, and read curves only as far as all are followed",
        )
    ]  # fmt: skip


def _cure(reason: str) -> str:
    if reason == ONE_GROUP:
        return "groups and batches cannot be told apart here: only patients of other groups in the same batches can"
    if reason == UNTOLD:
        return "check the times: with all events at the end of follow-up there is nothing to compare"
    return "merge groups or classes, or leave the covariate out; read the counts of the groups instead"


def cautions(outcome: Outcome) -> list[Finding]:
    """Return what must be known of the outcome of held-out groups, of their test and of their ratios."""
    found = [*followed_alike(outcome), *_untested(outcome)]
    if outcome.missing:
        n = len(outcome.frame)
        many = max(outcome.missing.values()) >= GAPS * n
        found.append(
            Finding(
                severity="warning" if many else "info", code="covariates-missing",
                message=f"covariates are missing, and the adjusted model uses all {n} patients: whoever lacks one is a "
                "class of its own there",
                evidence=", ".join(f"{name}: {k} missing ({percent(k / n)})" for name, k in outcome.missing.items()),
                cure="fill them in or leave the covariate out; what is missing is not adjusted for" if many else "",
            )
        )  # fmt: skip
    effects = outcome.effects
    for model, rows in effects.groupby("model", sort=False):
        lost = rows[rows["reason"] != ""]
        if len(lost):
            found.append(
                Finding(
                    severity="warning", code="no-ratio", evidence=str(lost["reason"].iloc[0]),
                    message=f"the {model} {rows['measure'].iloc[0]} of {first(lost['term'])} cannot be had",
                    cure=_cure(str(lost["reason"].iloc[0])),
                )
            )  # fmt: skip
        if len(lost) == len(rows):
            continue
        n_terms, row = len(rows) - len(lost), rows[rows["reason"] == ""].iloc[0]
        survival = outcome.kind == "survival"
        have = int(row["n_events"] if survival else min(row["n_events"], row["n"] - row["n_events"]))
        if have < PER_VARIABLE * n_terms:
            said = counted(have, "event" if survival else "patient") + ("" if survival else " of the rarer class")
            found.append(
                Finding(
                    severity="warning", code="few-per-variable",
                    message=f"the {model} model has {said} for {counted(n_terms, 'coefficient')}, "
                    f"{have / n_terms:.1f} each",
                    evidence=f"fewer than {PER_VARIABLE} per variable",
                    cure="adjust for fewer covariates" if n_terms > 1 else "read the interval, not the ratio",
                )
            )  # fmt: skip
        groups = rows[rows["term"].str.startswith("group ") & rows["p_proportional"].notna()]
        # Of five groups without effect one was below 0.05 in 18 % of 200 simulations.
        p = adjusted(groups["p_proportional"].to_numpy(dtype=float), "holm")
        bent, over = groups[p < ALPHA], f", adjusted over {len(groups)} groups" if len(groups) > 1 else ""
        if len(bent):
            found.append(
                Finding(
                    severity="warning", code="hazards-not-proportional",
                    message=f"in the {model} model the hazard ratio of {first(bent['term'])} changes with time",
                    evidence=f"Schoenfeld residuals, p = {p.min():.2g}{over}",
                    cure="read the restricted mean difference, which assumes nothing of the kind",
                )
            )  # fmt: skip
    found += [Finding(severity="info", code="covariate-left-out", message=note) for note in outcome.ratios.notes]
    return found


def _untested(outcome: Outcome) -> list[Finding]:
    """Say why no p tells the groups apart."""
    if not outcome.untested or outcome.frame["group"].nunique() < 2:
        return []
    if not outcome.is_compared:
        return [
            Finding(
                severity="warning", code="too-few-events", evidence=outcome.untested,
                message="there are too few events to compare groups: neither a test nor a ratio is given",
                cure="follow patients for longer, or add some; until then the groups are a description",
            )
        ]  # fmt: skip
    batches = "batches" in outcome.untested
    within = "so the test has no p; unadjusted ratios and differences of curves may be the batches' doing"
    return [
        Finding(
            severity="warning", code="no-permutation",
            message=f"{outcome.untested}, {within if batches else 'so there is nothing to test'}",
            evidence="every batch holds one group or one outcome only" if batches else "",
        )
    ]  # fmt: skip
