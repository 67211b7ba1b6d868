import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from mmcell.report.figures import (
    COLOURS,
    MARKERS,
    Line,
    at_risk,
    controls_band,
    forest,
    lines_table,
    shared_limits,
)
from tests.report.test_risk_groups import draw_curves, draw_incidences

LINES = [
    Line("toy", "candidate", 0.75, 0.65, 0.85, 0.5),
    Line("pca", "reference", 0.7, 0.6, 0.8, 0.5),
    Line("random", "control", 0.51, None, None, 0.5),
    Line("broken", "candidate", None, None, None, None, "failed"),
]


def draw(lines=LINES, **keywords):
    usual = {"limits": shared_limits(lines), "label": "AUROC", "ident": "f1", "title": "Forest plot"}
    return forest(lines, **usual | keywords)


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize("make", [draw, draw_curves, draw_incidences])
def test_same_bytes_for_the_same_numbers_whatever_the_users_settings(make):
    first = make()
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "lines.linewidth": 9}):
        assert make() == first
    code = (
        "import sys; sys.path.insert(0, 'tests/report'); import test_figures as t;"
        f"sys.stdout.buffer.write(t.{make.__name__}().encode())"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert again.stdout.decode() == first


def test_leaves_the_users_settings_alone():
    before = dict(mpl.rcParams)
    draw()
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or mpl.rcParams["svg.fonttype"] == before["svg.fonttype"]


@pytest.mark.parametrize("svg", [draw(), draw_curves(), draw_incidences()])
def test_holds_no_address_and_says_what_it_shows(svg):
    root = ElementTree.fromstring(svg)
    assert "http" not in svg
    assert "<style" not in svg
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    assert root[0].tag == "title"
    assert root[1].tag == "desc"
    assert "width" not in root.attrib


def test_description_holds_every_number():
    (description,) = (node.text for node in ElementTree.fromstring(draw()).iter("desc"))
    assert "toy: 0.750 (95 % interval 0.650 to 0.850)" in description
    assert "random: 0.510, no interval" in description
    assert "broken: failed" in description


def test_ids_are_unique_in_the_page_and_all_references_resolve():
    page = ElementTree.fromstring(f"<div>{draw()}{draw(ident='f2')}{draw_curves()}{draw_incidences()}</div>")
    ids = [node.attrib["id"] for node in page.iter() if "id" in node.attrib]
    assert len(set(ids)) == len(ids)
    used = [node.attrib["href"][1:] for node in page.iter() if "href" in node.attrib]
    used += [node.attrib["clip-path"][5:-1] for node in page.iter() if "clip-path" in node.attrib]
    assert set(used) == set(ids)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "$x_1$", "a\\$b", "模型", "a\nb", "x\x00y", "n" * 300]
)
def test_any_name_is_text(name):
    svg = draw([Line(name, "candidate", 0.7, 0.6, 0.8, 0.5)])
    assert "<script" not in svg
    assert "<img" not in svg
    shown = " ".join(name.replace("\x00", "\ufffd").split())
    assert any(shown.startswith(text.rstrip("…")) for text in texts(svg) if text.rstrip("…"))


def test_candidates_and_controls_differ_in_colour_and_marker():
    assert len(set(COLOURS.values())) == len(set(MARKERS.values())) == len(COLOURS) == len(MARKERS)
    svg = draw()
    assert COLOURS["candidate"].lower() in svg
    assert COLOURS["reference"].lower() in svg


def test_chance_is_dashed_and_absent_where_there_is_none():
    assert "stroke-dasharray" in draw()
    assert "stroke-dasharray" not in draw([Line("toy", "candidate", 0.7, 0.6, 0.8, None)])


def test_limits_hold_everything():
    assert shared_limits([]) == (0.0, 1.0)
    low, high = shared_limits(LINES)
    assert low < 0.5
    assert high > 0.85
    low, high = shared_limits([Line("toy", "candidate", 1.0, None, None, None)])
    assert low < 1 < high


def test_numbers_at_risk_count_who_is_followed_up_to_then():
    assert at_risk(np.array([1.0, 2.0, 2.0, 4.0]), [0, 1, 2, 2.5, 4, 5]) == [4, 4, 3, 1, 1, 0]


def test_the_band_of_the_controls_holds_all_of_them_and_nothing_else():
    oracle = Line("oracle", "ceiling", 0.99, None, None, 0.5)
    lost = Line("lost", "control", None, None, None, 0.5)
    assert controls_band([*LINES, oracle, lost]) == (0.51, 0.7)
    assert controls_band(LINES[:2]) is None
    assert "from the weakest to the strongest control: 0.510 to 0.700" in draw()
    assert "from the weakest" not in draw(LINES[:2])
    assert draw().count("fill-opacity") == 1


def test_the_data_of_a_forest_are_its_lines():
    table = lines_table(LINES)
    assert table["name"].tolist() == ["toy", "pca", "random", "broken"]
    assert table.loc[0, ["value", "ci_low", "ci_high", "chance"]].tolist() == [0.75, 0.65, 0.85, 0.5]
    assert table.loc[3, "note"] == "failed"
