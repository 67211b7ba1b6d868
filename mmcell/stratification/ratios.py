"""`ratios`: hazard or odds ratios of groups, where one sparse term does not take the others with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from mmcell.errors import MmcellError
from mmcell.metrics.incidence import Z95

#: Columns of a table of effects, hazard or odds ratios alike.
EFFECTS = (
    "measure", "model", "term", "reference", "ratio", "ci_low", "ci_high", "p", "p_proportional", "n", "n_events",
    "reason",
)  # fmt: skip
#: A coefficient of a standardised column whose standard error is larger than this has run away.
RUNAWAY = 20.0
#: What is left of a column beside others is nothing below this share of it.
_NOTHING = 1e-6
#: Before the name of a batch among those of terms.
_BATCH = "\0"
#: Why a group cannot be compared within batches.
ONE_GROUP = "every batch holds patients inside or outside of the group only"


class UnfitError(MmcellError):
    """A model has no estimate, for the reason given."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model.

    Attributes
    ----------
    terms
        A row per column of the design: ``value`` (logarithm of the ratio), ``error``, and ``p_proportional`` where
        there is such a thing.
    likelihood
        The logarithm of its (partial) likelihood.
    """

    terms: pd.DataFrame
    likelihood: float


@dataclass(frozen=True, eq=False)
class Ratios:
    """Ratios of the groups to the first one.

    Attributes
    ----------
    effects
        Columns `EFFECTS`: a class, or a group, is compared with its ``reference``; ``n`` and ``n_events`` are of the
        patients whom the model compares, without those of groups and classes in which there is nothing to compare; a
        term without a ratio has the ``reason``, and neither.
    p
        Of all groups together, in the last model: likelihood ratio; NaN where it cannot be had.
    notes
        What the reader must know of the adjusted model, in words.
    """

    effects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EFFECTS)))
    p: float = float("nan")
    notes: tuple[str, ...] = ()


#: Outcome, design and batch of the same patients -> the model; raises `UnfitError`.
Fitter = Callable[[pd.DataFrame, pd.DataFrame, pd.Series], Fit]


def ratios(
    group: pd.Series, outcome: pd.DataFrame, covariates: pd.DataFrame, batch: pd.Series | None, *, measure: str,
    fit: Fitter, sides: Sequence[int], references: Mapping[str, str] | None = None,
) -> Ratios:  # fmt: skip
    """Return the ratios of groups to the first, unadjusted, and adjusted where there is anything to adjust for.

    Parameters
    ----------
    group
        (n,) of each patient.
    outcome
        (n, …) what the model explains, with the column ``event`` (0 or 1).
    covariates, batch
        (n, m) numbers without gaps, and strata; no columns and None for none.
    measure, fit
        What the ratios are called, and the model.
    sides
        Values of ``event`` that, when all members of a level share them, leave its ratio without a finite value: no
        event for hazards, either for odds.
    references
        Column of a class -> what it is compared with.
    """
    groups = sorted(group.unique())
    dummies = pd.DataFrame({f"group {g}": (group == g).astype(float) for g in groups[1:]}, index=group.index)
    one = pd.Series("", group.index)
    plain = _Model(measure, "unadjusted", fit, sides, f"group {groups[0]}", references or {})
    found = [plain.ratios(outcome, dummies, dummies.iloc[:, :0], one)]
    if covariates.shape[1] or batch is not None:
        model = replace(plain, name="adjusted")
        found.append(model.ratios(outcome, dummies, covariates, one if batch is None else batch))
    return Ratios(pd.concat([f.effects for f in found], ignore_index=True), found[-1].p, found[-1].notes)


@dataclass(frozen=True)
class _Model:
    measure: str
    name: str
    fit: Fitter
    sides: Sequence[int]
    reference: str
    references: Mapping[str, str]

    def ratios(
        self, outcome: pd.DataFrame, dummies: pd.DataFrame, covariates: pd.DataFrame, batch: pd.Series
    ) -> Ratios:
        """Fit one model; `dummies` are the groups beyond the first."""
        kept, dropped = independent(pd.concat([dummies, covariates], axis=1), batch)
        stuck = [term for term in dummies if term in dropped]
        notes = tuple(f"{n} says nothing beyond the others and is left out" for n in dropped if n not in stuck)
        terms = [*dummies, *(c for c in covariates if c in kept)]
        out = pd.DataFrame({"term": terms}, index=terms).reindex(columns=list(EFFECTS))
        against = {**self.references, **dict.fromkeys(dummies, self.reference)}
        out = out.assign(measure=self.measure, model=self.name, reference=[against.get(term, "") for term in terms])
        out = out.astype({"n": "Int64", "n_events": "Int64"})
        out["reason"] = ["" if term in kept else ONE_GROUP for term in terms]
        own = [term for term in dummies if term in kept]
        try:
            fitted, apart, rows = self._fitted(outcome, kept, own, batch)
            rest, *_ = self._fitted(outcome, kept.drop(columns=own), [], batch)
        except UnfitError as error:
            out.loc[out["reason"] == "", "reason"] = str(error)
            return Ratios(out.reset_index(drop=True), notes=notes)
        none = apart.pop(self.reference, "")
        out.loc[list(apart), "reason"] = list(apart.values())
        if none:
            out.loc[own, "reason"] = none
        known = fitted.terms.loc[[t for t in fitted.terms.index if out.loc[t, "reason"] == ""]]
        # A coefficient that runs away has no finite maximum: its value, like that of its interval, is arbitrary.
        away = ~(known["error"] * kept[list(known.index)].std(ddof=0) <= RUNAWAY)
        out.loc[list(known.index[away]), "reason"] = "separation: all, or none, of these patients have the event"
        known = known[~away]
        at, value, step = list(known.index), known["value"], Z95 * known["error"]
        out.loc[at, "ratio"], out.loc[at, "ci_low"] = np.exp(value), np.exp(value - step)
        out.loc[at, "ci_high"], out.loc[at, "p"] = np.exp(value + step), 2 * norm.sf((value / known["error"]).abs())
        out.loc[at, "p_proportional"] = known["p_proportional"]
        out.loc[at, "n"], out.loc[at, "n_events"] = int(rows.sum()), int(outcome.loc[rows, "event"].sum())
        p = float(chi2.sf(2 * (fitted.likelihood - rest.likelihood), len(own))) if own else float("nan")
        return Ratios(out.reset_index(drop=True), p, notes)

    def _fitted(
        self, outcome: pd.DataFrame, design: pd.DataFrame, groups: Sequence[str], batch: pd.Series
    ) -> tuple[Fit, dict[str, str], pd.Series]:
        """Fit what has a finite maximum; return it, the terms that have none, and why, and whether a patient counts.

        Where all members of a level share an outcome, its coefficient goes to infinity; the others, and the
        likelihood, go to what they are without these patients.
        """
        levels = design.loc[:, design.isin([0.0, 1.0]).all()]
        if groups:
            levels = levels.assign(**{self.reference: 1.0 - design[list(groups)].sum(axis=1)})
        members = {str(term): levels[term] == 1.0 for term in levels}
        # So does the constant of a batch.
        members |= {_BATCH + str(name): batch == name for name in batch.unique()}
        rows = pd.Series(True, design.index)
        apart: dict[str, str] = {}
        found = True
        while found:
            found = False
            for term in [t for t in members if t not in apart]:
                own = rows & members[term]
                seen = set(outcome.loc[own, "event"])
                if len(seen) < 2 and seen <= set(self.sides):
                    # The more sides, the more that stands for an outcome itself.
                    said = f"{term} has no event" if len(self.sides) < 2 else f"separation: {term} has one class"
                    apart[term], rows, found = said, rows & ~own, True
        apart = {term: said for term, said in apart.items() if not term.startswith(_BATCH)}
        if outcome.loc[rows, "event"].sum() == 0:
            raise UnfitError("no event is left beside groups and classes that have none")
        left, _ = independent(design.loc[rows, [c for c in design if c not in apart]], batch[rows])
        for term in design.columns.difference([*apart, *left]):
            apart[str(term)] = "cannot be told from others whose members share an outcome"
        return self.fit(outcome[rows], left, batch[rows]), apart, rows


def independent(design: pd.DataFrame, batch: pd.Series | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that vary within batches beyond those before them, and the names of the others."""
    one = pd.Series("", design.index) if batch is None else batch
    centred = design - design.groupby(one).transform("mean") if len(design) else design
    kept: list[str] = []
    basis = np.zeros((len(design), 0))
    for name in design:
        column = centred[name].to_numpy(dtype=float)
        rest = column - basis @ (basis.T @ column)
        own, left = float(np.linalg.norm(design[name])), float(np.linalg.norm(rest))
        if left > _NOTHING * own:
            kept.append(str(name))
            basis = np.column_stack([basis, rest / left])
    return design[kept], [str(c) for c in design if c not in kept]
