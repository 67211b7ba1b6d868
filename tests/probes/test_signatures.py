"""Directions within types: every sum against a loop, and what is missing moves nobody."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.probes.signatures import (
    FEWEST,
    Space,
    along,
    bag_means,
    cosine,
    disease_direction,
    mean_direction,
    permuted_directions,
    spread_directions,
)


def bags(n=12, types=3, d=4, *, missing=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, types, d)) + rng.normal(size=d)
    x[rng.random((n, types)) < missing] = np.nan
    return x


def has(row):
    return [t for t in range(len(row)) if np.isfinite(row[t]).all()]


def test_means_of_bags_are_those_of_a_loop_and_few_cells_have_none():
    rng = np.random.default_rng(1)
    x, bag, kind = rng.normal(size=(200, 3)), rng.integers(-1, 6, 200), rng.integers(-1, 4, 200)
    found = bag_means(x, bag, kind, 7, 4)
    sizes = set()
    for b in range(7):
        for t in range(4):
            rows = x[(bag == b) & (kind == t)]
            sizes.add(len(rows) >= FEWEST)
            if len(rows) < FEWEST:
                assert np.isnan(found[b, t]).all()
            else:
                np.testing.assert_allclose(found[b, t], rows.mean(axis=0))
    assert sizes == {True, False}


def test_a_space_is_standardised_type_by_type_on_training_patients():
    x = bags(30, missing=0.4)
    x[:, 0, 1] = np.where(np.isfinite(x[:, 0, 1]), 7.0, np.nan)  # does not vary
    x[1:, 2] = np.nan  # one patient alone has this type
    space = Space.fit(x)
    z = space.points(x)
    assert list(space.known) == [True, True, False]
    assert np.isnan(z[:, 2]).all()
    np.testing.assert_array_equal(z[np.isfinite(x[:, 0, 0]), 0, 1], 0.0)
    for t, columns in ((0, [0, 2, 3]), (1, [0, 1, 2, 3])):
        rows = z[np.isfinite(z[:, t]).all(axis=1), t][:, columns]
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(rows.std(axis=0, ddof=1), 1)
    effects = space.effects(np.ones_like(x))
    np.testing.assert_allclose(effects[0, 1], 1 / np.nanstd(x[:, 1], axis=0, ddof=1))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 0.7))
def test_places_and_cosines_are_those_of_a_loop(seed, missing):
    x, u = bags(8, missing=missing, seed=seed), np.random.default_rng(seed + 1).normal(size=(5, 3, 4))
    place, lie = along(x, u), cosine(x, u)
    for i, row in enumerate(x):
        there = has(row)
        for j, direction in enumerate(u):
            if not there:
                assert np.isnan(place[i, j])
                assert np.isnan(lie[i, j])
                continue
            a, b = row[there].ravel(), direction[there].ravel()
            assert place[i, j] == pytest.approx(a @ b / (b @ b))
            assert lie[i, j] == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))
    np.testing.assert_allclose(along(x, u[0]), place[:, 0])
    np.testing.assert_allclose(cosine(x, 3 * u[0]), lie[:, 0])
    np.testing.assert_allclose(along(2 * x, u), 2 * place)


def test_a_patient_on_the_signature_has_moved_once_whichever_types_are_missing():
    u = np.random.default_rng(0).normal(size=(3, 4))
    x = np.stack([u, u, 2 * u])
    x[1, 0] = np.nan
    np.testing.assert_allclose(along(x, u), [1, 1, 2])
    np.testing.assert_allclose(cosine(x, -u), -1)


def test_where_nothing_varies_nothing_is_known():
    x = np.full((6, 2, 3), 5.0)
    space = Space.fit(x)
    z = space.points(x)
    np.testing.assert_array_equal(along(z, z[0]), 0.0)
    np.testing.assert_array_equal(cosine(z, np.ones((2, 3))), 0.0)


def test_the_disease_is_the_difference_of_class_means():
    x = bags(20, missing=0.3, seed=3)
    x[:10, 2] = np.nan
    y = np.repeat([1, 0], 10)
    found = disease_direction(x, y)
    for t in (0, 1):
        np.testing.assert_allclose(found[t], np.nanmean(x[:10, t], axis=0) - np.nanmean(x[10:, t], axis=0))
    np.testing.assert_array_equal(found[2], 0.0)  # the ill have no such type
    np.testing.assert_allclose(mean_direction(x)[0], np.nanmean(x[:, 0], axis=0))


def test_random_directions_are_those_of_a_loop():
    x = bags(20, missing=0.3, seed=4)
    w = np.random.default_rng(0).normal(size=(5, 20))
    found = spread_directions(x, w)
    for b in range(5):
        for t in range(3):
            own = np.flatnonzero(np.isfinite(x[:, t, 0]))
            total = sum(w[b, i] * (x[i, t] - x[own, t].mean(axis=0)) for i in own)
            np.testing.assert_allclose(found[b, t], total / len(own))


def test_permuted_directions_are_those_of_labels_exchanged_within_groups():
    x, group = bags(24, missing=0.3, seed=4), np.arange(24) % 3
    x[:20, 2] = np.nan
    y = (np.arange(24) < 10).astype(int)
    order = np.random.default_rng(0).normal(size=(30, 24))
    found = permuted_directions(x, y, order, group)
    for b in range(30):
        labels = np.zeros(24, dtype=int)
        for g in range(3):
            rows = np.flatnonzero(group == g)
            labels[sorted(rows, key=lambda i: order[b, i])[: y[rows].sum()]] = 1
        np.testing.assert_allclose(found[b], disease_direction(x, labels), atol=1e-12)
    # Where no group has both classes nothing can be exchanged.
    alone = permuted_directions(x, y, order, np.arange(24))
    np.testing.assert_allclose(alone, np.broadcast_to(disease_direction(x, y), alone.shape), atol=1e-12)


def test_random_directions_have_the_covariance_of_a_mean_of_units():
    rng = np.random.default_rng(0)
    scale = np.array([[1, 2, 3], [0.1, 0.1, 0.1]])
    drawn = spread_directions(rng.normal(size=(50, 2, 3)) * scale, rng.normal(size=(20_000, 50)))
    means = np.array([(rng.normal(size=(50, 2, 3)) * scale).mean(axis=0) for _ in range(2_000)])
    np.testing.assert_allclose(drawn.std(axis=0), means.std(axis=0), rtol=0.3)


def test_of_no_units_there_are_no_numbers():
    """A fold may hold out nobody who was treated."""
    for measure in (along, cosine):
        assert measure(np.empty((0, 2, 3)), np.ones((7, 2, 3))).shape == (0, 7)
