import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Embedding
from mmcell.patients.base import PatientEncoder
from mmcell.patients.moments import Moments
from mmcell.patients.pooling import group_means, group_variances, scale_of
from mmcell.probes.scale import Scale


def cohort(sizes, d=3, seed=0, dtype=np.float64, offset=0.0):
    """Cells of p0, p1, … in random order."""
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.repeat([f"p{i}" for i in range(len(sizes))], sizes))
    ids = [f"c{i}" for i in range(len(owner))]
    values = (rng.normal(size=(len(owner), d)) + offset).astype(dtype)
    return Embedding.from_array("e", ids, values), pd.Series(owner, ids)


def test_each_column_is_what_it_is_called():
    cells, owner = cohort([5, 9, 2])
    named = Embedding.from_array("e", cells.ids, cells.values, columns=("a", "b", "c"))
    found = Moments((0.25, 0.5)).fit(named, owner).transform(named, owner)
    table = pd.DataFrame(cells.values, cells.ids, list("abc")).groupby(owner)
    obvious = {"mean": table.mean(), "var": table.var(), "q0.25": table.quantile(0.25), "q0.5": table.quantile(0.5)}
    got = pd.DataFrame(found.values, found.ids, list(found.columns))
    for label, expected in obvious.items():
        np.testing.assert_allclose(got[[f"{label} {c}" for c in "abc"]], expected, atol=1e-12)
    assert found.columns[-1] == "var missing"
    assert (found.dim, found.level, list(found.ids)) == (13, "patient", ["p0", "p1", "p2"])
    assert not got["var missing"].any()
    assert Moments().fit(cells, owner).transform(cells, owner).columns[:4] == (
        "mean d0",
        "mean d1",
        "mean d2",
        "var d0",
    )


def test_one_cell_has_no_variance_and_says_so():
    cells, owner = cohort([4, 6, 1])
    fitted = Moments((0.1,)).fit(cells, owner)
    found = fitted.transform(cells, owner).values
    usual = np.mean([cells.values[owner == p].var(axis=0, ddof=1) for p in ("p0", "p1")], axis=0)
    own = cells.values[owner == "p2"][0]
    np.testing.assert_allclose(found[2], [*own, *usual, *own, 1])
    assert fitted.facts == {"patients": 3, "without variance": ["p2"]}


def test_the_imputed_variance_is_that_of_training_patients():
    train, owner = cohort([4, 6])
    new = Embedding.from_array("e", ["x", "y", "z"], np.arange(9.0).reshape(3, 3))
    whose = pd.Series(["n", "m", "m"], new.ids)
    found = Moments(()).fit(train, owner).transform(new, whose)
    usual = np.mean([train.values[owner == p].var(axis=0, ddof=1) for p in ("p0", "p1")], axis=0)
    np.testing.assert_allclose(found.values[:, 3:], [[4.5, 4.5, 4.5, 0], [*usual, 1]])


def test_long_tables_of_large_numbers_are_streamed_without_loss(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcell.patients.pooling._BLOCK", 1000)
    cells, owner = cohort([300, 500, 200], offset=1e6, dtype=np.float32)
    np.save(tmp_path / "v.npy", cells.values)
    mapped = Embedding.from_array("e", cells.ids, np.load(tmp_path / "v.npy", mmap_mode="r"))
    found, again = (Moments().fit(c, owner).transform(c, owner).values for c in (cells, mapped))
    np.testing.assert_array_equal(found, again)
    exact = [cells.values[owner == p].astype(float).var(axis=0, ddof=1) for p in ("p0", "p1", "p2")]
    np.testing.assert_allclose(found[:, 3:6], exact, rtol=1e-9)


def test_half_precision_is_read_as_it_is():
    cells, owner = cohort([30, 20], dtype=np.float16)
    wide = Embedding.from_array("e", cells.ids, cells.values.astype(np.float64))
    a, b = (Moments().fit(c, owner).transform(c, owner).values for c in (cells, wide))
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_groups_without_enough_rows_have_no_moments():
    values, code = np.arange(8.0).reshape(4, 2), np.array([0, 0, 1, -1])
    means, counts = group_means(values, code, 3)
    variances = group_variances(values, code, means, counts)
    np.testing.assert_array_equal(counts, [2, 1, 0])
    np.testing.assert_allclose(variances, [[2, 2], [np.nan, np.nan], [np.nan, np.nan]])


def test_the_streamed_scale_is_the_scale():
    x = np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32)
    x[:, 1] = 7
    fast, slow = scale_of(x), Scale.fit(x)
    np.testing.assert_array_equal(fast.keep, slow.keep)
    np.testing.assert_allclose(fast.transform(x), slow.transform(x), rtol=1e-9)
    assert not scale_of(x[:1]).keep.any()


@given(st.integers(0, 10**6), st.lists(st.integers(2, 6), min_size=1, max_size=4))
def test_order_names_and_neighbours_make_no_difference(seed, sizes):
    cells, owner = cohort(sizes, seed=seed)
    before = cells.values.copy(), owner.copy()
    fitted = Moments().fit(cells, owner)
    found = fitted.transform(cells, owner)
    np.testing.assert_array_equal(cells.values, before[0])
    pd.testing.assert_series_equal(owner, before[1])
    turned = cells.align(cells.ids[::-1])
    np.testing.assert_allclose(fitted.transform(turned, owner).values, found.values, atol=1e-12)
    renamed = fitted.transform(cells, owner.map(lambda p: f"z{9 - int(p[1:])}"))
    np.testing.assert_array_equal(renamed.values[::-1], found.values)
    alone = fitted.transform(cells.align(cells.ids[owner == "p0"]), owner)
    np.testing.assert_array_equal(alone.values[0], found.values[0])
    twice = Embedding.from_array("e", [*cells.ids, *(f"{c}b" for c in cells.ids)], np.tile(cells.values, (2, 1)))
    doubled = fitted.transform(twice, pd.Series(np.tile(owner, 2), twice.ids)).values
    np.testing.assert_allclose(doubled[:, :3], found.values[:, :3], atol=1e-12)
    n = np.array(sizes)[:, None]
    np.testing.assert_allclose(doubled[:, 3:6], found.values[:, 3:6] * 2 * (n - 1) / (2 * n - 1), atol=1e-12)


def test_the_variance_does_not_grow_with_the_number_of_cells():
    cells, owner = cohort([2] * 4000 + [50] * 400, d=1)
    variance = Moments(()).fit(cells, owner).transform(cells, owner).values[:, 1]
    few = owner.value_counts().sort_index().to_numpy() == 2
    assert abs(variance[few].mean() - variance[~few].mean()) < 0.08


def test_it_is_a_patient_encoder():
    assert isinstance(Moments(), PatientEncoder)
    assert Moments([0.5]).quantiles == (0.5,)


@pytest.mark.parametrize(
    ("quantiles", "piece"), [((0.1, 1.5), "quantiles 1.5 are not between 0 and 1"), ((0.5, 0.5), "repeat")]
)
def test_what_is_no_quantile_is_refused(refused, quantiles, piece):
    with refused("patient encoder 'moments'", piece):
        Moments(quantiles)


def test_what_cannot_be_told_is_refused(refused):
    cells, owner = cohort([1, 1])
    with refused("none of 2 training patients has two cells"):
        Moments().fit(cells, owner)
    with refused("'moments' is not fitted"):
        Moments().transform(cells, owner)
    fitted = Moments().fit(*cohort([3, 3]))
    with refused("fitted on 3 dimensions, embedding 'e' has 2"):
        fitted.transform(*cohort([3, 3], d=2))
