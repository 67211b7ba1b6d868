from mmcell.report.concepts import concept_tables
from mmcell.report.html import render
from mmcell.results import Results

FOUND = [
    {"name": "weight: CD4 T", "effect": 0.5, "ci_low": 0.1, "ci_high": 0.9, "p": 0.01, "q": 0.02},
    {"name": "CD4 T: interferon", "effect": -3.0, "ci_low": None, "ci_high": None, "p": 0.3, "q": 0.4},
    {"name": "B: interferon", "effect": None, "ci_low": None, "ci_high": None, "p": None, "q": None},
    {"name": "overall: <b>", "effect": 1.0, "ci_low": 0.0, "ci_high": 2.0, "p": 0.2, "q": 0.2},
]
DETAILS = {"contrasts": [f | {"n_positive": 30, "n_negative": 13, "reason": ""} for f in FOUND]}


def test_a_row_a_component_and_a_column_a_concept(record):
    one = record("scope", details=DETAILS)
    table = concept_tables([one], {one.key: "pca → scope"})[0]
    assert table.columns == ("weight", "interferon", "<b>")
    assert [row for row, _ in table.rows] == ["CD4 T", "B", "overall"]
    first = table.rows[0][1]
    assert (first[0].effect, first[1].tint, first[2]) == (0.5, -1.0, None)


def test_it_is_in_the_page_and_escaped(record):
    page = render(Results([record("scope", details=DETAILS)], {}, []))
    assert "What differs between the groups" in page
    assert "0.500<b>*</b>" in page
    assert "&lt;b&gt;" in page


def test_a_record_without_contrasts_has_no_table(record):
    assert concept_tables([record()], {record().key: "x"}) == []
