import pytest

from mmcell.report.attended import attended_tables
from mmcell.report.html import render
from mmcell.results import Results


def fold(*rows):
    names = ("type", "n_patients", "share", "weight", "score")
    return {"patient_encoder": {"score": "log hazard", "by type": [dict(zip(names, r, strict=True)) for r in rows]}}


FOLDS = {
    "folds": [
        fold(("B", 9, 0.75, 0.25, -0.5), ("<b>", 4, 0.25, 0.75, 1.0)),
        fold(("B", 9, 1.0, 1.0, -1.5)),
        {"patient_encoder": {"cells each": 3}},
    ]
}


def test_shares_and_weights_are_means_over_all_folds_the_most_weight_first(record):
    one = record("mil", details=FOLDS)
    (table,) = attended_tables([one, record("mil", probe="cox", details=FOLDS), record()])
    assert (table.name, table.score, table.n_folds) == ("mil", "log hazard", 2)
    b, rare = table.rows
    # Of a fold without the type both are 0, so that they add up to 1.
    assert rare.share.mean + b.share.mean == rare.weight.mean + b.weight.mean == 1
    assert (rare.share.mean, rare.score.mean) == (0.125, 1.0)
    assert (rare.name, rare.n_folds, rare.ratio) == ("<b>", 1, 3.0)
    assert (b.name, b.n_folds, b.share.mean, b.weight.mean) == ("B", 2, 0.875, 0.625)
    assert (b.score.mean, b.score.low, b.score.high) == (-1.0, -1.5, -0.5)
    assert b.ratio == pytest.approx(0.625 / 0.875)


def test_it_is_in_the_page_and_escaped(record):
    page = render(Results([record("mil", details=FOLDS)], {}, ()))
    assert "<h3>Which cells it looks at</h3>" in page
    assert "&lt;b&gt;" in page
    assert "−1.500 to −0.500" in page
    assert "Which cells it looks at" not in render(Results([record()], {}, ()))
