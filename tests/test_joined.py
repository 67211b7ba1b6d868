import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Results
from mmcell.joined import join, rivals, short_names
from mmcell.records import RunRecord

TASK = {"name": "toy", "primary": "auroc"}


def record(encoder, key, role="candidate", **fields):
    usual = {
        "key": key, "task": TASK, "dataset": "data", "dataset_fingerprint": "f", "split_hash": "s",
        "encoder": encoder, "role": role,
    }  # fmt: skip
    return RunRecord(**usual | fields)


def items(seed):
    rng = np.random.default_rng(seed)
    return Items(pd.DataFrame({"item": list("abcd"), "y_true": [0, 1, 0, 1], "y_pred": rng.random(4)}), "binary")


def run(*entries, notes=()):
    return Results([r for r, _ in entries], {r.key: i for r, i in entries if i is not None}, notes)


def test_runs_with_different_encoders_are_put_side_by_side():
    found = join({"x/one": run((record("a", "1"), items(1)), notes=("n",)), "x/two": run((record("b", "2"), items(2)))})
    assert [r.encoder for r in found.records] == ["a", "b"]
    assert set(found.items) == {"1", "2"}
    assert found.notes == ("n",)


def test_what_runs_have_in_common_is_there_once():
    found = join({"one": run((record("a", "1"), items(1))), "two": run((record("a", "2"), items(1)))})
    assert [(r.encoder, r.key) for r in found.records] == [("a", "1")]
    assert set(found.items) == {"1"}


def test_the_same_name_with_other_items_carries_its_run():
    found = join({"x/one": run((record("a", "1"), items(1))), "x/two": run((record("a", "2"), items(2)))})
    assert [r.encoder for r in found.records] == ["a (one)", "a (two)"]
    pooled = {"patient_encoder": "composition"}
    found = join({"one": run((record("", "1", **pooled), items(1))), "two": run((record("", "2", **pooled), items(2)))})
    assert [r.label for r in found.records] == ["composition (one)", "composition (two)"]


def test_a_run_is_called_by_as_little_of_its_path_as_tells_it_apart():
    assert short_names(["x/one", "x/two"]) == {"x/one": "one", "x/two": "two"}
    assert short_names(["/a/p/out", "/a/q/out", "/a/z"]) == {"/a/p/out": "p/out", "/a/q/out": "q/out", "/a/z": "z"}


def test_folders_that_end_alike_are_told_apart():
    runs = {f"{x}/out": run((record("a", x), items(i))) for i, x in enumerate("pq")}
    assert [r.encoder for r in join(runs).records] == ["a (p/out)", "a (q/out)"]


def test_one_key_with_other_items_stays_two():
    found = join({"one": run((record("a", "1"), items(1))), "two": run((record("a", "1"), items(2)))})
    assert len(found.items) == len(found.records) == 2
    assert all(r.key in found.items for r in found.records)


@pytest.mark.parametrize("first", ["candidate", "control"])
def test_evaluated_in_one_run_makes_a_candidate(first):
    second = {"candidate": "control", "control": "candidate"}[first]
    found = join({"one": run((record("a", "1", first), items(1))), "two": run((record("a", "2", second), items(1)))})
    assert [r.role for r in found.records] == ["candidate"]


@pytest.mark.parametrize(
    ("field", "said"), [("dataset_fingerprint", "other data of data"), ("split_hash", "other splits of data")]
)
def test_another_question_is_refused(field, said, refused):
    with refused(said, "one", "two", "toy"):
        join({"one": run((record("a", "1"), items(1))), "two": run((record("b", "2", **{field: "z"}), items(2)))})


def test_another_task_is_no_other_question():
    other = record("a", "2", task={"name": "other", "primary": "auroc"}, split_hash="z")
    assert len(join({"one": run((record("a", "1"), items(1))), "two": run((other, items(2)))}).records) == 2


def test_no_run(refused):
    with refused("no run was given"):
        join({})


def test_rivals_are_no_ceilings_and_no_permutations(refused):
    entries = [
        (record("a", "1"), items(1)), (record("pca", "2", "control"), items(2)),
        (record("label-permuted", "3", "control", permuted=True), items(3)),
        (record("partner-permuted", "4", "control", permuted=True), items(4)),
        (record("oracle", "5", "ceiling"), items(5)),
    ]  # fmt: skip
    found = rivals(run(*entries))
    assert [r.encoder for r in found.records] == ["a", "pca"]
    assert set(found.items) == {"1", "2"}
    assert [r.encoder for r in rivals(run(*entries), candidates_only=True).records] == ["a"]
    with refused("no candidate"):
        rivals(run(*entries[1:]), candidates_only=True)
