import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Items


def items(n=4, kind="binary", **columns):
    frame = {"item": [f"i{k}" for k in range(n)], "unit": [f"u{k // 2}" for k in range(n)], "y_pred": np.arange(n) / n}
    return Items(pd.DataFrame(frame | columns), kind)


def test_defaults_fill_what_a_task_leaves_out():
    frame = items().frame
    assert frame.loc[0, ["target", "query", "gallery", "stratum", "group"]].to_list() == ["label", "", "", "all", ""]
    assert frame.loc[0, ["repeat", "fold"]].to_list() == [0, 0]


def test_the_callers_table_is_not_changed():
    frame = pd.DataFrame({"item": ["a", "b"], "unit": ["u", "v"], "y_pred": [0.1, 0.2]}, index=[5, 7])
    before = frame.copy()
    assert list(Items(frame, "binary").frame.index) == [0, 1]
    pd.testing.assert_frame_equal(frame, before)


def test_units_are_sorted_and_codes_point_to_them():
    made = items(unit=["b", "a", "b", "c"])
    assert list(made.units.ids) == ["a", "b", "c"]
    assert list(made.codes) == [1, 0, 1, 2]


def test_folds_are_rows_of_one_repeat_and_fold():
    made = items(repeat=[0, 0, 1, 1], fold=[1, 0, 0, 0])
    assert [(repeat, list(rows)) for repeat, rows in made.folds] == [(0, [1]), (0, [0]), (1, [2, 3])]


def test_a_fold_is_parted_by_what_rows_are_compared_within():
    made = items(within=["s", "t", "s", "t"])
    assert [list(rows) for _, rows in made.folds] == [[0, 2], [1, 3]]
    assert made.is_within
    assert not items().is_within


@pytest.mark.parametrize(("kind", "there"), [("binary", True), ("regression", True), ("multiclass", False)])
def test_where_nothing_is_parted_the_column_is_empty_or_absent(kind, there):
    made = items(kind=kind)
    assert ("within" in made.frame) == there
    assert len(made.folds) == 1


@given(st.lists(st.integers(0, 3), min_size=2, max_size=2))
def test_resample_repeats_every_item_of_a_unit(weights):
    drawn = items().resample(np.array(weights)).frame
    assert drawn.groupby("unit").size().to_dict() == {f"u{k}": 2 * w for k, w in enumerate(weights) if w}
    assert drawn["item"].is_unique


def test_where_keeps_the_items_of_a_mask():
    assert list(items().where(np.array([True, False, False, True])).column("item")) == ["i0", "i3"]


def test_panels_are_scored_on_their_own():
    made = items(stratum=["T", "B", "T", "B"], target=["label", "label", "batch", "batch"])
    found = {(facts["target"], facts["stratum"]): list(part.column("item")) for facts, part in made.panels()}
    assert found == {("label", "T"): ["i0"], ("label", "B"): ["i1"], ("batch", "T"): ["i2"], ("batch", "B"): ["i3"]}


def test_groups_are_panels_beside_the_whole():
    found = {facts["stratum"]: len(part.frame) for facts, part in items(group=["x", "y", "y", ""]).panels()}
    assert found == {"all": 4, "x": 1, "y": 2}


def test_a_single_group_is_not_repeated():
    assert [facts["stratum"] for facts, _ in items(group="x").panels()] == ["all"]


def test_concat_joins_tables_and_details():
    a, b = items(), Items(items(fold=1, repeat=1).frame, "binary", details={"alpha": 2})
    joined = Items.concat([a, b])
    assert len(joined.frame) == 8
    assert joined.details == {"folds": [{}, {"alpha": 2}]}
    assert Items.concat([a]).details == {}


RETRIEVAL = {"item": ["i"], "above": [0], "tied": [0], "tied_correct": [1], "n_correct": [1], "n_gallery": [2]}


@pytest.mark.parametrize(
    ("frame", "kind", "pieces"),
    [
        ({"item": ["i"], "y_pred": [0.1]}, "binar", ["kind 'binar' is not one of binary, multiclass"]),
        ({"y_pred": [0.1]}, "binary", ["kind 'binary'", "column 'item' is missing"]),
        ({"item": ["i"]}, "survival", ["kind 'survival'", "column 'y_pred' is missing; return it"]),
        (RETRIEVAL, "retrieval", ["kind 'retrieval'", "column 'percentile' is missing"]),
        ({"item": ["i", "j"], "y_pred": [0.1, np.nan]}, "binary", ["'y_pred' is not a finite number for 1 item (j)"]),
        ({"item": ["i", "j"], "y_pred": [np.inf, 0]}, "regression", ["(i)", "leave such items out"]),
        ({"item": ["i"], "y_pred": ["high"]}, "survival", ["'y_pred' is not a finite number", "(i)"]),
        ({"item": list("iij"), "y_pred": 0.1}, "binary", ["1 item is scored twice in one repeat (i)", "once"]),
    ],
)
def test_malformed_items_are_refused(refused, frame, kind, pieces):
    with refused("items", *pieces):
        Items(pd.DataFrame(frame), kind)


@pytest.mark.parametrize("column", ["repeat", "target", "query", "gallery", "stratum"])
def test_an_item_may_return_in_another_repeat_or_panel(column):
    assert len(items(item="same", n=2, **{column: [1, 2]}).frame) == 2


def test_text_predictions_belong_to_classes():
    assert items(kind="multiclass", y_pred=list("abca")).column("y_pred").tolist() == list("abca")


def test_units_must_be_there(refused):
    with refused("items", "column 'unit' is missing"):
        assert Items(items().frame.drop(columns="unit"), "binary").units
    with refused("items", "1 of them have no unit (i1)", "fill the unit in"):
        assert items(unit=["a", None, "b", "b"]).units


def test_a_second_unit_makes_them_crossed(refused):
    made = items(unit=["b", "a", "b", "b"], crossed=["x", "x", "y", "x"])
    assert list(made.units.ids) == [("a", "x"), ("b", "x"), ("b", "y")]
    assert list(made.codes) == [1, 0, 2, 1]
    with refused("items", "2 of them have no 'crossed' unit (i0, i3)"):
        assert items(crossed=[None, "x", "y", np.nan]).units


def test_the_docstring_names_every_column_that_a_run_scores():
    from mmcell import evaluate
    from tests.toys import PATIENT, SURVIVAL, cite, survivors

    found = [
        evaluate("features", SURVIVAL, dataset=survivors(30), controls=[], probes=["cox"], n_boot=100),
        evaluate("pca", PATIENT, dataset=cite(), controls=[], n_boot=100),
    ]
    columns = {c for results in found for items in results.items.values() for c in items.frame}
    assert {"horizon", "p_event", "within", "y_true"} <= columns
    words = set(re.findall(r"[a-z_:]+", Items.__doc__))
    assert {c for c in columns if not c.startswith("by:")} <= words
