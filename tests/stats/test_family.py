from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, get_metric
from mmcell.stats.bootstrap import bootstrap
from mmcell.stats.comparison import compare, difference
from mmcell.stats.family import compare_across
from mmcell.stats.multiplicity import adjusted
from mmcell.stats.power import minimum_detectable_effect

AUROC = get_metric("auroc")
QUICK = {"n_boot": 200, "n_permutations": 99}


def scored(noise, seed=0, n=40, prefix="u"):
    truth = np.arange(n) % 2
    names = [f"{prefix}{i:02d}" for i in range(n)]
    score = np.random.default_rng(seed).normal(truth, noise)
    return Items(pd.DataFrame({"item": names, "unit": names, "y_true": truth, "y_pred": score}), "binary")


def place(seed, noises=(0.5, 1.0, 4.0), **options):
    return {
        name: scored(noise, 10 * seed + i, **options) for i, (name, noise) in enumerate(zip("abc", noises, strict=True))
    }


def across(families, datasets=None, **options):
    return compare_across(families, AUROC, datasets=datasets or {p: p for p in families}, **QUICK | options)


def overall(found):
    return found.table[found.table["place"] == "all"].set_index(["a", "b"])


def test_every_place_has_the_rows_it_would_have_alone():
    families = {"one": place(1), "two": place(2, n=30)}
    table = across(families).table
    for name, family in families.items():
        alone = compare(family, AUROC, **QUICK).table.drop(columns="p_adjusted")
        there = table[table["place"] == name].drop(columns=["place", "p_adjusted"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(there, alone)


@pytest.mark.parametrize("adjust", ["holm", "bh"])
def test_the_whole_family_is_adjusted(adjust):
    table = across({"one": place(1), "two": place(2)}, adjust=adjust).table
    assert len(table) == 9
    np.testing.assert_array_equal(table["p_adjusted"], adjusted(table["p"].to_numpy(), adjust))


def test_the_overall_row_is_the_mean_over_places():
    found = across({"one": place(1), "two": place(2, n=30)})
    rows = found.table[found.table["place"] != "all"].groupby(["a", "b"])
    whole = overall(found)
    np.testing.assert_allclose(whole["difference"], rows["difference"].mean().loc[whole.index])
    assert (whole["n_items"] == 70).all()
    assert (whole["ci_low"] <= whole["difference"]).all()
    assert (whole["difference"] <= whole["ci_high"]).all()


def test_places_of_other_datasets_are_independent():
    one, two = place(1), place(2)
    found = overall(across({"one": one, "two": two}, n_boot=2000)).loc[("a", "c")]
    errors = [
        np.std(np.subtract(*(bootstrap(f[n], [AUROC], n_boot=2000)["auroc"].draws for n in "ac"))) for f in (one, two)
    ]
    assert found["mde"] == pytest.approx(2.8016 * np.hypot(*errors) / 2, rel=0.08)


def test_draws_of_the_mean_are_those_of_the_units_of_each_dataset_alone():
    families = {"one": place(1), "two": place(2, n=30, prefix="v")}
    for datasets in ({"one": "d", "two": "e"}, {"one": "e", "two": "d"}):
        draws = []
        for where, family in families.items():
            weights = family["a"].units.bootstrap(200, 0, datasets[where])
            draws.append(AUROC.draws(family["a"], weights) - AUROC.draws(family["b"], weights))
        row, mean = overall(across(families, datasets)).loc[("a", "b")], np.mean(draws, axis=0)
        assert row["mde"] == pytest.approx(minimum_detectable_effect(mean))
        assert row["win_probability"] == np.mean(mean > 0) + 0.5 * np.mean(mean == 0)


def test_places_of_one_dataset_share_their_patients():
    # The same patients asked twice are not twice as many patients.
    one = place(1)
    alone = compare(one, AUROC, n_boot=2000).table.set_index(["a", "b"]).loc[("a", "c")]
    same = overall(across({"one": one, "two": one}, {"one": "d", "two": "d"}, n_boot=2000)).loc[("a", "c")]
    other = overall(across({"one": one, "two": one}, {"one": "d", "two": "e"}, n_boot=2000)).loc[("a", "c")]
    assert same["mde"] == pytest.approx(alone["mde"], rel=0.08)
    assert other["mde"] == pytest.approx(alone["mde"] / np.sqrt(2), rel=0.08)
    assert same["p"] > other["p"] or same["p"] == 1 / 100


def test_tasks_that_share_some_patients_are_paired_on_those():
    one, late = place(1, n=40), {n: i.where(i.frame["unit"] >= "u20") for n, i in place(2, n=60).items()}
    together = overall(across({"one": one, "two": late}, {"one": "d", "two": "d"}))
    assert np.isfinite(together[["ci_low", "ci_high", "p"]]).all(axis=None)


def test_the_jackknife_leaves_a_patient_out_everywhere():
    one = place(1)
    single = {n: bootstrap(i, [AUROC], n_boot=200)["auroc"] for n, i in one.items()}
    both = overall(across({"one": one, "two": one}, {"one": "d", "two": "d"}, n_boot=4000)).loc[("a", "b")]
    gap = difference(*(bootstrap(one[n], [AUROC], n_boot=4000)["auroc"] for n in "ab"))
    assert single["a"].n_units == 40
    np.testing.assert_allclose([both["ci_low"], both["ci_high"]], [gap.low, gap.high], atol=0.02)


def test_who_is_missing_somewhere_is_named():
    families = {"one": place(1), "two": {n: i for n, i in place(2).items() if n != "b"}}
    found = across(families)
    assert found.absent == {"b": ("two",)}
    assert list(overall(found).index) == [("a", "c")]
    assert found.letters["b"] == ""
    assert np.isnan(found.rank["b"]).all()
    assert {found.letters["a"], found.letters["c"]} <= {"a", "b"}
    assert found.rank["a"][0] == 1


def test_letters_and_ranks_are_of_the_means():
    found = across({"one": place(1, (0.3, 9.0, 9.0)), "two": place(2, (0.3, 9.0, 9.0))}, n_permutations=499)
    assert found.letters["a"] == "a"
    assert found.letters["b"] == found.letters["c"] == "b"
    assert found.rank["a"] == (1.0, 1.0, 1.0)
    leak = replace(AUROC, higher_is_better=False)
    turned = compare_across(
        {"one": place(1, (0.3, 9.0, 9.0)), "two": place(2, (0.3, 9.0, 9.0))}, leak, datasets={"one": "d", "two": "e"},
        n_boot=200, n_permutations=499,
    )  # fmt: skip
    assert turned.rank["a"][0] == 3
    assert turned.letters["a"] == "b"


def test_a_place_with_few_units_leaves_no_interval():
    found = overall(across({"one": place(1), "two": place(2, n=8)}))
    assert np.isfinite(found[["difference", "p"]]).all(axis=None)
    assert np.isnan(found[["ci_low", "ci_high", "mde", "win_probability"]]).all(axis=None)


def test_a_bound_keeps_its_uncertainty():
    families = {"one": place(1, (0.0, 3.0, 4.0)), "two": place(2)}
    found = across(families)
    ends = found.table[found.table["place"] != "all"].groupby(["a", "b"])[["ci_low", "ci_high"]].mean()
    row = overall(found).loc[("a", "b")]
    np.testing.assert_allclose(row[["ci_low", "ci_high"]].astype(float), ends.loc[("a", "b")])


def test_what_is_undefined_in_a_place_is_undefined_in_the_mean():
    two = {n: Items(i.frame.assign(y_true=1), "binary") for n, i in place(2).items()}
    found = across({"one": place(1), "two": two})
    assert overall(found)[["difference", "p", "ci_low"]].isna().all(axis=None)
    assert set(found.letters.values()) == {""}


def test_crossed_units_have_an_overall_row():
    def crossed(items):
        return Items(items.frame.assign(unit=np.arange(144) // 12, crossed=np.arange(144) % 12), "binary")

    families = {p: {n: crossed(i) for n, i in place(s, (0.5, 3.0, 4.0), n=100).items()} for p, s in ()}
    families = {
        p: {n: crossed(scored(noise, 7 * s + k, n=144)) for k, (n, noise) in enumerate({"a": 0.4, "b": 3.0}.items())}
        for p, s in (("one", 1), ("two", 2))
    }
    found = overall(across(families, {"one": "d", "two": "d"})).loc[("a", "b")]
    assert found["p"] == 1 / 201
    assert found["ci_low"] > 0


def test_the_same_twice():
    families = {"one": place(1), "two": place(2, n=30)}
    pd.testing.assert_frame_equal(across(families).table, across(families).table)
    assert not across(families, seed=1).table.equals(across(families).table)


@pytest.mark.parametrize(
    ("families", "pieces"),
    [
        ({"one": place(1)}, ["at least two", "there is one"]),
        ({"one": place(1), "all": place(2)}, ["none of them called 'all'"]),
        ({"one": place(1), "two": {"a": scored(1.0)}}, ["at least two predictors, there is a"]),
    ],
)
def test_what_is_no_family_is_refused(refused, families, pieces):
    with refused(*pieces):
        across(families)


def test_units_are_crossed_everywhere_or_nowhere(refused):
    two = {n: Items(i.frame.assign(crossed=np.arange(40) % 12), "binary") for n, i in place(2).items()}
    with refused("dataset 'd'", "crossed in some places only"):
        across({"one": place(1), "two": two}, {"one": "d", "two": "d"})
