import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Split, SplitSpec, make_splits
from mmcell.splits import splits_of

DONORS = {f"d{i}" for i in range(8)}


def sides(splits):
    return [(s.repeat, s.fold, tuple(s.train), tuple(s.test)) for s in splits]


@pytest.mark.parametrize("kind", ["group-kfold", "stratified-group-kfold"])
@given(n_splits=st.integers(2, 4), repeats=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_unit_is_tested_once_in_every_repeat(cohort, kind, n_splits, repeats, seed):
    splits = make_splits(cohort(), kind, "label", n_splits=n_splits, repeats=repeats, seed=seed)
    assert len(splits) == n_splits * repeats
    for repeat in range(repeats):
        tested = [unit for s in splits if s.repeat == repeat for unit in s.test]
        assert sorted(tested) == sorted(DONORS)
    for s in splits:
        assert set(s.train) == DONORS - set(s.test)


def test_classes_are_spread_evenly(cohort):
    toy = cohort()
    label = toy.patients["severity"]
    for s in make_splits(toy, "stratified-group-kfold", "label", n_splits=4):
        assert sorted(label[s.test]) == ["mild", "severe"]


def test_events_are_spread_evenly(cohort):
    toy = cohort()
    for s in make_splits(toy, "stratified-group-kfold", "outcome", n_splits=4):
        assert toy.patients["died"][s.test].sum() == 1


@pytest.mark.parametrize("by", ["batch", "site"])
def test_each_group_is_left_out_once(cohort, by):
    splits = make_splits(cohort(), "leave-one-group-out", by)
    assert [(s.group, sorted(s.test)) for s in splits] == [
        ("north", ["d0", "d1", "d2", "d3"]),
        ("south", ["d4", "d5", "d6", "d7"]),
    ]


def test_the_same_seed_gives_the_same_folds_and_another_one_others(cohort):
    first, again, other = (sides(make_splits(cohort(), n_splits=4, repeats=2, seed=s)) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_repeats_are_drawn_anew(cohort):
    splits = make_splits(cohort(), n_splits=2, repeats=5)
    assert len({s.key for s in splits}) == len(splits)
    assert len({tuple(s.test) for s in splits}) > 2


def test_folds_do_not_depend_on_the_order_of_the_rows(cohort, cohort_adata):
    toy = cohort()
    turned = type(toy)("toy", toy.data[::-1].copy(), toy.roles, toy.card)
    assert sides(make_splits(toy, n_splits=4)) == sides(make_splits(turned, n_splits=4))


def test_a_spec_describes_the_same_splits(cohort):
    spec = SplitSpec("mine", "stratified-group-kfold", "label", 4, 2, ("outcome",))
    splits = splits_of(cohort(), spec, seed=3)
    direct = make_splits(cohort(), "stratified-group-kfold", "label", n_splits=4, repeats=2, seed=3)
    assert sides(splits) == sides(direct)
    assert {s.spec for s in splits} == {spec}


def test_only_left_out_groups_are_a_shift():
    assert SplitSpec("x", "leave-one-group-out", "batch").shift == "batch"
    assert SplitSpec("x", "stratified-group-kfold", "batch").shift == ""


def test_the_key_follows_what_is_where():
    a, b, c = pd.Index(["a"]), pd.Index(["b"]), pd.Index(["c"])
    assert Split(a, b).key == Split(a, b).key
    assert len({Split(a, b).key, Split(b, a).key, Split(a, c).key, Split(a, b, repeat=1).key}) == 4


@pytest.mark.parametrize(
    ("train", "test", "pieces"),
    [
        (["a", "b"], ["b", "c"], ["1 unit is in training and in test (b)", "one side"]),
        ([], ["b"], ["fold 2 has no train units", "fewer folds"]),
        (["a"], [], ["fold 2 has no test units", "fewer folds"]),
    ],
)
def test_no_unit_is_on_both_sides_and_no_side_is_empty(refused, train, test, pieces):
    with refused("split 'units'", *pieces):
        Split(pd.Index(train, dtype=object), pd.Index(test, dtype=object), fold=2)


@pytest.mark.parametrize("kind", ["stratified-group-kfold", "leave-one-group-out"])
@pytest.mark.parametrize(
    ("by", "columns", "pieces"),
    [
        (None, {}, ["needs 'by'"]),
        ("sites", {}, ["dataset 'toy'", "no role or column 'sites'", "set roles.sites"]),
        ("sample", {}, ["dataset 'toy'", "no role or column 'sample'"]),
        ("technical", {}, ["no role or column 'technical'"]),
        ("site", {"site": ["north", "south"] * 12}, ["'site' takes 2 values in donor", "8 units", "finer unit"]),
        ("cell_type", {}, ["'kind' takes 2 values in donor"]),
    ],
)
def test_groups_that_cannot_be_split(cohort, refused, kind, by, columns, pieces):
    with refused(*pieces):
        make_splits(cohort({"cell_type": "kind"}, **columns), kind, by, n_splits=2)


SITES = {"site": [None] * 3 + ["a"] * 9 + ["b"] * 12}


def test_units_without_a_group_to_leave_out_are_refused(cohort, refused):
    with refused("1 unit has no site (d0)", "fill it in"):
        make_splits(cohort(**SITES), "leave-one-group-out", "site")


def test_units_without_a_class_are_held_out_once(cohort):
    splits = make_splits(cohort(**SITES), "stratified-group-kfold", "site", n_splits=2)
    assert sorted(u for s in splits for u in s.test) == sorted(DONORS)
    assert sum("d0" in s.test for s in splits) == 1


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        ({"kind": "kfold"}, ["split kind 'kfold' is not one of group-kfold"]),
        ({"n_splits": 9}, ["8 units cannot be spread over 9 folds", "n_splits=8 or fewer"]),
        ({"kind": "stratified-group-kfold", "by": "label"}, ["4 units of label 'mild'", "5 folds", "n_splits=4"]),
        ({"n_splits": 1}, ["1 folds × 1 repeats", "at least 2 × 1"]),
        ({"repeats": 0, "name": "mine"}, ["split 'mine'", "5 folds × 0 repeats"]),
        ({"kind": "leave-one-group-out", "by": "assay"}, ["assay has one group only (10x)", "at least two"]),
    ],
)
def test_splits_that_cannot_be_made(cohort, refused, arguments, pieces):
    with refused(*pieces):
        make_splits(cohort(assay=np.repeat("10x", 24)), **arguments)
