import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from mmcell.probes.contexts import COUNTS, PENALTIES, PROBES, Contexts, neighbours, network, ridge
from mmcell.probes.linear import fit_ridge
from mmcell.probes.scale import Scale


def world(n=30, held=6, seed=0, noise=0.3):
    """Two perturbations, whose effects follow the first coordinate of the context in opposite ways."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + held, 3))
    both = np.repeat(np.arange(n + held), 2)
    what = np.tile(["a", "b"], n + held)
    slope, base = rng.normal(size=20), rng.normal(size=(2, 20))
    sign = np.where(what == "a", 1.0, -1.0)
    y = base[(what == "b").astype(int)] + (sign * x[both, 0])[:, None] * slope
    y += noise * rng.normal(size=y.shape)
    known = both < n
    return (Contexts(x[both[known]], what[known]), y[known], both[known]), (
        Contexts(x[both[~known]], what[~known]),
        y[~known],
    )


@pytest.mark.parametrize("name", PROBES)
def test_an_effect_that_follows_the_context_is_learnt(name):
    known, (held, y) = world(60)
    found, facts = PROBES[name](*known, held, np.random.default_rng(0))
    mean = np.stack([known[1][known[0].what == w].mean(axis=0) for w in held.what])
    assert ((found - y) ** 2).sum() < 0.5 * ((mean - y) ** 2).sum()
    assert facts
    again, _ = PROBES[name](*known, held, np.random.default_rng(0))
    np.testing.assert_array_equal(found, again)


def test_ridge_is_one_for_every_perturbation():
    (known, y, units), (held, _) = world()
    found, facts = ridge(known, y, units, held, np.random.default_rng(0))
    rows = known.what == "b"
    fitted = fit_ridge(known.x[rows], y[rows], units[rows])
    expected = fitted.predict(held.x[held.what == "b"]) * fitted.y_scale.scale + fitted.y_scale.mean
    np.testing.assert_allclose(found[held.what == "b"], expected)
    assert facts["alpha"]["b"] == fitted.alpha


def test_genes_that_do_not_change_in_training_are_predicted_as_they_are():
    (known, y, units), (held, _) = world()
    y[:, 4] = 2.5
    assert ridge(known, y, units, held, np.random.default_rng(0))[0][:, 4] == pytest.approx(2.5)


def test_neighbours_are_those_of_the_same_perturbation():
    (known, y, units), (held, _) = world()
    found, facts = neighbours(known, y, units, held, np.random.default_rng(0))
    rows, k = known.what == "a", facts["neighbours"]["a"]
    scale = Scale.fit(known.x[rows])
    model = KNeighborsRegressor(k).fit(scale.transform(known.x[rows]), y[rows])
    np.testing.assert_allclose(found[held.what == "a"], model.predict(scale.transform(held.x[held.what == "a"])))
    assert k in COUNTS


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("n", [1, 2])
def test_of_one_or_two_units_something_is_said(name, n):
    known, (held, y) = world(n)
    found, _ = PROBES[name](*known, held, np.random.default_rng(0))
    assert found.shape == y.shape
    assert np.isfinite(found).all()


def test_the_penalty_of_a_network_is_among_the_offered_ones():
    known, (held, _) = world()
    assert network(*known, held, np.random.default_rng(0))[1]["penalty"] in PENALTIES
