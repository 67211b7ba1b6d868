"""Inner folds: every setting of a survival model is chosen on training patients, by the same rule for all models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedKFold

from mmcell.errors import UnaskableError, number_of
from mmcell.probes.partial_likelihood import log_likelihood

INNER_FOLDS = 5
#: Rows to learn from -> (settings, n) risks of all patients under every setting.
Risks = Callable[[np.ndarray], np.ndarray]


def need_events(event: np.ndarray) -> None:
    """Raise `UnaskableError` where fewer than two training patients had the event."""
    if (n := int(event.sum())) < 2:
        raise UnaskableError(
            f"survival probe: {number_of(n, 'event')} among "
            f"{number_of(len(event), 'training patient')}; at least 2 are needed"
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
    """Return the setting with the highest cross-validated partial likelihood.

    What a fold's held-out patients add: the log partial likelihood of all patients less that of those learnt from, at
    the coefficients learnt without the fold. Ranks alone would not do: of one input C is the same under every penalty,
    and what is put beside it, noise included, would gain by nothing but a weaker one.

    Parameters
    ----------
    risks
        See `Risks`. Settings stand from weak to strong: of equals the last one is taken.
    time, event
        (n,) outcome of training patients.
    rng
        Of the folds.
    stratum
        (n,) groups with a baseline hazard of their own, within which alone patients are compared.

    References
    ----------
    Verweij, van Houwelingen: Cross-validation in survival analysis. Stat Med 12, 2305–2314 (1993).
    """
    everybody = np.arange(len(time))

    def likelihood(rows: np.ndarray, risk: np.ndarray) -> float:
        return log_likelihood(risk[rows], time[rows], event[rows], None if stratum is None else stratum[rows])

    added = [
        [likelihood(everybody, risk) - likelihood(train, risk) for risk in risks(train)]
        for train, _ in inner_folds(event, rng)
    ]
    # Less −∞ than −∞ is not known to be better.
    total = np.sum(added, axis=0)
    total = np.where(np.isnan(total), -np.inf, total)
    return len(total) - 1 - int(np.argmax(total[::-1]))
