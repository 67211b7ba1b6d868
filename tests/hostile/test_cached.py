"""Embeddings that were kept and then altered: never used, said, and computed again; beside them nothing is touched."""

import json
import os
import shutil

import numpy as np
import pytest

from mmcell import MmcellError
from mmcell.digest import digest
from mmcell.encoders.shelf import Shelf
from tests.hostile.case import limited, tree

VALUES = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def kept(folder, key="k", values=VALUES):
    with Shelf(folder).resume(key) as writing:
        for start in range(0, len(values), 4):
            writing.add(start, values[start : start + 4], ("a", "b", "c"))
        writing.finish(len(values))
    return folder / key


def entry(where, seal=True, **changes):
    """Change what the entry says of itself, with a seal that fits or without."""
    content = {**json.loads((where / "entry.json").read_text()), **changes}
    if seal:
        content.pop("seal")
        content["seal"] = digest(content)
    (where / "entry.json").write_text(json.dumps(content))


def swapped(where):
    content = json.loads((where / "entry.json").read_text())
    entry(where, sha256=content["sha256"][::-1])


def exchanged(where):
    other = kept(where.parent, "other", VALUES[::-1])
    shutil.rmtree(where)
    shutil.copytree(other, where)


def objects(where):
    np.save(where / "values.npy", np.array([[{}]], dtype=object), allow_pickle=True)


DAMAGE = {
    "one bit": lambda w: (w / "values.npy").write_bytes((w / "values.npy").read_bytes()[:-1] + b"\x01"),
    "cut short": lambda w: (w / "values.npy").write_bytes((w / "values.npy").read_bytes()[:-8]),
    "0 bytes": lambda w: (w / "values.npy").write_bytes(b""),
    "gone": lambda w: (w / "values.npy").unlink(),
    "a pickle": objects,
    "the entry of another key": exchanged,
    "blocks swapped": swapped,
    "a seal that does not fit": lambda w: entry(w, seal=False, columns=["x"]),
    "rows that are negative": lambda w: entry(w, rows=[-1, 13]),
    "rows of a million million": lambda w: entry(w, rows=[10**12]),
    "a shape that is text": lambda w: entry(w, shape="abc"),
    "a list as entry": lambda w: (w / "entry.json").write_text("[]"),
    "an entry of 0 bytes": lambda w: (w / "entry.json").write_text(""),
    "an entry nested without end": lambda w: (w / "entry.json").write_text("[" * 100_000),
    "an entry that is not UTF-8": lambda w: (w / "entry.json").write_bytes(b"\xff\xfe"),
    "an entry of another format": lambda w: entry(w, format=99),
    "values that are a folder": lambda w: ((w / "values.npy").unlink(), (w / "values.npy").mkdir()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_altered_embedding_is_not_used(name, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    where = kept(tmp_path / "cache")
    DAMAGE[name](where)
    with limited(), pytest.warns(UserWarning, match="was altered or cut short; it is computed again"):
        assert Shelf(tmp_path / "cache").read("k") is None
    assert not where.exists()
    assert tree(tmp_path)["mine.txt"] == b"mine"
    np.testing.assert_array_equal(np.load(kept(tmp_path / "cache") / "values.npy"), VALUES)


@pytest.mark.parametrize("name", ["values.npy", "entry.json"])
def test_a_pipe_is_not_waited_for(name, tmp_path):
    where = kept(tmp_path / "cache")
    os.mkfifo(tmp_path / "pipe")
    (where / name).unlink()
    (where / name).symlink_to(tmp_path / "pipe")
    with limited(), pytest.warns(UserWarning, match="was altered or cut short"):
        assert Shelf(tmp_path / "cache").read("k") is None
    assert (tmp_path / "pipe").exists()


@pytest.mark.parametrize("name", ["swapped", "of another key", "a pickle", "of a million million rows"])
def test_a_finished_block_counts_in_its_own_place_only(name, tmp_path):
    shelf = Shelf(tmp_path)
    with shelf.resume("k") as writing:
        for start in (0, 4, 8):
            writing.add(start, VALUES[start : start + 4])
        first, second, _ = sorted(writing.partial.glob("*.npy"))
        if name == "swapped":
            a, b = first.read_bytes(), second.read_bytes()
            first.write_bytes(b)
            second.write_bytes(a)
        elif name == "of another key":
            with shelf.resume("other") as other:
                other.add(0, VALUES[4:8])
                theirs = next(other.partial.glob("*.npy"))
                theirs.rename(writing.partial / theirs.name)
            first.unlink()
        elif name == "a pickle":
            np.save(first, np.array([{}] * 4, dtype=object), allow_pickle=True)
        else:
            with first.open("wb") as file:
                about = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}
                np.lib.format.write_array_header_2_0(file, about)
        assert writing.begun(4) == 0


def test_names_of_columns_that_are_damaged_are_said(tmp_path):
    with Shelf(tmp_path).resume("k") as writing:
        writing.add(0, VALUES, ("a", "b", "c"))
        (writing.partial / "columns.json").write_text("[" * 100_000)
        with pytest.raises(MmcellError, match=r"its columns\.json is damaged; delete it and run again"):
            writing.finish(12)
