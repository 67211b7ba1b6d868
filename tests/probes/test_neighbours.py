import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from mmcell.probes.linear import fit_logistic
from mmcell.probes.neighbours import COUNTS, VOTES, carried_over, fit_neighbours


def ring(n=120, seed=0):
    """Class 1 lies around class 0: no plane divides them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = np.where(y == 1, 3.0, 1.0) + 0.3 * rng.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y


def test_it_sees_what_no_plane_divides():
    (x, y), (new, of_new) = ring(), ring(seed=1)
    assert roc_auc_score(of_new, fit_neighbours(x, y).probability(new)[:, 1]) > 0.95
    assert roc_auc_score(of_new, fit_logistic(x, y).probability(new)[:, 1]) < 0.7


def test_probabilities_are_shares_of_the_chosen_number_of_neighbours():
    x, y = ring(40)
    found = fit_neighbours(x, y)
    k = found.model.n_neighbors
    assert k in COUNTS
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    expected = KNeighborsClassifier(k).fit(z, y).predict_proba(z)
    np.testing.assert_allclose(found.probability(x), expected)


def test_the_number_is_chosen_without_looking_at_noise_twice():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(20):
        x, y, new = rng.normal(size=(60, 5)), rng.integers(0, 2, 60), rng.normal(size=(200, 5))
        scores.append(roc_auc_score(rng.integers(0, 2, 200), fit_neighbours(x, y).probability(new)[:, 1]))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


def test_constant_inputs_say_nothing_and_few_rows_are_no_fault():
    np.testing.assert_array_equal(fit_neighbours(np.ones((10, 2)), np.arange(10) % 2).probability(np.ones((1, 2))), 0.5)
    x = np.arange(4.0)[:, None]
    assert fit_neighbours(x, np.array([0, 0, 1, 1])).model.n_neighbors == 4


def test_scale_and_order_do_not_matter():
    x, y = ring(60)
    order = np.random.default_rng(0).permutation(60)
    a = fit_neighbours(x, y).model.n_neighbors
    np.testing.assert_allclose(
        fit_neighbours(x * [10, 0.1] + 5, y).probability(x * [10, 0.1] + 5), fit_neighbours(x, y).probability(x)
    )
    assert a in COUNTS
    assert fit_neighbours(x[order], y[order]).model.n_neighbors in COUNTS


def test_carried_over_labels_are_those_of_scikit_learn_where_votes_differ():
    rng = np.random.default_rng(0)
    x, held = rng.normal(size=(200, 4)), rng.normal(size=(60, 4))
    y = np.array(["a", "b"])[(x[:, 0] > 0).astype(int)]
    label, distance = carried_over(x, y, held)
    # Fifteen voters of two classes are never tied.
    peer = KNeighborsClassifier(VOTES, algorithm="kd_tree").fit(x, y)
    np.testing.assert_array_equal(label, peer.predict(held))
    np.testing.assert_allclose(distance, peer.kneighbors(held)[0].mean(axis=1))


def test_of_equally_many_votes_the_nearest_voter_counts():
    x = np.array([[1.0], [2.0], [-3.0], [-4.0]])
    label, distance = carried_over(x, np.array(["b", "b", "a", "a"]), np.array([[0.0], [-1.5]]))
    assert list(label) == ["b", "a"]
    assert distance[0] == 2.5


def test_equal_points_are_named_by_nobody():
    label, distance = carried_over(np.ones((30, 3)), np.repeat(["a", "b"], 15), np.ones((4, 3)))
    assert set(label) == {""}
    assert (distance == 0).all()
