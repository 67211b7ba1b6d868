import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from mmcell import Embedding
from mmcell.patients.gloscope import GloScope, symmetric_kl

RNG = np.random.default_rng


def twin(clouds, others=None, k=25, ids=None):
    """The formula, cell by cell; every distance in full, the cell itself left out by name."""
    others = clouds if others is None else others
    names = ids or ([[(i, u) for u in range(len(c))] for i, c in enumerate(clouds)],) * 2
    rows = np.concatenate(others)
    delta = 1e-6 * (np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()) or 1)

    def log_radius(point, name, cloud, cloud_names):
        kept = [not np.array_equal(name, other) for other in cloud_names]
        d, k_ = np.sort(np.sqrt(((cloud[kept] - point) ** 2).sum(axis=1))), min(k, len(cloud) - 1)
        if d[k_ - 1] > delta:
            return np.log(d[k_ - 1]), sum(kept)
        return np.log(delta) + np.log(k_ / (d <= delta).sum()) / len(point), sum(kept)

    def kl(a, a_names, b, b_names):
        total = 0
        for point, name in zip(a, a_names, strict=True):
            (own, n_own), (cross, n_cross) = log_radius(point, name, a, a_names), log_radius(point, name, b, b_names)
            total += len(point) * (cross - own) + np.log(n_cross / n_own)
        return total / len(a)

    left, right = list(zip(clouds, names[0], strict=True)), list(zip(others, names[1], strict=True))
    return np.array([[kl(*a, *b) + kl(*b, *a) for b in right] for a in left])


def normal_clouds(sizes, d=3, seed=0, shift=0.0):
    rng = RNG(seed)
    return [rng.normal(size=(n, d)) + shift * i for i, n in enumerate(sizes)]


@pytest.mark.parametrize("k", [1, 3, 25])
@pytest.mark.parametrize("sizes", [(2, 3), (40, 17, 2), (30, 30, 30)])
def test_the_obvious_twin(sizes, k):
    clouds = normal_clouds(sizes, shift=0.5)
    np.testing.assert_allclose(symmetric_kl(clouds, k=k), twin(clouds, k=k), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_the_obvious_twin_with_duplicates(k):
    rng = RNG(k)
    clouds = [rng.integers(0, 2, (n, 2)).astype(float) for n in (30, 22, 9)] + [np.zeros((5, 2))]
    np.testing.assert_allclose(symmetric_kl(clouds, k=k), twin(clouds, k=k), rtol=1e-9, atol=1e-9)


def test_the_obvious_twin_with_cells_in_both():
    clouds = normal_clouds((25, 14))
    names = [[f"{i}{u}" for u in range(len(c))] for i, c in enumerate(clouds)]
    others = [np.concatenate([clouds[0][:10], RNG(5).normal(size=(8, 3))]), clouds[1]]
    other_names = [names[0][:10] + [f"new {u}" for u in range(8)], names[1]]
    ids = (names, other_names)
    found = symmetric_kl(clouds, others, k=4, ids=ids)
    np.testing.assert_allclose(found, twin(clouds, others, k=4, ids=ids), rtol=1e-9, atol=1e-9)
    assert found[1, 1] == 0


@pytest.mark.parametrize("d", [2, 30])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_the_neighbours_of_scikit_learn_and_scipy(d, offset):
    a, b = (c + offset for c in normal_clouds((700, 900), d=d, shift=0.3))

    def kl(x, y):
        own = NearestNeighbors(n_neighbors=25, algorithm="kd_tree").fit(x).kneighbors()[0][:, -1]
        cross = NearestNeighbors(n_neighbors=25, algorithm="kd_tree").fit(y).kneighbors(x)[0][:, -1]
        return d * np.log(cross / own).mean() + np.log(len(y) / (len(x) - 1))

    found = symmetric_kl([a, b])[0, 1]
    np.testing.assert_allclose(found, kl(a, b) + kl(b, a), rtol=1e-8)
    np.testing.assert_allclose(found, neighbours_kl(a, b, 25), rtol=1e-8)


def neighbours_kl(a, b, k):
    """Of both directions, with the neighbours that SciPy finds."""

    def kl(x, y):
        own, cross = cKDTree(x).query(x, [k + 1])[0][:, 0], cKDTree(y).query(x, [k])[0][:, 0]
        return x.shape[1] * np.log(cross / own).mean() + np.log(len(y) / (len(x) - 1))

    return kl(a, b) + kl(b, a)


def test_one_far_cell_changes_no_digit_of_the_others():
    """The error bound of single precision grows with the farthest cell; what is computed anew does too."""
    a, b = normal_clouds((300, 500), d=5)
    a[0] = 3e4
    np.testing.assert_allclose(symmetric_kl([a, b], k=5)[0, 1], neighbours_kl(a, b, 5), rtol=1e-7)


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_order_labels_place_turn_and_scale_make_no_difference(seed):
    rng = RNG(seed)
    clouds = normal_clouds(rng.integers(2, 300, 3), seed=seed, shift=0.4)
    found = symmetric_kl(clouds, k=5)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = [(rng.permutation(c) @ turn) * 37 + [5, -900, 3] for c in clouds]
    np.testing.assert_allclose(symmetric_kl(moved, k=5), found, rtol=1e-6, atol=1e-6)
    order = rng.permutation(3)
    np.testing.assert_allclose(symmetric_kl([clouds[i] for i in order], k=5), found[np.ix_(order, order)], atol=1e-9)
    np.testing.assert_allclose(symmetric_kl(clouds, clouds, k=5)[np.triu_indices(3, 1)], found[np.triu_indices(3, 1)])
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize(("k", "tolerance"), [(5, 0.06), (25, 0.03)])
@pytest.mark.parametrize("d", [2, 20])
def test_noise_is_at_zero_in_mean(d, k, tolerance):
    """A point among its own neighbours would add 1/(k − 1) in each direction: 0.5 and 0.08."""
    found = [symmetric_kl(normal_clouds((200, 200), d=d, seed=s), k=k)[0, 1] for s in range(60)]
    assert abs(np.mean(found)) < tolerance
    assert min(found) < 0


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_a_known_divergence_is_recovered(shift):
    # Of Gaussians of unit variance each direction is Δ²/2; estimates err low where one density is thin.
    rng = RNG(0)
    a, b = rng.normal(size=(2, 4000, 2))
    b[:, 0] += shift
    assert symmetric_kl([a, b], k=5)[0, 1] == pytest.approx(shift**2, rel=0.15)


def test_arguments_matter():
    clouds = normal_clouds((60, 60), shift=1)
    assert symmetric_kl(clouds, k=2)[0, 1] != symmetric_kl(clouds, k=3)[0, 1]


def test_the_same_bytes_again():
    clouds = normal_clouds((150, 80, 200), d=8)
    for cloud in clouds:
        cloud.setflags(write=False)
    np.testing.assert_array_equal(symmetric_kl(clouds), symmetric_kl(clouds))


def test_what_is_refused_of_clouds(refused):
    with refused("cloud 1 has fewer than 2 points"):
        symmetric_kl([np.zeros((3, 2)), np.zeros((1, 2))])
    with refused("points have 2, 3 dimensions"):
        symmetric_kl([np.zeros((3, 2))], [np.zeros((3, 3))])
    with refused("k is 0"):
        symmetric_kl([np.zeros((3, 2))] * 2, k=0)


def cohort(sizes, seed=0, d=4, shift=lambda i: 0.0):
    rng = RNG(seed)
    values = np.concatenate([rng.normal(size=(n, d)) + shift(i) for i, n in enumerate(sizes)])
    ids = [f"c{seed}-{i}" for i in range(len(values))]
    owner = pd.Series(np.repeat([f"p{i:02d}" for i in range(len(sizes))], sizes), ids)
    return Embedding.from_array("e", ids, values), owner


def within(cells, owner, patients):
    keep = owner.isin(patients).to_numpy()
    return cells.align(cells.ids[keep])


def test_two_groups_of_patients_lie_apart():
    cells, owner = cohort([60] * 12, shift=lambda i: 0.8 * (i % 2))
    found = GloScope().fit(cells, owner).transform(cells, owner)
    assert (found.level, found.columns[0], list(found.ids[:2])) == ("patient", "gloscope 1", ["p00", "p01"])
    first = found.values[:, 0]
    assert first[::2].max() < first[1::2].min() or first[1::2].max() < first[::2].min()


def test_training_patients_lie_where_the_scaling_put_them_and_others_need_no_fit():
    cells, owner = cohort([50, 40, 60, 45, 70])
    train = within(cells, owner, ["p00", "p01", "p02", "p03"])
    fitted = GloScope(k=5).fit(train, owner)
    alone, together = fitted.transform(train, owner), fitted.transform(cells, owner)
    np.testing.assert_array_equal(together.align(alone.ids).values, alone.values)
    one = fitted.transform(within(cells, owner, ["p04"]), owner)
    np.testing.assert_array_equal(one.values, together.values[4:])
    squared = cdist(alone.values, alone.values, "sqeuclidean")
    clouds = fitted._clouds
    if fitted.facts["n_negative"] == 0:
        np.testing.assert_allclose(squared, symmetric_kl(clouds, k=5), atol=1e-6)
    np.testing.assert_allclose(alone.values, fitted._scaling.transform(symmetric_kl(clouds, k=5)), atol=1e-6)


def test_facts():
    cells, owner = cohort([50, 40, 60])
    fitted = GloScope().fit(cells, owner)
    facts = json.loads(json.dumps(fitted.facts))
    assert (facts["n_cells"], facts["k"]) == (40, 25)
    assert facts["n_components"] + facts["n_negative"] <= 2
    assert 0 <= facts["negative_share"] <= 1
    assert GloScope(n_cells=10).fit(cells, owner).facts["k"] == 9
    assert GloScope.reads_embedding


def test_the_order_of_rows_makes_no_difference():
    cells, owner = cohort([30, 55, 41])
    order = RNG(0).permutation(len(cells))
    moved = Embedding.from_array("e", cells.ids[order], cells.values[order])
    found = [GloScope(k=5).fit(c, owner).transform(c, owner).values for c in (cells, moved)]
    np.testing.assert_array_equal(*found)


def test_who_else_is_there_makes_no_difference_to_the_draw():
    cells, owner = cohort([30, 55, 41])
    fitted = GloScope(n_cells=20).fit(cells, owner)
    alone = fitted._draw(within(cells, owner, ["p01"]), owner)[1][0]
    np.testing.assert_array_equal(alone, fitted._draw(cells, owner)[1][1])
    assert set(GloScope(n_cells=10).fit(cells, owner)._ids[1]) < set(alone)


def test_names_of_patients_make_no_difference():
    cells, owner = cohort([30, 55, 41])
    renamed = owner.map({"p00": "z", "p01": "y", "p02": "x"})
    a, b = (GloScope(k=5).fit(cells, o).transform(cells, o).values for o in (owner, renamed))
    np.testing.assert_allclose(cdist(a, a), cdist(b[::-1], b[::-1]), atol=1e-7)


@pytest.mark.parametrize("change", [{"k": 3}, {"n_cells": 12}, {"seed": 1}, {"n_components": 1}])
def test_every_argument_matters(change):
    cells, owner = cohort([30, 55, 41], shift=lambda i: i)
    usual, other = (GloScope(**a).fit(cells, owner).transform(cells, owner).values for a in ({}, change))
    assert usual.shape != other.shape or not np.array_equal(usual, other)


def test_a_patient_with_fewer_cells_than_the_draw_keeps_them_all():
    cells, owner = cohort([30, 40, 50])
    fitted = GloScope().fit(cells, owner)
    new, its = cohort([7], seed=1)
    assert [len(c) for c in fitted._draw(new, its)[2]] == [7]
    assert np.isfinite(fitted.transform(new, its).values).all()


def test_other_cells_of_a_training_patient_lie_near_it():
    cells, owner = cohort([400] * 6, shift=lambda i: 1.5 * i, d=2)
    half = RNG(0).permutation(len(cells)) < len(cells) // 2
    fitted = GloScope().fit(cells.align(cells.ids[half]), owner)
    here = fitted.transform(cells.align(cells.ids[half]), owner).values
    there = fitted.transform(cells.align(cells.ids[~half]), owner).values
    assert (cdist(there, here).argmin(axis=1) == np.arange(6)).all()


def test_patients_all_the_same_get_zeros():
    cells, owner = cohort([20, 20, 20])
    same = Embedding.from_array("e", cells.ids, np.ones((60, 3)))
    found = GloScope().fit(same, owner).transform(same, owner)
    np.testing.assert_array_equal(found.values, np.zeros((3, 1)))


def test_too_few_cells_are_named(refused):
    cells, owner = cohort([5, 1, 6])
    pieces = ["'gloscope'", "1 patient has one cell (p01)", "at least 2 cells per patient"]
    with refused(*pieces):
        GloScope().fit(cells, owner)
    fitted = GloScope().fit(within(cells, owner, ["p00", "p02"]), owner)
    with refused(*pieces):
        fitted.transform(cells, owner)


def test_fit_comes_first(refused):
    with refused("'gloscope': not fitted"):
        GloScope().transform(*cohort([5, 6]))


@pytest.mark.parametrize("wrong", [{"k": 0}, {"n_cells": 1}])
def test_what_is_refused_of_arguments(refused, wrong):
    ((name, value),) = wrong.items()
    with refused(f"'gloscope': {name} is {value}"):
        GloScope(**wrong)
