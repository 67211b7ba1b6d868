import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.metrics import r2_score

from mmcell import Items, MmcellError, get_metric
from mmcell.metrics.features import features, moments
from mmcell.stats import bootstrap, compare

PEARSON, R2, BEYOND = (get_metric(name) for name in ("feature_pearson", "feature_r2", "features_beyond"))
SEEDS = st.integers(0, 10_000)


def cells(seed=0, n=240, n_units=12, n_features=5, signal=1.0, whole=False):
    """Items as a table: unit, stratum, fold, predictions and measured values with ties."""
    rng = np.random.default_rng(seed)
    unit = rng.integers(n_units, size=n)
    table = {"unit": unit, "fold": unit % 3, "within": rng.integers(3, size=n)}
    y = rng.normal(size=(n, n_features)) + table["within"][:, None] * 2.0 + unit[:, None] * 0.1
    p = signal * y + rng.normal(size=y.shape)
    return (pd.DataFrame(table), np.round(p, 1), np.round(y, 1)) if whole else (pd.DataFrame(table), p, y)


def items(table, p, y, names=None):
    """The items of a table, one row per unit and stratum."""
    code = table.groupby(["unit", "within"]).ngroup().to_numpy()
    first = table.assign(code=code).groupby("code").agg("first").reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "item": first["unit"].astype(str) + "/" + first["within"].astype(str),
            "row": np.arange(len(first)), "n_items": np.bincount(code),
            "unit": first["unit"], "fold": first["fold"], "within": first["within"].astype(str),
        }
    )  # fmt: skip
    names = np.array([f"g{i}" for i in range(p.shape[1])] if names is None else names)
    return Items(frame, "features", {"moments": moments(p, y, code, len(frame)), "features": names})


def centred(table, values, weights=None):
    """Values less the mean of their fold and stratum: the slow way."""
    w = np.ones(len(table)) if weights is None else weights
    out = np.full(values.shape, np.nan)
    for _, rows in table.groupby(["fold", "within"]).indices.items():
        if w[rows].sum():
            out[rows] = values[rows] - np.average(values[rows], axis=0, weights=w[rows])
    return out


def slow(table, p, y, weights=None):
    """Mean Pearson and R² over features, by definition."""
    w = np.ones(len(table)) if weights is None else weights
    a, b = (np.repeat(centred(table, v, w)[w > 0], w[w > 0].astype(int), axis=0) for v in (p, y))
    r = [np.corrcoef(a[:, f], b[:, f])[0, 1] for f in range(p.shape[1])]
    return np.mean(r), np.mean([r2_score(b[:, f], a[:, f]) for f in range(p.shape[1])])


@given(SEEDS, st.booleans())
def test_both_equal_their_slow_twins(seed, ties):
    table, p, y = cells(seed, whole=ties)
    found = items(table, p, y)
    expected = slow(table, p, y)
    assert PEARSON.fn(found) == pytest.approx(expected[0])
    assert R2.fn(found) == pytest.approx(expected[1])


@given(SEEDS)
def test_resampled_units_are_repeated_units(seed):
    table, p, y = cells(seed, n=90, n_units=6)
    found = items(table, p, y)
    weights = np.random.default_rng(seed).multinomial(6, np.ones(6) / 6, size=5)
    for metric, k in ((PEARSON, 0), (R2, 1)):
        fast = metric.draws(found, weights)
        for value, row in zip(fast, weights, strict=True):
            of_item = row[found.units.ids.get_indexer(table["unit"])]
            assert value == pytest.approx(slow(table, p, y, of_item)[k])
            assert value == pytest.approx(metric.fn(found.resample(row)))


@given(SEEDS, st.floats(0.01, 100), st.floats(-5, 5))
def test_scale_offset_and_order_decide_nothing(seed, scale, offset):
    table, p, y = cells(seed, n=120)
    value = PEARSON.fn(items(table, p, y))
    assert PEARSON.fn(items(table, p * scale + offset, y)) == pytest.approx(value)
    order = np.random.default_rng(seed).permutation(len(table))
    assert PEARSON.fn(items(table.iloc[order].reset_index(drop=True), p[order], y[order])) == pytest.approx(value)
    # What a stratum adds to all its items is no knowledge of them.
    shift = table["within"].to_numpy()[:, None] * offset
    assert PEARSON.fn(items(table, p + shift, y)) == pytest.approx(value)
    assert R2.fn(items(table, p + shift, y)) == pytest.approx(R2.fn(items(table, p, y)))


def test_knowing_the_strata_alone_is_worth_nothing():
    table, _, y = cells()
    mean = y - centred(table, y)
    found = items(table, mean, y)
    assert PEARSON.fn(found) == pytest.approx(0.0)
    assert R2.fn(found) == pytest.approx(0.0)
    assert BEYOND.fn(found) == 0.0


def test_a_constant_prediction_scores_0_and_a_constant_feature_is_left_out():
    table, p, y = cells(n_features=4)
    p[:, 0], y[:, 1] = 3.0, 7.0
    found = features(items(table, p, y))
    assert found.pearson[0] == 0.0
    assert np.isnan([found.pearson[1], found.r2[1], found.p[1], found.q[1]]).all()
    assert PEARSON.fn(items(table, p, y)) == pytest.approx(np.mean([0.0, *found.pearson[2:]]))
    assert np.isnan(PEARSON.fn(items(table, p, np.full_like(y, 7.0))))


def test_the_test_is_the_jackknife_over_units():
    table, p, y = cells(signal=0.2)
    found = features(items(table, p, y))
    unit, n = table["unit"].to_numpy(), 12
    for f in range(p.shape[1]):
        left_out = []
        for u in range(n):
            rest = unit != u
            part = table[rest].reset_index(drop=True)
            left_out.append(slow(part, p[rest][:, [f]], y[rest][:, [f]])[0])
        error = np.sqrt((n - 1) / n * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
        assert found.p[f] == pytest.approx(t.sf(found.pearson[f] / error, n - 1))


def test_a_type_that_predicts_its_mean_is_beyond_nothing_within_it():
    table, _, y = cells(n_features=12)
    for offset in (0.0, 50.0):
        mean = y - centred(table, y)
        assert not features(items(table, mean + offset, y + offset)).beyond.any()


def test_a_feature_that_few_units_hold_is_not_tested():
    table, p, y = cells()
    parts = []
    for fold, names in enumerate((["a", "b"], ["b"], ["b"])):
        rows = np.flatnonzero(table["fold"] == fold)
        at = ["ab".index(n) for n in names]
        parts.append(items(table.iloc[rows].reset_index(drop=True), p[np.ix_(rows, at)], y[np.ix_(rows, at)], names))
    found = features(Items.concat(parts))
    assert np.isnan([found.p[0], found.q[0]]).all()
    assert found.p[1] < 0.05


def test_the_scale_of_predictions_decides_no_comparison():
    table, p, y = cells(signal=0.3)
    rng = np.random.default_rng(3)
    other = 0.25 * y + rng.normal(size=y.shape)
    p_values = []
    for scale in (0.1, 1.0, 10.0):
        pair = {"a": items(table, p, y), "b": items(table, other * scale, y)}
        p_values.append(compare(pair, PEARSON, n_permutations=199).table["p"][0])
    assert p_values[0] == pytest.approx(p_values[1]) == pytest.approx(p_values[2])


def test_noise_is_rarely_beyond_chance_and_neighbours_are_no_replicates():
    share, rng = [], np.random.default_rng(0)
    for seed in range(200):
        table, p, y = cells(seed, n_features=8)
        unit = table["unit"].to_numpy()
        # A unit's own offset in both, at random: items of a unit resemble each other.
        offsets = rng.normal(size=(2, 12, 8))
        found = items(table, rng.normal(size=p.shape) + offsets[0][unit], rng.normal(size=y.shape) + offsets[1][unit])
        share.append(features(found).beyond.any())
    assert np.mean(share) <= 0.06


def test_what_is_planted_is_found():
    table, p, y = cells(n=2000, n_features=10, signal=0.5)
    p[:, 5:] = np.random.default_rng(1).normal(size=(2000, 5))
    found = features(items(table, p, y))
    assert found.beyond[:5].all()
    assert found.beyond[5:].sum() <= 1
    assert list(found.table()["feature"][:5].sort_values()) == [f"g{i}" for i in range(5)]


def test_few_units_say_nothing_of_chance():
    table, p, y = cells(n_units=9)
    found = items(table, p, y)
    assert np.isnan(BEYOND.fn(found))
    estimate = bootstrap(found, [BEYOND, PEARSON])
    assert estimate["features_beyond"].status == "undefined"
    assert "10 units" in estimate["features_beyond"].reason
    assert estimate["feature_pearson"].status == "too_few_units"


def test_a_count_of_tests_has_no_interval():
    estimate = bootstrap(items(*cells()), [BEYOND])["features_beyond"]
    assert (estimate.status, estimate.method) == ("ok", "")
    assert "it has no interval of its own" in estimate.reason
    assert np.isnan([estimate.low, estimate.high]).all()


def test_folds_that_hold_different_features_are_joined_by_name():
    table, p, y = cells()
    parts = []
    for fold, names in enumerate((["a", "b"], ["b", "c"], ["c", "a"])):
        rows = np.flatnonzero(table["fold"] == fold)
        at = ["abc".index(n) for n in names]
        parts.append(items(table.iloc[rows].reset_index(drop=True), p[np.ix_(rows, at)], y[np.ix_(rows, at)], names))
    whole = Items.concat(parts)
    found = features(whole)
    assert list(found.names) == ["a", "b", "c"]
    for k, name in enumerate("abc"):
        rows = table["fold"].isin([f for f, n in enumerate(("ab", "bc", "ca")) if name in n]).to_numpy()
        one = items(table[rows].reset_index(drop=True), p[rows][:, [k]], y[rows][:, [k]])
        assert found.pearson[k] == pytest.approx(PEARSON.fn(one))


def test_a_subset_keeps_its_own_sums():
    table, p, y = cells()
    found = items(table, p, y)
    part = found.where(found.frame["within"] == "1")
    rows = (table["within"] == 1).to_numpy()
    assert PEARSON.fn(part) == pytest.approx(slow(table[rows].reset_index(drop=True), p[rows], y[rows])[0])


def test_what_does_not_fit_is_said():
    with pytest.raises(MmcellError, match="do not fit 3 items"):
        moments(np.ones((3, 2)), np.ones((3, 1)), np.zeros(3, dtype=int), 1)
    frame = pd.DataFrame({"item": [1], "unit": [1], "row": [0], "n_items": [1]})
    with pytest.raises(MmcellError, match="moments"):
        PEARSON.fn(Items(frame, "features"))
