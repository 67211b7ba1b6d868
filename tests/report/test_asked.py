"""Controls that were asked for by name are candidates: they are named, judged, placed and drawn as such."""

from mmcell import Results
from mmcell.report.groups import leading
from mmcell.report.html import render
from mmcell.report.maps import maps
from mmcell.report.view import tasks_of


def test_a_control_that_was_asked_for_leads_where_it_is_best(record, score):
    asked = record("pca", "control", score(value=0.9, gap=(0.2, 0.1, 0.3)), task={"reference": "random"}, asked=True)
    other = record("hvg", "candidate", score(value=0.8, gap=(0.1, -0.1, 0.2)), task={"reference": "random"})
    reference = record("random", "control", score(value=0.7), task={"reference": "random"})
    page = render(Results([other, reference, asked]))
    (task,) = tasks_of([other, reference, asked])
    (panel,) = task.headlines
    assert [r.name for r in panel.rows] == ["pca", "hvg", "random"]
    assert panel.best.name == "pca"
    assert panel.best_control is None
    assert panel.tally == "Of 2 candidates, 1 is better, 1 cannot be told apart from the reference."
    assert leading(task).name == "pca"
    assert task.roles == {"candidate": ["pca", "hvg"], "control": ["random"], "ceiling": []}
    assert "2 candidates and 1 control" in " ".join(page.split())
    assert [row.kind for row in panel.rows] == ["candidate", "candidate", "reference"]
    assert list(Results([other, reference, asked]).table()["role"]) == ["candidate", "control", "candidate"]


def test_a_reference_that_was_asked_for_has_a_value_and_a_place(record, score):
    reference = record("pca", "control", score(value=0.9), asked=True)
    other = record("hvg", "candidate", score(value=0.8, gap=(-0.1, -0.2, -0.05)))
    (task,) = tasks_of([other, reference])
    assert task.headlines[0].best.name == "hvg"
    row, place, n = task.headlines[0].asked_reference
    assert (row.name, place, n) == ("pca", 1, 2)
    text = " ".join(render(Results([other, reference])).split())
    assert "The reference pca was asked for, too, and is number 1 of 2 by its value: 0.900 (0.650 to 0.850)." in text
    alone = " ".join(render(Results([reference])).split())
    assert "Only the reference <strong>pca</strong> was asked for: it has no difference from itself." in alone
    unasked = record("pca", "control", score(value=0.9))
    assert "asked for" not in render(Results([other, unasked]))


def test_maps_hold_the_reference_and_those_that_lead(record, score):
    def lying(name, role, value, **more):
        g = {"patients": list("abc"), "map": [[0, 1], [1, 0], [2, 2]], "held_out": [True] * 3, "share": [0.6, 0.3]}
        g |= {"facts": {"label": ["x", "y", "x"]}, "anosim": []}
        return record(name, role, score(value=value), details={"geometry": g}, **more)

    records = [lying(f"c{i}", "candidate", 0.5 + i / 100) for i in range(6)]
    records += [lying("asked", "control", 0.95, asked=True), lying("pca", "control", 0.9)]
    (task,) = tasks_of(records)
    assert [drawn[0].heading.split(",")[0] for drawn in maps(task)] == ["asked", "c5", "c4", "c3", "c2", "pca"]
    data = next(maps(task))[0].data
    # Where patients lie and what they are, but not who they are: a page is passed on.
    assert data.to_dict("list") == {"x": [0, 1, 2], "y": [1, 0, 2], "group": ["x", "y", "x"], "held_out": [True] * 3}
