"""Learning curves and the table of changes: functions of records and of the tables of a `Sensitivity`."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mmcell.report.curves import curve_figures
from mmcell.report.html import render
from mmcell.report.varied import _MEANINGS, varied
from mmcell.report.view import tasks_of
from mmcell.results import Results
from mmcell.sensitivity import AXES, Sensitivity
from mmcell.sensitivity.result import ROBUSTNESS, STABILITY, TABLE, framed

PLACE = {"task": "toy-task", "dataset": "toy-data", "split": "grouped", "query": ""}
HEADS = ("<h3>Learning curves</h3>", "<h3>What changes the score</h3>")


def rows_of(encoder, value=0.75, shift=0.0):
    """The rows of one encoder: as it is, over training units (25, 50, 100 %) and over cells (10, 100 %)."""
    who = PLACE | {"encoder": encoder, "patient_encoder": "", "probe": "", "metric": "auroc", "status": "ok"}
    size = {"n_train": 32, "n_cells": 500, "n_fewest": 90, "n_units": 40, "chance": 0.5}
    found = [who | size | {"axis": "as-is", "variant": "as-is", "value": value}]
    for axis, shares in (("training", (1.0, 0.5, 0.25)), ("cells", (1.0, 0.1))):
        for share in shares:
            there = size | ({"n_train": int(32 * share)} if axis == "training" else {"n_cells": int(500 * share)})
            there |= {"n_fewest": int(90 * share)} if axis == "cells" else {}
            at = value - shift * (1 - share)
            facts = {"axis": axis, "variant": f"{share:.0%}", "level": share, "value": at, "change": at - value}
            found.append(who | there | facts | {"ci_low": at - 0.1, "ci_high": at + 0.1})
    return found


def made(*encoders, extra=(), notes=(), order=()):
    table = [row for name, value, shift in encoders for row in rows_of(name, value, shift)]
    robustness = [
        PLACE | {
            "encoder": name, "patient_encoder": "", "probe": "", "metric": "auroc", "utility": value, "ci_low": 0.6,
            "ci_high": 0.9, "training_worst": -0.75 * shift, "cells_worst": -0.9 * shift, "confounding_reason": "",
        }
        for name, value, shift in encoders
    ]  # fmt: skip
    tau = [
        PLACE | {"axis": "training", "variant": "50%", "kendall_tau": 1.0, "n_encoders": 2},
        PLACE | {"axis": "training", "variant": "25%", "kendall_tau": -0.333, "tau_low": -1.0, "tau_high": 0.5},
        *order,
    ]
    frames = (framed([*table, *extra], TABLE), framed(tau, STABILITY), framed(robustness, ROBUSTNESS))
    return Sensitivity(*frames, notes)


@pytest.fixture
def results(record, score):
    records = [record("toy", "candidate", score()), record("pca", "control", score(value=0.6))]
    return Results(records, {}, ())


@pytest.fixture
def found():
    return made(("toy", 0.75, 0.2), ("pca", 0.6, 0.0))


def shown(results, found):
    return varied(tasks_of(results.records)[0], found)


def test_the_section_is_there_only_when_the_run_was_varied(results, found):
    assert not any(head in render(results) for head in HEADS)
    page = render(results, found)
    assert all(head in page for head in HEADS)
    assert page == render(results, found)
    # Another task's sensitivity is none of this one.
    other = replace(found, **{n: getattr(found, n).assign(task="x") for n in ("table", "stability", "robustness")})
    assert not any(head in render(results, other) for head in HEADS)


def test_without_an_axis_of_curves_there_is_the_table_alone(results, found):
    table = found.table[found.table["axis"] == "as-is"]
    space = table.assign(axis="space", variant="centre", change=0.0)
    page = render(results, replace(found, table=framed([*table.to_dict("records"), *space.to_dict("records")], TABLE)))
    assert HEADS[0] not in page
    assert HEADS[1] in page


def test_curves_have_real_numbers_on_their_axis(results, found):
    training, cells = curve_figures(tasks_of(results.records)[0], found.table)
    assert training.heading == "Training units · grouped"
    picture = ElementTree.fromstring(training.svg)
    assert picture.find("title").text == "Learning curve of AUROC over training units: grouped"
    assert picture.find("desc").text == (
        "toy: 0.600 with 8, 0.650 with 16, 0.750 with 32; "
        "pca: 0.600 with 8, 0.600 with 16, 0.600 with 32; chance: 0.500"
    )
    written = [node.text for node in picture.iter("text")]
    for piece in ("8", "16", "32", "training units (log scale)", "AUROC", "toy", "pca", "chance"):
        assert piece in written
    assert training.text == "Held out at every point: 40 units."
    rows = training.data[training.data["name"] == "toy"]
    assert list(zip(rows["n"], rows["value"], strict=True)) == [(8, 0.6), (16, 0.65), (32, 0.75)]
    assert "50" in [node.text for node in ElementTree.fromstring(cells.svg).iter("text")]
    assert cells.text.endswith("The training unit with the fewest cells has, from left to right, 9, 90.")


def test_no_chance_is_drawn_where_there_is_none(results, found):
    bare = found.table.assign(chance=float("nan"))
    training, _ = curve_figures(tasks_of(results.records)[0], bare)
    assert "chance" not in training.svg


def test_a_curve_needs_two_points(results, found):
    lost = (found.table["encoder"] == "pca") & found.table["variant"].isin(["50%", "25%"])
    training, _ = curve_figures(tasks_of(results.records)[0], found.table.assign(value=found.table["value"].mask(lost)))
    assert "pca" not in training.svg
    everything = found.table["variant"].isin(["50%", "25%", "10%"])
    assert not list(curve_figures(tasks_of(results.records)[0], found.table[~everything]))


def test_many_lines_keep_the_reference_and_count_the_rest(record, score):
    names = [f"toy{i}" for i in range(9)]
    records = [record(n, "candidate", score(value=0.9 - 0.01 * i)) for i, n in enumerate(names)]
    records.append(record("pca", "control", score(value=0.6)))
    table = made(*((n, 0.9 - 0.01 * i, 0.1) for i, n in enumerate(names)), ("pca", 0.6, 0.0)).table
    training, _ = curve_figures(tasks_of(records)[0], table)
    said = ElementTree.fromstring(training.svg).find("desc").text
    assert all(f"{n}:" in said for n in (*names[:7], "pca"))
    assert "toy7" not in said
    assert training.text.endswith("2 more lines in sensitivity.csv.")


def test_changes_stand_beside_the_score_and_the_least_stable_order(results, found):
    (table,) = shown(results, found).tables
    assert table.axes == ("training", "cells")
    (toy, score, changes), _ = table.rows
    assert (toy.name, score.value) == ("toy", 0.75)
    assert [c.value for c in changes] == pytest.approx([-0.15, -0.18])
    assert (table.order[0].value, table.order[0].note) == (-0.333, "25%")
    assert table.order[1].value is None
    page = render(results, found)
    for piece in ("−0.150", "−0.180", "−0.333", "Lowest τ of the order", "the same units held out"):
        assert piece in page
    assert "thinner counts" not in page


def test_the_loss_under_confounding_has_its_interval_and_its_reason(results, found):
    extra = [r | {"axis": "confounding", "variant": "V=0.00", "level": 0.0} for r in rows_of("toy")[:1]]
    base = made(("toy", 0.75, 0.2), ("pca", 0.6, 0.0), extra=extra)
    loss = {"confounding_loss": -0.25, "loss_low": -0.4, "loss_high": -0.1, "confounding_reason": "16 training units"}
    base = replace(base, robustness=base.robustness.assign(**loss))
    (table,) = shown(results, base).tables
    assert table.axes[-1] == "confounding"
    assert table.rows[0][2][-1].value == -0.25
    page = render(results, base)
    assert "−0.250" in page
    assert "[−0.400, −0.100]" in page
    assert "16 training units" in page


def test_every_axis_is_explained():
    assert tuple(_MEANINGS) == AXES


def test_what_has_no_value_is_named_with_its_reason(results):
    lacking = {"axis": "cells", "variant": "50%", "status": "failed", "value": None, "reason": "RuntimeError: no"}
    folds = {"axis": "training", "variant": "75%", "reason": "left out: grouped repeat 0 fold 1 (one class only)"}
    extra = [rows_of("toy")[0] | more for more in (lacking, folds)]
    notes = ("toy-task: depth was not varied: no counts", "another-task: depth was not varied: why")
    found = made(("toy", 0.75, 0.2), ("pca", 0.6, 0.0), extra=extra, notes=notes)
    assert shown(results, found).remarks == (
        ("toy, cells 50%", "RuntimeError: no"),
        ("toy, training 75%", "left out: grouped repeat 0 fold 1 (one class only)"),
    )
    assert shown(results, found).notes == ("depth was not varied: no counts",)
    page = render(results, found)
    assert "RuntimeError: no" in page
    assert "3 remarks" in page


def test_the_sensitivity_of_another_run_is_named_and_not_shown(results, found):
    page = render(results, made(("toy", 0.8, 0.2), ("pca", 0.6, 0.0)))
    assert "toy scores 0.800 there and 0.750 here" in page
    assert HEADS[0] not in page
    page = render(results, made(("toy", 0.75, 0.2), ("older", 0.6, 0.0)))
    assert "older was varied and is not in this run" in page
    assert "another run" not in render(results, found)


def test_names_are_escaped(record, score):
    bad = "<script>alert(1)</script>"
    records = [record(bad, "candidate", score()), record("pca", "control", score(value=0.6))]
    extra = [
        rows_of(bad)[0] | {"axis": "cells", "variant": "<b>", "status": "failed", "value": None, "reason": "<i>no"}
    ]
    found = made((bad, 0.75, 0.2), ("pca", 0.6, 0.0), extra=extra, notes=("toy-task: <u>why",))
    page = render(Results(records, {}, ()), found)
    for piece in (bad, "<b>,", "<i>no", "<u>why"):
        assert piece not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;u&gt;why" in page
