from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from mmcell import Items, get_metric
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import compare, difference, disagreeing, lettered, ranks, win_probability
from mmcell.stats.power import minimum_detectable_effect
from mmcell.stats.swap import swapper

AUROC = get_metric("auroc")
QUICK = {"n_boot": 100, "n_permutations": 49}


def scored(noise, seed=0, n=24, folds=2):
    truth = np.arange(n) % 2
    names = [f"u{i:02d}" for i in range(n)]
    score = np.random.default_rng(seed).normal(truth, noise)
    fold = np.arange(n) // 2 % folds
    return Items(pd.DataFrame({"item": names, "unit": names, "fold": fold, "y_true": truth, "y_pred": score}), "binary")


def estimate(items, **options):
    return bootstrap(items, [AUROC], **options)["auroc"]


# -- a difference ------------------------------------------------------------------------------------------------------


def test_a_difference_is_paired():
    base = scored(3.0)
    near = Items(base.frame.assign(y_pred=base.frame["y_pred"] + scored(0.1, 1).frame["y_pred"]), "binary")
    a, b = estimate(near), estimate(base)
    gap = difference(a, b)
    assert gap.value == a.value - b.value
    assert gap.low <= gap.value <= gap.high
    assert gap.high - gap.low < np.hypot(a.high - a.low, b.high - b.low)


def test_a_predictor_does_not_differ_from_itself():
    a = estimate(scored(1.0))
    gap = difference(a, a)
    assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)


def test_two_predictors_on_one_bound_are_not_known_to_be_equal():
    perfect = scored(0.0)
    other = Items(perfect.frame.assign(y_pred=2 * perfect.frame["y_pred"]), "binary")
    gap = difference(estimate(perfect), estimate(other))
    assert gap.value == 0
    assert gap.low < -0.05
    assert gap.high > 0.05


def test_a_side_on_a_bound_keeps_its_uncertainty():
    perfect, other = estimate(scored(0.0)), estimate(scored(3.0))
    gap = difference(perfect, other)
    low, high = perfect.two_sided
    assert high == 1
    assert low < perfect.low
    assert gap.low == pytest.approx(gap.value - np.hypot(1 - low, other.high - other.value))
    assert gap.low < 1 - other.high


def test_a_predictor_without_a_value_spoils_no_other_comparison():
    good, noise = scored(0.5), scored(50.0, 1)
    one_class = good.where(good.frame["y_true"] == 1)
    alone = compare({"good": good, "noise": noise}, AUROC, n_boot=200, n_permutations=200)
    found = compare({"good": good, "noise": noise, "part": one_class}, AUROC, n_boot=200, n_permutations=200)
    assert found.letters == {**alone.letters, "part": ""}
    assert found.table.iloc[0]["difference"] == alone.table.iloc[0]["difference"]
    assert found.table.iloc[1]["n_items"] == len(one_class.frame)


def test_other_units_are_not_paired():
    frame = scored(1.0, 3).frame
    other = Items(frame.assign(unit="x" + frame["unit"]), "binary")
    gap = difference(estimate(scored(1.0)), estimate(other))
    assert np.isfinite(gap.value)
    assert np.isnan([gap.low, gap.high]).all()


def test_an_undefined_score_has_no_difference():
    one_class = Items(scored(1.0).frame.assign(y_true=1), "binary")
    gap = difference(estimate(scored(1.0)), estimate(one_class))
    assert np.isnan([gap.value, gap.low, gap.high]).all()


def test_the_p_of_a_test_is_not_compared(refused):
    test = replace(AUROC, is_test=True)
    with refused("compare: 'auroc' is the p of a test", "compare another metric"):
        compare({"a": scored(1.0), "b": scored(2.0)}, test, **QUICK)


def test_the_detectable_difference_is_that_of_the_paired_draws():
    a, b = estimate(scored(1.0, 1)), estimate(scored(1.5, 2))
    gap = difference(a, b)
    assert gap.mde == minimum_detectable_effect(a.draws - b.draws)
    assert np.isnan(difference(a, a).mde)


def test_on_a_bound_the_detectable_difference_follows_the_wider_interval():
    a, b = estimate(scored(0.0)), estimate(scored(3.0))
    gap = difference(a, b)
    assert gap.mde == pytest.approx(2.8016 * max(gap.value - gap.low, gap.high - gap.value) / 1.95996, rel=1e-3)
    assert gap.mde > minimum_detectable_effect(a.draws - b.draws)


# -- the family --------------------------------------------------------------------------------------------------------


def test_every_pair_is_compared_once():
    found = compare({n: scored(s, i) for i, (n, s) in enumerate({"a": 0.2, "b": 1, "c": 9}.items())}, AUROC, **QUICK)
    assert list(zip(found.table["a"], found.table["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.table["p"].between(0, 1).all()
    assert (found.table["p_adjusted"] >= found.table["p"]).all()


def test_what_is_better_is_told_apart():
    found = compare({"good": scored(0.3, 1), "bad": scored(50, 2)}, AUROC, n_permutations=199)
    assert found.table["p"].item() < 0.02
    assert found.letters == {"good": "a", "bad": "b"}
    assert found.rank["good"][0] == 1


def test_a_leak_is_better_low():
    lower = replace(AUROC, name="leak", higher_is_better=False)
    found = compare({"shows": scored(0.3, 1), "hides": scored(50, 2)}, lower, n_permutations=199)
    assert found.rank["hides"][0] == 1
    assert found.letters == {"hides": "a", "shows": "b"}


def test_the_table_says_what_could_have_been_found_and_who_wins():
    family = {"a": scored(1.0, 1), "b": scored(2.0, 2)}
    row = compare(family, AUROC, **QUICK).table.iloc[0]
    a, b = (estimate(items, n_boot=100) for items in family.values())
    assert row["mde"] == difference(a, b).mde
    assert row["win_probability"] == np.mean(a.draws > b.draws) + 0.5 * np.mean(a.draws == b.draws)
    leak = compare(family, replace(AUROC, higher_is_better=False), **QUICK).table.iloc[0]
    assert leak["win_probability"] == pytest.approx(1 - row["win_probability"])


@pytest.mark.parametrize(("low", "high", "p", "said"), [
    (0.1, 0.3, 0.2, "excludes 0, p 0.2000"), (-0.3, -0.1, 0.051, "excludes 0, p 0.0510"),
    (-0.1, 0.3, 0.05, "includes 0, p 0.0500"), (0.0, 0.3, 0.01, "includes 0, p 0.0100"),
    (0.1, 0.3, 0.05, None), (-0.3, -0.1, 0.01, None), (-0.1, 0.3, 0.06, None), (np.nan, np.nan, 0.01, None),
    (0.1, 0.3, np.nan, None),
])  # fmt: skip
def test_an_interval_and_a_p_that_disagree_are_said(low, high, p, said):
    row = {"a": "x", "b": "y", "ci_low": low, "ci_high": high, "p": p}
    expected = [] if said is None else [f"interval and p disagree: x − y ({said}); letters follow the adjusted p"]
    assert disagreeing(pd.DataFrame([row])) == expected
    placed = disagreeing(pd.DataFrame([{"place": "lung", **row}]))
    assert placed == [line.replace("x − y", "lung, x − y") for line in expected]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_who_wins_is_counted_draw_by_draw(higher_is_better):
    draws = np.array([-2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 3.0, 3.0])
    wins = [0.5 if d == 0 else float((d > 0) == higher_is_better) for d in draws]
    assert win_probability(draws, higher_is_better) == np.mean(wins) != 0.5


def test_a_p_of_five_percent_tells_apart():
    values, table = {"x": 0.9, "y": 0.6}, pd.DataFrame({"a": ["x"], "b": ["y"], "p_adjusted": [0.05]})
    assert lettered(table, values, values, AUROC) == {"x": "a", "y": "b"}
    assert lettered(table.assign(p_adjusted=0.0501), values, values, AUROC) == {"x": "a", "y": "a"}


def test_few_units_win_nothing():
    row = compare({"a": scored(1.0, 1, n=8), "b": scored(2.0, 2, n=8)}, AUROC, **QUICK).table.iloc[0]
    assert np.isnan([row["win_probability"], row["mde"], row["ci_low"]]).all()
    assert 0 < row["p"] <= 1


@pytest.mark.parametrize(("kind", "metric"), [
    ("binary", "auroc"), ("binary", "balanced_accuracy"), ("multiclass", "macro_f1"), ("survival", "harrell_c"),
    ("retrieval", "recall@5"), ("retrieval", "percentile"), ("regression", "spearman"),
])  # fmt: skip
def test_a_swap_is_the_metric_of_swapped_tables(random_items, kind, metric):
    a = random_items(kind, 1, n_units=12, n_folds=2)
    rng = np.random.default_rng(5)
    predicted = [c for c in ("y_pred", "above", "tied", "percentile") if c in a.frame]
    b = a.having({c: rng.permutation(a.column(c)) for c in predicted})
    chosen = get_metric(metric)
    swaps = rng.random((20, 12)) < 0.5
    expected = []
    for swap in swaps[:, a.codes]:
        sides = []
        for items in (a, b):
            ranks = {c: ranked(items, c) if chosen.within_fold else items.column(c) for c in predicted}
            sides.append(ranks)
        one = a.having({c: np.where(swap, sides[1][c], sides[0][c]) for c in predicted})
        two = b.having({c: np.where(swap, sides[0][c], sides[1][c]) for c in predicted})
        expected.append(chosen.fn(one) - chosen.fn(two))
    np.testing.assert_allclose(swapper(a, b, chosen)(swaps), expected, atol=1e-12)
    slow = replace(chosen, resampled=None)
    np.testing.assert_allclose(swapper(a, b, slow)(swaps), expected, atol=1e-12)


def ranked(items, column):
    out = np.empty(len(items.frame))
    for _, rows in items.folds:
        out[rows] = scipy.stats.rankdata(items.column(column)[rows])
    return out


def test_swaps_in_blocks_are_the_same_swaps(monkeypatch):
    family = {"a": scored(1.0, 1), "b": scored(2.0, 2)}
    whole = compare(family, AUROC, **QUICK)
    monkeypatch.setattr("mmcell.stats.swap._BLOCK", 100)
    pd.testing.assert_frame_equal(compare(family, AUROC, **QUICK).table, whole.table)


def test_rows_meet_by_id_whatever_their_order():
    a, b = scored(1.0, 1), scored(2.0, 2)
    turned = Items(b.frame.sample(frac=1, random_state=0), "binary")
    one, two = (compare({"a": a, "b": other}, AUROC, **QUICK).table for other in (b, turned))
    pd.testing.assert_frame_equal(one, two)


def test_inputs_stay_as_they_are():
    family = {"a": scored(1.0, 1), "b": scored(2.0, 2)}
    before = {name: items.frame.copy() for name, items in family.items()}
    compare(family, AUROC, **QUICK)
    for name, items in family.items():
        pd.testing.assert_frame_equal(items.frame, before[name])


def test_equal_predictors_share_a_letter():
    found = compare({"a": scored(1.0), "b": scored(1.0)}, AUROC, **QUICK)
    assert found.table["p"].item() == 1
    assert found.letters == {"a": "a", "b": "a"}


def test_the_swap_null_is_that_of_all_swaps():
    a, b = scored(1.0, 1, 8, 1), scored(2.5, 2, 8, 1)
    y = a.column("y_true")
    ranks = [scipy.stats.rankdata(i.column("y_pred")) for i in (a, b)]

    def gap(swap):
        return roc_auc_score(y, np.where(swap, *ranks[::-1])) - roc_auc_score(y, np.where(swap, *ranks))

    null = np.array([abs(gap(np.array(swap))) for swap in product([False, True], repeat=8)])
    exact = np.mean(null >= abs(gap(np.zeros(8, bool))) - 1e-12)
    found = compare({"a": a, "b": b}, AUROC, n_boot=100, n_permutations=800)
    assert found.table["p"].item() == pytest.approx(exact, abs=0.06)


def test_the_scale_of_a_predictor_does_not_change_the_p_of_a_ranking():
    a, b = scored(1.0, 1), scored(2.0, 2)
    stretched = Items(b.frame.assign(y_pred=np.exp(3 * b.frame["y_pred"]) + 100 * b.frame["fold"]), "binary")
    p = [compare({"a": a, "b": other}, AUROC, **QUICK).table["p"].item() for other in (b, stretched)]
    assert p[0] == p[1]


def test_the_order_of_the_family_does_not_matter():
    family = {"a": scored(0.5, 1), "b": scored(1, 2), "c": scored(3, 3)}
    one, two = (compare(dict(f), AUROC, **QUICK) for f in (family.items(), reversed(family.items())))
    p = [{frozenset((r.a, r.b)): r.p for r in c.table.itertuples()} for c in (one, two)]
    assert p[0] == p[1]
    assert (one.letters, one.rank) == (two.letters, two.rank)


def test_only_shared_items_are_compared():
    a, b = scored(1.0, 1), scored(1.0, 2)
    part = Items(b.frame[b.frame["unit"] > "u03"], "binary")
    both = Items(a.frame[a.frame["unit"] > "u03"], "binary")
    found = compare({"a": a, "b": part}, AUROC, **QUICK).table["difference"].item()
    assert found == AUROC.fn(both) - AUROC.fn(part)


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ({"y_true": 1}, ["predictor 'b' carries another truth"]),
        ({"unit": "x"}, ["predictor 'b' carries another truth or unit"]),
        ({"fold": 7}, ["share no item in the same fold"]),
    ],
)
def test_what_cannot_be_compared_is_refused(refused, change, pieces):
    with refused(*pieces):
        compare({"a": scored(1.0), "b": Items(scored(1.0).frame.assign(**change), "binary")}, AUROC)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_unit_that_only_one_side_knows_is_refused(refused, order):
    frame = scored(1.0).frame
    sides = {"a": Items(frame, "binary"), "b": Items(frame.assign(crossed=np.arange(24) % 4), "binary")}
    with refused(f"predictor {order[1]!r} carries another truth or unit"):
        compare({name: sides[name] for name in order}, AUROC, **QUICK)


def test_a_truth_may_be_written_as_another_type():
    a, b = scored(1.0, 1), scored(2.0, 2)
    other = Items(b.frame.assign(y_true=b.frame["y_true"].astype(float)), "binary")
    one, two = (compare({"a": a, "b": right}, AUROC, **QUICK).table for right in (b, other))
    pd.testing.assert_frame_equal(one, two)


def test_a_truth_is_checked_where_only_two_of_three_meet(refused):
    a, b, c = (scored(1.0, i).frame for i in range(3))
    wrong = c.assign(y_true=np.where(c["item"] == "u20", 1 - c["y_true"], c["y_true"]))
    family = {"a": a[a["item"] < "u10"], "b": b, "c": wrong}
    with refused("predictor 'c' carries another truth"):
        compare({name: Items(frame, "binary") for name, frame in family.items()}, AUROC)


def test_several_panels_are_refused(refused):
    frame = scored(1.0).frame
    both = Items(pd.concat([frame, frame.assign(stratum="batch")]), "binary")
    with refused("predictor 'b' holds several panels", "Items.panels()"):
        compare({"a": scored(1.0), "b": both}, AUROC)


@pytest.mark.parametrize(
    ("family", "adjust", "pieces"),
    [
        ({"a": scored(1.0)}, "holm", ["at least two predictors, there is a"]),
        ({"a": scored(1.0), "b": scored(1.0)}, "fdr", ["adjust is 'fdr'", "'holm' or 'bh'"]),
    ],
)
def test_a_family_that_is_none_is_refused(refused, family, adjust, pieces):
    with refused(*pieces):
        compare(family, AUROC, adjust=adjust)


@pytest.mark.parametrize("metric", ["auroc", "brier"])
def test_intervals_of_ranks_are_those_of_draws_ranked_one_by_one(metric):
    rng = np.random.default_rng(3)
    chosen, names = get_metric(metric), ("a", "b", "c", "d")
    # Few different values, so that draws hold ties; some draws leave one of them undefined.
    draws = {name: rng.integers(0, 4, size=200) + 0.5 * i for i, name in enumerate(names)}
    draws["b"][:11] = np.nan
    values = {"a": 0.1, "b": 0.4, "c": 0.4, "d": 0.2}
    better = (lambda x, y: x > y) if chosen.higher_is_better else (lambda x, y: x < y)
    found = ranks(names, values, draws, chosen)
    for name in names:
        lowest, highest = [], []
        for at in range(200):
            row = {n: draws[n][at] for n in names}
            if not any(np.isnan(v) for v in row.values()):
                lowest.append(1 + sum(better(v, row[name]) for v in row.values()))
                highest.append(sum(not better(row[name], v) for v in row.values()))
        ends = []
        for level, seen in ((0.025, sorted(lowest)), (0.975, sorted(highest))):
            ends.append(next(r for r in seen if sum(s <= r for s in seen) / len(seen) >= level))
        own = values[name]
        above = sum(better(v, own) for v in values.values())
        tied = sum(v == own for v in values.values())
        assert found[name] == (above + (tied + 1) / 2, *ends)


def test_many_pairs_get_as_many_draws_as_they_ask_for():
    family = {f"p{i:02d}": scored(0.3 if i == 0 else 50.0, i, n=40) for i in range(8)}
    found = compare(family, AUROC, n_boot=100)
    assert found.n_permutations == 40 * 28
    assert found.table["p_adjusted"].min() <= 0.05
    assert compare({n: family[n] for n in ("p00", "p01")}, AUROC, n_boot=100).n_permutations == 1000
    assert compare(family, AUROC, n_boot=100, n_permutations=99).n_permutations == 99
