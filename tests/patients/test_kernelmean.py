import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from mmcell import Embedding
from mmcell.patients.base import PatientEncoder
from mmcell.patients.kernelmean import KernelMean


def cohort(sizes=(30, 50, 20), d=4, seed=0, dtype=np.float64):
    """Cells of p0, p1, …, in random order; each patient lies a bit elsewhere, and one column is constant."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    ids = [f"c{i}" for i in range(len(code))]
    values = 5 + 2 * rng.normal(size=(len(code), d)) + code[:, None]
    values[:, -1] = 3
    return Embedding.from_array("e", ids, values.astype(dtype)), pd.Series([f"p{c}" for c in code], ids)


def exact_mmd(x, y, sigma):
    """Squared maximum mean discrepancy of a Gaussian kernel, by the definition."""

    def mean(a, b):
        return np.mean([np.exp(-((p - q) ** 2).sum() / (2 * sigma**2)) for p in a for q in b])

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


@pytest.mark.parametrize("bandwidth", [None, 0.7, 3.0])
def test_distances_of_patients_are_maximum_mean_discrepancies(bandwidth):
    cells, owner = cohort()
    fitted = KernelMean(40_000, bandwidth).fit(cells, owner)
    sigma = fitted.facts["bandwidth"]
    found = fitted.transform(cells, owner).values
    x = cells.values[:, :3]
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    assert sigma == pytest.approx(bandwidth or np.median(pdist(z)))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        exact = exact_mmd(z[(owner == f"p{a}").to_numpy()], z[(owner == f"p{b}").to_numpy()], sigma)
        assert ((found[a] - found[b]) ** 2).sum() == pytest.approx(exact, abs=0.01)
    assert fitted.facts == {"bandwidth": sigma, "features": 40_000, "constant dimensions": 1}


def test_more_features_are_nearer_to_the_kernel():
    cells, owner = cohort()
    x = cells.values[:, :3]
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    exact = exact_mmd(z[(owner == "p0").to_numpy()], z[(owner == "p1").to_numpy()], 1.5)

    def error(n):
        found = [KernelMean(n, 1.5, seed).fit(cells, owner).transform(cells, owner).values for seed in range(30)]
        return np.sqrt(np.mean([(((v[0] - v[1]) ** 2).sum() - exact) ** 2 for v in found]))

    # Of order 1/√D: 16 times as many, a quarter of the error.
    assert error(1024) < 0.4 * error(64)


def test_it_sees_a_spread_that_the_mean_does_not():
    rng = np.random.default_rng(0)
    wide = np.arange(40) % 2
    values = np.concatenate([rng.normal(0, 1 + 0.5 * w, (200, 2)) for w in wide])
    values -= np.repeat(values.reshape(40, 200, 2).mean(axis=1), 200, axis=0)
    ids = [f"c{i}" for i in range(len(values))]
    cells = Embedding.from_array("e", ids, values)
    owner = pd.Series(np.repeat([f"p{i:02d}" for i in range(40)], 200), ids)
    found = KernelMean().fit(cells, owner).transform(cells, owner).values
    distance = ((found[:, None] - found[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (wide[distance.argmin(axis=1)] == wide).all()


def test_training_cells_alone_decide_scale_and_bandwidth():
    cells, owner = cohort()
    fitted = KernelMean(16).fit(cells, owner)
    own = fitted.transform(cells, owner).values
    other = Embedding.from_array("e", ["x", "y"], np.full((2, 4), 1e3))
    both = Embedding.from_array("e", [*cells.ids, "x", "y"], np.concatenate([cells.values, other.values]))
    found = fitted.transform(both, pd.concat([owner, pd.Series("q", ["x", "y"])]))
    np.testing.assert_allclose(found.values[:3], own, atol=1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_order_names_and_copies_make_no_difference(seed):
    cells, owner = cohort((4, 7, 5), seed=seed)
    before = cells.values.copy()
    found = KernelMean(16).fit(cells, owner).transform(cells, owner)
    np.testing.assert_array_equal(cells.values, before)
    turned = cells.align(cells.ids[::-1])
    again = KernelMean(16).fit(turned, owner).transform(turned, owner)
    np.testing.assert_allclose(again.values, found.values, atol=1e-9)
    fitted = KernelMean(16).fit(cells, owner)
    renamed = fitted.transform(cells, owner.map(lambda p: f"z{9 - int(p[1:])}"))
    np.testing.assert_allclose(renamed.values[::-1], found.values, atol=1e-12)
    twice = Embedding.from_array("e", [*cells.ids, *(f"{c}b" for c in cells.ids)], np.tile(cells.values, (2, 1)))
    doubled = fitted.transform(twice, pd.Series(np.tile(owner, 2), twice.ids))
    np.testing.assert_allclose(doubled.values, found.values, atol=1e-12)
    assert np.abs(found.values).max() <= np.sqrt(2 / 16)


def test_it_streams(monkeypatch, tmp_path):
    cells, owner = cohort((300, 400), dtype=np.float32)
    np.save(tmp_path / "v.npy", cells.values)
    mapped = Embedding.from_array("e", cells.ids, np.load(tmp_path / "v.npy", mmap_mode="r"))
    whole = KernelMean(16).fit(cells, owner).transform(cells, owner).values
    monkeypatch.setattr("mmcell.patients.pooling._BLOCK", 1000)
    np.testing.assert_allclose(KernelMean(16).fit(mapped, owner).transform(mapped, owner).values, whole, atol=1e-9)


def test_the_bandwidth_of_many_cells_is_that_of_a_sample():
    cells, owner = cohort((2000, 2000))
    a, b, c = (KernelMean(4, seed=s).fit(cells, owner).facts["bandwidth"] for s in (0, 0, 1))
    assert a == b != c
    assert a == pytest.approx(c, rel=0.05)


def test_every_argument_counts():
    cells, owner = cohort()
    usual = KernelMean().fit(cells, owner).transform(cells, owner)
    assert (usual.dim, usual.level, list(usual.ids)) == (256, "patient", ["p0", "p1", "p2"])
    np.testing.assert_array_equal(usual.values, KernelMean().fit(cells, owner).transform(cells, owner).values)
    for other in (KernelMean(bandwidth=1.0), KernelMean(seed=1)):
        assert not np.allclose(other.fit(cells, owner).transform(cells, owner).values, usual.values)
    assert KernelMean(7).fit(cells, owner).transform(cells, owner).dim == 7
    assert isinstance(KernelMean(), PatientEncoder)


def test_what_makes_no_kernel_is_refused(refused):
    with refused("n_features is 0"):
        KernelMean(0)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with refused("bandwidth", "is not a positive number"):
            KernelMean(bandwidth=wrong)
    cells, owner = cohort()
    with refused("'kernel-mean' is not fitted"):
        KernelMean().transform(cells, owner)
    with refused("fitted on 4 dimensions, embedding 'e' has 2"):
        KernelMean().fit(cells, owner).transform(*cohort(d=2))
    flat = Embedding.from_array("e", cells.ids, np.ones((100, 2)))
    with refused("embedding 'e' does not vary over training cells"):
        KernelMean().fit(flat, owner)
    equal = np.ones((100, 2))
    equal[:5] = 2
    with refused("so many equal cells", "give a bandwidth"):
        KernelMean().fit(Embedding.from_array("e", cells.ids, equal), owner)
