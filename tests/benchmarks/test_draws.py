"""Bootstrap draws by kernels that carry many of them side by side, against loops over the field's libraries."""

import numpy as np
import pytest
from lifelines.utils import concordance_index
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from mmcell.metrics.classification import auprc_resampled, auroc_resampled
from mmcell.metrics.regression import spearman_resampled
from mmcell.metrics.survival import harrell_c, harrell_c_resampled, uno_c_resampled

RNG = np.random.default_rng(0)


def survivors(n):
    risk = RNG.normal(size=n)
    death, left = RNG.exponential(np.exp(-0.7 * risk)), RNG.exponential(1.2, n)
    return np.minimum(death, left), (death <= left).astype(int), risk


def draws(n, n_draws):
    return RNG.multinomial(n, np.full(n, 1 / n), n_draws)


def looped(score, arrays, weights):
    """Every draw in turn: the rows repeated, and scored."""
    everybody = np.arange(weights.shape[1])
    return np.array([score(*(a[rows] for a in arrays)) for rows in (everybody.repeat(w) for w in weights)])


def test_a_thousand_draws_of_harrells_c(against):
    time, event, risk = survivors(2000)
    weights = draws(2000, 1000)
    found, expected = against(
        "Harrell's C, 1,000 draws of 2,000 patients, lifelines",
        lambda: harrell_c_resampled(time, event, risk, weights),
        lambda: looped(lambda t, e, r: concordance_index(t, -r, e), (time, event, risk), weights),
        at_least=100,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_harrells_c_of_a_large_cohort(against):
    time, event, risk = survivors(100_000)
    found, expected = against(
        "Harrell's C of 100,000 patients, lifelines",
        lambda: harrell_c(time, event, risk),
        lambda: concordance_index(time, -risk, event),
        at_least=20,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_draws_of_auroc(against):
    y = RNG.integers(0, 2, 20_000)
    score = y + 2 * RNG.normal(size=20_000)
    weights = draws(20_000, 200)
    found, expected = against(
        "AUROC, 200 draws of 20,000, scikit-learn",
        lambda: auroc_resampled(y, score, weights),
        lambda: looped(roc_auc_score, (y, score), weights),
        at_least=30,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_draws_of_average_precision(against):
    y = (RNG.random(20_000) < 0.1).astype(int)
    score = y + 2 * RNG.normal(size=20_000)
    weights = draws(20_000, 200)
    found, expected = against(
        "average precision, 200 draws of 20,000, scikit-learn",
        lambda: auprc_resampled(y, score, weights),
        lambda: looped(average_precision_score, (y, score), weights),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_draws_of_spearman(against):
    x = RNG.normal(size=2000)
    y = x + RNG.normal(size=2000)
    weights = draws(2000, 1000)
    found, expected = against(
        "Spearman, 1,000 draws of 2,000, SciPy",
        lambda: spearman_resampled(x, y, weights),
        lambda: looped(lambda a, b: spearmanr(a, b).statistic, (x, y), weights),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.oracle
def test_draws_of_unos_c(against):
    metrics, util = pytest.importorskip("sksurv.metrics"), pytest.importorskip("sksurv.util")
    train_time, train_event, _ = survivors(2000)
    time, event, risk = survivors(2000)
    tau = float(np.quantile(train_time, 0.9))
    weights = draws(2000, 50)
    train = util.Surv.from_arrays(train_event > 0, train_time)

    def peer(t, e, r):
        return metrics.concordance_index_ipcw(train, util.Surv.from_arrays(e > 0, t), r, tau=tau)[0]

    found, expected = against(
        "Uno's C, 50 draws of 2,000 patients, scikit-survival",
        lambda: uno_c_resampled(time, event, risk, weights, train_time=train_time, train_event=train_event, tau=tau),
        lambda: looped(peer, (time, event, risk), weights),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
