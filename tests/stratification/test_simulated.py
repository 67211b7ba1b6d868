"""Simulated cohorts whose truth is known: what is planted is found, and where nothing is, nothing is claimed."""

import pytest
from sklearn.metrics import adjusted_rand_score

from mmcell import load_dataset
from mmcell.data.simulate import simulate_cohort
from mmcell.stratification.study import stratify

FAST = {"repeats": 2, "runs": 20, "n_permutations": 199, "n_boot": 100}
NOTHING = {"composition_effect": 0, "state_effect": 0, "batch_effect": 0, "survival_effect": 0, "clinical_effect": 0}


def agreement(found, data):
    disease = data.patients["disease"].reindex(found.groups.index)
    return adjusted_rand_score(disease, found.groups["group"])


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_groups_are_found_without_their_labels_and_live_unlike(seed):
    data = simulate_cohort(
        150, 120, composition_effect=3.0, survival_effect=1.5, severity_spread=0.1, images=False, seed=seed
    )
    found = stratify(data, n_null=39, max_k=4, **FAST)
    assert found.stability.p == 1 / 40
    assert found.k == 2
    assert agreement(found, data) >= 0.8
    assert found.outcome.p < 0.05


def test_ill_and_well_of_the_shipped_cohort_overlap_too_much_to_be_groups():
    # Not even a rule that knew the severity, which no cell shows without error, would reach 0.8.
    data = load_dataset("sim-cohort")
    known = data.planted["patients"]["severity"] > 0.5
    assert adjusted_rand_score(data.patients["disease"].reindex(known.index), known) < 0.7
    found = stratify(data, n_null=19, max_k=3, **FAST)
    assert found.k == 1
    assert "no-stable-groups" in {f.code for f in found.findings}


def differences(seeds, k):
    """Return how many cohorts without any effect show a difference of survival between held-out groups at 5 %."""
    found = 0
    for seed in seeds:
        data = simulate_cohort(90, 40, **NOTHING, images=False, seed=seed)
        study = stratify(data, k=k, n_null=19, max_k=3, seed=seed, **FAST | {"repeats": 1})
        found += study.outcome.kind == "survival" and study.k > 1 and study.outcome.p <= 0.05
    return found


def test_a_few_cohorts_without_any_effect():
    # 4 or more of 8 at 5 % would be a rare accident (p < 0.001).
    assert differences(range(8), 2) < 4


@pytest.mark.full
@pytest.mark.parametrize("k", [2, "auto"])
def test_survival_differs_in_no_more_than_9_of_100_cohorts_without_any_effect(k):
    assert differences(range(100), k) <= 9
