import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items, Metric, get_metric
from mmcell.metrics.base import mean_of
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import compare, difference
from mmcell.stats.units import Units

NAMES = [f"u{i}" for i in range(7)]
_fn, _fast = mean_of(lambda items: items.column("y_pred").astype(float))
MEAN = Metric("mean", _fn, resampled=_fast)


def grid(donors=6, drugs=5, seed=0, keep=0.8):
    """Pairs of a donor and a drug, some missing, one to three items each, in random order."""
    rng = np.random.default_rng(seed)
    pairs = [(f"d{i}", f"p{j}") for i in range(donors) for j in range(drugs) if rng.random() < keep]
    rows = rng.permutation(np.repeat(np.arange(len(pairs)), rng.integers(1, 4, len(pairs))))
    return pd.DataFrame([pairs[r] for r in rows], columns=["unit", "crossed"])


# -- one way -----------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 30), n_boot=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_draw_takes_as_many_units_as_there_are(n, n_boot, seed):
    weights = Units.of(range(n)).bootstrap(n_boot, seed)
    assert weights.shape == (n_boot, n)
    assert weights.min() >= 0
    assert (weights.sum(axis=1) == n).all()


def test_units_are_drawn_equally_often():
    weights = Units.of(NAMES).bootstrap(20000, 0)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.05)


def test_draws_follow_the_seed_the_units_and_the_space():
    first = Units.of(NAMES).bootstrap(50, 1)
    np.testing.assert_array_equal(first, Units.of(NAMES[::-1] * 2).bootstrap(50, 1))
    assert not np.array_equal(first, Units.of(NAMES).bootstrap(50, 2))
    assert not np.array_equal(first, Units.of([n + "x" for n in NAMES]).bootstrap(50, 1))
    assert not np.array_equal(first, Units.of(NAMES).bootstrap(50, 1, "another dataset"))


def test_draws_stay_what_they_were():
    # Stored results are paired with new ones: a seed must give the same draws in every version.
    assert Units.of(NAMES).bootstrap(2, 0).tolist() == [[2, 0, 1, 1, 0, 2, 1], [1, 1, 0, 1, 2, 1, 1]]


@given(st.integers(1, 1300))
def test_the_jackknife_leaves_each_unit_out_once(n):
    rows = Units.of(range(n)).jackknife()
    assert len(rows) == min(n, 500)
    assert set(np.unique(rows)) <= {0, 1}
    assert ((rows == 0).sum(axis=0) == 1).all()
    assert np.ptp((rows == 0).sum(axis=1)) <= 1


def test_ids_are_sorted_and_codes_point_to_them():
    units = Units.of(["b", "a", "b", "c"])
    assert (list(units.ids), units.codes.tolist(), len(units), units.independent) == (list("abc"), [1, 0, 1, 2], 3, 3)
    assert not units.crossed


def test_units_are_equal_by_their_ids():
    assert Units.of(["b", "a"]).equals(Units.of(["a", "b", "b"]))
    assert not Units.of(["b", "a"]).equals(Units.of(["a", "c"]))
    assert not Units.of(["b", "a"]).equals(Units.of(["b", "a"], ["x", "x"]))


def test_a_missing_unit_is_refused(refused):
    with refused("2 of them have no unit (i1, i2)", "fill the unit in"):
        Units.of(["a", None, np.nan], item=["i0", "i1", "i2"])
    with refused("1 of them have no unit (1)"):
        Units.of(["a", None])


# -- crossed -----------------------------------------------------------------------------------------------------------


def test_columns_are_the_pairs_that_occur():
    frame = grid()
    units = Units.of(frame["unit"], frame["crossed"])
    assert list(units.ids) == sorted(set(zip(frame["unit"], frame["crossed"], strict=True)))
    assert list(units.ids[units.codes]) == list(zip(frame["unit"], frame["crossed"], strict=True))
    assert units.independent == min(frame["unit"].nunique(), frame["crossed"].nunique())


def test_a_pair_weighs_the_product_of_its_levels():
    frame = grid(keep=1.0)
    units = Units.of(frame["unit"], frame["crossed"])
    weights = units.bootstrap(30, 4).reshape(30, 6, 5)
    donors = Units.of(frame["unit"]).bootstrap(30, 4)
    drugs = weights.sum(axis=1) / 6
    np.testing.assert_array_equal(weights, donors[:, :, None] * drugs[:, None, :])
    assert (drugs.sum(axis=1) == 5).all()


def test_the_two_factors_are_drawn_apart_even_with_equal_names():
    names = [str(i) for i in range(12)]
    frame = pd.DataFrame([(a, b) for a in names for b in names], columns=["unit", "crossed"])
    weights = Units.of(frame["unit"], frame["crossed"]).bootstrap(200, 0).reshape(200, 12, 12)
    rows, columns = weights.sum(axis=2) / 12, weights.sum(axis=1) / 12
    assert abs(np.corrcoef(rows.ravel(), columns.ravel())[0, 1]) < 0.1


def test_the_jackknife_leaves_each_level_of_either_factor_out():
    frame = grid()
    units = Units.of(frame["unit"], frame["crossed"])
    left_out = [set(units.ids[row == 0]) for row in units.jackknife()]
    expected = [{p for p in units.ids if p[0] == level} for level in sorted(frame["unit"].unique())]
    expected += [{p for p in units.ids if p[1] == level} for level in sorted(frame["crossed"].unique())]
    assert left_out == expected


def effects(donors, drugs, rng, sd=(1.0, 1.0, 0.5)):
    value = (
        sd[0] * rng.normal(size=(donors, 1)) + sd[1] * rng.normal(size=(1, drugs))
        + sd[2] * rng.normal(size=(donors, drugs))
    )  # fmt: skip
    at = np.indices(value.shape).reshape(2, -1)
    frame = pd.DataFrame({"unit": at[0], "crossed": at[1], "y_pred": value.ravel(), "y_true": 0.0})
    return frame.assign(item=np.arange(len(frame)))


def coverage(frames, columns):
    hit = 0
    for frame in frames:
        found = bootstrap(Items(frame.drop(columns=columns), "regression"), [MEAN], n_boot=200)["mean"]
        hit += found.low <= 0 <= found.high
    return hit / len(frames)


def test_crossed_units_need_the_two_way_interval():
    # 30 donors × 15 drugs, true mean 0: the interval over donors alone takes the drugs for the only ones there are.
    rng = np.random.default_rng(0)
    frames = [effects(30, 15, rng) for _ in range(100)]
    assert coverage(frames, ["crossed"]) < 0.75
    assert coverage(frames, []) >= 0.88


def test_the_shorter_factor_decides_whether_there_is_an_interval():
    rng = np.random.default_rng(1)
    few = bootstrap(Items(effects(30, 9, rng), "regression"), [MEAN])["mean"]
    assert (few.status, few.n_units) == ("too_few_units", 9)
    some = bootstrap(Items(effects(30, 19, rng), "regression"), [MEAN])["mean"]
    assert (some.n_units, some.n_items) == (19, 570)
    assert "19 units" in some.reason
    assert np.isfinite(some.low)


@pytest.mark.parametrize("kind", ["binary", "survival", "multiclass"])
def test_fast_paths_take_crossed_units(random_items, kind):
    one_way = random_items(kind, n_units=12, n_folds=1, n_repeats=1)
    drug = np.arange(len(one_way.frame)) % 4
    items = Items(one_way.frame.assign(crossed=drug), kind)
    metric = get_metric({"binary": "auroc", "survival": "harrell_c", "multiclass": "macro_f1"}[kind])
    weights = items.units.bootstrap(20, 0)
    slow = [metric.fn(items.resample(row)) if row.any() else np.nan for row in weights]
    np.testing.assert_allclose(metric.draws(items, weights), slow)


def test_crossed_predictors_are_paired():
    rng = np.random.default_rng(2)
    frame = effects(20, 12, rng)
    near = frame.assign(y_pred=frame["y_pred"] + 0.1 * rng.normal(size=len(frame)))
    a, b = (bootstrap(Items(f, "regression"), [MEAN])["mean"] for f in (near, frame))
    gap = difference(a, b)
    assert 0 < gap.high - gap.low < 0.3 * (a.high - a.low)
    one_way = bootstrap(Items(frame.drop(columns="crossed"), "regression"), [MEAN])["mean"]
    assert np.isnan(difference(a, one_way).low)


def test_the_p_of_crossed_units_comes_from_both_factors():
    # The predictors differ by drug alone: over 300 donors the swap of donors would call any difference certain.
    rng = np.random.default_rng(3)
    frame = effects(60, 12, rng, (1.0, 0.0, 0.1))
    gain = 0.2 * rng.normal(size=12)
    other = frame.assign(y_pred=frame["y_pred"] + gain[frame["crossed"]])
    p = {}
    for columns in ((), ("crossed",)):
        family = {n: Items(f.drop(columns=list(columns)), "regression") for n, f in (("a", frame), ("b", other))}
        p[columns] = compare(family, MEAN, n_boot=500, n_permutations=500).table["p"].item()
    assert p["crossed",] < 0.01
    assert p[()] > 0.05


@pytest.mark.parametrize("columns", [["unit"], ["unit", "crossed"]])
@given(seed=st.integers(0, 99))
def test_units_of_some_rows_are_those_made_of_them(columns, seed):
    frame = grid(seed=seed)
    rows = np.random.default_rng(seed).permutation(len(frame))[: 1 + seed % 9]
    found = Units.of(*(frame[c] for c in columns)).of_rows(rows)
    expected = Units.of(*(frame[c].iloc[rows] for c in columns))
    assert found.equals(expected)
    np.testing.assert_array_equal(found.codes, expected.codes)
    for side in ("levels", "members"):
        for one, other in zip(getattr(found, side), getattr(expected, side), strict=True):
            np.testing.assert_array_equal(one, other)


# -- permutation -------------------------------------------------------------------------------------------------------


def test_units_are_permuted_as_a_whole():
    units = Units.of(np.repeat(NAMES, 3))
    order = units.permutation(np.random.default_rng(0))
    assert sorted(order) == list(range(7))
    assert list(order) != list(range(7))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 99))
def test_units_stay_in_their_stratum(strata, seed):
    units = Units.of(np.repeat(np.arange(len(strata)), 2))
    within = np.repeat(np.array(list("xyz"))[strata], 2)
    order = units.permutation(np.random.default_rng(seed), within)
    assert sorted(order) == list(range(len(strata)))
    assert (np.array(strata)[order] == strata).all()


def test_a_unit_in_two_strata_is_refused(refused):
    with refused("permutation: b lie in several strata"):
        Units.of(["a", "b", "b"]).permutation(np.random.default_rng(0), ["x", "x", "y"])
