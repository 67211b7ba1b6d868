import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Results
from mmcell.report.figures import COLOURS, INK
from mmcell.report.html import render
from mmcell.report.labels import spread
from mmcell.report.planes import planes
from mmcell.report.view import tasks_of
from mmcell.report.words import heading, number
from tests.protocols.test_alignment import FULL
from tests.report.test_html import EVIL, Page
from tests.toys import cite

SPLIT = {"name": "donors", "kind": "group-kfold", "by": None, "n_splits": 2, "repeats": 1}
TASK = {"name": "toy-mixing", "primary": "clisi", "metrics": ["clisi"], "reference": "pca", "split": SPLIT}


@pytest.fixture
def made(record, score):
    """A record with the given values by metric, better low where it is mixing by variance or by prediction."""

    def make(encoder, role, values, correction="", targets=("cell_type",), chance=None, width=0.02, **fields):
        scores = []
        for metric, value in values.items():
            for target in ("batch",) if metric == "batch_predictability" else targets:
                known = {"low": value - width, "high": value + width} if value is not None else {}
                none = {"value": None, "low": None, "high": None, "status": "undefined", "reason": f"no {metric} here"}
                scores.append(
                    score(
                        metric=metric, target=target, split="donors", chance=chance,
                        higher_is_better=metric not in ("batch_variance", "batch_predictability"),
                        **{"value": value} | (known if value is not None else none),
                    )
                )  # fmt: skip
        key = f"{encoder}-{role}-{correction}".ljust(32, "0")
        return record(encoder, role, *scores, task=TASK, key=key, correction=correction, **fields)

    return make


@pytest.fixture(scope="module")
def run():
    toy = cite(24, 20)
    kind = np.where((toy.obs["batch"] == "b1") & (toy.obs["kind"] == "NK"), "ILC", toy.obs["kind"])
    given = cite(24, 20, kind=kind)
    return mmcell.evaluate(["pca", "hvg"], FULL, dataset=given, corrections="centre", n_boot=100)


def only(records):
    (task,) = tasks_of(records)
    return planes(task)


def markers(svg):
    """Mark -> where it is drawn (x to the right, y up), by the order of the description."""
    root = ElementTree.fromstring(str(svg))
    marks = [part.split()[0] for part in root.find("desc").text.split("; ")]
    texts = {t.text: t for t in root.iter("text") if t.text in marks}
    return {m: texts[m] for m in marks}


def place(text):
    """Position of a text, from its transform or its attributes."""
    found = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", text.get("transform", ""))
    x, y = found.groups() if found else (text.get("x"), text.get("y"))
    return float(x), -float(y)


def test_points_are_the_scores_of_the_table(run):
    (group,) = only(run.records)
    assert group.place == "cell type, donors"
    assert [(p.mixing, p.biology) for p in group.every] == [
        ("ilisi", "clisi"), ("kbet", "label_asw"), ("bras", "nmi"), ("batch_variance", "graph_connectivity"),
        ("batch_predictability", "balanced_accuracy"),
    ]  # fmt: skip
    table = run.table(details=True)
    table = table[(table["stratum"] == "all") & (table["split"] == "donors")]
    for plane in (*group.every, group.alone):
        assert len(plane.points) == len(run.records)
        for name, column in ((plane.mixing, "mixing"), (plane.biology, "biology")):
            ours = {p.name: getattr(p, column).value for p in plane.points}
            for row in table[table["metric"] == name].itertuples():
                label = row.encoder + (f" → {row.correction}" if row.correction else "")
                assert ours[label] == (None if pd.isna(row.value) else row.value)


def test_corrected_versions_share_their_encoders_number_and_arrows_lead_to_them(run):
    plane = only(run.records)[0].every[0]
    marks = {p.name: p for p in plane.points}
    for encoder in ("pca", "hvg"):
        assert marks[f"{encoder} → centre"].mark == marks[encoder].mark + "a"
        assert marks[f"{encoder} → centre"].start == marks[encoder].mark
    assert marks["random"].start == ""
    assert len({p.mark for p in plane.points}) == len(plane.points)
    heads = [n for n in ElementTree.fromstring(str(plane.figure)).iter("path") if f"fill: {INK}" in n.get("style", "")]
    assert len(heads) == 2


def test_what_has_no_value_is_named_with_its_reason(run):
    plane = only(run.records)[0].every[0]
    constant = next(p for p in plane.points if p.name == "constant")
    assert not constant.there
    ((reason, names),) = plane.absent
    assert names == f"{constant.mark} constant"
    assert "iLISI: undefined" in reason
    assert "cLISI: undefined" in reason
    assert "distance 0" in reason
    assert constant.mark not in markers(plane.figure)
    assert f"Not in the picture: {names} ({reason})" in Page(render(run)).text


def test_types_of_one_batch_are_drawn_on_their_own(run):
    alone = only(run.records)[0].alone
    assert (alone.mixing, alone.biology) == ("ilisi", "unshared_clisi")
    assert alone.figure
    text = Page(render(run)).text
    assert "Labels that lie in one batch only: cell type, donors" in text
    assert "over-correction, whatever the mixing is worth" in text


def test_without_types_of_one_batch_it_says_why(made):
    values = {"ilisi": 0.5, "clisi": 0.9, "unshared_clisi": None}
    records = [made("toy", "candidate", values), made("pca", "control", values)]
    (group,) = only(records)
    assert group.alone is None
    assert "are not drawn: no unshared_clisi here" in Page(render(Results(records))).text


def test_right_and_up_are_better_whichever_way_a_metric_counts(made):
    good = {"ilisi": 0.9, "clisi": 0.9, "batch_variance": 0.1, "graph_connectivity": 0.9}
    bad = {"ilisi": 0.2, "clisi": 0.2, "batch_variance": 0.8, "graph_connectivity": 0.2}
    (group,) = only([made("good", "candidate", good), made("pca", "control", bad)])
    assert len(group.every) == 2
    for plane in group.every:
        found = markers(plane.figure)
        marks = {p.name: p.mark for p in plane.points}
        right, up = np.subtract(place(found[marks["good"]]), place(found[marks["pca"]]))
        assert right > 100
        assert up > 100
        assert ("axis reversed" in str(plane.figure)) == (plane.mixing == "batch_variance")


def test_points_stand_where_their_values_are(made):
    values = {"one": (0.2, 0.3), "two": (0.5, 0.4), "three": (0.8, 0.9)}
    records = [made(name, "candidate", {"ilisi": x, "clisi": y}) for name, (x, y) in values.items()]
    plane = only(records)[0].every[0]
    colour = COLOURS["candidate"].lower()
    drawn = [
        u for u in ElementTree.fromstring(str(plane.figure)).iter("use") if f"fill: {colour}" in u.get("style", "")
    ]
    at = np.array([[float(u.get("x")), -float(u.get("y"))] for u in drawn])
    expected = np.array([values[p.name] for p in plane.points])
    for k in range(2):
        slope, start = np.polyfit(expected[:, k], at[:, k], 1)
        assert slope > 0
        assert at[:, k] == pytest.approx(slope * expected[:, k] + start, abs=1e-3)


def test_intervals_are_drawn_and_said(made):
    values = {"ilisi": 0.5, "clisi": 0.75}
    records = [made("toy", "candidate", values), made("pca", "control", {"ilisi": 0.4, "clisi": 0.6})]
    plane = only(records)[0].every[0]
    assert "toy: iLISI 0.500 (0.480 to 0.520), cLISI 0.750 (0.730 to 0.770)" in str(plane.figure)
    assert "0.480 to 0.520" in Page(render(Results(records))).text
    unsure = [
        r.model_copy(update={"scores": tuple(s.model_copy(update={"low": None}) for s in r.scores)}) for r in records
    ]
    bare = only(unsure)[0].every[0]
    assert "no interval" in str(bare.figure)
    assert str(bare.figure).count("<path") == str(plane.figure).count("<path") - 4


def test_chance_is_marked_where_a_metric_has_one(made):
    def figure(**more):
        values = {"batch_predictability": 0.6, "balanced_accuracy": 0.7}
        return only([made("toy", "candidate", values, **more), made("pca", "control", values, **more)])[0].every[0]

    plain, marked = figure(), figure(chance=0.5)
    assert plain.chance == ""
    assert marked.chance == "batch predictability 0.500, balanced accuracy 0.500"
    assert str(marked.figure).count("stroke-dasharray") == str(plain.figure).count("stroke-dasharray") + 2


def test_what_tells_the_batch_worse_than_by_guessing_is_no_better_mixed(made):
    near, far = {"batch_predictability": 0.49, "clisi": 0.7}, {"batch_predictability": 0.3, "clisi": 0.7}
    records = [made("near", "candidate", near, chance=0.5), made("far", "candidate", far, chance=0.5)]
    plane = only(records)[0].every[0]
    assert plane.beyond == f"{next(p.mark for p in plane.points if p.name == 'far')} far"
    assert "no better mixed than at chance" in Page(render(Results(records))).text
    assert only([made("near", "candidate", near, chance=0.5)])[0].every[0].beyond == ""


def test_every_label_has_panels_of_its_own(made):
    values = {"ilisi": 0.5, "clisi": 0.9, "batch_predictability": 0.6, "balanced_accuracy": 0.7}
    groups = only([made("toy", "candidate", values, targets=("label", "ordered"))])
    assert [g.place for g in groups] == ["label, donors", "ordered, donors"]
    assert [[p.mixing for p in g.every] for g in groups] == [["ilisi", "batch_predictability"]] * 2
    titles = re.findall(r'aria-label="([^"]*)"', "".join(str(p.figure) for g in groups for p in g.every))
    assert len(set(titles)) == 4
    record = made("toy", "candidate", values, targets=("label", "ordered"))
    columns = {"label": "er", "ordered": "grade"}
    scores = tuple(s.model_copy(update={"asked": columns.get(s.target, "")}) for s in record.scores)
    assert [g.place for g in only([record.model_copy(update={"scores": scores})])] == ["er, donors", "grade, donors"]


def test_another_metric_of_biology_stands_in_for_one_that_is_not_scored(made):
    ((plane,),) = (g.every for g in only([made("toy", "candidate", {"kbet": 0.5, "nmi": 0.4, "ari": 0.3})]))
    assert (plane.mixing, plane.biology) == ("kbet", "nmi")


@pytest.mark.parametrize("values", [{"ilisi": 0.5}, {"clisi": 0.5, "auroc": 0.6}, {"auroc": 0.7}])
def test_nothing_is_drawn_without_both_axes(made, values):
    records = [made("toy", "candidate", values)]
    assert only(records) == []
    assert "Mixing against biology" not in render(Results(records))


def test_metrics_of_two_splits_are_not_drawn_against_each_other(made):
    record = made("toy", "candidate", {"ilisi": 0.5, "clisi": 0.9})
    apart = tuple(s.model_copy(update={"split": s.metric}) for s in record.scores)
    assert only([record.model_copy(update={"scores": apart})]) == []


def test_a_panel_without_any_point_still_says_why(made):
    records = [made("toy", "candidate", {"ilisi": None, "clisi": 0.9}), made("pca", "control", {"clisi": 0.8})]
    (group,) = only(records)
    assert group.every[0].figure == ""
    assert dict(group.every[0].absent) == {
        "iLISI: undefined, no ilisi here": "1 toy", "iLISI: not scored here": "2 pca",
    }  # fmt: skip
    assert "0.900" in Page(render(Results(records))).text


def test_what_failed_is_named_once(made):
    failed = made("broken", "candidate", {}, error="ValueError: no")
    records = [made("toy", "candidate", {"ilisi": 0.5, "clisi": 0.9}), failed]
    plane = only([r.model_copy(update={"scores": () if r.error else r.scores}) for r in records])[0].every[0]
    assert [reason for reason, _ in plane.absent] == ["failed: ValueError: no"]


def test_names_are_escaped(made):
    values = {"ilisi": 0.5, "clisi": 0.9}
    records = [made(EVIL, "candidate", values), made(EVIL, "candidate", values, correction=EVIL)]
    page = render(Results(records))
    assert EVIL not in page
    assert Page(page).text.count(EVIL) > 2


def test_the_same_bytes_twice(run, made):
    assert render(run) == render(run)
    values = {"ilisi": 0.5, "clisi": 0.9}
    records = [made("toy", "candidate", values), made("pca", "control", values)]
    assert only(records)[0].every[0].figure == only(records)[0].every[0].figure


def test_ids_are_unique_and_tables_hold_every_value(run):
    page = Page(render(run))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for plane in only(run.records)[0].every:
        for point in plane.points:
            for score in (point.mixing, point.biology):
                assert number(score.value) in page.text


def test_the_same_encoder_in_two_roles_has_two_numbers(made):
    values = {"ilisi": 0.5, "clisi": 0.9}
    records = [made("pca", "candidate", values), made("pca", "control", values)]
    plane = only(records)[0].every[0]
    assert [p.mark for p in plane.points] == ["1", "2"]


def test_names_of_metrics_keep_their_small_letter():
    assert heading("iLISI × cLISI") == "iLISI × cLISI"
    assert heading("kBET") == "kBET"
    assert heading("batch variance") == "Batch variance"


def test_labels_lie_on_nothing_where_there_is_room():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.uniform(100, 160, (10, 2)), [[130.0, 130.0]] * 3])
    texts = [f"{i}a" for i in range(13)]
    found = spread(points, texts, (0, 0, 260, 260), [(points[0], points[1])])
    half = np.array([6.6, 5.5])
    for i, place_of in enumerate(found):
        others = np.delete(found, i, axis=0)
        assert not (np.abs(others - place_of) < 2 * half - 1e-6).all(axis=1).any()
        assert not (np.abs(points - place_of) < half + 4.5 - 1e-6).all(axis=1).any()
    assert (found > half - 1e-6).all()
    assert (found < 260 - half + 1e-6).all()


def test_a_label_near_the_edge_stays_inside():
    (found,) = spread(np.array([[100.0, 100.0]]), ["12b"], (0, 0, 100, 100))
    assert (found + np.array([9.9, 5.5]) <= 100 + 1e-6).all()
