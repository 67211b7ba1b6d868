"""`Outcome`: what became of the patients of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.probes.design import ClinicalDesign
from mmcell.stratification.classes import association, classes_by_group, odds_ratios
from mmcell.stratification.cohort import Cohort
from mmcell.stratification.ends import Kind
from mmcell.stratification.hazards import hazard_ratios, outlived
from mmcell.stratification.logrank import follow_up, log_rank
from mmcell.stratification.ratios import Ratios
from mmcell.stratification.survival import incidence_by_group, survival_by_group

#: With fewer events in all, groups are not compared: no test could tell them apart, and a ratio is one patient's doing.
FEWEST_EVENTS = 5
#: What the class of those is called who lack a covariate of text.
MISSING = "missing"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of groups of patients.

    Attributes
    ----------
    kind, columns, positive
        See `Cohort`.
    frame
        A row per patient of whom it is known: ``group`` and ``time event``, with ``cause`` where there is a competing
        event (which ends the time of ``event`` like a censoring), or ``label``.
    summary
        A row per group; of survival with its median follow-up.
    test
        Log-rank (within batches) or χ²: ``chi2 df p p_permutation``, of two by two ``p_fisher``, and of survival
        ``p_follow_up``, that groups are followed alike; empty with one group. With fewer than five events the groups
        are not compared, and only the last is there.
    ratios
        Hazard or odds ratios to group A, unadjusted and adjusted.
    missing
        Covariate -> patients who lack it: a class of their own in the adjusted model.
    adjusted_for, within
        The covariates of the adjusted model, and the batch within which it and the test compare; "" for none.
    """

    kind: Kind
    columns: tuple[str, ...]
    positive: str
    frame: pd.DataFrame
    summary: pd.DataFrame
    test: dict[str, float] = field(default_factory=dict)
    ratios: Ratios = field(default_factory=Ratios)
    missing: dict[str, int] = field(default_factory=dict)
    adjusted_for: tuple[str, ...] = ()
    within: str = ""

    @property
    def effects(self) -> pd.DataFrame:
        """A row per ratio; see `mmcell.stratification.ratios.EFFECTS`."""
        return self.ratios.effects

    @property
    def competes(self) -> bool:
        """Whether another event can rule out the one in question."""
        return "cause" in self.frame

    @property
    def test_name(self) -> str:
        """What the test is called at the beginning of a sentence."""
        return "χ²" if self.kind == "label" else "Cause-specific log-rank" if self.competes else "Log-rank"

    @property
    def events(self) -> int:
        """What a comparison rests on: patients with the event, or those who are not of the most frequent class."""
        if self.kind == "survival":
            return int(self.frame["event"].sum())
        if self.kind == "none":
            return 0
        positive = self.frame["label"] == self.positive
        counts = (positive if self.positive else self.frame["label"]).value_counts()
        return int(counts.sum() - counts.max())

    @property
    def is_compared(self) -> bool:
        """Whether groups are tested."""
        return "p_permutation" in self.test

    @property
    def untested(self) -> str:
        """Why no p tells groups apart, in words; "" where one does, or there is nothing to compare."""
        if self.kind == "none" or np.isfinite(self.p):
            return ""
        if self.frame["group"].nunique() < 2:
            return "all patients are in one group"
        if not self.is_compared:
            few = "event in all" if self.events == 1 else "events in all"
            if self.kind == "label":
                few = "of another class than the most frequent one"
            return f"{self.events} {few}, and {FEWEST_EVENTS} are the least"
        if self.kind == "survival" and not outlived(self.frame, pd.Series("", self.frame.index)):
            return "nobody outlives an event"
        return "outcomes cannot be permuted within batches"

    @property
    def p(self) -> float:
        """Of the test by permutation; NaN where there is none."""
        return self.test.get("p_permutation", float("nan"))


def marked(clinical: pd.DataFrame) -> pd.DataFrame:
    """Return covariates in which whoever lacks one can be told: a class ``missing``, beside a number a column of it."""
    columns = {}
    for name, column in clinical.items():
        gap = column.isna()
        if not gap.any() or pd.api.types.is_numeric_dtype(column):
            columns[str(name)] = column
            if gap.any():
                columns[f"{name} missing"] = gap.astype(float)
        else:
            columns[str(name)] = column.astype(object).where(~gap, MISSING)
    return pd.DataFrame(columns, index=clinical.index)


def references(clinical: pd.DataFrame, event: pd.Series, sides: Sequence[int]) -> dict[str, str]:
    """Return the class of every covariate of text that others are compared with: of those with events the largest.

    Parameters
    ----------
    clinical
        (n, m) covariates without gaps, as `marked` returns them.
    event
        (n,) 0 or 1.
    sides
        Values of `event` that leave a class without a finite ratio where all of its members share them.
    """
    found = {}
    for name, column in clinical.items():
        if pd.api.types.is_numeric_dtype(column):
            continue
        sizes = column.astype(str).value_counts().sort_index().sort_values(ascending=False, kind="stable")
        seen = event.groupby(column.astype(str)).unique().map(set)
        told = [level for level in sizes.index if len(seen[level]) > 1 or not seen[level] <= set(sides)]
        # Whoever has no value is no group of patients to compare others with.
        found[str(name)] = str(next(iter([*(t for t in told if t != MISSING), *told, *sizes.index])))
    return found


def outcome_of(
    cohort: Cohort, group: pd.Series, *, n_permutations: int, rng: np.random.Generator, ratios: bool = True
) -> Outcome:
    """Compare what became of the groups, where there are events to compare.

    Parameters
    ----------
    cohort
        Whose outcome.
    group
        Patient -> group.
    n_permutations, rng
        Of the test, in which outcomes move between patients of one batch.
    ratios
        Whether models of hazards or odds are fitted.

    Raises
    ------
    MmcellError
        Of no patient with a group the outcome is known, or none has the event.
    """
    sizes = group.value_counts().sort_index()
    plain = pd.DataFrame({"group": sizes.index, "n": sizes.to_numpy()})
    if cohort.kind == "none":
        return Outcome("none", (), "", group.to_frame("group"), plain)
    frame = cohort.outcome.join(group.rename("group"), how="inner")
    if frame.empty or (cohort.kind == "survival" and not frame["event"].any()):
        what = "no patient has an outcome" if frame.empty else f"{cohort.columns[1]!r} has no events"
        raise MmcellError(f"stratify: {what} among the {len(group)} patients that can be grouped; check the columns")
    if cohort.kind == "label":
        summary = classes_by_group(frame, cohort.positive)
    else:
        summary = incidence_by_group(frame) if "cause" in frame else survival_by_group(frame)
    base: dict[str, Any] = {"kind": cohort.kind, "columns": cohort.columns, "positive": cohort.positive}
    bare = Outcome(**base, frame=frame, summary=summary)
    if frame["group"].nunique() < 2:
        return bare
    batch = None if cohort.batch is None else cohort.batch.reindex(frame.index).fillna("unknown")
    batch = None if batch is None or batch.nunique() < 2 else batch
    stratum = np.zeros(len(frame), dtype=int) if batch is None else pd.factorize(batch)[0]
    lost: dict[str, float] = {}
    if cohort.kind == "survival":
        medians, lost["p_follow_up"] = follow_up(frame, stratum)
        summary = summary.assign(follow_up=summary["group"].map(medians))
    if bare.events < FEWEST_EVENTS:
        return replace(bare, summary=summary, test=lost)
    clinical = cohort.covariates.reindex(frame.index)
    gaps = clinical.isna().sum()
    complete = marked(clinical)
    survival = cohort.kind == "survival"
    happened = frame["event"] if survival else (frame["label"] == cohort.positive).astype(int)
    design = ClinicalDesign.fit(complete, references(complete, happened, (0,) if survival else (0, 1)))
    numbers = pd.DataFrame(design.transform(complete), index=frame.index, columns=list(design.columns))
    models, asked = Ratios(), (numbers, batch, design.references)
    if survival:
        time, event, own = (frame[c].to_numpy() for c in ("time", "event", "group"))
        test = log_rank(time, event, own, stratum, n_permutations, rng)
        models = hazard_ratios(frame, *asked) if ratios else models
    else:
        test = association(frame, stratum, n_permutations, rng)
        models = odds_ratios(frame, cohort.positive, *asked) if ratios and cohort.positive else models
    return Outcome(
        **base,
        frame=frame,
        summary=summary,
        test=test | lost,
        ratios=models,
        missing={str(c): int(n) for c, n in gaps.items() if n},
        adjusted_for=tuple(map(str, clinical)) if ratios else (),
        within="" if batch is None else str(cohort.dataset.roles.batch),
    )
