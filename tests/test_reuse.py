import json
import re

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, Results, evaluate
from tests.toys import ALIGNMENT, cite

CONTROLS = {"controls": ["random", "constant"]}


def run(encoders, dataset=None, **options):
    return evaluate(encoders, ALIGNMENT, dataset=dataset or cite(), **{"n_boot": 100} | options)


def contents(results):
    return [record.content() for record in results.records]


def test_a_second_run_computes_nothing(tmp_path, calls):
    first = run(["pca", "features"], out=tmp_path, **CONTROLS)
    assert len(calls) == 4
    calls.clear()
    again = run(["pca", "features"], out=tmp_path, **CONTROLS)
    assert calls == []
    assert contents(again) == contents(first)
    pd.testing.assert_frame_equal(again.table(), first.table())


def test_only_what_is_missing_is_computed(tmp_path, calls):
    run("pca", out=tmp_path, **CONTROLS)
    calls.clear()
    more = run(["pca", "features"], out=tmp_path, **CONTROLS)
    assert calls == ["features"]
    assert contents(more) == contents(run(["pca", "features"], **CONTROLS))


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_boot": 101}, {"dataset": cite(seed=1)}, {"reuse": "never"}])
def test_what_differs_is_computed_anew(tmp_path, calls, change):
    run("pca", out=tmp_path, **CONTROLS)
    calls.clear()
    run("pca", out=tmp_path, **CONTROLS | change)
    assert sorted(calls) == ["constant", "pca", "random"]


def test_always_reads_and_never_computes(tmp_path, calls, refused):
    first = run("pca", out=tmp_path, **CONTROLS)
    calls.clear()
    assert contents(run("pca", out=tmp_path, reuse="always", **CONTROLS)) == contents(first)
    with refused("reuse='always'", "lacks a result that was asked for"):
        run("features", out=tmp_path, reuse="always", **CONTROLS)
    assert calls == []


def test_a_new_name_does_not_take_the_record_of_another(tmp_path):
    mine = Embedding.from_array("mine", cite().ids, np.random.default_rng(0).normal(size=(480, 3)))
    run({"a": mine}, out=tmp_path, controls=[])
    both = run({"a": mine, "b": mine}, out=tmp_path, controls=[])
    assert [r.encoder for r in both.records] == ["a", "b"]
    assert len({r.key for r in both.records}) == 2


@pytest.mark.filterwarnings("ignore:.*was altered after it was written")
@pytest.mark.parametrize("kind", ["records", "items"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"{}"])
def test_a_damaged_file_is_computed_again_and_not_read(tmp_path, calls, kind, damage):
    first = run("pca", out=tmp_path, controls=[])
    file = next((tmp_path / kind).iterdir())
    file.write_bytes(damage(file.read_bytes()))
    calls.clear()
    again = run("pca", out=tmp_path, controls=[])
    assert calls == ["pca"]
    assert contents(again) == contents(first)
    assert contents(Results.read(tmp_path)) == contents(first)


def test_a_record_that_was_altered_is_computed_again_and_a_line_says_so(tmp_path, calls):
    first = run("pca", out=tmp_path, controls=[])
    (file,) = (tmp_path / "records").iterdir()
    file.write_text(re.sub(r'"value": 0\.\d+', '"value": 0.99', file.read_text()))
    calls.clear()
    with pytest.warns(UserWarning, match="was altered after it was written; it is computed again"):
        again = run("pca", out=tmp_path, controls=[])
    assert calls == ["pca"]
    assert contents(again) == contents(first) == contents(Results.read(tmp_path))


def test_items_that_were_altered_are_computed_again_and_a_line_says_so(tmp_path, calls):
    first = run("pca", out=tmp_path, controls=[])
    (file,) = (tmp_path / "items").glob("*.parquet")
    frame = pd.read_parquet(file)
    attrs = frame.attrs
    frame = frame.assign(y_pred=frame["y_true"])
    frame.attrs = attrs
    frame.to_parquet(file, index=False)
    calls.clear()
    with pytest.warns(UserWarning, match=r"\.parquet: was altered after it was written; it is computed again"):
        again = run("pca", out=tmp_path, controls=[])
    assert calls == ["pca"]
    key = first.records[0].key
    for found in (again, Results.read(tmp_path)):
        np.testing.assert_array_equal(found.items[key].frame["y_pred"], first.items[key].frame["y_pred"])


def test_a_record_without_its_seal_is_computed_again_and_a_line_says_so(tmp_path, calls):
    first = run("pca", out=tmp_path, **CONTROLS)
    calls.clear()
    (path,) = (tmp_path / "records").glob("*pca*.json")
    content = json.loads(path.read_text())
    content["scores"][0]["value"] = 0.999
    del content["seal"]
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="has no seal to tell whether it was altered; it is computed again"):
        again = run("pca", out=tmp_path, **CONTROLS)
    assert calls == ["pca"]
    assert contents(again) == contents(first) == contents(Results.read(tmp_path))


def test_what_failed_is_tried_again(tmp_path, calls, monkeypatch):
    from mmcell.encoders.baselines import Features

    with monkeypatch.context() as broken:
        broken.setattr(Features, "encode", lambda self, data: 1 / 0)
        assert run("features", out=tmp_path, controls=[]).failed
    calls.clear()
    assert not run("features", out=tmp_path, controls=[]).failed
    assert calls == ["features"]


def test_names_never_become_paths(tmp_path):
    out = tmp_path / "a" / "b" / "run"
    mine = Embedding.from_array("x", cite().ids, np.random.default_rng(0).normal(size=(480, 3)))
    found = run({"../../x": mine, "/tmp/\x00y\n": mine}, out=out, controls=[])
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 2 + 2 + 3 + 1
    assert all(p.is_relative_to(out) for p in files)
    assert (
        {r.encoder for r in Results.read(out).records}
        == {r.encoder for r in found.records}
        == {"../../x", "/tmp/\x00y\n"}
    )
