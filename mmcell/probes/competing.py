"""Incidence where another event competes: what the event's own hazard and the rival's make of each other."""

from __future__ import annotations

import numpy as np

from mmcell.probes.baseline import Baseline
from mmcell.probes.cox import fit_cox
from mmcell.probes.inputs import Patients


def rival_survival(
    train: Patients, time: np.ndarray, competing: np.ndarray, test: Patients, times: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return (n, k) the probability that patients are without the competing event, were it the only one.

    Parameters
    ----------
    train, time, competing
        Training patients, their times, and 1 for who had the competing event. The hazard is that of a ridge Cox model
        (`fit_cox`), and the same for everybody where fewer than two of them had it.
    test
        (n) patients.
    times
        (k,) times.
    rng
        Of the inner folds.
    """
    apart = Patients(train.blocks, train.beside)
    if competing.sum() < 2:
        return Baseline.fit(time, competing, np.zeros(len(time))).survival(np.zeros(len(test)), times)
    return fit_cox(apart, time, competing, rng).survival(test, times)


def predicted_incidence(alone: np.ndarray, rival: np.ndarray) -> np.ndarray:
    """Return (n, k) the probability of the event by each of k times, while the rival rules it out.

    Parameters
    ----------
    alone, rival
        (n, k) survival under the hazard of the event, and of its rival, at the same rising times: steps, 1 before the
        first. In a step both hazards are there at once, and each takes its share of who is left.

    Returns
    -------
    numpy.ndarray
        1 − `alone` where the rival never strikes; with the incidence of the rival and who is left it sums to 1.

    References
    ----------
    Prentice, Kalbfleisch, Peterson, Flournoy, Farewell, Breslow: The analysis of failure times in the presence of
    competing risks. Biometrics 34, 541–554 (1978).
    """
    own, other = (_hazards(s) for s in (alone, rival))
    both = own + other
    left = np.exp(-np.column_stack([np.zeros(len(both)), np.cumsum(both, axis=1)[:, :-1]]))
    with np.errstate(invalid="ignore"):
        # Where the model leaves nobody of either, neither has a share that is known: they halve it.
        share = np.where(np.isinf(own), np.where(np.isinf(other), 0.5, 1.0), own / np.where(both > 0, both, 1.0))
    return np.cumsum(left * share * -np.expm1(-both), axis=1)


def _hazards(survival: np.ndarray) -> np.ndarray:
    """Return the hazard of each step; of who is not there any more, 0."""
    before = np.column_stack([np.ones(len(survival)), survival[:, :-1]])
    with np.errstate(divide="ignore"):
        return -np.log(np.divide(survival, before, out=np.ones_like(before), where=before > 0))
