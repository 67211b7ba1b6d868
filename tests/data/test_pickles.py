import lzma
import pickle

import numpy as np
import pandas as pd
import pytest

from mmcell.data import pickles
from mmcell.data.pickles import read_plain_pickle, read_table_pickle

READERS = [read_plain_pickle, read_table_pickle]


@pytest.fixture
def pickled(tmp_path):
    """A file that holds the bytes, or the pickled object."""

    def write(content, protocol=4):
        path = tmp_path / "file.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return path

    return write


class Runs:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_does_nothing(pickled, tmp_path, refused, read, protocol):
    target = tmp_path / "made"
    with refused("file.pkl: this pickle may hold", "asks for", "open"):
        read(pickled({"a": [1, Runs(target)]}, protocol))
    assert not target.exists()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray fromfile"])
def test_no_name_off_the_list(pickled, refused, read, name):
    module, attribute = name.split()
    with refused(f"it asks for {module}.{attribute}", "install the package anew"):
        read(pickled(f"c{module}\n{attribute}\n(S'1'\ntR.".encode()))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04]", b"\x80\x04K\x01R."])
def test_what_is_no_pickle_is_refused_in_one_line(pickled, refused, read, content):
    with refused("file.pkl: this pickle may hold", "not read"):
        read(pickled(content))


@pytest.mark.parametrize("protocol", [3, 4, 5])  # before 3, bytes are written as a call of a codec
def test_plain_values_come_back_and_numpy_numbers_become_plain(pickled, protocol):
    given = {"a": 1, "b": [2.5, "x", None, True], "c": (np.float64(0.1), np.float32(0.5)), "d": {np.int64(-7): 1}}
    found = read_plain_pickle(pickled(given, protocol))
    assert found == given
    assert [type(v) for v in (*found["c"], *found["d"])] == [float, float, int]


def test_the_byte_order_is_kept(pickled):
    big = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb"
    big += b"C\x08" + np.array(1.5, ">f8").tobytes() + b"tR."
    assert read_plain_pickle(pickled(big)) == 1.5


@pytest.mark.parametrize("values", [np.array(["a"], object), np.zeros(1, "U4"), np.array([1j])])
def test_numbers_are_all_that_numpy_may_bring(pickled, refused, values):
    with refused("this pickle may hold text and numbers only"):
        read_plain_pickle(pickled({"x": values}))


def test_numpy_text_is_no_number(pickled, refused):
    with refused("numpy numbers of type 'U1'"):
        read_plain_pickle(pickled(np.str_("a")))


def test_a_table_must_be_one(pickled, refused):
    with refused("the pickle holds dict, not a table"):
        read_table_pickle(pickled({"a": 1}))


@pytest.fixture
def packed(tmp_path):
    """A file that holds the bytes, packed with xz."""

    def write(content):
        path = tmp_path / "file.pkl.compress"
        path.write_bytes(lzma.compress(content))
        return path

    return write


def test_a_packed_file_is_unpacked_and_read_with_the_same_list(packed, tmp_path, refused):
    target = tmp_path / "made"
    with refused("this pickle may hold a table only", "asks for", "open"):
        read_table_pickle(packed(pickle.dumps(Runs(target))), xz=True)
    assert not target.exists()
    with refused("the pickle holds dict, not a table"):
        read_table_pickle(packed(pickle.dumps({"a": 1})), xz=True)


def test_no_more_than_a_bound_is_unpacked(packed, monkeypatch, refused):
    path = packed(pickle.dumps({"a": b"0" * 5000}))
    with refused("holds dict"):
        read_table_pickle(path, xz=True)
    monkeypatch.setattr(pickles, "_MOST", 4000)
    with refused("cut short, or unpacks to more than 4000 bytes", "install the package anew"):
        read_table_pickle(path, xz=True)


def test_what_is_not_packed_or_cut_short_is_refused_in_one_line(packed, pickled, refused):
    with refused("this pickle may hold a table only"):
        read_table_pickle(pickled({"a": 1}), xz=True)
    path = packed(pickle.dumps({"a": 1}))
    path.write_bytes(path.read_bytes()[:-8])
    with refused("cut short"):
        read_table_pickle(path, xz=True)


@pytest.mark.demo
def test_the_dictionaries_of_geneformer():
    from mmcell.data.genes import gene_medians, gene_tokens

    tokens, medians = gene_tokens(), gene_medians()
    assert (tokens["<pad>"], tokens["<mask>"], len(tokens)) == (0, 1, 25426)
    assert {type(v) for v in tokens.values()} == {int}
    assert {type(v) for v in medians.values()} == {float}
    assert set(tokens) - set(medians) == {"<pad>", "<mask>"}


@pytest.mark.demo
def test_the_tables_of_survset():
    from mmcell.data.survset import _SHA, _table

    for name in _SHA:
        assert isinstance(_table(name), pd.DataFrame)
