"""Embeddings on disk: found by content, checked, resumed."""

import json

import numpy as np
import pytest

from mmcell import ModelCard
from mmcell.encoders.base import identity, make_encoder
from mmcell.encoders.encode import BLOCK, encode, encode_rows
from mmcell.encoders.shelf import Shelf, shelf_of
from tests.toys import cite

TOY = cite(4, 5)
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(10, 3)).astype(np.float32)


def filled(folder, key="k", block=4):
    writing = Shelf(folder).resume(key)
    for start in range(0, len(VALUES), block):
        writing.add(start, VALUES[start : start + block])
    return writing


class Counting:
    """A rowwise encoder that remembers how many rows it was given, and may stop in the middle."""

    rowwise = True
    fingerprint = "counting"

    def __init__(self, fail_after=None):
        self.card = ModelCard(name="counting")
        self.rows = 0
        self.fail_after = fail_after

    def encode(self, data):
        if self.fail_after is not None and self.rows >= self.fail_after:
            raise KeyboardInterrupt
        self.rows += data.n_obs
        return np.asarray(data.X, dtype=np.float32)[:, :2]


def test_what_is_written_is_read_again(tmp_path):
    values, columns = filled(tmp_path).finish(10, ("a", "b", "c"))
    np.testing.assert_array_equal(values, VALUES)
    again, names = Shelf(tmp_path).read("k")
    np.testing.assert_array_equal(again, VALUES)
    assert isinstance(again, np.memmap)
    assert tuple(columns) == names == ("a", "b", "c")
    assert Shelf(tmp_path).read("other") is None
    assert {p.name for p in tmp_path.iterdir()} == {"k"}


def altered(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: altered(f / "values.npy"),
        lambda f: (f / "values.npy").write_bytes((f / "values.npy").read_bytes()[:-8]),
        lambda f: (f / "values.npy").write_bytes(b""),
        lambda f: (f / "values.npy").unlink(),
        lambda f: (f / "entry.json").write_text("{"),
        lambda f: (f / "entry.json").write_text(json.dumps({"format": 1})),
        lambda f: (f / "entry.json").write_text((f / "entry.json").read_text().replace('"k"', '"other"')),
    ],
)
def test_a_damaged_entry_is_thrown_away_with_a_warning(tmp_path, damage):
    filled(tmp_path).finish(10)
    damage(tmp_path / "k")
    with pytest.warns(UserWarning, match="altered or cut short; it is computed again"):
        assert Shelf(tmp_path).read("k") is None
    assert not (tmp_path / "k").exists()


def test_a_finished_block_that_was_altered_does_not_count(tmp_path):
    writing = filled(tmp_path)
    assert writing.begun(4) == 10
    altered(sorted(writing.partial.glob("*.npy"))[1])
    assert writing.begun(4) == 4
    with pytest.raises(Exception, match="do not make 10 rows"):
        writing.finish(10)


def test_blocks_of_another_size_are_not_gone_on_with(tmp_path):
    assert filled(tmp_path).begun(5) == 0
    assert not list((tmp_path / "k.partial").glob("*.npy"))


def test_two_writers_of_one_entry_do_not_disturb_each_other(tmp_path):
    one, two = filled(tmp_path), filled(tmp_path)
    # The second one finishes on blocks that the first has taken away, or finds the entry that it made.
    np.testing.assert_array_equal(one.finish(10)[0], VALUES)
    filled(tmp_path)
    np.testing.assert_array_equal(two.finish(10)[0], VALUES)
    assert not [p for p in tmp_path.iterdir() if p.name != "k"]


def test_half_precision_stays_half(tmp_path):
    writing = Shelf(tmp_path).resume("k")
    writing.add(0, VALUES.astype(np.float16))
    assert writing.finish(10)[0].dtype == np.float16


def test_a_folder_that_cannot_be_written_is_named(tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("cannot be written", "choose another --cache"):
        Shelf(tmp_path / "file").resume("k")


def test_where_embeddings_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("MMCELL_CACHE", raising=False)
    assert shelf_of(None, None) is None
    assert shelf_of(None, tmp_path).folder == tmp_path / "embeddings"
    monkeypatch.setenv("MMCELL_CACHE", str(tmp_path / "env"))
    assert shelf_of(None, tmp_path).folder == tmp_path / "env"
    assert shelf_of(tmp_path / "own", tmp_path).folder == tmp_path / "own"


# -- encoding ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_encoding_goes_on_behind_its_last_block(tmp_path, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 6)
    shelf = Shelf(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        encode(Counting(fail_after=12), "c", TOY, "rna", shelf=shelf)
    rest = Counting()
    found = encode(rest, "c", TOY, "rna", shelf=shelf)
    assert rest.rows == 20 - 12
    np.testing.assert_array_equal(found.values, encode(Counting(), "c", TOY, "rna").values)
    again = Counting()
    np.testing.assert_array_equal(encode(again, "c", TOY, "rna", shelf=shelf).values, found.values)
    assert again.rows == 0


def test_a_name_decides_nothing_and_everything_else_does(tmp_path):
    shelf = Shelf(tmp_path)

    def kept():
        return len([p for p in tmp_path.iterdir() if p.is_dir()])

    encode(Counting(), "a", TOY, "rna", shelf=shelf)
    encode(Counting(), "b", TOY, "rna", shelf=shelf)
    assert kept() == 1
    encode(Counting(), "a", cite(4, 5, seed=1), "rna", shelf=shelf)
    assert kept() == 2
    encode(Counting(), "a", TOY, "protein", shelf=shelf)
    assert kept() == 3
    other = Counting()
    other.fingerprint = "other weights"
    encode(other, "a", TOY, "rna", shelf=shelf)
    assert kept() == 4
    other = Counting()
    other.card = ModelCard(name="counting", revision="2")
    encode(other, "a", TOY, "rna", shelf=shelf)
    assert kept() == 5


def test_what_nothing_vouches_for_is_not_kept(tmp_path):
    bare = Counting()
    bare.fingerprint = ""
    encode(bare, "bare", TOY, "rna", shelf=Shelf(tmp_path))
    assert not list(tmp_path.iterdir())
    assert identity(bare) == ""


def test_what_is_cheap_is_not_kept(tmp_path):
    cheap = Counting()
    cheap.cheap = True
    encode(cheap, "cheap", TOY, "rna", shelf=Shelf(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_fitted_encoder_is_kept_fold_by_fold(tmp_path):
    class Fitted(Counting):
        rowwise = False

        def fit(self, data):
            self.mean = np.asarray(data.X).mean()
            return self

        def encode(self, data):
            return super().encode(data) - self.mean

    folds = [["D00", "D01"], ["D02", "D03"], ["D01", "D00"]]
    found = [encode(Fitted(), "f", TOY, "rna", np.array(f), shelf=Shelf(tmp_path)).values for f in folds]
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_identity_follows_card_parameters_and_kind():
    keys = [identity(make_encoder(*given)) for given in [("pca",), ("pca", {"n_components": 7}), ("hvg",)]]
    assert len(set(keys)) == 3
    assert all(keys)
    assert identity(make_encoder("pca")) == keys[0]


def test_a_width_that_changes_between_blocks_is_refused(refused, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 6)

    class Wider(Counting):
        def encode(self, data):
            self.rows += data.n_obs
            return np.ones((data.n_obs, self.rows))

    with refused("encoder 'w': 12 dimensions from row 6 on and 6 before"):
        encode(Wider(), "w", TOY, "rna")


def test_progress_counts_rows():
    seen = []
    data = TOY.features("rna")
    encode_rows(Counting(), "c", data.obs_names, lambda i, j: data[i:j].copy(), 30, progress=lambda *s: seen.append(s))
    assert seen == [(20, 20)]
    assert BLOCK > 20


def test_wide_rows_come_in_smaller_blocks(monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.NUMBERS", 30 * 6)
    seen = []
    data = TOY.features("rna")
    encode_rows(
        Counting(), "c", data.obs_names, lambda i, j: data[i:j].copy(), 30, progress=lambda *s: seen.append(s[0])
    )
    assert seen == [6, 12, 18, 20]
