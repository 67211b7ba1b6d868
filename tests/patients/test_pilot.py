import json

import numpy as np
import ot
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from mmcell import Embedding
from mmcell.patients import Composition
from mmcell.patients.pilot import Pilot

RNG = np.random.default_rng


#: Where the types lie.
PLACES = {"A": [1.0, 0, 0], "B": [0, 1.0, 0], "C": [0.6, 0.8, 0], "Z": [0, 0, 1.0], "O": [0, 0, 0]}


def cells(noise=0.0, **patients):
    """Patient -> a string with one letter per cell, its type."""
    kinds = list("".join(patients.values()))
    owner = np.repeat(list(patients), [len(k) for k in patients.values()])
    ids = [f"c{i}" for i in range(len(owner))]
    values = np.array([PLACES[k] for k in kinds]) + noise * RNG(0).normal(size=(len(ids), 3))
    return Embedding.from_array("e", ids, values), pd.Series(owner, ids), pd.Series(kinds, ids)


def encoded(train, new=None, **parameters):
    e, owner, kind = cells(**train)
    fitted = Pilot(**parameters).fit(e, owner, cell_type=kind)
    e, owner, kind = cells(**(new or train))
    return fitted, fitted.transform(e, owner, cell_type=kind)


def test_by_hand():
    fitted, found = encoded({"p1": "AAAABB", "p2": "AB" * 5, "p3": "CCAAAB"})
    # 1 − cos: A and B 1, A and C 0.4, B and C 0.2; the greatest is 1 already.
    np.testing.assert_allclose(fitted.cost, [[0, 1, 0.4], [1, 0, 0.2], [0.4, 0.2, 0]], atol=1e-12)
    assert (fitted.types, fitted.floor) == (("A", "B", "C"), 1 / 6)
    share = np.maximum([[4 / 6, 2 / 6, 0], [0.5, 0.5, 0], [3 / 6, 1 / 6, 2 / 6]], 1 / 6)
    share /= share.sum(axis=1, keepdims=True)
    distance = [[ot.emd2(a, b, fitted.cost) for b in share] for a in share]
    assert (list(found.ids), found.level, found.columns[0]) == (["p1", "p2", "p3"], "patient", "pilot 1")
    np.testing.assert_allclose(cdist(found.values, found.values), distance, atol=1e-9)


def test_the_composition_is_the_one_of_composition():
    train, new = {"p1": "AAAABB", "p2": "AB" * 5 + "C"}, {"n1": "AAACZZ", "n2": "ZZ"}
    fitted, _ = encoded(train)
    e, owner, kind = cells(**train)
    reference = Composition().fit(e, owner, cell_type=kind)
    e, owner, kind = cells(**new)
    found, _ = fitted._shares(e, owner, kind)
    logs = np.log(found)
    expected = reference.transform(e, owner, cell_type=kind).values
    np.testing.assert_allclose(logs - logs.mean(axis=1, keepdims=True), expected)


def test_medians_are_elementwise_and_of_training_cells():
    e, owner, kind = cells(noise=0.3, p1="AAAABB", p2="ABABB", p3="AC")
    fitted = Pilot().fit(e, owner, cell_type=kind)
    medians = [np.median(e.values[kind == t], axis=0) for t in "ABC"]
    expected = cdist(medians, medians, "cosine")
    np.testing.assert_allclose(fitted.cost, expected / expected.max(), atol=1e-12)


def test_types_without_direction():
    fitted, _ = encoded({"p1": "AAOO", "p2": "BO"})
    np.testing.assert_allclose(fitted.cost, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])


@pytest.mark.parametrize("train", [{"p1": "AAA", "p2": "AA"}, {"p1": "OOO", "p2": "OO"}, {"p1": "AB", "p2": "BA"}])
def test_patients_all_the_same_get_zeros(train):
    fitted, found = encoded(train)
    np.testing.assert_array_equal(found.values, np.zeros((2, 1)))
    assert fitted.facts["n_negative"] == 0


def test_a_type_never_seen_in_training_is_left_out():
    train = {"p1": "AABB", "p2": "AAAB", "p3": "ABBB"}
    _, found = encoded(train, {"n1": "AAABZZZZ", "n2": "AAAB", "n3": "ZZ", "n4": "AB"})
    np.testing.assert_array_equal(found.values[0], found.values[1])
    np.testing.assert_array_equal(found.values[2], found.values[3])


def test_others_need_no_fit_and_change_nothing():
    train = {"p1": "AABBC", "p2": "AAABB", "p3": "ABBBCC", "p4": "CCCAB"}
    new = {"q1": "AAACC", "q2": "B" * 40}
    _, alone = encoded(train)
    _, together = encoded(train, train | new)
    np.testing.assert_array_equal(together.align(alone.ids).values, alone.values)
    _, one = encoded(train, {"q2": "B" * 40})
    np.testing.assert_array_equal(one.values[0], together.align(one.ids).values[0])


@settings(max_examples=15)
@given(st.lists(st.text("ABC", min_size=1, max_size=9), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_names_of_patients_make_no_difference(kinds, random):
    train = {f"p{i}": k for i, k in enumerate(kinds)}
    shuffled = {f"q{9 - i}": "".join(random.sample(k, len(k))) for i, k in enumerate(kinds)}
    a, b = encoded(train)[1].values, encoded(shuffled)[1].values[::-1]
    np.testing.assert_allclose(cdist(a, a), cdist(b, b), atol=1e-7)


def test_two_groups_of_patients_lie_apart():
    rng = RNG(0)
    usual = [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]
    train = {f"p{i:02d}": "".join(rng.choice(list("ABC"), 80, p=usual[i % 2])) for i in range(12)}
    first = encoded(train)[1].values[:, 0]
    assert first[::2].max() < first[1::2].min() or first[1::2].max() < first[::2].min()


def test_facts_and_the_cap():
    train = {f"p{i}": k for i, k in enumerate(["AABBC", "AAABB", "ABBBCC", "CCCAB", "AC"])}
    fitted, found = encoded(train)
    facts = json.loads(json.dumps(fitted.facts))
    assert (facts["n_types"], facts["floor"], facts["n_components"]) == (3, 0.5, found.dim)
    assert 0 <= facts["negative_share"] < 1
    assert Pilot.reads_embedding
    assert encoded(train, n_components=1)[1].dim == 1


@pytest.mark.parametrize("change", ["none", "gap"])
def test_cell_types_are_needed(refused, change):
    e, owner, kind = cells(p1="AAB", p2="AB")
    kind = None if change == "none" else kind.mask(kind == "B")
    pieces = ["set roles.cell_type"] if change == "none" else ["2 cells have no cell type (c2, c4)"]
    with refused("patient encoder 'pilot'", *pieces):
        Pilot().fit(e, owner, cell_type=kind)


def test_what_else_is_refused(refused):
    e, owner, kind = cells(p1="AAB")
    with refused("1 training patient;", "at least 2"):
        Pilot().fit(e, owner, cell_type=kind)
    with refused("'pilot': not fitted"):
        Pilot().transform(e, owner, cell_type=kind)
