import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_predict

from mmcell import Embedding
from mmcell.errors import MissingExtraError
from mmcell.patients import Composition
from mmcell.patients.base import PatientEncoder


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
    pieces = ["set roles.cell_type"] if change == "none" else ["1 cell has no cell type (c2)"]
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


def plain(train, test):
    """Composition of all types as it was before there was anything to choose: letters of patients by the definition."""
    types, fewest = sorted(set("".join(train.values()))), min(map(len, train.values()))
    rows = []
    for p in sorted(test):
        counts = np.array([test[p].count(t) for t in types], dtype=float)
        share = np.maximum(counts / counts.sum(), 1 / fewest)
        logs = np.log(share / share.sum())
        rows.append(logs - logs.mean())
    return np.array(rows)


@settings(max_examples=20)
@given(st.lists(st.text("ABC", min_size=1, max_size=12), min_size=2, max_size=5))
def test_without_choices_numbers_are_those_of_the_definition_to_the_bit(kinds):
    patients = {f"p{i}": k for i, k in enumerate(kinds)}
    np.testing.assert_array_equal(encoded(patients)[1].values, plain(patients, patients))


def test_a_patient_of_one_type_has_the_others_at_the_limit():
    _, found = encoded({"p1": "AAAA", "p2": "AABC"})
    np.testing.assert_allclose(found.values[0], clr([1, 1 / 4, 1 / 4]))


VARYING = {"p1": "AAAABBBBCD", "p2": "AAAABBBCCC", "p3": "ABBBBBBCCD", "p4": "AAAAAAABCD"}


def test_the_types_that_vary_most_are_kept():
    e, owner, kind = cells(**VARYING)
    every = Composition().fit(e, owner, cell_type=kind).transform(e, owner, cell_type=kind)
    spread = dict(zip(every.columns, every.values.var(axis=0), strict=True))
    fitted = Composition(n_types=2).fit(e, owner, cell_type=kind)
    assert set(fitted.types) == set(sorted(spread, key=spread.get)[-2:])
    found = fitted.transform(e, owner, cell_type=kind)
    assert found.columns == fitted.types == tuple(sorted(fitted.types))
    # Log-ratios of the kept types among themselves, of shares that were floored among all.
    for row, letters in zip(found.values, VARYING.values(), strict=True):
        share = np.maximum([letters.count(t) / 10 for t in fitted.types], 1 / 10)
        np.testing.assert_allclose(row, clr(share))
    assert fitted.facts["types left out"] == sorted(set("ABCD") - set(fitted.types))


def test_types_are_chosen_on_training_patients_alone():
    e, owner, kind = cells(**VARYING)
    fitted = Composition(n_types=2).fit(e, owner, cell_type=kind)
    new, whose, what = cells(a="DDDDDDDDDD", b="AAAAAAAAAA")
    assert fitted.transform(new, whose, cell_type=what).columns == fitted.types
    both = Composition(n_types=2).fit(*cells(**VARYING, a="DDDDDDDDDD")[:2], cell_type=cells(**VARYING, a="D" * 10)[2])
    assert both.types != fitted.types


def test_more_types_than_there_are_keep_all():
    e, owner, kind = cells(**VARYING)
    a, b = (Composition(n_types=n).fit(e, owner, cell_type=kind).transform(e, owner, cell_type=kind) for n in (None, 9))
    np.testing.assert_array_equal(a.values, b.values)


def blobs(sizes, seed=0, d=2):
    """Cells of patients as counts of four far-apart blobs; ids are in random order."""
    rng = np.random.default_rng(seed)
    sizes = np.asarray(sizes)
    middle = 1000 + 20 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    blob = np.concatenate([np.repeat(np.arange(4), row) for row in sizes])
    patient = np.repeat(np.arange(len(sizes)), sizes.sum(axis=1))
    ids = [f"c{i}" for i in rng.permutation(len(blob))]
    x = np.concatenate([middle[blob] + rng.normal(size=(len(blob), 2)), rng.normal(size=(len(blob), d - 2))], axis=1)
    return (
        Embedding.from_array("e", ids, x),
        pd.Series([f"p{p}" for p in patient], ids),
        pd.Series(np.array(list("ABCD"))[blob], ids),
    )


MIX = [[40, 30, 20, 10], [10, 50, 20, 20], [5, 25, 60, 10]]


@pytest.fixture(params=["kmeans", "leiden"])
def clustered(request):
    if request.param == "leiden":
        pytest.importorskip("igraph")
    return request.param


def test_clusters_that_are_the_types_give_what_the_labels_give(clustered):
    e, owner, kind = blobs(MIX)
    new, whose, what = blobs([[7, 3, 0, 0], [1, 1, 1, 17]], seed=1)
    fitted = Composition(clustered, n_clusters=4, resolution=0.1).fit(e, owner)
    by_label = Composition().fit(e, owner, cell_type=kind)
    assert fitted.types == ("cluster 0", "cluster 1", "cluster 2", "cluster 3")
    assert fitted.facts["agreement"] == 1
    # The largest cluster comes first; in training these are B, C, A, D.
    for c, o, k in ((e, owner, kind), (new, whose, what)):
        expected = by_label.transform(c, o, cell_type=k).values[:, [1, 2, 0, 3]]
        np.testing.assert_allclose(fitted.transform(c, o).values, expected)


def test_clusters_read_the_embedding_and_labels_do_not(clustered):
    assert Composition(clustered).reads_embedding is True
    assert Composition().reads_embedding is False
    assert isinstance(Composition(clustered), PatientEncoder)


def test_clusters_follow_the_cells_and_the_seed(clustered):
    e, owner, _ = blobs(MIX)
    before = e.values.copy()

    def found(cells, seed=0):
        made = Composition(clustered, n_clusters=9, resolution=2.0, seed=seed).fit(cells, owner)
        return made.transform(cells, owner).values

    np.testing.assert_array_equal(found(e), found(e))
    np.testing.assert_array_equal(found(e.align(e.ids[::-1])), found(e))
    np.testing.assert_array_equal(e.values, before)
    # Four blobs in nine pieces: which ones, the seed decides.
    assert clustered == "leiden" or not np.array_equal(found(e, 1)[:, :9], found(e))


def test_held_out_patients_move_no_cluster(clustered):
    e, owner, _ = blobs(MIX)
    fitted = Composition(clustered, n_clusters=4, resolution=0.1).fit(e, owner)
    alone = e.align(e.ids[owner == "p1"])
    np.testing.assert_array_equal(fitted.transform(alone, owner).values[0], fitted.transform(e, owner).values[1])


def test_the_number_of_clusters_and_the_resolution_count():
    e, owner, _ = blobs(MIX)
    assert len(Composition("kmeans", n_clusters=6).fit(e, owner).types) == 6
    assert len(Composition("kmeans", n_clusters=6, n_types=3).fit(e, owner).types) == 3
    pytest.importorskip("igraph")
    coarse, fine = (Composition("leiden", resolution=r).fit(e, owner) for r in (0.1, 3.0))
    assert len(coarse.types) < len(fine.types)


def test_clusters_of_many_cells_are_learnt_from_a_sample(monkeypatch):
    e, owner, kind = blobs(np.array(MIX) * 10)
    monkeypatch.setattr("mmcell.patients.clusters._SAMPLE", 200)
    monkeypatch.setattr("mmcell.patients.pooling._BLOCK", 1000)
    found = Composition("kmeans", n_clusters=4).fit(e, owner).transform(e, owner).values
    expected = Composition().fit(e, owner, cell_type=kind).transform(e, owner, cell_type=kind).values
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(expected, axis=1))


def test_leiden_without_its_packages_names_the_extra(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with refused("clusters='leiden' needs the package 'igraph'", "mmcell[leiden]"):
        Composition("leiden").fit(*blobs(MIX)[:2])
    with pytest.raises(MissingExtraError):
        Composition("leiden").fit(*blobs(MIX)[:2])


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"clusters": "kmean"}, ["clusters 'kmean' are not known", "did you mean kmeans"]),
        ({"n_clusters": 1}, ["n_clusters is 1"]),
        ({"n_types": 1}, ["n_types is 1"]),
        ({"resolution": 0.0}, ["resolution 0.0 is not greater than 0"]),
    ],
)
def test_what_is_no_choice_is_refused(refused, given, pieces):
    with refused("patient encoder 'composition'", *pieces):
        Composition(**given)


def test_what_has_no_clusters_is_refused(refused):
    e, owner, kind = blobs([[3, 2, 2, 2]])
    with refused("embedding 'e': 9 training cells are too few for 20 clusters"):
        Composition("kmeans").fit(e, owner)
    with refused("9 training cells are too few for Leiden, which needs 16"):
        Composition("leiden").fit(e, owner)
    flat = Embedding.from_array("e", e.ids, np.repeat([[0.0], [1.0], [2.0]], 3, axis=0))
    with refused("only 3 different values, too few for 4 clusters"):
        Composition("kmeans", n_clusters=4).fit(flat, owner)
    with refused("n_types needs two training patients"):
        Composition(n_types=2).fit(e, owner, cell_type=kind)
    with refused("'composition' is not fitted"):
        Composition().transform(e, owner, cell_type=kind)
    with refused("fitted on 2 dimensions, embedding 'e' has 3"):
        Composition("kmeans", n_clusters=2).fit(e, owner).transform(*blobs(MIX, d=3)[:2])
