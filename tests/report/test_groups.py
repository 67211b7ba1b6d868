from mmcell.records import Group
from mmcell.report.groups import group_tables
from mmcell.report.html import render
from mmcell.report.view import tasks_of
from mmcell.results import Results


def grouped(score, shift=0.0):
    found = (
        Group(role="cell_type", name="B", value=0.7 + shift, low=0.6, high=0.8, chance=0.5, n_units=30, n_items=300),
        Group(role="cell_type", name="<T>", value=0.9 + shift, chance=0.5, n_units=4, n_items=40),
        Group(role="batch", name="one", value=None, n_units=12, n_items=12),
    )
    return score(groups=found)


def test_groups_of_the_candidate_stand_beside_those_of_the_reference(record, score):
    records = [record("toy", "candidate", grouped(score)), record("pca", "control", grouped(score, -0.1))]
    tables = group_tables(tasks_of(records)[0])
    assert [(t.role, len(t.rows)) for t in tables] == [("cell_type", 2), ("batch", 1)]
    name, cells = tables[0].rows[1]
    assert name == "B"
    assert [g.value for g in cells[0]] == [0.7, 0.6]
    assert tables[0].rows[0][1][0][0].n_units == 4
    page = render(Results(records, {}, []))
    assert "By group" in page
    assert "&lt;T&gt;" in page
    assert "<T>" not in page


def test_without_a_candidate_the_reference_stands_alone(record, score):
    tables = group_tables(tasks_of([record("pca", "control", grouped(score))])[0])
    assert tables[0].rows[0][1][0][1] is None


def test_without_groups_there_is_no_table(record):
    assert group_tables(tasks_of([record()])[0]) == []
