"""Columns that tell the outcome by themselves: perhaps a second outcome, which groups must not be made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.metrics.classification import auroc
from mmcell.metrics.concordance import harrell_c
from mmcell.stratification.outcome import Outcome

#: How far from chance a concordance or AUROC says what no measurement does.
_TOO_FAR = 0.4
#: With fewer events, or fewer of either class, some of many columns get so far by luck.
_FEWEST = 10


def telling(values: pd.DataFrame, outcome: Outcome) -> dict[str, float]:
    """Return the columns that nearly give the outcome, with their concordance or AUROC.

    Parameters
    ----------
    values
        A row per patient.
    outcome
        Survival, or of classes the one that odds point to; anything else tells nothing, and so do fewer than 10 events
        or patients of a class.
    """
    frame = outcome.frame
    if outcome.kind == "survival":
        time, event = frame["time"].to_numpy(dtype=float), frame["event"].to_numpy(dtype=int)
    elif outcome.positive:
        y = (frame["label"] == outcome.positive).to_numpy(dtype=int)
    else:
        return {}
    rare = event.sum() if outcome.kind == "survival" else min(y.sum(), (1 - y).sum())
    if rare < _FEWEST:
        return {}
    found = {}
    for name in values:
        column = values[name].reindex(frame.index).to_numpy(dtype=float)
        value = harrell_c(time, event, column) if outcome.kind == "survival" else auroc(y, column)
        if np.abs(value - 0.5) > _TOO_FAR:
            found[str(name)] = float(value)
    return found
