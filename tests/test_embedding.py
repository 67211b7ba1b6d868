import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Embedding, ModelCard


def embedding(n=5, d=3, **changes):
    given_ = {"name": "toy", "ids": [f"c{i}" for i in range(n)], "values": np.arange(n * d, dtype=float).reshape(n, d)}
    return Embedding.from_array(**given_ | changes)


def test_rows_are_matched_by_id():
    taken = embedding().align(pd.Index(["c3", "c0"]))
    assert list(taken.ids) == ["c3", "c0"]
    np.testing.assert_array_equal(taken.values, [[9, 10, 11], [0, 1, 2]])


@given(st.permutations(range(7)), st.integers(1, 7))
def test_align_finds_every_row_whatever_the_order(order, n):
    ids = np.array([f"c{i}" for i in order])
    shuffled = embedding(n=7, ids=ids, values=np.array(order, dtype=float)[:, None])
    wanted = pd.Index([f"c{i}" for i in range(n)])
    np.testing.assert_array_equal(shuffled.align(wanted).values[:, 0], np.arange(n))


def test_align_to_its_own_ids_copies_nothing():
    whole = embedding()
    assert whole.align(whole.ids).values is whole.values


def test_missing_ids_are_dropped_when_asked():
    assert list(embedding().align(pd.Index(["c9", "c4", "c1"]), missing="drop").ids) == ["c4", "c1"]


def test_missing_ids_are_refused_by_default(refused):
    with refused("'toy'", "1 of 2 ids have no row (c9)", "missing='drop'"):
        embedding().align(pd.Index(["c1", "c9"]))


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_no_shared_id_is_refused_under_either_policy(refused, missing):
    with refused("'toy'", "none of the 4 wanted ids", "x0, x1, x2 (+1 more)", "obs_names"):
        embedding().align(pd.Index([f"x{i}" for i in range(4)]), missing=missing)


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"level": "cells"}, ["level 'cells'", "cell, spot"]),
        ({"values": np.ones(5)}, ["shape (5,)", "a row per id"]),
        ({"values": np.ones((5, 0))}, ["shape (5, 0)", "a column or more"]),
        ({"values": np.ones((4, 3))}, ["4 rows but 5 ids", "exactly one id per row"]),
        ({"values": np.full((5, 3), "a")}, ["values are <U1", "floating-point"]),
        ({"columns": ("age", "sex")}, ["2 column names for 3 columns"]),
        ({"ids": list("aabbc")}, ["2 ids occur more than once (a, b)", "make the ids unique"]),
    ],
)
def test_malformed_embeddings_are_refused(refused, changes, pieces):
    with refused("embedding 'toy'", *pieces):
        embedding(**changes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 70_000])
def test_values_that_are_not_finite_are_refused_with_the_first_id(refused, bad, row):
    values = np.zeros((70_002, 1))
    values[[row, 70_001]] = bad
    with refused("embedding 'toy'", "NaN or infinite", f"id 'c{row}'", "drop these rows"):
        embedding(n=70_002, values=values)


def test_whole_numbers_become_floats_and_ids_become_text():
    made = Embedding.from_array("toy", [1, 2], [[1, 2], [3, 4]])
    assert made.values.dtype == np.float32
    assert list(made.ids) == ["1", "2"]


def test_length_and_dimension():
    assert (len(embedding()), embedding().dim) == (5, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": list("vwxyz")},
        {"values": np.ones((5, 3))},
        {"values": np.arange(15, dtype=np.float32).reshape(5, 3)},
        {"level": "spot"},
        {"modality": "protein"},
        {"columns": ("x", "y", "z")},
        {"card": ModelCard(name="toy", modality="rna", revision="2")},
    ],
)
def test_fingerprint_depends_on_everything_but_the_name(changes):
    assert embedding(**changes).fingerprint != embedding().fingerprint


def test_equal_content_has_an_equal_fingerprint():
    card = ModelCard(name="model")
    assert embedding(name="a", card=card).fingerprint == embedding(name="b", card=card).fingerprint


def test_align_leaves_the_embedding_unchanged():
    whole = embedding()
    whole.align(pd.Index(["c3"])).values[:] = -1
    np.testing.assert_array_equal(whole.values, embedding().values)


def test_read_names_the_embedding_after_file_and_key(tmp_path):
    np.savez(tmp_path / "scgpt.npz", ids=np.array(["a", "b"]), human=np.eye(2))
    read = Embedding.read(tmp_path / "scgpt.npz", "human", level="sample", modality="protein")
    assert (read.name, read.level, read.modality) == ("scgpt:human", "sample", "protein")
    assert Embedding.read(tmp_path / "scgpt.npz", "human", name="mine").name == "mine"


def test_read_keeps_column_names(tmp_path):
    (tmp_path / "clinic.csv").write_text("patient,age,bmi\np1,50,21.5\np2,61,30\n")
    read = Embedding.read(tmp_path / "clinic.csv", level="patient", modality="clinical")
    assert read.columns == ("age", "bmi")
    assert list(read.ids) == ["p1", "p2"]


def test_rows_are_taken_by_place():
    whole = Embedding.from_array("x", list("abc"), np.arange(6.0).reshape(3, 2), columns=("p", "q"))
    for where in (np.array([True, False, True]), np.array([0, 2])):
        found = whole.take(where)
        assert list(found.ids) == ["a", "c"]
        np.testing.assert_array_equal(found.values, [[0, 1], [4, 5]])
        assert found.fingerprint == whole.align(pd.Index(["a", "c"])).fingerprint != whole.fingerprint
        assert (found.name, found.card, found.columns) == (whole.name, whole.card, whole.columns)
    assert whole.take(np.ones(3, dtype=bool)).values is whole.values
    assert list(whole.take(np.array([2, 0, 1])).ids) == list("cab")


def test_an_id_that_is_wanted_twice_is_refused(refused):
    whole = Embedding.from_array("x", list("abc"), np.ones((3, 1)))
    with refused("1 id occurs more than once (b)"):
        whole.align(pd.Index(["b", "a", "b"]))
