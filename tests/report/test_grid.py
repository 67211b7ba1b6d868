"""Tables in windows: what is the same everywhere is said once, what is spare goes, the rest stays whole."""

import io

import pytest
from rich.console import Console

from mmcell.report.grid import Grid, console_of

COLUMNS = ("who", "metric", "chance", "interval", "minus", "n")
ROWS = [
    dict(zip(COLUMNS, ("a [b]", "auroc", "0.500", "0.1 to 0.9", "0.1 (0.0 to 0.2; x 1)", "7"), strict=True)),
    dict(zip(COLUMNS, ("bb", "auroc", "0.500", "0.2 to 0.8", "–", "8"), strict=True)),
]
ONCE = {"chance": "chance {}", "metric": "{}"}


def shown(rows, width, **options):
    out = io.StringIO()
    grid = Grid(rows, **{"once": ONCE, "spare": ("n",), "breaks": ("minus",)} | options)
    Console(file=out, width=width, color_system=None).print(grid.table(width))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def test_a_wide_window_has_every_column():
    assert shown(ROWS, 200)[0].split() == list(ROWS[0])
    assert any(line.startswith("a [b]  auroc") for line in shown(ROWS, 200))


def test_its_own_width_is_enough_and_one_less_is_not():
    width = Grid(ROWS).width
    assert shown(ROWS, width)[0].split() == list(ROWS[0])
    assert shown(ROWS, width - 1)[0] == "chance 0.500"


def test_what_is_the_same_is_said_once_in_the_order_of_the_columns():
    lines = shown(ROWS, 50, title="toy")
    assert lines[:2] == ["toy", "auroc, chance 0.500"]
    assert lines[2].split() == ["who", "interval", "minus", "n"]


def test_what_differs_is_not_said_once_and_one_row_has_nothing_in_common():
    assert shown(ROWS[:1], 50)[0].split() == ["who", "metric", "chance", "interval", "minus"]
    other = [ROWS[0], ROWS[1] | {"chance": "0.250"}]
    assert shown(other, 50)[0] == "auroc"
    assert "chance" in shown(other, 50)[1]


def test_spare_goes_and_only_what_may_break_does():
    lines = shown(ROWS, 38)
    assert lines[1].split() == ["who", "interval", "minus"]
    assert any(line.startswith("a [b]  0.1 to 0.9  0.1") for line in lines)
    assert not any(line.startswith(("b]", "a [b]  0.1 to 0.9  0.1 (0.0 to 0.2; x 1)")) for line in lines)


def test_columns_without_entries_are_left_out():
    assert "minus" not in shown([row | {"minus": ""} for row in ROWS], 200)[0]


def test_a_pipe_has_no_blanks_at_the_end_of_lines(capsys):
    console_of(Grid(ROWS).width).print(Grid(ROWS, title="toy").table(200))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("least", [0, 300])
def test_a_pipe_is_as_wide_as_is_needed(least):
    assert console_of(least).width == max(160, least)
