import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from mmcell.metrics.perturbation import (
    centroid_accuracy,
    control_halves,
    de_overlap,
    discrimination_score,
    energy_distance,
    pearson_delta,
    rescaling_curve,
)

SEEDS = st.integers(0, 10_000)
METRICS = ("l1", "l2", "cosine")
each = pytest.mark.parametrize("metric", METRICS)


def grid(seed, p=6, g=4):
    """Effects on a small grid: duplicates, equal distances, and effects of length zero."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (p, g)).astype(float), rng.integers(-1, 2, (p, g)).astype(float)


def normal(seed, p=20, g=30):
    return np.random.default_rng(seed).normal(size=(2, p, g))


def distance(a, b, metric):
    """None where a direction is missing."""
    if metric == "cosine":
        length = np.linalg.norm(a) * np.linalg.norm(b)
        return 1 - a @ b / length if length else None
    return np.linalg.norm(a - b, ord=1 if metric == "l1" else 2)


def slow_closer(predicted, observed, metric, target=None):
    n = len(predicted)
    target = [None] * n if target is None else target
    found = []
    for p in range(n):
        count = 0.0
        for q in set(range(n)) - {p}:
            genes = [k for k in range(predicted.shape[1]) if k not in (target[p], target[q])]
            own, other = (distance(predicted[p, genes], observed[r, genes], metric) for r in (p, q))
            gap = None if own is None or other is None else other - own
            count += 0.5 if gap is None or abs(gap) < 1e-9 else float(gap < 0)
        found.append(count)
    return np.array(found)


# -- discrimination and centroid accuracy ------------------------------------------------------------------------------


@each
@given(seed=SEEDS)
def test_discrimination_equals_the_slow_count(metric, seed):
    a, b = grid(seed)
    np.testing.assert_allclose(discrimination_score(a, b, metric), 1 - slow_closer(a, b, metric) / 6)


@each
@given(seed=SEEDS)
def test_discrimination_without_the_target_gene_equals_the_slow_count(metric, seed):
    a, b = grid(seed)
    target = np.random.default_rng(seed).integers(-1, 4, 6)
    expected = 1 - slow_closer(a, b, metric, target) / 6
    np.testing.assert_allclose(discrimination_score(a, b, metric, target), expected)


@given(SEEDS)
def test_centroid_accuracy_equals_the_slow_count(seed):
    a, b = grid(seed)
    np.testing.assert_allclose(centroid_accuracy(a, b), 1 - slow_closer(a, b, "l2") / 5)


@each
@given(seed=SEEDS)
def test_the_order_of_perturbations_and_genes_does_not_matter(metric, seed):
    a, b = normal(seed)
    rng = np.random.default_rng(seed)
    rows, genes = rng.permutation(20), rng.permutation(30)
    np.testing.assert_allclose(
        discrimination_score(a[rows][:, genes], b[rows][:, genes], metric), discrimination_score(a, b, metric)[rows]
    )


@each
def test_a_perfect_prediction_scores_one_and_a_random_one_chance(metric):
    a, b = normal(0, 200, 40)
    assert (discrimination_score(b, b, metric) == 1.0).all()
    assert (centroid_accuracy(b, b) == 1.0).all()
    assert discrimination_score(a, b, metric).mean() == pytest.approx(201 / 400, abs=0.06)
    assert centroid_accuracy(a, b).mean() == pytest.approx(0.5, abs=0.06)


@each
@pytest.mark.parametrize("value", [0.0, 0.1, -5.0])
def test_one_prediction_for_all_is_at_chance(metric, value):
    _, b = normal(1, 25)
    same = np.full_like(b, value)
    assert discrimination_score(same, b, metric).mean() == pytest.approx(26 / 50)
    assert discrimination_score(b, same, metric).mean() == pytest.approx(26 / 50)
    assert discrimination_score(same, same, metric) == pytest.approx(np.full(25, 26 / 50))
    assert centroid_accuracy(same, b).mean() == pytest.approx(0.5)


def test_the_sign_of_an_effect_counts():
    _, b = normal(2, 30)
    for metric in METRICS:
        assert discrimination_score(-b, b, metric).mean() < 0.1


def test_a_target_gene_that_gives_the_answer_away_is_left_out():
    rng = np.random.default_rng(3)
    p = 30
    a, b = rng.normal(size=(2, p, p + 20))
    a[np.arange(p), np.arange(p)] = b[np.arange(p), np.arange(p)] = -30.0
    assert discrimination_score(a, b, "l1").mean() > 0.99
    for metric in METRICS:
        assert discrimination_score(a, b, metric, np.arange(p)).mean() == pytest.approx(31 / 60, abs=0.15)


@each
def test_no_change_is_at_chance_though_every_effect_carries_the_mark_of_its_target(metric):
    rng = np.random.default_rng(4)
    b = rng.normal(size=(30, 50))
    b[np.arange(30), np.arange(30)] = -30.0
    assert discrimination_score(np.zeros_like(b), b, metric, np.arange(30)).mean() == pytest.approx(31 / 60)


def test_one_perturbation_has_nothing_to_be_told_from():
    assert np.isnan(centroid_accuracy(np.ones((1, 3)), np.ones((1, 3)))).all()


# -- rescaling ---------------------------------------------------------------------------------------------------------


def test_a_curve_that_moves_is_seen():
    _, b = normal(4, 30)
    a = b + np.random.default_rng(4).normal(size=b.shape)
    moving = rescaling_curve(a, b, lambda p, o: discrimination_score(p, o, "l1"))
    still = rescaling_curve(a, b, lambda p, o: discrimination_score(p, o, "cosine"))
    assert moving.moves
    assert not still.moves
    np.testing.assert_array_equal(moving.factors, [0.1, 0.3, 1, 3, 10])
    assert moving.values[2] == discrimination_score(a, b, "l1").mean()


def test_a_curve_moves_where_it_is_defined_in_part_and_not_where_it_is_nowhere():
    a, b = normal(5)
    part = rescaling_curve(a, b, lambda p, o: np.nan if np.abs(p).max() > np.abs(a).max() else 1.0)
    assert part.moves
    assert not rescaling_curve(a, b, lambda p, o: np.nan).moves


def test_the_factors_are_used():
    a, b = normal(6)
    curve = rescaling_curve(a, b, lambda p, o: p[0, 0], [1, 2])
    np.testing.assert_allclose(curve.values, [a[0, 0], 2 * a[0, 0]])


@pytest.mark.parametrize("factors", [[], [0.0, 1.0], [-1.0]])
def test_factors_that_are_none_are_refused(refused, factors):
    with refused("factors"):
        rescaling_curve(*normal(0), lambda p, o: 1.0, factors)


# -- Pearson-Δ ---------------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_pearson_delta_equals_scipy(seed):
    a, b = normal(seed)
    rng = np.random.default_rng(seed + 1)
    shared, own, other = rng.normal(size=30), rng.normal(size=(20, 30)), rng.normal(size=30)
    for reference, predicted_reference in ((shared, None), (own, None), (shared, other)):
        base = reference if predicted_reference is None else predicted_reference
        expected = [
            pearsonr(x, y).statistic
            for x, y in zip(a - base, b - reference, strict=True)
        ]  # fmt: skip
        found = pearson_delta(a, b, reference, predicted_reference=predicted_reference)
        np.testing.assert_allclose(found, expected)


def test_no_change_has_no_correlation():
    a, b = normal(7)
    reference = np.random.default_rng(8).normal(size=30)
    assert np.isnan(pearson_delta(np.tile(reference, (20, 1)), b, reference)).all()
    assert np.isnan(pearson_delta(a, np.tile(reference + 2.0, (20, 1)), reference)).all()
    a[3] = reference
    assert np.isnan(pearson_delta(a, b, reference)).nonzero()[0].tolist() == [3]


def test_a_change_that_is_rounding_has_no_correlation():
    rng = np.random.default_rng(8)
    cells = rng.normal(1000.0, 1.0, size=(50, 30))
    one, other = cells.mean(axis=0), cells[::-1].sum(axis=0) / 50
    assert (one != other).any()
    assert np.isnan(pearson_delta(one[None], cells[:1], other)).all()


# -- controls, energy distance, DE overlap -----------------------------------------------------------------------------


@given(SEEDS, st.integers(2, 40))
def test_halves_are_disjoint_equal_and_complete(seed, n):
    ids = pd.Index([f"c{i}" for i in range(n)])
    one, other = control_halves(ids, np.random.default_rng(seed))
    assert not len(one.intersection(other))
    assert one.union(other).equals(ids.sort_values())
    assert len(other) - len(one) in (0, 1)


def test_halves_are_drawn_at_random_and_again_from_the_same_seed():
    ids = list(range(30))
    first, again, different = (control_halves(ids, np.random.default_rng(s))[0] for s in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(different)
    assert ids == list(range(30))


def test_controls_that_cannot_be_halved_are_refused(refused):
    rng = np.random.default_rng(0)
    with refused("control_halves", "1 controls"):
        control_halves(["a"], rng)
    with refused("control_halves", "a occurs twice"):
        control_halves(["a", "b", "a"], rng)


@given(SEEDS)
def test_energy_distance_equals_the_slow_mean(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(7, 3)), rng.normal(1.0, 1.0, size=(5, 3))
    between = np.mean([np.linalg.norm(a - b) for a in x for b in y])
    within = [np.mean([np.linalg.norm(z[i] - z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])
              for z in (x, y)]  # fmt: skip
    assert energy_distance(x, y) == pytest.approx(2 * between - sum(within))
    assert energy_distance(y, x) == pytest.approx(energy_distance(x, y))


def test_energy_distance_is_zero_on_average_without_an_effect_and_sees_more_than_the_mean():
    rng = np.random.default_rng(0)
    null = [energy_distance(*rng.normal(size=(2, 20, 3))) for _ in range(200)]
    assert np.mean(null) == pytest.approx(0.0, abs=0.02)
    assert np.min(null) < 0
    wide = energy_distance(rng.normal(size=(400, 3)), 3 * rng.normal(size=(400, 3)))
    assert wide > 0.5


def test_energy_distance_is_not_of_squared_distances():
    assert energy_distance(np.array([[0.0], [0.0]]), np.array([[3.0], [3.0]])) == 6.0


def test_energy_distance_of_one_cell_or_of_two_spaces(refused):
    assert np.isnan(energy_distance(np.ones((1, 2)), np.ones((5, 2))))
    assert energy_distance(np.ones((4, 2)), np.ones((5, 2))) == 0.0
    with refused("energy_distance"):
        energy_distance(np.ones((4, 2)), np.ones((4, 3)))


def slow_overlap(a, b, n, rng, draws=4000):
    """Ties broken at random, many times."""
    found = []
    for _ in range(draws):
        tops = [set(np.lexsort((rng.random(len(z)), -np.abs(z)))[:n]) for z in (a, b)]
        found.append(len(tops[0] & tops[1]) / n)
    return np.mean(found)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_overlap_equals_random_orders_of_ties(n):
    a, b = grid(11, 3, 6)
    rng = np.random.default_rng(0)
    expected = [slow_overlap(x, y, n, rng) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(de_overlap(a, b, n), expected, atol=0.03)


def test_overlap_of_the_truth_of_noise_and_of_a_constant():
    a, b = normal(12, 50, 100)
    assert (de_overlap(b, b, 10) == 1.0).all()
    assert (de_overlap(-b, b, 10) == 1.0).all()
    assert de_overlap(a, b, 10).mean() == pytest.approx(0.1, abs=0.04)
    assert de_overlap(np.ones_like(b), b, 10) == pytest.approx(np.full(50, 0.1))


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_bad_input_is_refused(refused):
    a, b = normal(0)
    with refused("predicted (20, 30)", "observed (19, 30)"):
        centroid_accuracy(a, b[1:])
    with refused("NaN"):
        discrimination_score(np.where(a > 2, np.nan, a), b)
    with refused("metric 'l3'", "l1, l2, cosine"):
        discrimination_score(a, b, "l3")
    for target in (np.zeros(3, dtype=int), np.full(20, 30), np.full(20, -2)):
        with refused("target_index"):
            discrimination_score(a, b, "l1", target)
    for n in (0, 31):
        with refused("de_overlap", str(n)):
            de_overlap(a, b, n)


def test_inputs_stay_as_they_are():
    a, b = normal(0)
    before = a.copy(), b.copy()
    for metric in METRICS:
        discrimination_score(a, b, metric, np.zeros(20, dtype=int))
    pearson_delta(a, b, a[0])
    de_overlap(a, b, 5)
    rescaling_curve(a, b, centroid_accuracy)
    np.testing.assert_array_equal(np.stack(before), np.stack((a, b)))
