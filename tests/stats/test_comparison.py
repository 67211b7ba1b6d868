from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmcell import Items, get_metric
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import adjusted, compare, difference, letters

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
    assert gap.low == pytest.approx(gap.value - np.hypot(1 - perfect.low, other.high - other.value))
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


# -- adjustment and letters --------------------------------------------------------------------------------------------

P = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array)


@given(P)
def test_bh_is_scipys(p):
    np.testing.assert_allclose(adjusted(p, "bh"), scipy.stats.false_discovery_control(p), atol=1e-12)


@given(P)
def test_holm_steps_down(p):
    expected = [min(1.0, max((p >= q).sum() * q for q in p if q <= own)) for own in p]
    np.testing.assert_allclose(adjusted(p, "holm"), expected, atol=1e-12)


def test_an_undefined_p_stays_undefined_and_counts_for_nothing():
    found = adjusted(np.array([0.01, np.nan, 0.04]), "holm")
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04])


@given(data=st.data(), n=st.integers(1, 7))
def test_a_letter_is_shared_exactly_by_those_not_told_apart(data, n):
    names = [f"m{i}" for i in range(n)]
    apart = set(data.draw(st.lists(st.sampled_from(list(combinations(names, 2))), unique=True))) if n > 1 else set()
    found = letters(names, apart)
    for pair in combinations(names, 2):
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in apart)


def test_the_best_has_the_first_letter():
    assert letters(["x", "y", "z"], {("z", "x")}) == {"x": "a", "y": "ab", "z": "b"}
