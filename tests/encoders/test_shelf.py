"""Embeddings on disk: found by content, checked, resumed."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from mmcell import Embedding, ModelCard
from mmcell.encoders import shelf as shelf_module
from mmcell.encoders.base import identity, make_encoder
from mmcell.encoders.encode import BLOCK, encode, encode_rows
from mmcell.encoders.shelf import Shelf, shelf_of
from tests.toys import cite

TOY = cite(4, 5)
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(10, 3)).astype(np.float32)


def filled(folder, key="k", block=4, columns=()):
    writing = Shelf(folder).resume(key)
    for start in range(0, len(VALUES), block):
        writing.add(start, VALUES[start : start + block], columns)
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
    values, columns = filled(tmp_path, columns=("a", "b", "c")).finish(10)
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


def edited(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: altered(f / "values.npy"),
        lambda f: (f / "values.npy").write_bytes((f / "values.npy").read_bytes()[:-8]),
        lambda f: (f / "values.npy").write_bytes(b""),
        lambda f: (f / "values.npy").unlink(),
        lambda f: (f / "entry.json").write_text("{"),
        lambda f: (f / "entry.json").write_text(json.dumps({"format": 1})),
        lambda f: edited(f / "entry.json", b'"k"', b'"other"'),
        lambda f: edited(f / "entry.json", b'"a"', b'"b"'),
        lambda f: edited(f / "entry.json", b"<f4", b"<i4"),
        lambda f: edited(f / "values.npy", b"<f4", b"<i4"),
        lambda f: edited(f / "values.npy", b"(10, 3)", b"(10, 2)"),
        lambda f: edited(f / "values.npy", b"(10, 3)", b"(30, 1)"),
    ],
)
def test_a_damaged_entry_is_thrown_away_with_a_warning(tmp_path, damage):
    filled(tmp_path, columns=("a", "x", "y")).finish(10)
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
    writing = filled(tmp_path)
    assert writing.begun(5) == 0
    assert not list(writing.partial.glob("*.npy"))


def test_a_long_block_has_several_checksums(tmp_path, monkeypatch):
    """Whoever checks it holds a part of it, though the encoder gave all rows at once."""
    monkeypatch.setattr(shelf_module, "_CHECKED", 3 * VALUES[0].nbytes)
    filled(tmp_path, block=10).finish(10)
    entry = json.loads((tmp_path / "k" / "entry.json").read_text())
    assert entry["rows"] == [3, 3, 3, 1]
    np.testing.assert_array_equal(Shelf(tmp_path).read("k")[0], VALUES)
    file = tmp_path / "k" / "values.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.warns(UserWarning, match="altered or cut short"):
        assert Shelf(tmp_path).read("k") is None


def test_two_writers_of_one_entry_do_not_disturb_each_other(tmp_path):
    one, two = filled(tmp_path), filled(tmp_path)
    assert one.partial != two.partial
    np.testing.assert_array_equal(one.finish(10)[0], VALUES)
    # The second one goes on writing, and finds the entry that the first has made.
    two.add(0, VALUES[:4] + 1)
    two.add(0, VALUES[:4])
    np.testing.assert_array_equal(two.finish(10)[0], VALUES)
    assert not [p for p in tmp_path.iterdir() if p.name != "k"]


def test_the_entry_that_is_finished_first_stays(tmp_path):
    one, two = filled(tmp_path, columns=("a", "b", "c")), Shelf(tmp_path).resume("k")
    two.add(0, VALUES + 1)
    one.finish(10)
    values, columns = two.finish(10)
    np.testing.assert_array_equal(values, VALUES)
    assert columns == ("a", "b", "c")


def test_what_nobody_holds_is_taken_over_and_the_rest_cleared_away(tmp_path):
    short, long, held = Shelf(tmp_path).resume("k"), filled(tmp_path), filled(tmp_path)
    short.add(0, VALUES[:4])
    other = filled(tmp_path, key="other")
    for writing in (short, long, other):
        writing.release()
    found = Shelf(tmp_path).resume("k")
    assert found.partial == long.partial
    assert not short.partial.exists()
    assert held.partial.exists()
    assert other.partial.exists()


def test_a_kill_inside_finish_leaves_nothing_behind(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", die)
        writing = filled(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            writing.finish(10)
        writing.release()
    with Shelf(tmp_path).resume("k") as writing:
        assert writing.begun(4) == 10
        writing.finish(10)
    assert [p.name for p in tmp_path.iterdir()] == ["k"]
    # Killed after the entry was there, before its blocks were deleted.
    filled(tmp_path).release()
    assert Shelf(tmp_path).read("k") is not None
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_what_was_never_begun_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), Shelf(tmp_path).resume("k"):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_names_of_columns_come_with_the_blocks(tmp_path):
    filled(tmp_path, columns=("a", "b", "c")).release()
    assert Shelf(tmp_path).resume("k").finish(10)[1] == ("a", "b", "c")


def test_where_nothing_can_be_locked_nothing_is_taken_over(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError("not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    one, two = filled(tmp_path), filled(tmp_path)
    assert one.partial != two.partial
    np.testing.assert_array_equal(one.finish(10)[0], VALUES)
    np.testing.assert_array_equal(two.finish(10)[0], VALUES)


def test_dropping_and_clearing_spare_what_is_held(tmp_path):
    shelf, held = Shelf(tmp_path), filled(tmp_path)
    filled(tmp_path).finish(10)
    shelf.drop("k")
    assert held.partial.exists()
    assert shelf.read("k") is None
    shelf.clear()
    assert held.partial.exists()
    held.release()
    shelf.clear()
    assert not tmp_path.exists()


#: Writes blocks of two rows, and says so after each; sleeps behind the last one that it is told to write.
WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from mmcell.encoders.shelf import Shelf
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
values = np.arange(60, dtype=np.float32).reshape(20, 3)
with Shelf(folder).resume("k") as writing:
    begun = writing.begun(2)
    print("begun", begun, flush=True)
    for start in range(begun, 20, 2):
        if start == stop:
            print("waiting", flush=True)
            sys.stdin.readline()
        writing.add(start, values[start : start + 2], ("a", "b", "c"))
    found, columns = writing.finish(20)
    assert (found == values).all() and columns == ("a", "b", "c")
print("done", flush=True)
"""


def writer(folder, stop):
    command = [sys.executable, "-c", WRITER, str(folder), str(stop)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_one_entry(tmp_path):
    first, second = writer(tmp_path, 10), writer(tmp_path, 4)
    for process in (first, second):
        assert process.stdout.readline() == "begun 0\n"
        assert process.stdout.readline() == "waiting\n"
    # Both are in the middle: one finishes, then the other.
    for process in (first, second):
        out, _ = process.communicate("\n", timeout=60)
        assert (out, process.returncode) == ("done\n", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_process_that_was_killed_is_gone_on_with(tmp_path):
    killed = writer(tmp_path, 10)
    assert [killed.stdout.readline() for _ in range(2)] == ["begun 0\n", "waiting\n"]
    killed.kill()
    killed.wait(timeout=60)
    out, _ = writer(tmp_path, -1).communicate(timeout=60)
    assert out == "begun 10\ndone\n"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


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


def test_names_of_columns_survive_a_kill_behind_the_last_block(tmp_path, monkeypatch):
    class Named(Counting):
        def encode(self, data):
            self.columns = ("a", "b")
            return super().encode(data)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmcell.encoders.shelf.Writing.finish", die)
        with pytest.raises(KeyboardInterrupt):
            encode(Named(), "n", TOY, "rna", shelf=Shelf(tmp_path))
    rest = Named()
    assert encode(rest, "n", TOY, "rna", shelf=Shelf(tmp_path)).columns == ("a", "b")
    assert rest.rows == 0


def test_a_wrong_number_of_names_is_refused(refused):
    named = Counting()
    named.columns = ("a", "b", "c")
    with refused("encoder 'n': names 3 columns and returns 2"):
        encode(named, "n", TOY, "rna")


@pytest.mark.parametrize("rowwise", [True, False])
def test_an_encoder_that_changes_its_data_is_named_with_the_rows_it_was_given(refused, rowwise):
    class Filters(Counting):
        def encode(self, data):
            data._inplace_subset_obs(np.arange(data.n_obs) > 2)
            return super().encode(data)

    class Renames(Counting):
        def encode(self, data):
            data.obs_names = [f"n{i}" for i in range(data.n_obs)]
            return Embedding.from_array("q", data.obs_names, super().encode(data))

    class Undefined(Counting):
        def encode(self, data):
            data.obs_names = [f"n{i}" for i in range(data.n_obs)]
            return np.full((data.n_obs, 2), np.nan)

    for kind, pieces in [
        (Filters, ["encoder 'e': encode returned 17 rows for 20 items"]),
        (Renames, ["encoder 'e': encode returned other ids", "none of the 20 wanted ids", "obs_names"]),
        (Undefined, ["encoder 'e'", "first 'cell0000'"]),
    ]:
        encoder = kind()
        encoder.rowwise = rowwise
        with refused(*pieces):
            encode(encoder, "e", TOY, "rna")


@pytest.mark.parametrize("rowwise", [True, False])
def test_an_embedding_is_matched_by_id_and_keeps_its_columns(rowwise, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 6)

    class Backwards(Counting):
        def encode(self, data):
            values = super().encode(data)
            return Embedding.from_array("q", data.obs_names[::-1], values[::-1], columns=("a", "b"))

    encoder = Backwards()
    encoder.rowwise = rowwise
    found = encode(encoder, "b", TOY, "rna")
    np.testing.assert_array_equal(found.values, encode(Counting(), "c", TOY, "rna").values)
    assert (found.columns, found.name) == (("a", "b"), "b")


def test_no_rows_are_refused(refused):
    data = TOY.features("rna")
    with refused("encoder 'c': there is no row to encode"):
        encode_rows(Counting(), "c", data.obs_names[:0], lambda i, j: data[i:j].copy(), 30)


def test_what_half_precision_cannot_hold_is_refused(refused):
    class Large(Counting):
        def encode(self, data):
            return super().encode(data) + np.float32(1e6)

    data = TOY.features("rna")
    given = ("l", data.obs_names, lambda i, j: data[i:j].copy(), 30)
    with refused("encoder 'l': values of 20 of 20 items are too large for float16", "use float32"):
        encode_rows(Large(), *given, dtype="float16")
    assert encode_rows(Large(), *given)[0].min() >= 1e6


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


#: Takes a turn at an entry, says so, and ends when it is told to.
HOLDER = """
import sys
from pathlib import Path
from mmcell.encoders.shelf import Shelf
with Shelf(Path(sys.argv[1])).turn("k"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_who_comes_second_waits_and_no_dead_one_is_waited_for(killed, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    order = []

    def second():
        with Shelf(tmp_path).turn("k"):
            order.append("second")

    with Shelf(tmp_path).turn("another"):
        order.append("another")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        time.sleep(0.3)
        assert not waiting.done()
        order.append("end of the first")
        if killed:
            holder.kill()
        else:
            holder.stdin.write("\n")
            holder.stdin.flush()
        waiting.result(timeout=60)
    holder.communicate()
    assert order == ["another", "end of the first", "second"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("why", ["nothing can be locked", "too long"])
def test_a_turn_is_a_saving_and_no_condition(why, tmp_path, monkeypatch):
    with Shelf(tmp_path).turn("k"):
        if why == "too long":
            monkeypatch.setattr(shelf_module, "_WAIT", 0.2)
        else:
            monkeypatch.setattr(shelf_module, "lock", lambda path: None)
        with Shelf(tmp_path).turn("k"):
            filled(tmp_path).finish(10)
    np.testing.assert_array_equal(Shelf(tmp_path).read("k")[0], VALUES)


def test_who_waited_reads_what_another_wrote(tmp_path):
    """The entry comes while the second one has its turn at last: it encodes nothing."""
    plain = Counting()
    encode(plain, "x", TOY, "rna", shelf=Shelf(tmp_path / "first"))
    (entry,) = (tmp_path / "first").iterdir()

    class Late(Shelf):
        @contextmanager
        def turn(self, key):
            shutil.copytree(entry, self.folder / key)
            yield

    late = Counting()
    found = encode(late, "x", TOY, "rna", shelf=Late(tmp_path / "second"))
    assert (plain.rows, late.rows) == (20, 0)
    np.testing.assert_array_equal(found.values, encode(Counting(), "x", TOY, "rna").values)
