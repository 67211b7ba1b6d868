import pytest

from mmcell import Results
from mmcell.report import words
from mmcell.report.directions import direction_tables
from mmcell.report.html import render
from mmcell.report.view import tasks_of

TASK = {"name": "chain", "primary": "severity_spearman", "metrics": ["severity_spearman", "disease_auroc", "added_c"]}


@pytest.fixture
def chain(record, score):
    """A candidate whose folds chose `mend` twice and `mimic` once."""

    def at(metric, stratum, value, **fields):
        usual = {"metric": metric, "stratum": stratum, "value": value, "low": value - 0.1, "high": value + 0.1}
        return score(**usual | {"chance": 0.0} | fields)

    scores = [
        at("severity_spearman", "all", 0.6, asked="severity", target="ordered"),
        at("severity_p", "all", 0.005, low=None, high=None, target="ordered", chance=None),
        at("severity_spearman", "disease itself", 0.7, asked="severity", target="ordered"),
        at("severity_spearman", "mend", -0.6, asked="severity", target="ordered"),
        at("severity_spearman", "mimic", 0.5, asked="severity", target="ordered"),
        at("connectivity", "mend", -0.2, target="reversal", higher_is_better=False),
        at("connectivity_p", "mend", 0.01, low=None, high=None, target="reversal", chance=None),
        at("added_c", "all", 0.0612, target="outcome"),
        at("reversal_rank", "all", 0.9, target="reversal", chance=0.5),
    ]
    folds = [
        {"chosen": name, "connectivity": {"mend": -0.3 + 0.1 * i, "mimic": 0.1}}
        for i, name in enumerate(("mend", "mimic", "mend"))
    ]
    control = record("random", "control", *scores[:2], task=TASK | {"reference": "random"})
    return [record("hvg", "candidate", *scores, task=TASK | {"reference": "random"}, details={"folds": folds}), control]


def test_a_row_for_every_direction_with_what_stands_beside_it(chain):
    (table,) = direction_tables(tasks_of(chain)[0])
    assert (table.name, table.split, table.n_folds) == ("hvg", "grouped", 3)
    assert table.metrics == ("severity_spearman", "connectivity")
    assert [row.name for row in table.rows] == ["the chosen perturbation", "the disease itself", "mend", "mimic"]
    assert [row.n_chosen for row in table.rows] == [None, None, 2, 1]
    mend = table.rows[2]
    assert mend.cosine == pytest.approx((-0.2, -0.3, -0.1))
    assert [(s and s.value, p and p.value) for s, p in mend.scores] == [(-0.6, None), (-0.2, 0.01)]
    assert table.rows[0].scores[0][1].value == 0.005
    assert [s.metric for s in table.whole] == ["reversal_rank", "added_c"]


def test_the_page_says_what_strata_are(chain):
    source = render(Results(chain))
    text = " ".join(source.split())
    assert "From perturbations to patients" in text
    assert "grouped · along the chosen perturbation · severity" in text
    assert "grouped · along the disease itself · severity" in text
    assert "grouped · along mend · severity" in text
    assert "grouped · what mend does" in text
    assert '<td class="n">2 of 3</td>' in text
    assert "each a unit along one direction" in text
    assert "foretelling the outcome (C of both less C of covariates): 0.061 (−0.039 to 0.161), chance 0.000." in text


def test_other_tasks_have_no_such_section(record):
    assert direction_tables(tasks_of([record()])[0]) == []
    assert "From perturbations to patients" not in render(Results([record()]))


def test_a_stratum_of_another_metric_keeps_its_name(score):
    assert words.place_name(score(stratum="disease itself")) == "grouped · disease itself"
