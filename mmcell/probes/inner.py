"""Inner folds: every setting of a survival model is chosen on training patients, by the same rule for all models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedKFold

from mmcell.errors import MmcellError
from mmcell.metrics.survival import c_pairs

INNER_FOLDS = 5
#: (rows to learn from, rows to speak of) -> (settings, spoken of) risks under every setting.
Risks = Callable[[np.ndarray, np.ndarray], np.ndarray]


def need_events(event: np.ndarray) -> None:
    """Raise `MmcellError` where fewer than two training patients had the event."""
    if event.sum() < 2:
        raise MmcellError(
            f"survival probe: {int(event.sum())} events among {len(event)} training patients; at least 2 are needed"
        )


def inner_folds(event: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (rows to learn from, held-out rows) of at most five folds, over which the events are spread evenly."""
    folds = min(INNER_FOLDS, int(event.sum()))
    # With too few censored patients for every fold to have one, folds are drawn without regard to the event.
    classes = event if (1 - event).sum() >= folds else np.zeros_like(event)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**31 - 1)))
    return list(splitter.split(np.zeros((len(event), 1)), classes))


def best_setting(
    risks: Risks, time: np.ndarray, event: np.ndarray, rng: np.random.Generator, stratum: np.ndarray | None = None
) -> int:
    """Return the setting with the highest C of held-out patients: pairs within a fold, pooled over folds.

    Parameters
    ----------
    risks
        See `Risks`. Settings stand from weak to strong: of equals the last one is taken.
    time, event
        (n,) outcome of training patients.
    rng
        Of the folds.
    stratum
        (n,) groups within which alone patients are compared; None compares all.
    """
    groups = np.zeros(len(time), dtype=int) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    counted = []
    for train, held in inner_folds(event, rng):
        found = risks(train, held)
        counted.append([_pairs(time[held], event[held], risk, groups[held]) for risk in found])
    top, bottom = np.sum(counted, axis=0).T
    c = np.divide(top, bottom, out=np.full(len(top), 0.5), where=bottom > 0)
    return len(c) - 1 - int(np.argmax(c[::-1]))


def _pairs(time: np.ndarray, event: np.ndarray, risk: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how many pairs within groups are concordant, and how many comparable."""
    found = np.zeros(2)
    for group in np.unique(groups):
        of = groups == group
        top, bottom = c_pairs(time[of], event[of], risk[of], np.ones((1, of.sum())))
        found += top[0], bottom[0]
    return found
