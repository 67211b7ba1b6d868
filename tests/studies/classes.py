"""How often the interval of a mean over classes holds the truth where one class lives in few donors.

``python -m tests.studies.classes`` measures all cells and prints them.
"""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd

from mmcell import Items, get_metric
from mmcell.stats import bootstrap, parts

DONORS, CELLS = 30, 8
#: Of four classes, the last of which is the hard one and lives in few donors.
RECALL = np.array([0.8, 0.7, 0.75, 0.4])
#: How far donors differ in how well a class is told, in log-odds.
SPREAD = 0.8
METRICS = ("balanced_accuracy", "macro_f1")
#: What becomes of a draw that lacks the class: it is scored over the others (what mmcell does not do); it is undefined;
#: and there is no interval where the class has fewer than three units (what mmcell does).
WAYS = ("over the others", "undefined", "mmcell")


def cohort(few: int, rng: np.random.Generator) -> Items:
    """Return the cells of 30 donors; the last class occurs in `few` of them."""
    donor, kind = np.divmod(np.arange(4 * DONORS), 4)
    there = (kind < 3) | (donor < few)
    donor, kind = donor[there], kind[there]
    odds = np.log(RECALL / (1 - RECALL))[kind] + SPREAD * rng.normal(size=len(kind))
    told = rng.random((len(kind), CELLS)) < 1 / (1 + np.exp(-odds))[:, None]
    other = (kind[:, None] + rng.integers(1, 4, told.shape)) % 4
    names = np.array(list("abcd"))
    frame = pd.DataFrame({"unit": donor.repeat(CELLS), "y_true": names[kind].repeat(CELLS)})
    frame["y_pred"] = names[np.where(told, kind[:, None], other).ravel()]
    return Items(frame.assign(item=np.arange(len(frame))), "multiclass")


def coverage(few: int, cohorts: int, way: str = "mmcell", known: int = 1500) -> dict[str, dict[str, float]]:
    """Return metric -> how often the 95 % interval holds the truth, the mean of `known` other cohorts."""
    rng = np.random.default_rng([few, 1])
    metrics = [get_metric(name) for name in METRICS]
    elsewhere = [cohort(few, rng) for _ in range(known)]
    truth = {m.name: float(np.mean([m.fn(items) for items in elsewhere])) for m in metrics}
    used = [replace(m, parts=None) for m in metrics] if way == "over the others" else metrics
    ends = {name: np.empty((cohorts, 2)) for name in METRICS}
    rng = np.random.default_rng([few, 2])
    with mock.patch.object(parts, "LEAST", parts.LEAST if way == "mmcell" else 1):
        for run in range(cohorts):
            for name, found in bootstrap(cohort(few, rng), used, n_boot=400, seed=run).items():
                ends[name][run] = found.low, found.high
    result = {}
    for name, (low, high) in ((name, e.T) for name, e in ends.items()):
        has = np.isfinite(low)
        shares = (np.mean(x[has]) if has.any() else np.nan for x in (low > truth[name], high < truth[name]))
        above, below = map(float, shares)
        covered = 1 - above - below
        result[name] = {"covered": covered, "too_high": above, "too_low": below, "none": float(1 - has.mean())}
    return result


if __name__ == "__main__":
    for few in (1, 2, 3, 5, 8):
        for way in WAYS:
            for name, row in coverage(few, 500, way).items():
                print(few, way, name, {k: round(v, 3) for k, v in row.items()}, flush=True)
