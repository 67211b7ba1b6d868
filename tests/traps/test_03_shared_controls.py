"""Subtract one pool of controls from the truth and from the prediction, and its noise is what both agree on."""

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Metric
from mmcell.metrics.base import mean_of
from mmcell.metrics.perturbation import control_halves, pearson_delta
from mmcell.stats import bootstrap

N_CELLS, N_GENES, N_PERTURBATIONS = 100, 300, 40

_fn, _fast = mean_of(lambda items: items.column("y_pred").astype(float))
MEAN_R = Metric("pearson_delta", _fn, True, 0.0, (-1, 1), _fast, ("regression",))


def no_effect(n_controls, seed):
    """Mean profiles of what is predicted and of what is observed: cells like any other; and the controls."""
    rng = np.random.default_rng(seed)
    predicted, observed = rng.normal(size=(2, N_PERTURBATIONS, N_GENES)) / np.sqrt(N_CELLS)
    return predicted, observed, rng.normal(size=(n_controls, N_GENES))


@pytest.mark.parametrize(("n_controls", "expected"), [(5, 0.95), (20, 0.83), (100, 0.50), (1000, 0.09)])
def test_the_naive_score_of_noise_is_high(n_controls, expected):
    predicted, observed, controls = no_effect(n_controls, 0)
    assert pearson_delta(predicted, observed, controls.mean(axis=0)).mean() == pytest.approx(expected, abs=0.03)


def estimate_of(r, unit):
    frame = pd.DataFrame({"item": np.arange(len(r)), "unit": unit, "y_true": 0.0, "y_pred": r})
    return bootstrap(Items(frame, "regression"), [MEAN_R], n_boot=300, seed=0)["pearson_delta"]


def r_of_halves(n_controls, seed):
    """Pearson-Δ of every perturbation, truth and prediction each with its own half of the controls."""
    predicted, observed, controls = no_effect(n_controls, seed)
    one, other = control_halves(range(n_controls), np.random.default_rng(seed))
    return pearson_delta(
        predicted, observed, controls[one].mean(axis=0), predicted_reference=controls[other].mean(axis=0)
    )


@pytest.mark.parametrize("n_controls", [6, 20, 100, 1000])
def test_disjoint_halves_leave_nothing(n_controls):
    # Twenty plates with controls of their own; what shares controls is no independent unit.
    r = np.concatenate([r_of_halves(n_controls, seed) for seed in range(100, 120)])
    found = estimate_of(r, np.repeat(np.arange(20), N_PERTURBATIONS))
    assert found.status == "ok"
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.05


def test_the_interval_covers_nothing_with_plates_as_units_and_not_with_perturbations():
    covered = {"plates": [], "perturbations": []}
    for study in range(40):
        r = np.stack([r_of_halves(20, 1000 * study + plate)[:10] for plate in range(20)])
        for unit, labels in (("plates", np.repeat(np.arange(20), 10)), ("perturbations", np.arange(200))):
            found = estimate_of(r.ravel(), labels)
            covered[unit].append(found.low <= 0 <= found.high)
    # Over 150 studies: 0.91 with plates, 0.52 with perturbations; 0.28 where one pool of 100 serves 40 perturbations.
    assert np.mean(covered["plates"]) > 0.8
    assert np.mean(covered["perturbations"]) < np.mean(covered["plates"]) - 0.15
