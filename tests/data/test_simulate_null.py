"""Every dial at zero leaves nothing to be found; one dial turned up is found where it was planted."""

import numpy as np
import pandas as pd
import pytest

from mmcell.metrics.classification import auroc
from mmcell.metrics.survival import harrell_c
from mmcell.probes.linear import fit_logistic
from tests.data.simulated import NOTHING, patient_shares, small


def held_out(x, y, seed):
    """AUROC of a logistic probe on the half of the patients that it was not fitted on."""
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    return auroc(y[test], fit_logistic(x[train], y[train]).probability(x[test])[:, 1])


def patient_vectors(data):
    """Composition, mean expression, mean protein, mean morphology, counts and depth of every patient."""
    unit = data.unit
    found = {"composition": np.log(patient_shares(data).to_numpy() + 0.01)}
    for name in ("rna", "protein", "morphology"):
        x = data.features(name).X
        frame = pd.DataFrame(x.toarray() if hasattr(x, "toarray") else x, index=data.ids)
        found[name] = frame.groupby(unit).mean().to_numpy()
    depth = pd.Series(np.asarray(data.anndata("rna").X.sum(axis=1)).ravel(), index=data.ids).groupby(unit).mean()
    found["technical"] = np.log(np.stack([depth, data.patients["n_items"]], axis=1))
    return found


@pytest.fixture(scope="module")
def empty():
    """Cohorts in which nothing was planted, with what a method makes of each."""
    made = [small(seed, n=48, cells=20, **NOTHING) for seed in range(12)]
    return [(data, patient_vectors(data)) for data in made]


@pytest.mark.parametrize("view", ["composition", "rna", "protein", "morphology", "technical"])
def test_without_effects_nothing_tells_disease_or_batch(empty, view):
    by_label, by_batch = [], []
    for seed, (data, vectors) in enumerate(empty):
        patients = data.patients
        by_label.append(held_out(vectors[view], (patients["disease"] == "ill").to_numpy().astype(int), seed))
        by_batch.append(held_out(vectors[view], (patients["batch"] == "batch1").to_numpy().astype(int), seed))
    # Twelve cohorts: the standard error of a mean AUROC of 24 patients is about 0.035.
    assert np.mean(by_label) == pytest.approx(0.5, abs=0.11)
    assert np.mean(by_batch) == pytest.approx(0.5, abs=0.11)


def test_without_effects_survival_is_by_chance():
    found = {"severity": [], "stage": []}
    for seed in range(12):
        data = small(seed, n=80, cells=5, **NOTHING)
        time, event = data.patients["months"].to_numpy(float), data.patients["death"].to_numpy(int)
        assert (data.planted["patients"]["log_hazard"] == 0).all()
        found["severity"].append(harrell_c(time, event, data.planted["patients"]["severity"].to_numpy()))
        found["stage"].append(harrell_c(time, event, data.patients["stage"].to_numpy(float)))
    for values in found.values():
        assert np.mean(values) == pytest.approx(0.5, abs=0.04)


def percentile_within(data, gallery):
    """Rank of a cell's own partner among the cells of its batch and type, through a ridge head; held-out patients."""
    x = data.features("rna").X.toarray()
    y = np.asarray(data.features(gallery).X, dtype=float)
    patients = data.patients.index
    test = data.unit.isin(patients[: len(patients) // 2]).to_numpy()
    group = data.obs.groupby(["batch", "cell_type"]).ngroup().to_numpy()

    def centred(values):
        frame = pd.DataFrame(values)
        return (frame - frame.groupby(group).transform("mean")).to_numpy()

    x, y = centred(x), centred(y)
    a, b = x[~test], y[~test]
    head = np.linalg.solve(a.T @ a + 300 * np.eye(a.shape[1]), a.T @ b)
    left, right = x[test] @ head, y[test]
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
    score = left @ right.T
    together = group[test][:, None] == group[test][None]
    own = np.diag(score)[:, None]
    below = ((score < own) & together).sum(axis=1)
    return float((below / np.maximum(together.sum(axis=1) - 1, 1))[together.sum(axis=1) > 5].mean())


@pytest.mark.parametrize("gallery", ["protein", "morphology"])
def test_without_coupling_a_cell_does_not_find_itself(gallery):
    apart = [percentile_within(small(s, cells=80, coupling=0.0), gallery) for s in range(2)]
    coupled = percentile_within(small(cells=80), gallery)
    assert np.mean(apart) == pytest.approx(0.5, abs=0.04)
    assert coupled > 0.6


@pytest.mark.parametrize(("dial", "view"), [("composition_effect", "composition"), ("state_effect", "rna")])
def test_with_one_effect_the_disease_is_found_where_it_was_planted(dial, view):
    found = []
    for seed in range(3):
        data = small(seed, n=60, cells=30, **(NOTHING | {dial: 1.5}))
        y = (data.patients["disease"] == "ill").to_numpy().astype(int)
        found.append(held_out(patient_vectors(data)[view], y, seed))
    assert np.mean(found) > 0.7
