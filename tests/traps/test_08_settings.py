"""Try fifty settings, report the best on the folds it was chosen on, and noise predicts."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import KFold

import mmcell
from mmcell import MethodView, SplitSpec
from mmcell.metrics.survival import harrell_c
from mmcell.probes.cox import PENALTIES, fit_cox
from mmcell.probes.inputs import Patients
from mmcell.probes.linear import ALPHAS, fit_ridge
from mmcell.probes.partial_likelihood import newton_cox
from mmcell.protocols.retrieval import Retrieval
from mmcell.splits import splits_of
from tests.toys import SURVIVAL, Noise, spec, survivors
from tests.traps.worlds import cells_of, dataset, headline, rows


def accuracy(x, y, seed):
    """Cross-validated accuracy of the nearer class mean."""
    right = []
    for train, test in KFold(5, shuffle=True, random_state=seed).split(x):
        means = [x[train][y[train] == k].mean(axis=0) for k in (0, 1)]
        distance = [np.linalg.norm(x[test] - m, axis=1) for m in means]
        right.extend((distance[1] < distance[0]) == y[test])
    return np.mean(right)


def test_the_naive_best_of_fifty_is_high_on_noise():
    y = np.arange(28) % 2
    best = [
        max(accuracy(x, y, study) for x in np.random.default_rng(study).normal(size=(50, 28, 5))) for study in range(10)
    ]  # fmt: skip
    assert np.mean(best) == pytest.approx(0.72, abs=0.04)


def test_a_penalty_chosen_on_the_reported_folds_is_optimistic_and_one_chosen_inside_is_not():
    chosen, nested = [], []
    for study in range(30):
        rng = np.random.default_rng(study)
        x, time, event = rng.normal(size=(60, 8)), rng.exponential(size=60), np.ones(60, dtype=int)
        train, test = np.arange(60) < 40, np.arange(60) >= 40
        risks = [x[test] @ newton_cox(x[train], time[train], event[train], p) for p in PENALTIES]
        chosen.append(max(harrell_c(time[test], event[test], r) for r in risks))
        model = fit_cox(Patients.of(x[train]), time[train], event[train], np.random.default_rng(study))
        nested.append(harrell_c(time[test], event[test], model.risk(Patients.of(x[test]))))
    assert np.mean(nested) == pytest.approx(0.5, abs=0.04)
    assert np.mean(chosen) > np.mean(nested) + 0.005


def test_a_grid_of_ridge_penalties_finds_nothing_in_noise():
    # Seven penalties, more features than training units: the inner folds choose to predict next to nothing.
    chosen, r2 = [], []
    for study in range(10):
        rng = np.random.default_rng(study)
        x, y = rng.normal(size=(120, 60)), rng.normal(size=(120, 3))
        head = fit_ridge(x[:80], y[:80], np.arange(80) // 4)
        chosen.append(head.alpha)
        truth = head.target(y[80:])
        r2.append(1 - ((head.predict(x[80:]) - truth) ** 2).sum() / (truth**2).sum())
    assert np.median(chosen) >= ALPHAS[-2]
    assert np.mean(r2) == pytest.approx(0.0, abs=0.03)


def test_noise_stays_at_chance_through_the_retrieval_pipeline():
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(24), 15)
    obs = cells_of(donor, batch="b1", kind="T")
    data = dataset(
        obs, {"unit": "donor", "batch": "batch", "cell_type": "kind"}, rna=rng.normal(size=(360, 40)),
        protein=rng.normal(size=(360, 6)),
    )  # fmt: skip
    task = Retrieval(
        spec(
            "noise", {"query": ("rna", "cell"), "gallery": ("protein", "cell")},
            SplitSpec("donors", "group-kfold", n_splits=3, targets=("pairs",)), ("percentile",), "percentile",
            partners={"gallery": "features"}, dataset="trap",
        )
    )  # fmt: skip
    results = mmcell.evaluate({"mine": "features"}, task, dataset=data, controls=["random"], n_boot=200)
    found = rows(results, encoder="mine", stratum="all")
    assert ((found["ci_low"] < 0.5) & (found["ci_high"] > 0.5)).all()


def test_noise_stays_at_chance_through_the_survival_pipeline():
    results = mmcell.evaluate(
        {f"noise{i}": Noise(i) for i in range(4)}, SURVIVAL, dataset=survivors(80, effect=0.0, seed=3),
        controls=["clinical-only"], probes=["cox"], n_boot=200,
    )  # fmt: skip
    found = np.concatenate([headline(results, f"noise{i}")["value"].to_numpy(float) for i in range(4)])
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    # Of cross-validated noise an interval misses chance somewhat more often than in one cohort of twenty.
    assert sum((headline(results, f"noise{i}")["ci_low"] < 0.5).all() for i in range(4)) >= 3


def test_what_is_held_out_decides_no_setting():
    data = survivors(60)
    split = splits_of(data, SURVIVAL.spec.splits[0])[0]
    test = data.obs["patient"].isin(split.test).to_numpy()
    turned = {c: np.where(test, data.obs[c].to_numpy()[::-1], data.obs[c]) for c in ("years", "death")}
    other = survivors(60, **turned)
    assert (
        not other.truth("outcome", "patient").loc[split.test].equals(data.truth("outcome", "patient").loc[split.test])
    )
    x = mmcell.Embedding.from_array("x", data.ids, data.data.X, level="patient")
    predicted = []
    for world in (data, other):
        view = MethodView.of(world, replace(split), "patient")
        items = SURVIVAL.using("cox").run(view, {"x": x}, split, np.random.default_rng(0))
        predicted.append((items.column("y_pred"), items.details["penalty"]))
    np.testing.assert_array_equal(predicted[0][0], predicted[1][0])
    assert predicted[0][1] == predicted[1][1]
