"""A part comes back as it was written, or not at all."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell.engine.part import Part, Parts
from mmcell.items import KINDS


def same(one, other):
    assert (one.values.keys(), one.facts, one.lost) == (other.values.keys(), other.facts, other.lost)
    np.testing.assert_array_equal(list(one.values.values()), list(other.values.values()))
    assert (one.error, one.trace, one.seconds) == (other.error, other.trace, other.seconds)
    assert one.tables.keys() == other.tables.keys()
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, other.tables[name])
    assert (one.items is None) == (other.items is None)
    if one.items is not None and other.items is not None:
        pd.testing.assert_frame_equal(one.items.frame, other.items.frame)
        assert (one.items.kind, one.items.details) == (other.items.kind, other.items.details)
        assert one.items.arrays.keys() == other.items.arrays.keys()
        for name, array in one.items.arrays.items():
            np.testing.assert_array_equal(array, other.items.arrays[name])


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_every_kind_come_back(kind, random_items, tmp_path):
    items = replace(random_items(kind), details={"scale": [0.1 + 0.2, None], "é": "ü"})
    part = Part(items, seconds=0.1)
    Parts(tmp_path).write("key", part)
    same(Parts(tmp_path).read("key"), part)


def test_values_tables_and_facts_come_back(tmp_path):
    table = pd.DataFrame({"r2": [0.1, np.nan], "what": ["depth", "n"]}, index=pd.Index(["a", "b"], name="id"))
    part = Part(
        values={("label", "", "all", "auroc"): 1 / 3, ("label", "", "all", "ibs"): float("nan")},
        tables={"retention": table, "contrasts / x": table.iloc[:0]}, facts={"geometry": {"r": None, "n": [1]}},
        lost={"composition": "none"}, error="because", trace="a\nb",
    )  # fmt: skip
    Parts(tmp_path).write("key", part)
    same(Parts(tmp_path).read("key"), part)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:50] + b"x" + b[51:]])
def test_what_was_altered_is_thrown_away(damage, tmp_path):
    parts = Parts(tmp_path)
    parts.write("key", Part(values={("a",): 1.0}))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert parts.there() == {"key"}
    assert parts.read("key") is None
    assert not list(tmp_path.iterdir())


def test_keys_are_kept_apart_and_the_folder_goes_when_it_is_empty(tmp_path):
    parts = Parts(tmp_path / "parts")
    assert parts.there() == set()
    assert parts.read("a") is None
    for name, value in (("a", 1.0), ("b", 2.0)):
        parts.write(name, Part(values={("m",): value}))
    parts.drop({"a", "c"})
    assert parts.there() == {"b"}
    assert parts.read("b").values == {("m",): 2.0}
    parts.close()
    assert parts.there() == {"b"}
    parts.drop({"b"})
    # While the run goes on, workers write here.
    assert (tmp_path / "parts").is_dir()
    parts.close()
    assert not (tmp_path / "parts").exists()


def test_what_a_worker_is_writing_is_no_part_and_stays(tmp_path):
    """What has no key is "" among the keys, and so is what stands before the dot of a file that is being written."""
    (tmp_path / ".key.sha.1.part").write_text("half")
    Parts(tmp_path).drop({"", "key"})
    assert [file.name for file in tmp_path.iterdir()] == [".key.sha.1.part"]


def test_a_part_that_comes_after_the_end_brings_no_folder_back(tmp_path, refused):
    with refused("cannot be written"):
        Parts(tmp_path / "gone" / "parts").write("key", Part())
    assert not (tmp_path / "gone").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("cannot be written", "choose --out"):
        Parts(tmp_path / "file").write("key", Part())
