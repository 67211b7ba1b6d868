"""What the statistics promise, measured on simulated cohorts whose truth is known.

``python -m tests.studies.study`` runs everything, writes ``figures.json`` beside this file and prints it as a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from mmcell import Items, get_metric
from mmcell.metrics.base import Metric, mean_of
from mmcell.metrics.classification import auroc
from mmcell.stats import bootstrap, compare, permutation_null

FIGURES = Path(__file__).with_name("figures.json")
TRUTHS = (0.5, 0.7, 0.85, 0.95)
#: Log hazard ratio per standard deviation of the risk -> Harrell's C in `survivors` (from 400,000 patients).
HAZARD = {0.5: 0.0, 0.7: 0.8092, 0.85: 2.0930, 0.95: 5.9976}
#: name -> (fewest patients, most patients, share of the positive class).
DESIGNS = {
    "60 to 200, 30 %": (60, 200, 0.3),
    "60, 30 %": (60, 60, 0.3),
    "200, 30 %": (200, 200, 0.3),
    "43, 13 positive": (43, 43, 0.3),
    "60, 12 positive": (60, 60, 0.2),
    "200, 20 positive": (200, 200, 0.1),
}
CENSORED = {"60 to 200": (60, 200), "60": (60, 60), "200": (200, 200)}
COVERED, LEVEL = (0.92, 0.98), (0.03, 0.07)
#: With 399 permutations p ≤ 0.05 has a probability of exactly 0.05 under exchangeability.
PERMUTATIONS = 399

_mean_fn, _mean_fast = mean_of(lambda items: items.column("y_pred").astype(float))
MEAN = Metric("mean", _mean_fn, resampled=_mean_fast)


def patients(score: np.ndarray, kind: str, **truth: np.ndarray) -> Items:
    names = [f"p{i:03d}" for i in range(len(score))]
    return Items(pd.DataFrame({"item": names, "unit": names, "y_pred": score, **truth}), kind)


def diseased(n: int, share: float) -> np.ndarray:
    return (np.arange(n) < round(share * n)).astype(int)


def survivors(n: int, hazard: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return risk, time and event: exponential times, and censoring that does not depend on the risk."""
    risk = rng.normal(size=n)
    death, lost = rng.exponential(np.exp(-hazard * risk)), rng.exponential(2.0, n)
    return risk, np.minimum(death, lost), (death <= lost).astype(int)


# -- coverage of the interval ------------------------------------------------------------------------------------------


def _covered(cohorts: int, seed: int, draw: Callable[[np.random.Generator], Items], metric: str, truth: float) -> dict:
    rng = np.random.default_rng([seed, cohorts])
    found = np.zeros(3)
    for run in range(cohorts):
        estimate = bootstrap(draw(rng), [get_metric(metric)], n_boot=1000, seed=run)[metric]
        found += (estimate.low <= truth <= estimate.high, truth < estimate.low, truth > estimate.high)
    share = found / cohorts
    return {"covered": share[0], "interval_too_high": share[1], "interval_too_low": share[2]}


def coverage_auroc(design: str, truth: float, cohorts: int) -> dict:
    low, high, share = DESIGNS[design]

    def draw(rng: np.random.Generator) -> Items:
        y = diseased(int(rng.integers(low, high + 1)), share)
        return patients(rng.normal(np.sqrt(2) * norm.ppf(truth) * y), "binary", y_true=y)

    return _covered(cohorts, list(DESIGNS).index(design), draw, "auroc", truth)


def coverage_c(design: str, truth: float, cohorts: int) -> dict:
    low, high = CENSORED[design]

    def draw(rng: np.random.Generator) -> Items:
        risk, time, event = survivors(int(rng.integers(low, high + 1)), HAZARD[truth], rng)
        return patients(risk, "survival", time=time, event=event)

    return _covered(cohorts, 100 + low + high, draw, "harrell_c", truth)


def coverage_crossed(donors: int, drugs: int, cohorts: int) -> dict:
    """Coverage of a mean over donors × drugs by the two-way interval, and by one that sees donors only."""
    rng = np.random.default_rng(donors * drugs)
    hit = dict.fromkeys(("covered", "one_way"), 0)
    donor, drug = np.indices((donors, drugs)).reshape(2, -1)
    for run in range(cohorts):
        value = rng.normal(size=donors)[donor] + rng.normal(size=drugs)[drug] + 0.5 * rng.normal(size=len(donor))
        frame = pd.DataFrame({"item": np.arange(len(donor)), "unit": donor, "y_pred": value, "y_true": 0.0})
        for name, crossed in (("covered", {"crossed": drug}), ("one_way", {})):
            found = bootstrap(Items(frame.assign(**crossed), "regression"), [MEAN], n_boot=1000, seed=run)["mean"]
            hit[name] += found.low <= 0 <= found.high
    return {name: count / cohorts for name, count in hit.items()}


# -- predictions of a fitted pipeline ----------------------------------------------------------------------------------

N_FEATURES, N_FOLDS = 10, 5


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float = 10.0) -> np.ndarray:
    centred = x - x.mean(axis=0)
    return np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean()))


def cross_validated(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out predictions of ridge, and the coefficients of every fold."""
    models = np.array([_ridge(x[fold != k], y[fold != k]) for k in range(N_FOLDS)])
    return np.einsum("ij,ij->i", x, models[fold]), models


def _features(n: int, effect: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = diseased(n, 0.4)
    fold = np.empty(n, dtype=int)
    for label in (0, 1):
        fold[rng.permutation(np.flatnonzero(y == label))] = np.arange((y == label).sum()) % N_FOLDS
    return rng.normal(size=(n, N_FEATURES)) + y[:, None] * effect, y, fold


def coverage_fitted(n: int, best: float, cohorts: int) -> dict:
    """Coverage of cross-validated AUROC; `best` is the AUROC of the true model.

    The truth is known: that of the five fitted models, and their mean over cohorts, the expected performance of the
    procedure.
    """
    rng = np.random.default_rng([n, int(100 * best)])
    effect = np.zeros(N_FEATURES)
    effect[:3] = np.sqrt(2 / 3) * norm.ppf(best)
    rows = []
    for run in range(cohorts):
        x, y, fold = _features(n, effect, rng)
        score, models = cross_validated(x, y, fold)
        truth = norm.cdf(models @ effect / np.sqrt(2) / np.linalg.norm(models, axis=1)).mean()
        found = bootstrap(patients(score, "binary", y_true=y, fold=fold), [get_metric("auroc")], seed=run)["auroc"]
        rows.append((found.value, found.low, found.high, truth))
    value, low, high, truth = np.array(rows).T
    return {
        "covered_models": np.mean((low <= truth) & (truth <= high)),
        "covered_procedure": np.mean((low <= truth.mean()) & (truth.mean() <= high)),
        "truth": truth.mean(),
        "mean_estimate": value.mean(),
    }


# -- errors and power of a comparison ----------------------------------------------------------------------------------


def _two(kind: str, gap: float, rng: np.random.Generator, size: tuple[int, int]) -> dict[str, Items]:
    """Return two correlated predictors of one cohort; b is better by `gap` where a has 0.7."""
    n = int(rng.integers(size[0], size[1] + 1))
    own, both = rng.normal(size=(2, n)), rng.normal(size=n)
    if kind == "auroc":
        y = diseased(n, 0.4)
        noise = (both + own) / np.sqrt(2)
        shift = np.sqrt(2) * norm.ppf([[0.7], [0.7 + gap]]) * y
        return {name: patients(s, "binary", y_true=y) for name, s in zip("ab", shift + noise, strict=True)}
    if kind == "harrell_c":
        risk, time, event = survivors(n, 1.5, rng)
        return {name: patients(risk + o, "survival", time=time, event=event) for name, o in zip("ab", own, strict=True)}
    cells, donor = 25, np.repeat(np.arange(43), 25)
    frame = pd.DataFrame({"item": np.arange(len(donor)), "unit": donor, "tied": 0, "tied_correct": 1, "n_correct": 1})
    level = rng.normal(size=43)[donor]
    found = {}
    for name in "ab":
        ease = level + 0.7 * rng.normal(size=43)[donor] + rng.normal(size=43 * cells)
        above = np.floor(1000 * norm.cdf(-ease)).astype(int)
        facts = {"above": above, "n_gallery": 1001, "percentile": 1 - above / 1000}
        found[name] = Items(frame.assign(**facts), "retrieval")
    return found


def compared(kind: str, cohorts: int, gap: float = 0.0, size: tuple[int, int] = (60, 200), seed: int = 0) -> dict:
    """How often two predictors are told apart at 5 %, by the interval and by the swap p."""
    rng = np.random.default_rng([seed, size[0], size[1], len(kind)])
    found, mde = np.zeros(2), []
    for run in range(cohorts):
        pair = _two(kind, gap, rng, size)
        row = compare(pair, get_metric(kind), n_permutations=PERMUTATIONS, seed=run).table.iloc[0]
        found += (not row["ci_low"] <= 0 <= row["ci_high"], row["p"] <= 0.05)
        mde.append(row["mde"])
    return {"interval": found[0] / cohorts, "swap": found[1] / cohorts, "mean_mde": float(np.mean(mde))}


def equal(kind: str, cohorts: int) -> dict:
    """How often two equally good predictors are told apart."""
    return compared(kind, cohorts)


def equal_fitted(repeats: int, cohorts: int) -> dict:
    """The same for two embeddings of pure noise, each through ridge in 5 folds of 60 patients, drawn `repeats` times.

    Predictions that share fitted models are not exchangeable patient by patient: what this costs is reported, without
    a promise.
    """
    rng = np.random.default_rng([7, repeats])
    found = np.zeros(3)
    for run in range(cohorts):
        y, noise = diseased(60, 0.4), rng.normal(size=(2, 60, 8))
        parts: dict[str, list[pd.DataFrame]] = {"a": [], "b": []}
        for repeat in range(repeats):
            fold = _features(60, np.zeros(N_FEATURES), rng)[2]
            for name, x in zip("ab", noise, strict=True):
                score = cross_validated(x, y, fold)[0]
                parts[name].append(patients(score, "binary", y_true=y, fold=fold, repeat=np.full(60, repeat)).frame)
        pair = {name: Items(pd.concat(frames), "binary") for name, frames in parts.items()}
        row = compare(pair, get_metric("auroc"), n_permutations=199, seed=run).table.iloc[0]
        alone = bootstrap(pair["a"], [get_metric("auroc")], seed=run)["auroc"]
        found += (not row["ci_low"] <= 0 <= row["ci_high"], row["p"] <= 0.05, alone.low <= 0.5 <= alone.high)
    return dict(zip(("interval", "swap", "chance_covered"), (found / cohorts).tolist(), strict=True))


def power(gap: float, cohorts: int) -> dict:
    """How often a difference of this size is found with 100 patients; every size meets the same cohorts."""
    return compared("auroc", cohorts, gap, (100, 100), seed=9)


def null_fixed(cohorts: int) -> dict:
    """How often p ≤ 0.05 when labels are permuted against a score that knows nothing."""
    rng = np.random.default_rng(5)
    hit = 0
    for _ in range(cohorts):
        n = int(rng.integers(60, 201))
        y, score = diseased(n, 0.3), rng.normal(size=n)
        hit += permutation_null(lambda order, y=y, s=score: auroc(y[order], s), n, n=PERMUTATIONS, rng=rng).p <= 0.05
    return {"null": hit / cohorts}


def null_fitted(cohorts: int) -> dict:
    """The same through a fitted pipeline: features know nothing, and ridge is fitted anew to every permutation."""
    rng = np.random.default_rng(6)
    metric, hit = get_metric("auroc"), 0
    for _ in range(cohorts):
        x, y, fold = _features(60, np.zeros(N_FEATURES), rng)
        items = patients(np.zeros(60), "binary", y_true=y, fold=fold)

        def statistic(order: np.ndarray, x=x, y=y, fold=fold, items=items) -> float:
            return metric.fn(items.having({"y_true": y[order], "y_pred": cross_validated(x, y[order], fold)[0]}))

        hit += permutation_null(statistic, 60, n=99, rng=rng).p <= 0.05
    return {"null": hit / cohorts}


# -- all of it ---------------------------------------------------------------------------------------------------------

#: study -> (function, its arguments besides the number of cohorts).
STUDIES: dict[str, list[tuple[Callable[..., dict], tuple]]] = {
    "coverage of AUROC": [(coverage_auroc, (d, t)) for d in DESIGNS for t in TRUTHS],
    "coverage of C": [(coverage_c, (d, t)) for d in CENSORED for t in TRUTHS],
    "coverage of a crossed mean": [(coverage_crossed, size) for size in ((30, 15), (40, 40))],
    "coverage of cross-validated AUROC": [(coverage_fitted, (n, b)) for n in (60, 100, 200) for b in (0.75, 0.9)],
    "type-I error of compare": [(equal, (kind,)) for kind in ("auroc", "harrell_c", "percentile")],
    "type-I error of compare through fitted noise": [(equal_fitted, (r,)) for r in (1, 5)],
    "type-I error of the null": [(null_fixed, ()), (null_fitted, ())],
    "power of compare": [(power, (gap,)) for gap in (0.0, 0.05, 0.1, 0.15, 0.2)],
}


def run(cohorts: int, workers: int = 2) -> Iterator[dict]:
    """Yield one row per cell of every study; the coverage of a fixed score is promised and gets twice the cohorts."""
    cells = [(study, function, facts) for study, parts in STUDIES.items() for function, facts in parts]
    sizes = [2 * cohorts if function in (coverage_auroc, coverage_c) else cohorts for _, function, _ in cells]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(function, *facts, n) for (_, function, facts), n in zip(cells, sizes, strict=True)]
        for (study, function, facts), n, job in zip(cells, sizes, jobs, strict=True):
            name = ", ".join(map(str, facts)) or function.__name__
            found = {column: round(float(value), 4) for column, value in job.result().items()}
            yield {"study": study, "cell": name, "cohorts": n} | found


def markdown(rows: list[dict]) -> str:
    """Return one table per study."""
    parts = []
    for study in STUDIES:
        table = pd.DataFrame([r for r in rows if r["study"] == study]).drop(columns="study").dropna(axis=1, how="all")
        lines = [[str(v) for v in row] for row in table.itertuples(index=False)]
        head = [list(table), ["---"] * table.shape[1]]
        parts.append(f"{study}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in head + lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    rows = []
    for row in run(1000):
        rows.append(row)
        print(row, flush=True)
    FIGURES.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    print(markdown(rows))
