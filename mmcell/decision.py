"""Decision curves: what treating by clinical covariates, by the embedding, or by both gains over a range of risks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from mmcell.incremental import CLINICAL, UNNAMED
from mmcell.items import Items
from mmcell.metrics.base import get_metric
from mmcell.metrics.benefit import decision_curve_resampled, treated
from mmcell.records import RunRecord
from mmcell.stats.shared import Shared
from mmcell.stats.units import MINIMUM
from mmcell.task import PLUS_CLINICAL

#: What treats: covariates alone, the embedding alone, both in one model; `GAIN` is both less the covariates.
MODELS = ("clinical", "alone", "both")
GAIN, ALL, NONE = "gain", "treat all", "treat none"
COLUMNS = (
    "task", "dataset", "encoder", "patient_encoder", "probe", "target", "split", "horizon", "n_units", "threshold",
    "model", "net_benefit", "ci_low", "ci_high", "n_treated",
)  # fmt: skip
_NUMBERS = ("horizon", "net_benefit", "ci_low", "ci_high", "n_treated")
#: Thresholds of a curve at most, in whole percents; draws of its band at most, for it is a band and no single interval.
_MOST, _DRAWS = 25, 200


def decision_curves(records: Sequence[RunRecord], items: Mapping[str, Items]) -> pd.DataFrame:
    """Return net benefit over thresholds for every candidate that predicts a probability.

    A threshold is the risk at which treating and not treating are worth the same; see `mmcell.metrics.benefit`. Asked
    are whole percents at which one of the models has 10 or more held-out patients on either side: elsewhere a model
    treats (nearly) everybody or nobody, and its curve is theirs.

    Parameters
    ----------
    records, items
        Of a run; see `mmcell.Results`. Those compete whose items hold ``p_event``, of survival by a horizon.

    Returns
    -------
    pandas.DataFrame
        A row for each candidate, split, threshold and `model`: ``clinical`` (covariates alone), ``alone`` (the
        embedding), ``both``, ``gain`` (both less clinical, paired), ``treat all`` and ``treat none``, as far as they
        were run. ``net_benefit`` in true positives per patient with a 95 % band (percentiles of 200 bootstrap draws of
        patients at most, each threshold on its own; NA of fewer than 10 patients, or where a fifth of the draws are
        undefined), and how many patients are treated, in the mean over repeats. ``horizon`` is NA of a class.
    """
    rows: list[dict[str, object]] = []
    for facts, models in _families([r for r in records if r.key in items]):
        panels = [_panels(items[record.key]) for record in models.values()]
        for target, split in dict.fromkeys(place for found in panels for place in found):
            there = {name: p[target, split] for name, p in zip(models, panels, strict=True) if (target, split) in p}
            parameters = next(iter(models.values())).parameters
            n_boot, seed = min(int(parameters["n_boot"]), _DRAWS), int(parameters["seed"])
            place = facts | {"target": target, "split": split}
            rows += [place | row for row in _curves(Shared(there).on(list(there)), n_boot, seed)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype("Float64")
    return frame


def _families(records: Sequence[RunRecord]) -> Iterator[tuple[dict[str, object], dict[str, RunRecord]]]:
    """Yield what names a candidate and its models, by their names in `MODELS`."""
    known = [r for r in records if not r.error and not r.permuted]
    at = {(*_who(r), r.probe): r for r in known}
    for *who, probe in dict.fromkeys((*_who(r), r.probe.removesuffix(PLUS_CLINICAL)) for r in known if r.competes):
        if probe in UNNAMED.values() and any((*who, name + PLUS_CLINICAL) in at for name in UNNAMED):
            # It is drawn beside its twin with covariates.
            continue
        own = (probe, UNNAMED.get(probe, probe))
        # Through the same model, as in `mmcell.incremental`.
        of_clinic = (r for r in known if r.encoder == CLINICAL and _who(r)[:2] == tuple(who[:2]) and r.probe in own)
        clinical = next(of_clinic, None)
        alone = next((at[(*who, name)] for name in own if (*who, name) in at), None)
        found = zip(MODELS, (clinical, alone, at.get((*who, probe + PLUS_CLINICAL))), strict=True)
        yield dict(zip(COLUMNS, (*who, probe), strict=False)), {name: r for name, r in found if r is not None}


def _who(record: RunRecord) -> tuple[str, ...]:
    return record.task["name"], record.dataset, record.encoding, record.patient_encoder


def _panels(items: Items) -> dict[tuple[str, str], Items]:
    """Return (target, split) -> items that hold probabilities, of everybody together."""
    metric = get_metric("net_benefit")
    return {
        (facts["target"], facts["split"]): panel
        for facts, panel in items.panels()
        if facts["stratum"] == "all" and metric.scores(panel, facts["target"])
        and (panel.kind == "binary" or "horizon" in panel.frame)
    }  # fmt: skip


def _curves(models: Mapping[str, Items], n_boot: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield the rows of the models of one candidate, all on the same items."""
    some = next(iter(models.values()))
    weights = np.ones((1, len(some.units)), dtype=np.int64)
    if some.units.independent >= MINIMUM:
        weights = np.concatenate([weights, some.units.bootstrap(n_boot, seed)])
    predicted = {name: panel.column("p_event").astype(float) for name, panel in models.items()}
    repeats = some.frame["repeat"].nunique()
    horizon = None if some.kind == "binary" else float(some.frame["horizon"].iloc[0])
    for at in _asked(list(predicted.values()), repeats):
        draws = {name: _drawn(panel, at, weights) for name, panel in models.items()}
        n_treated: dict[str, float | None] = {n: int(treated(p, at).sum()) / repeats for n, p in predicted.items()}
        if {"clinical", "both"} <= draws.keys():
            draws[GAIN], n_treated[GAIN] = draws["both"] - draws["clinical"], None
        everybody = some.having({"p_event": np.ones(len(some.frame))})
        draws[ALL], n_treated[ALL] = _drawn(everybody, at, weights), len(some.frame) / repeats
        draws[NONE], n_treated[NONE] = np.zeros(len(weights)), 0.0
        for name, values in draws.items():
            low, high = _band(values[1:])
            yield {
                "horizon": horizon, "n_units": len(some.units), "threshold": at, "model": name,
                "net_benefit": values[0], "ci_low": low, "ci_high": high, "n_treated": n_treated[name],
            }  # fmt: skip


def _asked(predicted: Sequence[np.ndarray], repeats: int) -> np.ndarray:
    """Return the thresholds at which one of the models parts the patients: whole percents, `_MOST` of them at most."""
    at = np.arange(1, 100) / 100
    reached = np.array([treated(p[:, None], at).sum(axis=0) for p in predicted])
    least = MINIMUM * repeats
    parts = (reached >= least) & (len(predicted[0]) - reached >= least)
    kept = np.flatnonzero(parts.any(axis=0))
    return at[kept[:: -(-len(kept) // _MOST)]] if len(kept) else at[:0]


def _drawn(items: Items, threshold: float, weights: np.ndarray) -> np.ndarray:
    """Return the net benefit (draws,) at a threshold."""
    return decision_curve_resampled(items, np.array([threshold]), weights)[:, 0]


def _band(draws: np.ndarray) -> tuple[float, float]:
    if not len(draws) or np.isnan(draws).mean() > 0.2:
        return float("nan"), float("nan")
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)
