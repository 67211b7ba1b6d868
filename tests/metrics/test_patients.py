import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from mmcell.metrics.patients import anosim, replicate_robustness

SEEDS = st.integers(0, 10_000)


def samples(seed, n=12):
    """Distances with many ties; patients with one to several samples, in two groups."""
    rng = np.random.default_rng(seed)
    d = rng.integers(0, 4, (n, n)).astype(float)
    d = d + d.T
    np.fill_diagonal(d, 0)
    return d, rng.choice(list("abcde"), n), rng.choice(["x", "y"], n)


def slow(d, patient, group):
    by_patient = {}
    for i in range(len(d)):
        others = [k for k in range(len(d)) if patient[k] != patient[i] and group[k] == group[i]]
        for j in range(len(d)):
            if i == j or patient[i] != patient[j] or not others:
                continue
            lost = sum(1.0 if d[i, k] < d[i, j] else 0.5 if d[i, k] == d[i, j] else 0.0 for k in others)
            by_patient.setdefault(patient[i], []).append(1 - lost / len(others))
    return np.mean([np.mean(v) for v in by_patient.values()]) if by_patient else np.nan


@given(SEEDS)
def test_robustness_equals_the_slow_count(seed):
    d, patient, group = samples(seed)
    np.testing.assert_allclose(replicate_robustness(d, patient, group), slow(d, patient, group))
    np.testing.assert_allclose(replicate_robustness(d, patient), slow(d, patient, np.zeros(len(d))))


@given(SEEDS)
def test_robustness_knows_neither_the_order_nor_the_scale_nor_the_names(seed):
    d, patient, group = samples(seed)
    turn = np.random.default_rng(seed).permutation(len(d))
    expected = replicate_robustness(d, patient, group)
    np.testing.assert_allclose(replicate_robustness(d[turn][:, turn], patient[turn], group[turn]), expected)
    np.testing.assert_allclose(replicate_robustness(d**3 * 7, patient, group), expected)
    np.testing.assert_allclose(replicate_robustness(d, np.char.add("p", patient), group), expected)


def test_perfect_chance_and_collapsed():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 2)
    centre = rng.normal(size=(40, 5))[patient]
    close = centre + 1e-3 * rng.normal(size=centre.shape)
    assert replicate_robustness(cdist(close, close), patient) == 1.0
    noise = rng.normal(size=centre.shape)
    assert replicate_robustness(cdist(noise, noise), patient) == pytest.approx(0.5, abs=0.06)
    assert replicate_robustness(np.zeros((80, 80)), patient) == 0.5


def test_each_patient_counts_once_however_many_samples():
    d = np.array([[0, 1, 9, 5], [1, 0, 9, 5], [9, 9, 0, 9], [5, 5, 9, 0]], dtype=float)
    many = np.kron(d, np.ones((3, 3)))
    # Patient 0 has samples at 0, 1 and 2 (near, near, far), patient 1 the rest.
    assert replicate_robustness(d, np.array([0, 0, 0, 1])) == pytest.approx(slow(d, np.array([0, 0, 0, 1]), [0] * 4))
    assert 0 < replicate_robustness(many, np.repeat([0, 0, 0, 1], 3)) < 1


@pytest.mark.parametrize("patient", [np.arange(4), np.zeros(4)])
def test_robustness_without_replicates_or_others_is_undefined(patient):
    assert np.isnan(replicate_robustness(np.ones((4, 4)), patient))


def slow_anosim(d, labels):
    n = len(d)
    values = sorted(d[i, j] for i in range(n) for j in range(i))
    rank = {v: np.mean([k + 1 for k, w in enumerate(values) if w == v]) for v in values}
    within, between = [], []
    for i in range(n):
        for j in range(i):
            (within if labels[i] == labels[j] else between).append(rank[d[i, j]])
    return (np.mean(between) - np.mean(within)) / (n * (n - 1) / 4)


@given(SEEDS)
def test_anosim_equals_the_slow_count(seed):
    d, _, labels = samples(seed, 8)
    found = anosim(d, labels, 0, np.random.default_rng(0))
    if len(set(labels)) == 1:
        assert np.isnan(found.r)
        return
    assert found.r == pytest.approx(slow_anosim(d, labels))
    assert found.p_value == 1.0


def test_anosim_of_groups_of_noise_and_of_a_collapsed_embedding():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 8)
    apart = rng.normal(size=(24, 3)) + 50 * np.eye(3)[np.repeat(range(3), 8)]
    found = anosim(cdist(apart, apart), labels, 99, rng)
    assert (found.r, found.p_value) == (pytest.approx(1.0), 0.01)
    flat = anosim(np.zeros((24, 24)), labels, 99, rng)
    assert (flat.r, flat.p_value) == (0.0, 1.0)


def test_the_p_of_anosim_is_right_under_noise():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 6)
    p = []
    for _ in range(300):
        x = rng.normal(size=(12, 2))
        p.append(anosim(cdist(x, x), labels, 39, rng).p_value)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)


@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(5)])
def test_anosim_without_pairs_within_or_between_is_undefined(labels):
    found = anosim(np.ones((5, 5)), labels, 9, np.random.default_rng(0))
    assert np.isnan(found.r)
    assert np.isnan(found.p_value)


def test_bad_distances_are_refused(refused):
    rng = np.random.default_rng(0)
    with refused("not square", "(2, 3)"):
        replicate_robustness(np.ones((2, 3)), np.arange(2))
    with refused("patient", "3 values for 2 samples"):
        replicate_robustness(np.ones((2, 2)), np.arange(3))
    with refused("group", "1 values for 2 samples"):
        replicate_robustness(np.ones((2, 2)), np.arange(2), np.zeros(1))
    with refused("labels", "3 values for 2 samples"):
        anosim(np.ones((2, 2)), np.arange(3), 9, rng)
    with refused("NaN"):
        anosim(np.full((2, 2), np.nan), np.arange(2), 9, rng)
