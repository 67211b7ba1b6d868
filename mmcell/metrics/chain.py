"""From a perturbation to patients: order, reversal and added value, each beside directions that mean nothing.

Items are of the kind ``chain`` (see `mmcell.items`). Their array ``random`` (rows, k) holds what an item would have got
from k directions that mean nothing, the same k in every fold, so that a mean over items is that of one experiment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from mmcell.items import Items
from mmcell.metrics.base import Metric, within_folds
from mmcell.metrics.classification import AUROC
from mmcell.metrics.concordance import c_pairs
from mmcell.metrics.effects import mean_known
from mmcell.metrics.regression import SPEARMAN
from mmcell.metrics.survival import HARRELL_C

#: The stratum of patients along the perturbation that training patients chose, and of ranks among all perturbations.
CHOSEN = "all"
#: Values that differ by less are equal: rounding must not decide what is as far.
_EQUAL = 1e-12
_NO_RANDOM = (
    "the score is undefined, or no random directions stand beside it: of the disease's own direction ask p of permuted "
    "labels (--null); a signature needs six treated units in every training fold"
)
_NO_REVERSING = "roles.reversing names no perturbation that these units were treated with"


def random_p(values: np.ndarray, *, one_sided: bool = False) -> float:
    """Return how often k directions that mean nothing are as far from 0 as the measured one, or as far above it.

    That is (1 + #{|v| ≥ |v₀|}) / (1 + k), and one-sided (1 + #{v ≥ v₀}) / (1 + k).

    Parameters
    ----------
    values
        (1 + k,) the measured one first. NaN where it is undefined, or all random ones are, gives NaN; an undefined one
        among others counts as as far. Values that differ by rounding are equal.
    one_sided
        Whether only those count that are as far above 0.
    """
    values = values if one_sided else np.abs(values)
    measured, drawn = values[0], values[1:]
    if not np.isfinite(measured) or not np.isfinite(drawn).any():
        return float("nan")
    return float((1 + np.sum(~(drawn < measured - _EQUAL))) / (1 + len(drawn)))


def _beside(items: Items, column: str) -> np.ndarray:
    """Return (n, 1 + k) values of the items: measured, and under directions that mean nothing."""
    row = items.column("row").astype(int)
    random = np.full((len(row), items.arrays["random"].shape[1]), np.nan)
    random[row >= 0] = items.arrays["random"][row[row >= 0]]
    return np.column_stack([items.column(column).astype(float), random])


def _ranked(items: Items, of_fold: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]) -> np.ndarray:
    """Return (1 + k,) values of a metric of ranks: its sum over folds over their sum of pairs, the mean over repeats.

    Parameters
    ----------
    of_fold
        Truth (n,) and midranks (n, 1 + k) -> sums, and pairs.
    """
    values, truth = _beside(items, "y_pred"), items.column("y_true").astype(float)
    repeats: dict[object, list[tuple[np.ndarray, float]]] = {}
    for repeat, rows in items.folds:
        repeats.setdefault(repeat, []).append(of_fold(truth[rows], rankdata(values[rows], axis=0)))
    totals = [(np.sum([a for a, _ in parts], axis=0), sum(b for _, b in parts)) for parts in repeats.values()]
    known = [top / pairs for top, pairs in totals if pairs > 0]
    return np.mean(known, axis=0) if known else np.full(values.shape[1], np.nan)


def _rho(truth: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, float]:
    """ρ of a fold, weighted by its pairs as `SPEARMAN` is."""
    r = rankdata(truth)
    r, ranks = r - r.mean(), ranks - ranks.mean(axis=0)
    if len(r) < 3 or not r.any():
        return np.zeros(ranks.shape[1]), 0.0
    size = np.sqrt((r**2).sum() * (ranks**2).sum(axis=0))
    rho = np.divide(r @ ranks, size, out=np.full(len(size), np.nan), where=size > 0)
    return rho * len(r) ** 2, float(len(r) ** 2)


def _above_chance(truth: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, float]:
    """AUROC − ½ of a fold, weighted by its pairs."""
    n = float(truth.sum())
    pairs = n * (len(truth) - n)
    if pairs == 0:
        return np.zeros(ranks.shape[1]), 0.0
    # Whoever is given one place by all says nothing, of which 0 would be the least that can be said.
    above = truth @ ranks - n * (n + 1) / 2 - pairs / 2
    return np.where(np.ptp(ranks, axis=0) > 0, above, np.nan), pairs


def _order_p(of_fold: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]) -> Callable[[Items], float]:
    """Return the p of an order: one-sided along the chosen signature, which is turned the way of the disease."""
    return lambda items: random_p(_ranked(items, of_fold), one_sided=bool((items.column("stratum") == CHOSEN).all()))


def _reversal_p(items: Items) -> float:
    return random_p(_beside(items, "reversal_rank").mean(axis=0), one_sided=True)


def _connectivity_p(items: Items) -> float:
    return random_p(_beside(items, "connectivity").mean(axis=0))


def _first_by_chance(items: Items) -> float:
    return float((items.column("n_reversing") / items.column("n_gallery")).astype(float).mean())


def _added(items: Items, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C of both less C of the covariates, over the same comparable pairs."""
    time, event, both, alone = (items.column(c)[rows].astype(float) for c in ("time", "event", "y_pred", "beside"))
    with_it, pairs = c_pairs(time, event, both, weights)
    without, _ = c_pairs(time, event, alone, weights)
    return with_it - without, pairs


def _test(
    name: str, fn: Callable[[Items], float], target: str, needs: tuple[str, ...], of: Metric, null: str
) -> Metric:  # fmt: skip
    return Metric(
        name, fn, False, None, (0, 1), None, ("chain",), target, needs=(*needs, "row"), interval=False, is_test=True,
        undefined=_NO_RANDOM, about=f"how often {null} would give a `{of.name}` as far from chance: the p of a test",
    )  # fmt: skip


_NOTHING, _EXCHANGED = "treatments that do nothing", "labels exchanged within batches"
_PREDICTED = ("y_pred", "y_true")
#: How alike the order of held-out patients along a signature and their severity are.
SEVERITY_SPEARMAN = replace(
    SPEARMAN, name="severity_spearman", kinds=("chain",), target="ordered",
    undefined="a fold with fewer than three patients, or all of them at one place or of one severity",
    about="Spearman's ρ of severity and the place of held-out patients along a signature",
)  # fmt: skip
#: How well the place along a signature tells the two classes of held-out patients apart.
DISEASE_AUROC = replace(
    AUROC, name="disease_auroc", kinds=("chain",), target="label",
    about="AUROC of the disease by the place of held-out patients along a signature",
)  # fmt: skip
SEVERITY_P = _test("severity_p", _order_p(_rho), "ordered", _PREDICTED, SEVERITY_SPEARMAN, _NOTHING)
DISEASE_P = _test("disease_p", _order_p(_above_chance), "label", _PREDICTED, DISEASE_AUROC, _NOTHING)

_connectivity_fn, _connectivity_fast = mean_known("connectivity")
_rank_fn, _rank_fast = mean_known("reversal_rank")
_first_fn, _first_fast = mean_known("reversal_first")
#: Cosine of what a perturbation does in a held-out unit with the disease's direction in others; −1 undoes it.
CONNECTIVITY = Metric(
    "connectivity", _connectivity_fn, False, 0.0, (-1, 1), _connectivity_fast, ("chain",), "reversal",
    needs=("connectivity",),
    about="cosine of what a treatment does to a patient's cells and the direction of the disease; −1 undoes it",
)  # fmt: skip
CONNECTIVITY_P = _test("connectivity_p", _connectivity_p, "reversal", ("connectivity",), CONNECTIVITY, _EXCHANGED)
#: Share of the other perturbations that undo the disease less than the one that is known to; ties count half.
REVERSAL_RANK = Metric(
    "reversal_rank", _rank_fn, True, 0.5, (0, 1), _rank_fast, ("chain",), "reversal", needs=("reversal_rank",),
    undefined=_NO_REVERSING, about="share of the other treatments that undo the disease less than the reversing one",
)  # fmt: skip
REVERSAL_P = _test("reversal_p", _reversal_p, "reversal", ("reversal_rank",), REVERSAL_RANK, _EXCHANGED)
#: How often it is the first of all.
REVERSAL_FIRST = Metric(
    "reversal@1", _first_fn, True, _first_by_chance, (0, 1), _first_fast, ("chain",), "reversal",
    needs=("reversal_first",), undefined=_NO_REVERSING,
    about="share of patients in whom the reversing treatment undoes the disease most",
)  # fmt: skip

_added_fn, _added_fast = within_folds(_added)
_NO_OUTCOME = "the dataset has no outcome, no clinical covariates, or fewer than two events in training"
#: C of covariates and the place along the signature, and what that is above the C of covariates alone.
COMBINED_C = replace(
    HARRELL_C, name="combined_c", kinds=("chain",), target="outcome", needs=("beside",), undefined=_NO_OUTCOME,
    about="Harrell's C of clinical covariates and the place along a signature together",
)  # fmt: skip
ADDED_C = Metric(
    "added_c", _added_fn, True, 0.0, (-1, 1), _added_fast, ("chain",), "outcome", within_fold=True, size=HARRELL_C.size,
    needs=("beside",), undefined=_NO_OUTCOME, about="what the place along a signature adds to C of clinical covariates",
)  # fmt: skip
