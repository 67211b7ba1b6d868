"""Everything × everything: cell encoders against patient encoders as one table, with the rank of every combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mmcell.items import Items
from mmcell.metrics.base import METRICS, get_metric
from mmcell.records import RunRecord, Score
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import ranks
from mmcell.stats.shared import Shared

_FACTS = ("target", "query", "gallery", "stratum", "split")
COLUMNS = (
    "task", "dataset", "probe", *_FACTS, "metric", "encoder", "patient_encoder", "value", "ci_low", "ci_high", "rank",
    "rank_low", "rank_high", "n_ranked",
)  # fmt: skip
_NUMBERS = ("value", "ci_low", "ci_high", "rank", "rank_low", "rank_high")


def crossed(records: Sequence[RunRecord], items: Mapping[str, Items]) -> pd.DataFrame:
    """Return the headline score of every cell encoder through every patient encoder, and where each combination ranks.

    Only for tasks in which two cell encoders and two patient encoders, or more, compete. A patient encoder that reads
    no cell embedding (composition) has one row, its `encoder` is "".

    Parameters
    ----------
    records, items
        Of a run; see `mmcell.Results`.

    Returns
    -------
    pandas.DataFrame
        One row per combination and place, the best first: ``value`` with its 95 % interval, and ``rank`` with its 95 %
        interval over bootstrap draws of the units that all `n_ranked` combinations share (NA where one is undefined,
        or the metric is not a registered one).
    """
    families: dict[tuple[str, ...], list[tuple[RunRecord, Score]]] = {}
    for record in records:
        if not (record.competes and record.is_rival and record.patient_encoder):
            continue
        for score in record.scores:
            if score.metric == record.task["primary"] and score.stratum == "all" and score.value is not None:
                facts = (getattr(score, name) for name in _FACTS)
                place = (record.task["name"], record.dataset, record.probe, *facts, score.metric)
                families.setdefault(place, []).append((record, score))
    rows: list[dict[str, object]] = []
    for place, family in families.items():
        encoders = {record.encoding for record, _ in family} - {""}
        if min(len(encoders), len({record.patient_encoder for record, _ in family})) < 2:
            continue
        known = dict(zip(COLUMNS, place, strict=False))
        ranked = _ranks(known, [record for record, _ in family], items)
        sign = -1.0 if family[0][1].higher_is_better else 1.0
        for record, score in sorted(family, key=lambda pair: (sign * (pair[1].value or 0.0), pair[0].label)):
            rank, low, high = ranked.get(record.key, (np.nan,) * 3)
            numbers: dict[str, object] = {
                "value": score.value, "ci_low": score.low, "ci_high": score.high, "rank": rank, "rank_low": low,
                "rank_high": high, "n_ranked": len(ranked),
            }  # fmt: skip
            rows.append({**known, "encoder": record.encoding, "patient_encoder": record.patient_encoder, **numbers})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype("Float64")
    return frame


def _ranks(
    place: Mapping[str, str], records: Sequence[RunRecord], items: Mapping[str, Items]
) -> dict[str, tuple[float, float, float]]:
    """Return key -> (rank, lowest, highest); empty where the items or the metric are not at hand."""
    if place["metric"] not in METRICS.references or any(r.key not in items for r in records):
        return {}
    metric, parameters = get_metric(place["metric"]), records[0].parameters
    panels = {}
    for record in records:
        for facts, panel in items[record.key].panels():
            if all(facts[name] == place[name] for name in _FACTS):
                panels[record.key] = panel
    shared = Shared(panels).on(panels)
    drawn = {
        key: bootstrap(panel, [metric], n_boot=parameters["n_boot"], seed=parameters["seed"])[metric.name]
        for key, panel in shared.items()
    }
    return ranks(drawn, {k: e.value for k, e in drawn.items()}, {k: e.draws for k, e in drawn.items()}, metric)
