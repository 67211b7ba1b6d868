"""The audits' probe: what a few numbers a unit say of a class of that unit, in held-out folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from mmcell.digest import stream
from mmcell.errors import MmcellError, first
from mmcell.items import Items
from mmcell.metrics.base import Metric
from mmcell.metrics.classification import AUROC, BALANCED_ACCURACY
from mmcell.probes.linear import fit_logistic
from mmcell.probes.logistic import fit_balanced_logistic

N_SPLITS, REPEATS = 5, 5
_PERMUTATIONS = 199
_PENALTY = 1.0


def probed(
    x: pd.DataFrame, y: pd.Series, *, seed: int = 0, repeats: int = REPEATS, n_components: int | None = None
) -> Items | None:
    """Predict a class of each unit by logistic regression fitted on other units.

    Parameters
    ----------
    x
        Units × inputs, without missing values.
    y
        Unit -> class; 0 and 1 make a binary question.
    seed, repeats
        Of the stratified folds; at most five, as many as the rarest class has units.
    n_components
        Inputs become so many principal components, fitted on training units.

    Returns
    -------
    Items or None
        None where fewer than two classes have two units.

    Raises
    ------
    MmcellError
        Units of `y` have no inputs.
    """
    counts = y.value_counts()
    classes = counts.index[counts >= 2]
    if len(classes) < 2:
        return None
    y = y[y.isin(classes)].sort_index()
    absent = y.index.difference(x.index)
    if len(absent):
        raise MmcellError(f"probe: {len(absent)} units have no inputs ({first(absent)}); give a row for each")
    values, truth = x.loc[y.index].to_numpy(dtype=float), y.to_numpy()
    binary = set(np.unique(truth)) <= {0, 1}
    n_splits = int(min(N_SPLITS, y.value_counts().min()))
    frames = []
    for repeat in range(repeats):
        state = int(stream(seed, "audit", repeat).integers(2**31 - 1))
        folds = StratifiedKFold(n_splits, shuffle=True, random_state=state).split(values, truth.astype(str))
        for fold, (train, test) in enumerate(folds):
            a, b = _reduced(values[train], values[test], n_components)
            if binary:
                predicted = fit_balanced_logistic(a, truth[train], _PENALTY).probability(b)[:, 1]
            else:
                predicted = fit_logistic(a, truth[train], penalty=_PENALTY).predict(b)
            facts = {"item": y.index[test], "unit": y.index[test], "repeat": repeat, "fold": fold}
            frames.append(pd.DataFrame(facts | {"y_true": truth[test], "y_pred": predicted}))
    return Items(pd.concat(frames, ignore_index=True), "binary" if binary else "multiclass")


def beyond_permutations(
    x: pd.DataFrame, y: pd.Series, *, alpha: float, seed: int = 0, n_components: int | None = None
) -> bool:
    """Whether units' classes are told better than permuted ones: p ≤ alpha, folds made anew for each permutation.

    The interval of cross-validated predictions does not know how far a probe swings where there is nothing to learn.

    Parameters
    ----------
    x, y, seed, n_components
        As in `probed`, with one repeat.
    alpha
        Level, adjusted for the number of questions.
    """

    def value(classes: np.ndarray) -> float:
        items = probed(x, pd.Series(classes, index=y.index), seed=seed, repeats=1, n_components=n_components)
        return float("nan") if items is None else metric_of(items)[1].fn(items)

    rng, observed = stream(seed, "audit", "null"), value(y.to_numpy())
    n = max(_PERMUTATIONS, int(np.ceil(2 / alpha)))
    allowed = int(alpha * (n + 1)) - 1
    extreme = 0
    for _ in range(n):
        extreme += bool(value(rng.permutation(y.to_numpy())) >= observed - 1e-12)
        if extreme > allowed:
            return False
    return bool(np.isfinite(observed))


def metric_of(items: Items) -> tuple[str, Metric]:
    """Return the metric that suits the classes, AUROC for two, and what a reader calls it."""
    return ("AUROC", AUROC) if items.kind == "binary" else ("balanced accuracy", BALANCED_ACCURACY)


def _reduced(train: np.ndarray, test: np.ndarray, n_components: int | None) -> tuple[np.ndarray, np.ndarray]:
    if n_components is None:
        return train, test
    centre = train.mean(axis=0)
    _, size, axes = np.linalg.svd(train - centre, full_matrices=False)
    # A direction in which training units do not differ is rounding, not data.
    kept = axes[:n_components][size[:n_components] > 1e-9 * max(size[0], 1e-300)]
    return (train - centre) @ kept.T, (test - centre) @ kept.T
