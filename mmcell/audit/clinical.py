"""Outcomes and clinical covariates: what is missing, what tells the outcome, whose times are in other units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmcell.audit.telling import telling
from mmcell.audit.units import varying
from mmcell.dataset import Dataset
from mmcell.errors import first
from mmcell.metrics.kaplan_meier import median_time
from mmcell.records import Finding
from mmcell.roles import Outcome

#: From this share of missing values on, what is said of a covariate is said of who has it.
GAPS = 0.1
#: A covariate that gets so far alone is no covariate.
_TELLS = 0.95
#: How many of the smaller unit the larger one holds, smaller and larger.
_UNITS = {7.0: ("days", "weeks"), 12.0: ("months", "years"), 30.4: ("days", "months"), 365.25: ("days", "years")}
#: Two cohorts of one unit, with hazards that spread widely, are so far apart in 3.5 % of simulations with 20 patients
#: each, and in none of 600 with 40 to 150.
_APART = 4.5
#: Of fewer patients no typical time is known.
_PATIENTS = 10


def clinical_findings(dataset: Dataset, targets: set[str], scored: pd.Index | None = None) -> list[Finding]:
    """Return findings about outcome and covariates.

    Parameters
    ----------
    dataset
        Whose roles name them.
    targets
        Of ``label`` and ``outcome``, those that can be used.
    scored
        The patients that are scored; default: all whose target is known.
    """
    truths = {t: dataset.truth(t, "patient") for t in sorted(targets & {"label", "outcome"})}
    found, known = [], dataset.patients.index
    if truths:
        known = pd.Index(sorted(set().union(*(t.index for t in truths.values()))))
    known = known if scored is None else known[known.isin(scored)]
    if "outcome" in truths:
        assert dataset.roles.outcome is not None
        if not dataset.card.time_unit:
            found.append(_without_unit(truths["outcome"], dataset.roles.outcome.time))
        batch, column = None, dataset.roles.batch
        if column is not None and varying(dataset, column).empty:
            batch = dataset.per_unit(column)
        found += outcome_findings(truths["outcome"], dataset.roles.outcome, batch, dataset.card.time_unit)
    columns = [c for c in dataset.roles.clinical if varying(dataset, c).empty]
    columns = [c for c in columns if c not in dataset.roles.hidden(tuple(truths))]
    covariates = pd.DataFrame({c: dataset.per_unit(c) for c in columns}, index=dataset.patients.index)
    found += _missing(dataset, covariates.reindex(known))
    for target, truth in truths.items():
        found += covariates_tell(covariates, truth, target)
    return found


def outcome_findings(
    truth: pd.DataFrame, outcome: Outcome, batch: pd.Series | None, unit: str
) -> list[Finding]:  # fmt: skip
    """Return what times and events give away.

    Parameters
    ----------
    truth
        A row per patient, ``time event`` and, where an event competes, ``cause``.
    outcome
        Which columns these are.
    batch
        Patient -> batch or cohort; None for none.
    unit
        Of the times, as the card has it; "" for none.
    """
    found = [*_at_one_time(truth, outcome.time), *_nobody_competes(truth, outcome)]
    return found if batch is None else [*found, *_other_units(truth, batch, unit)]


def covariates_tell(covariates: pd.DataFrame, truth: pd.DataFrame, target: str) -> list[Finding]:
    """Name covariates that nearly give the outcome, or one of two classes, by themselves; see `telling`."""
    if "event" not in truth and truth["y_true"].dtype.kind not in "iu":
        return []
    told = telling(covariates, truth, _TELLS)
    if not told:
        return []
    tell = "covariate tells" if len(told) == 1 else "covariates tell"
    return [
        Finding(
            severity="leak", code="covariate-tells-outcome",
            evidence="; ".join(f"{name}: {said}" for name, said in told.items()),
            message=f"{len(told)} clinical {tell} the {target} nearly perfectly: perhaps recorded after it, or a form "
            "of it",
            cure="leave out what is not known when a prediction is made",
        )
    ]  # fmt: skip


def _missing(dataset: Dataset, covariates: pd.DataFrame) -> list[Finding]:
    n, gaps = len(covariates), covariates.isna()
    lost = gaps.sum()[lambda s: s > 0].sort_values(ascending=False, kind="stable")
    if lost.empty:
        return []
    share = int(lost.max()) / n
    said = ", ".join(f"{name} {k} ({percent(k / n)})" for name, k in lost.items())
    column = dataset.roles.batch
    if column is not None and varying(dataset, column).empty:
        batch = dataset.per_unit(column).reindex(covariates.index)
        whole = gaps.groupby(batch, observed=True).all()
        said += "".join(f"; all of {name}: {', '.join(row.index[row])}" for name, row in whole.iterrows() if row.any())
    some = int(gaps.any(axis=1).sum())
    who = "1 patient who is scored lacks" if some == 1 else f"{some} of {n} patients who are scored lack"
    return [
        Finding(
            severity="warning" if share >= GAPS else "info", code="covariates-missing", evidence=said,
            message=f"{who} a clinical covariate: a missing number becomes the training mean, a missing class counts "
            "as the most frequent one of training, and nothing marks either",
            cure="fill them in, or leave a covariate out that many lack: what is missing is not adjusted for"
            if share >= GAPS else "",
        )
    ]  # fmt: skip


def percent(share: float) -> str:
    """Return a share above 0 in words."""
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _without_unit(truth: pd.DataFrame, column: str) -> Finding:
    return Finding(
        severity="info", code="no-time-unit",
        message=f"the card has no time_unit: all of {column!r} is taken to be in one unit, and times are shown without",
        evidence=f"{column} from {truth['time'].min():g} to {truth['time'].max():g}",
        cure="say it in the card, such as time_unit: days",
    )  # fmt: skip


def _at_one_time(truth: pd.DataFrame, column: str) -> list[Finding]:
    times = truth.loc[truth["event"] == 1, "time"]
    if len(times) < 2 or times.min() < times.max():
        return []
    return [
        Finding(
            severity="warning", code="events-at-one-time",
            message=f"all {len(times)} events have the same {column!r}: nobody has the event earlier than another, so "
            "little can be ranked, and some metrics are undefined",
            evidence=f"{column} {times.iloc[0]:g}",
            cure="check that it is the time from the start to the event, and no date or end of the study",
        )
    ]  # fmt: skip


def _nobody_competes(truth: pd.DataFrame, outcome: Outcome) -> list[Finding]:
    if outcome.competing is None or (truth["cause"] == 2).any():
        return []
    return [
        Finding(
            severity="warning", code="no-competing-event",
            message=f"the card declares {outcome.competing} in {outcome.event!r} a competing event, and no patient has "
            "it: nothing competes",
            evidence=f"{int((truth['cause'] == 1).sum())} events, {int((truth['cause'] == 0).sum())} censored",
            cure="check how it is coded, or take competing out of the card",
        )
    ]  # fmt: skip


def _other_units(truth: pd.DataFrame, batch: pd.Series, unit: str) -> list[Finding]:
    """Compare every batch with the one in the middle, patient by patient, so that a few cannot be the rule."""
    known = truth.assign(batch=batch.reindex(truth.index)).dropna(subset=["batch"])
    parts = {str(name): part for name, part in known.groupby("batch", observed=True) if len(part) >= _PATIENTS}
    if len(parts) < 2:
        return []
    what, typical = _typical(list(parts.values()))
    sizes = np.array([len(part) for part in parts.values()])
    order = np.argsort(typical, kind="stable")
    middle = order[np.searchsorted(sizes[order].cumsum(), sizes.sum() / 2)]
    said, names = [], []
    for name, value in zip(parts, typical, strict=True):
        ratio = value / typical[middle]
        fold = max(ratio, 1 / ratio)
        if fold < _APART:
            continue
        factor = min(_UNITS, key=lambda f: abs(np.log(fold / f)))
        own, others = _UNITS[factor] if ratio > 1 else _UNITS[factor][::-1]
        names.append(name)
        said.append(
            f"{name} {value:.3g}, {fold:.3g} times {'longer' if ratio > 1 else 'shorter'}, most like {own} beside "
            f"{others}"
        )
    if not said:
        return []
    of_middle = f"{list(parts)[middle]} {typical[middle]:.3g}"
    return [
        Finding(
            severity="warning", code="times-differ-by-batch", evidence=f"{what}: {of_middle}; {'; '.join(said)}",
            message=f"times of {first(names)} seem to be in another unit than those of the others"
            + (f"; the card says {unit}" if unit else ""),
            cure="give all times in one unit; where they are, mind that these patients are followed so unlike",
        )
    ]  # fmt: skip


def _typical(parts: Sequence[pd.DataFrame]) -> tuple[str, np.ndarray]:
    """Return the median follow-up of every part, or their median times where one of them is not reached."""
    found = [
        median_time(part["time"].to_numpy(), (part["cause" if "cause" in part else "event"] == 0).to_numpy(dtype=int))
        for part in parts
    ]
    if np.isfinite(found).all():
        return "median follow-up", np.array(found)
    return "median time", np.array([float(part["time"].median()) for part in parts])
