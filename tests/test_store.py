import json

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, RunRecord, Score
from mmcell.digest import digest
from mmcell.embedding import ModelCard
from mmcell.records import Finding, jsonable
from mmcell.results import Results
from mmcell.store import Store


def record(key="k" * 64, **changes):
    facts = {
        "task": {"name": "toy", "primary": "auroc"}, "dataset": "d", "dataset_fingerprint": "f", "split_hash": "s",
        "encoder": "pca", "role": "candidate", "cards": {"pca": ModelCard(name="pca", parameters={"n": 3})},
        "scores": (Score(metric="auroc", value=0.5, low=float("nan")),),
        "findings": (Finding(severity="info", code="x", message="y"),), "details": {"alpha": 1.0},
    }  # fmt: skip
    return RunRecord(key=key, **facts | changes)


def items(n=3):
    return Items(pd.DataFrame({"item": list("abcdef")[:n], "unit": 1, "y_true": 0, "y_pred": 0.1}), "binary")


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "deep" / "run")


def files(store):
    return sorted(p.name for p in store.folder.rglob("*") if p.is_file())


def test_what_is_written_is_read(store):
    store.write(record(), items())
    found, table = store.read(record().key)
    assert found.content() == record().content()
    pd.testing.assert_frame_equal(table.frame, items().frame)
    assert table.kind == "binary"


def test_nothing_half_written_stays(store, monkeypatch, refused):
    store.write(record(), items())
    assert [name for name in files(store) if name.endswith(".part")] == []

    def full(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with refused("cannot be written (No space left on device)", "free space or choose --out"):
        store.write(record("m" * 64), items())
    assert store.read("m" * 64) is None
    assert len(files(store)) == 2


def test_another_key_is_not_there(store):
    store.write(record(), items())
    assert store.read("z" * 64) is None


def test_equal_beginnings_of_keys_are_told_apart(store):
    one, two = record("k" * 20 + "1" * 44), record("k" * 20 + "2" * 44, encoder="other")
    store.write(one, items(1))
    store.write(two, items(2))
    assert [store.read(r.key)[0].encoder for r in (one, two)] == ["pca", "other"]


def test_a_failed_record_is_written_and_not_read_back(store):
    store.write(record(error="out of luck"), None)
    assert len(files(store)) == 1
    assert store.read(record().key) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', json.dumps(record().model_dump(mode="json") | {"unknown": 1})]
)
def test_an_unreadable_record_is_not_read(store, text):
    store.write(record(), items())
    next((store.folder / "records").iterdir()).write_text(text)
    assert store.read(record().key) is None


@pytest.mark.filterwarnings("ignore:.*was altered after it was written")
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_items_are_not_read(store, keep):
    store.write(record(), items())
    file = next((store.folder / "items").iterdir())
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    assert store.read(record().key) is None


def test_items_of_another_record_are_not_read(store):
    store.write(record("k" * 32 + "1" * 32), items(1))
    store.write(record("k" * 32 + "2" * 32), items(2))
    assert store.read("k" * 32 + "1" * 32) is None


def test_missing_items_are_not_made_up(store):
    store.write(record(), items())
    next((store.folder / "items").iterdir()).unlink()
    assert store.read(record().key) is None


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\\b", "con\x00", "→ ä " * 60, "..", ""])
def test_names_become_harmless_file_names(store, name):
    store.write(record(encoder=name, task={"name": name or "t", "primary": "auroc"}), items())
    inside = [p for p in store.folder.rglob("*") if p.is_file()]
    assert {p.parent for p in inside} == {store.folder / "records", store.folder / "items"}
    assert all(len(p.name) < 120 for p in inside)
    assert store.read(record().key)[0].encoder == name


def test_the_list_of_a_run_is_what_is_read_again(store):
    kept, stale = record(), record("o" * 64, encoder="old")
    store.write(stale, items())
    store.write(kept, items())
    store.finish(Results([kept]))
    found = Results.read(store.folder)
    assert [r.content() for r in found.records] == [kept.content()]
    assert list(found.items) == [kept.key]
    assert pd.read_csv(store.folder / "table.csv")["encoder"].tolist() == ["pca"]


def test_every_record_of_a_run_is_parsed_once(store, monkeypatch):
    some = [record(letter * 64, encoder=letter) for letter in "abc"]
    for one in some:
        store.write(one, items())
    store.finish(Results(some))
    parsed, read = [], RunRecord.model_validate_json
    monkeypatch.setattr(RunRecord, "model_validate_json", lambda text: parsed.append(text) or read(text))
    found = Results.read(store.folder)
    assert ([r.encoder for r in found.records], len(found.items), len(parsed)) == ([*"abc"], 3, 3)


def test_damaged_items_of_a_run_are_said(store, refused):
    store.write(record(), items())
    store.finish(Results([record()]))
    next((store.folder / "items").iterdir()).write_bytes(b"PAR1")
    with refused("was altered after it was written", "delete it and run again"):
        Results.read(store.folder)
    altered(store, lambda content: content.pop("seal"))
    with refused("are not readable items", "reuse='only-missing'"):
        Results.read(store.folder)


def predicted(path):
    frame = pd.read_parquet(path)
    attrs = frame.attrs
    frame = frame.assign(y_pred=0.9)
    frame.attrs = attrs
    frame.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("ending", "alter"),
    [
        (".parquet", predicted),
        (".npz", lambda path: np.savez(path, times=np.arange(3.0) + 1)),
        (".npz", lambda path: path.unlink()),
    ],
)
def test_items_that_were_altered_by_hand_are_no_result(store, refused, ending, alter):
    with_arrays = Items(items().frame, "binary", {"times": np.arange(3.0)})
    store.write(record(), with_arrays)
    store.finish(Results([record()]))
    np.testing.assert_array_equal(Results.read(store.folder).items[record().key].arrays["times"], np.arange(3.0))
    (path,) = (store.folder / "items").glob(f"*{ending}")
    alter(path)
    with refused(f"{path}: was altered after it was written; delete it and run again"):
        Results.read(store.folder)
    with pytest.warns(UserWarning, match=f"{path.name}: was altered after it was written; it is computed again"):
        assert store.read(record().key) is None
    store.write(record(), with_arrays)
    assert store.read(record().key)[1].arrays.keys() == {"times"}


def test_arrays_that_no_record_knows_of_are_not_read(store):
    store.write(record(), items())
    np.savez(next((store.folder / "items").iterdir()).with_suffix(".npz"), times=np.arange(3.0))
    assert store.read(record().key)[1].arrays == {}


def test_a_record_that_vouches_for_no_items_is_read_and_counted_and_not_reused(store):
    """As mmcell wrote them before it sealed items."""
    store.write(record(), items())
    store.finish(Results([record()]))

    def earlier(content):
        del content["seal"], content["items"]
        content["seal"] = digest(content)

    altered(store, earlier)
    found = Results.read(store.folder)
    assert list(found.items) == [record().key]
    assert found.notes[0].startswith(f"1 record of {store.folder} has no seal, or none of its items")
    with pytest.warns(UserWarning, match="it is computed again"):
        assert store.read(record().key) is None


@pytest.mark.parametrize(
    ("damage", "pieces"),
    [
        (lambda s: (s.folder / "run.json").unlink(), ["the run is not finished"]),
        (lambda s: (s.folder / "run.json").write_text("{"), ["run.json: is not readable"]),
        (lambda s: (s.folder / "run.json").write_text("[]"), ["run.json: is not readable"]),
        (lambda s: next((s.folder / "records").iterdir()).write_text("{"), ["is not a readable record"]),
        (lambda s: next((s.folder / "records").iterdir()).unlink(), ["is not a readable record"]),
    ],
)
def test_a_damaged_run_is_said(store, refused, damage, pieces):
    store.write(record(), items())
    store.finish(Results([record()]))
    damage(store)
    with refused(str(store.folder), *pieces):
        Results.read(store.folder)


def test_a_folder_without_run_is_refused(tmp_path, refused):
    with refused("holds no run", "--out"):
        Results.read(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("file/run: cannot be written", "choose another --out"):
        Store.create(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (float("inf"), None),
        ({1: (np.nan, "a")}, {"1": [None, "a"]}),
        (None, None),
    ],
)
def test_facts_become_json(value, expected):
    assert jsonable(value) == expected
    assert json.loads(json.dumps(jsonable(value))) == expected


def altered(store, change):
    """Change the one record of a store as JSON."""
    (path,) = (store.folder / "records").iterdir()
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


CHANGES = [
    lambda c: c["scores"][0].update(value=0.9),
    lambda c: c["details"].update(alpha=1.0000001),
    lambda c: c.update(missing_controls=["random"]),
    lambda c: c["provenance"].update(seconds=1.0),
    lambda c: c["items"].clear(),
    lambda c: c.pop("items"),
    lambda c: c.update(seal="0" * 64),
    lambda c: c.update(seal=7),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_that_was_altered_by_hand_is_no_result(store, refused, change):
    store.write(record(), items())
    store.finish(Results([record()]))
    path = altered(store, change)
    with refused(f"{path}: was altered after it was written", "delete it and run again"):
        Results.read(store.folder)
    with pytest.warns(UserWarning, match="was altered after it was written; it is computed again"):
        assert store.read(record().key) is None


def test_how_a_record_is_written_down_is_not_altering_it(store):
    """Another order of keys, other white space: what it says is the same."""
    text = record(encoder="café 日本 \\x00 \u2028", details={"a": [1, 1.0, 1e-300, -0.0, None, 10**17], "b": {"ä": ""}})
    store.write(text, items())
    store.finish(Results([text]))
    path = altered(store, lambda content: None)
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items())), indent=7))
    found = Results.read(store.folder)
    assert [r.content() for r in found.records] == [text.content()]
    assert found.notes == ()


def test_records_without_a_seal_are_read_and_counted_and_not_reused(store):
    store.write(record(), items())
    store.finish(Results([record()], notes=("not run",)))
    altered(store, lambda content: content.pop("seal"))
    found = Results.read(store.folder)
    assert found.records[0].content() == record().content()
    assert found.notes[0] == "not run"
    assert found.notes[1].startswith(f"1 record of {store.folder} has no seal")
    with pytest.warns(UserWarning, match=r"\.json: has no seal to tell whether it was altered; it is computed again"):
        assert store.read(record().key) is None
