import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_predict

from mmcell import Embedding
from mmcell.patients import Composition


def cells(**patients):
    """Patient -> a string with one letter per cell, its type."""
    owner = np.repeat(list(patients), [len(kinds) for kinds in patients.values()])
    ids = [f"c{i}" for i in range(len(owner))]
    kinds = list("".join(patients.values()))
    return Embedding.from_array("e", ids, np.ones((len(ids), 1))), pd.Series(owner, ids), pd.Series(kinds, ids)


def encoded(train, new=None):
    e, owner, kind = cells(**train)
    fitted = Composition().fit(e, owner, cell_type=kind)
    e, owner, kind = cells(**(new or train))
    return fitted, fitted.transform(e, owner, cell_type=kind)


def clr(share):
    share = np.array(share) / np.sum(share)
    return np.log(share) - np.log(share).mean()


def test_log_ratios_by_hand():
    fitted, found = encoded({"p1": "AAAABB", "p2": "AB" * 5})
    assert (fitted.types, fitted.floor) == (("A", "B"), 1 / 6)
    np.testing.assert_allclose(found.values, [clr([4 / 6, 2 / 6]), clr([0.5, 0.5])])
    assert (list(found.ids), found.level, found.columns) == (["p1", "p2"], "patient", ("A", "B"))


def test_what_is_below_the_shared_limit_is_at_the_limit():
    _, found = encoded({"p1": "AAAA", "p2": "A" * 99 + "B"})
    np.testing.assert_allclose(found.values, [clr([1, 1 / 4]), clr([0.99, 1 / 4])])


def test_the_limit_is_that_of_training_patients():
    fitted, found = encoded({"p1": "AABB"}, {"new": "A" * 50})
    assert fitted.floor == 1 / 4
    np.testing.assert_allclose(found.values, [clr([1, 1 / 4])])


def test_a_type_never_seen_in_training_is_left_out():
    _, found = encoded({"p1": "AABB", "p2": "AAAB"}, {"new": "AAABZZZZ"})
    np.testing.assert_allclose(found.values, [clr([3 / 4, 1 / 4])])


def test_cells_of_unseen_types_alone_say_nothing():
    _, found = encoded({"p1": "AABB"}, {"new": "ZZ"})
    np.testing.assert_array_equal(found.values, [[0, 0]])


@settings(max_examples=20)
@given(st.lists(st.text("ABC", min_size=1, max_size=12), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_rows_sum_to_zero_and_follow_the_patient(kinds, random):
    patients = {f"p{i}": k for i, k in enumerate(kinds)}
    _, found = encoded(patients)
    np.testing.assert_allclose(found.values.sum(axis=1), 0, atol=1e-12)
    shuffled = {p: "".join(random.sample(k, len(k))) for p, k in reversed(patients.items())}
    np.testing.assert_allclose(encoded(shuffled)[1].values, found.values)


def test_the_cell_embedding_makes_no_difference():
    e, owner, kind = cells(p1="AAB", p2="ABB")
    other = Embedding.from_array("o", e.ids, np.random.default_rng(0).normal(size=(6, 4)))
    a, b = (Composition().fit(x, owner, cell_type=kind).transform(x, owner, cell_type=kind) for x in (e, other))
    np.testing.assert_array_equal(a.values, b.values)
    assert Composition.reads_embedding is False


@pytest.mark.parametrize("change", ["none", "gap"])
def test_cell_types_are_needed(refused, change):
    e, owner, kind = cells(p1="AAB")
    kind = None if change == "none" else kind.mask(kind == "B")
    pieces = ["set roles.cell_type"] if change == "none" else ["1 cells have no cell type (c2)"]
    with refused("patient encoder 'composition'", *pieces):
        Composition().fit(e, owner, cell_type=kind)


def recovered(values, n):
    """How well a random forest recovers the number of cells of held-out patients."""
    forest = RandomForestRegressor(60, random_state=0)
    return spearmanr(cross_val_predict(forest, values, np.log(n)), n).statistic


def test_the_number_of_cells_is_not_in_the_vector():
    rng = np.random.default_rng(0)
    usual = 10 * rng.dirichlet(np.full(12, 0.2)) + 1e-6
    n = np.exp(rng.uniform(np.log(100), np.log(4000), 80)).astype(int)
    counts = np.array([rng.multinomial(k, rng.dirichlet(usual)) for k in n])
    counts = counts[:, counts.any(axis=0)]
    kinds = {f"p{i:02d}": "".join(np.repeat(list("ABCDEFGHIJKL")[: counts.shape[1]], c)) for i, c in enumerate(counts)}
    _, found = encoded(kinds)
    one_more = np.array([clr(row) for row in counts + 1.0])
    assert recovered(one_more, n) > 0.6
    assert recovered(found.values, n) < 0.35
