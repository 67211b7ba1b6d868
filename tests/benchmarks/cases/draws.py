"""Bootstrap draws by kernels that carry many of them side by side, against loops over the field's libraries."""

import numpy as np

from tests.benchmarks.case import Case


def survivors(rng, n):
    risk = rng.normal(size=n)
    death, left = rng.exponential(np.exp(-0.7 * risk)), rng.exponential(1.2, n)
    return np.minimum(death, left), (death <= left).astype(int), risk


def drawn(rng, n, n_draws):
    return rng.multinomial(n, np.full(n, 1 / n), n_draws)


def looped(score, arrays, weights):
    """Every draw in turn: the rows repeated, and scored."""
    everybody = np.arange(weights.shape[1])
    return np.array([score(*(a[rows] for a in arrays)) for rows in (everybody.repeat(w) for w in weights)])


def outcomes(n_draws):
    def make(n, folder):
        rng = np.random.default_rng(0)
        return survivors(rng, n), drawn(rng, n, n_draws), survivors(rng, n)

    return make


def harrell(data):
    from mmcell.metrics.survival import harrell_c_resampled

    arrays, weights, _ = data
    return harrell_c_resampled(*arrays, weights)


def harrell_lifelines(data):
    from lifelines.utils import concordance_index

    arrays, weights, _ = data
    return looped(lambda t, e, r: concordance_index(t, -r, e), arrays, weights)


def harrell_sksurv(data):
    from sksurv.metrics import concordance_index_censored

    arrays, weights, _ = data
    return looped(lambda t, e, r: concordance_index_censored(e > 0, t, r)[0], arrays, weights)


def harrell_once(data):
    from mmcell.metrics.survival import harrell_c

    return harrell_c(*data[0])


def harrell_once_lifelines(data):
    from lifelines.utils import concordance_index

    time, event, risk = data[0]
    return concordance_index(time, -risk, event)


def uno(data):
    from mmcell.metrics.survival import uno_c_resampled

    arrays, weights, (time, event, _) = data
    tau = float(np.quantile(time, 0.9))
    return uno_c_resampled(*arrays, weights, train_time=time, train_event=event, tau=tau)


def uno_sksurv(data):
    from sksurv.metrics import concordance_index_ipcw
    from sksurv.util import Surv

    arrays, weights, (time, event, _) = data
    tau, train = float(np.quantile(time, 0.9)), Surv.from_arrays(event > 0, time)
    of = Surv.from_arrays
    return looped(lambda t, e, r: concordance_index_ipcw(train, of(e > 0, t), r, tau=tau)[0], arrays, weights)


def scores(n_draws, share):
    def make(n, folder):
        rng = np.random.default_rng(0)
        y = (rng.random(n) < share).astype(int)
        return y, y + 2 * rng.normal(size=n), drawn(rng, n, n_draws)

    return make


def auroc(data):
    from mmcell.metrics.classification import auroc_resampled

    return auroc_resampled(*data)


def auroc_sklearn(data):
    from sklearn.metrics import roc_auc_score

    return looped(roc_auc_score, data[:2], data[2])


def auprc(data):
    from mmcell.metrics.classification import auprc_resampled

    return auprc_resampled(*data)


def auprc_sklearn(data):
    from sklearn.metrics import average_precision_score

    return looped(average_precision_score, data[:2], data[2])


def numbers(n, folder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return x, x + rng.normal(size=n), drawn(rng, n, 1000)


def spearman(data):
    from mmcell.metrics.regression import spearman_resampled

    return spearman_resampled(*data)


def spearman_scipy(data):
    from scipy.stats import spearmanr

    return looped(lambda a, b: spearmanr(a, b).statistic, data[:2], data[2])


PATIENTS = (250, 500, 1000, 2000)
ROWS = (2500, 5000, 10_000, 20_000)
CASES = (
    Case(
        "harrell-draws", "Harrell's C, 1,000 draws of {n} patients", outcomes(1000), harrell, 2000, PATIENTS,
        {"lifelines": harrell_lifelines, "scikit-survival": harrell_sksurv}, {"lifelines": 100},
        {"lifelines": 1e-9, "scikit-survival": 1e-9},
    ),
    Case(
        "harrell", "Harrell's C of {n} patients", outcomes(1), harrell_once, 100_000, (12_500, 25_000, 50_000, 100_000),
        {"lifelines": harrell_once_lifelines}, {"lifelines": 20}, {"lifelines": 1e-9},
    ),
    Case(
        "uno-draws", "Uno's C, 50 draws of {n} patients", outcomes(50), uno, 2000, PATIENTS,
        {"scikit-survival": uno_sksurv}, {}, {"scikit-survival": 1e-9},
    ),
    Case(
        "auroc-draws", "AUROC, 200 draws of {n}", scores(200, 0.5), auroc, 20_000, ROWS,
        {"scikit-learn": auroc_sklearn}, {"scikit-learn": 30}, {"scikit-learn": 1e-9},
    ),
    Case(
        "auprc-draws", "average precision, 200 draws of {n}", scores(200, 0.1), auprc, 20_000, ROWS,
        {"scikit-learn": auprc_sklearn}, {}, {"scikit-learn": 1e-9},
    ),
    Case(
        "spearman-draws", "Spearman, 1,000 draws of {n}", numbers, spearman, 2000, PATIENTS,
        {"scipy": spearman_scipy}, {}, {"scipy": 1e-9},
    ),
)  # fmt: skip
