"""Effects of several perturbations in several units: whose is a predicted one, and of which perturbation?

In the stratum ``all`` a prediction is compared with its own measured effect, and with those of the same perturbation in
other held-out units: nothing that is equal for all units tells these apart, so that no mean can. In the stratum
``unit`` it is compared with those of the other perturbations of its unit, which the mean effect of each tells apart.
Where all cells are one pool and perturbations are held out, it is compared with the other held-out ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.metrics.perturbation import TOLERANCE, centroid_accuracy, de_overlap, discrimination_score, pearson_delta

TOP = 50


def compared(predicted: np.ndarray, observed: np.ndarray, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `frame` in every stratum that they can be scored in, with one column a metric.

    Where effects are compared with others, ``discrimination_specific`` and ``pearson_delta_perturbed`` are of their
    differences from the mean of these others and itself, on either side from its own mean: what all share counts for
    nothing, and a baseline cannot win by the noise of a mean that it shares with the truth.

    Parameters
    ----------
    predicted, observed
        (n, genes) effects of one fold.
    frame
        (n,) ``unit``, ``perturbation`` and, where effects are those of one type of cells, ``cell_type``.
    """
    own = _own(predicted, observed)
    types = ["cell_type"] if "cell_type" in frame else []
    units = _within(predicted, observed, frame, ["perturbation", *types])
    treatments = _within(predicted, observed, frame, ["unit", *types])
    alone = frame.assign(stratum="all", **own)
    found = [alone.join(units), frame.join(treatments, how="inner").assign(stratum="×".join(["unit", *types]))]
    return pd.concat([part for part in found if len(part)], ignore_index=True)


def compared_in_pool(
    predicted: np.ndarray, observed: np.ndarray, frame: pd.DataFrame, strong: np.ndarray
) -> pd.DataFrame:
    """Return the rows of `frame` with one column a metric, where all cells are one pool and each row a perturbation.

    Each is compared with the others of the fold, all of which are held out; arguments as in `compared`, and (n,)
    whether the measured effect is strong. The size of a predicted effect is its Euclidean length.
    """
    found = frame.assign(stratum="all", **_own(predicted, observed))
    found = found.assign(effect_size=np.linalg.norm(predicted, axis=1), strong=strong.astype(float))
    return found.assign(**among(predicted, observed), n_gallery=float(len(frame))) if len(frame) > 1 else found


def _own(predicted: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Return how alike effects (n, genes) and their predictions are, metric -> (n,)."""
    zero = np.zeros(observed.shape[1])
    found = {"pearson_delta": pearson_delta(predicted, observed, zero)}
    if len(zero) > TOP:
        found[f"de_overlap@{TOP}"] = de_overlap(predicted, observed, TOP)
    return found


def _within(predicted: np.ndarray, observed: np.ndarray, frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the scores of the rows that share their group with another."""
    groups = [rows for rows in frame.groupby(by, sort=True).indices.values() if len(rows) > 1]
    parts = [
        pd.DataFrame({**among(predicted[rows], observed[rows]), "n_gallery": float(len(rows))}, index=frame.index[rows])
        for rows in groups
    ]
    return pd.concat(parts) if parts else pd.DataFrame(index=frame.index[:0])


def among(predicted: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Return what tells effects (n, genes) that are compared with each other apart, metric -> (n,)."""
    a, b = _specific(predicted), _specific(observed)
    return {
        "discrimination_specific": discrimination_score(a, b, "cosine"),
        "discrimination_cosine": discrimination_score(predicted, observed, "cosine"),
        "centroid_accuracy": centroid_accuracy(predicted, observed),
        "pearson_delta_perturbed": pearson_delta(a, b, np.zeros(b.shape[1])),
    }


def _specific(effects: np.ndarray) -> np.ndarray:
    """Return differences from the mean; of equal effects nothing is left, not even rounding."""
    rest = effects - effects.mean(axis=0)
    rest[np.linalg.norm(rest, axis=1) <= TOLERANCE * np.sqrt(rest.shape[1]) * np.abs(effects).max()] = 0.0
    return rest
