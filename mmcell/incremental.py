"""Incremental value: what an embedding adds to the clinical covariates, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmcell.records import Gap, RunRecord, Score
from mmcell.task import PLUS_CLINICAL

CLINICAL = "clinical-only"
#: Models that have no name in the tables where they read the embedding alone: those of patient tasks.
UNNAMED = {"logistic": ""}
_FACTS = ("target", "stratum", "split", "metric")
COLUMNS = (
    "task", "dataset", "encoder", "patient_encoder", "probe", *_FACTS, "clinical", "alone", "both", "gain", "ci_low",
    "ci_high", "mde", "p_null", "n_null", "n_units",
)  # fmt: skip
_NUMBERS = ("clinical", "alone", "both", "gain", "ci_low", "ci_high", "mde", "p_null")


def incremental(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return what every candidate adds to the clinical covariates: covariates, embedding, both, and the gain.

    All three models are fitted and read out in the same folds, and the interval of the gain is paired over patients.
    ``p_null`` comes from moving outcome and covariates together between patients, against the embedding's rows, and
    fitting everything anew that saw an outcome (``--null``): how often such rows gain as much. It asks whether the rows
    say anything of outcome or covariates: an embedding that repeats a covariate can have a small one without any gain.
    A gain is what has an interval that excludes 0 *and* a small p.

    Parameters
    ----------
    records
        Of a run; those count whose probe ends in ``+clinical``.

    Returns
    -------
    pandas.DataFrame
        One row per candidate, place and metric. ``gain`` is ``both`` − ``clinical``, negative where the metric is an
        error and the embedding helps; NA where the two were not compared, and of the p of a test (D-calibration), by
        which nothing is gained; ``alone`` is NA where the embedding was not run without covariates; ``mde`` is the
        smallest difference that 80 % of such studies would find.
    """
    scored = {_who(r): {_place(s): s for s in r.scores} for r in records if not r.permuted}
    rows = []
    for record in records:
        base = record.probe.removesuffix(PLUS_CLINICAL)
        if base == record.probe or record.permuted or not record.competes:
            continue
        model = UNNAMED.get(base, base)
        alone = scored.get((*_who(record)[:-1], model), {})
        clinical = _clinical(records, record, model)
        for score in record.scores:
            place = _place(score)
            of_clinic = None if clinical is None else scored[_who(clinical)].get(place)
            gap = None if of_clinic is None else _gap(score, record)
            own = alone.get(place)
            rows.append(
                {
                    "task": record.task["name"], "dataset": record.dataset, "encoder": record.encoding,
                    "patient_encoder": record.patient_encoder, "probe": base, **dict(zip(_FACTS, place, strict=True)),
                    "clinical": None if of_clinic is None else of_clinic.value,
                    "alone": None if own is None else own.value, "both": score.value,
                    "gain": None if gap is None else gap.value, "ci_low": None if gap is None else gap.low,
                    "ci_high": None if gap is None else gap.high, "mde": None if gap is None else gap.mde,
                    "p_null": score.p_null, "n_null": score.n_null, "n_units": score.n_units,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype("Float64")
    return frame


def _who(record: RunRecord) -> tuple[str, ...]:
    return record.task["name"], record.dataset, record.encoding, record.patient_encoder, record.probe


def _place(score: Score) -> tuple[str, ...]:
    return tuple(getattr(score, name) for name in _FACTS)


def _clinical(records: Sequence[RunRecord], record: RunRecord, probe: str) -> RunRecord | None:
    """Return the control that reads covariates alone, through the same model; None where it was not run."""
    found = [
        r for r in records
        if r.encoder == CLINICAL and _who(r)[:2] == _who(record)[:2] and not r.error and not r.permuted
    ]  # fmt: skip
    return next((r for r in found if r.probe == probe), None)


def _gap(score: Score, record: RunRecord) -> Gap | None:
    """Return the paired difference from the covariates alone, None where the run did not take it."""
    if record.task["reference"] == CLINICAL:
        return score.difference
    return next((v for v in score.versus if v.control == CLINICAL), None)
